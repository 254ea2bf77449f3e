"""Stores that disappear, processes that are killed, and indexes owned by others."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow as pa
import pytest
from served import COUNT, NAMES, Site, made_index, made_service, served

from forked import SERVER
from paraclip.compute.micro_batch import MicroBatchQueue
from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.files import cache_folder
from paraclip.image_search import snapshot
from paraclip.image_search.build import build_index
from paraclip.image_search.engine import Query
from paraclip.image_search.serving import rewording, server
from paraclip.image_search.serving import service as serving
from paraclip.image_search.serving.rewording import Reworder
from paraclip.image_search.serving.service import Service
from paraclip.image_search.snapshot import open_pool
from paraclip.image_search.towers import model_stamp
from paraclip.models.sources import LAST, RUN_RECORD
from paraclip.paraphrase.backends import Answer, AnswerError
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.prompts import Prompt
from paraclip.store import IndexFacts, Store, existing_facts, picture_id
from postgres_server import wait_until
from tiny import largest_file

JSON = "application/json"
ONE = picture_id(NAMES[0])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REFRESH_SECONDS", 0.05)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return made_index(tmp_path, str(tmp_path / "index"))


@pytest.fixture
def service(store: Store) -> Iterator[Service]:
    made = made_service(store)
    yield made
    made.close()


def check_gone(site: Site, in_memory: bool = True) -> None:
    """Without its store a server searches from memory and reports what is unavailable."""
    wait_until(lambda: site.get("healthz")[0] == 503)
    health = json.loads(site.get("healthz")[2])
    assert health == {"status": "store unavailable", "pictures": COUNT}
    assert site.get("api/search?q=disc&k=5")[0] == (200 if in_memory else 503)
    status, _, body = site.get(f"api/thumbnail/{ONE}")
    assert status == 503
    assert json.loads(body)["detail"].startswith(("The index is gone", "The index cannot be"))
    assert site.json("api/index")["fault"]


def check_back(site: Site) -> None:
    """When its store is back, everything works again without a restart."""
    wait_until(lambda: site.get("healthz")[0] == 200)
    assert site.get(f"api/thumbnail/{ONE}")[0] == 200


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_folder_gone_while_serving_and_back(
    store: Store, tmp_path: Path, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "EXACT_BELOW", COUNT + in_memory)
    service = made_service(store)
    pool = service.current.pool
    assert (pool.captions is not None) == in_memory
    vector = store.rows([ONE], ("vector",))["vector"].to_numpy()[0][None]
    assert pool.nearest(vector, 5)[0][0].id == ONE
    with served(service) as site:
        assert site.json("api/search?q=disc&k=5")["pictures"] == COUNT
        (tmp_path / "index").rename(tmp_path / "away")
        check_gone(site, in_memory)
        (tmp_path / "away").rename(tmp_path / "index")
        check_back(site)


def test_any_failure_of_the_store_is_reported_and_passes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("a panic in a library")

    with served(made_service(store)) as site:
        monkeypatch.setattr(store, "version", fail)
        wait_until(lambda: site.get("healthz")[0] == 503)
        assert site.json("api/index")["fault"] == "cannot be read"
        monkeypatch.undo()
        check_back(site)


def test_a_thumbnail_read_before_an_update_is_not_kept_after_it(store: Store) -> None:
    service, read = made_service(store), store.rows

    def update_after(ids: list[str], columns: list[str]) -> pa.Table:
        rows = read(ids, columns)
        whole = read(ids)
        place = whole.schema.get_field_index("thumbnail")
        store.put(whole.set_column(place, "thumbnail", pa.array([b"new"], pa.binary())))
        service.take_newest()
        return rows

    async def twice() -> list[bytes | None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "rows", update_after)
            first = await service.thumbnail(ONE)
        return [first, await service.thumbnail(ONE)]

    old, new = asyncio.run(twice())
    service.close()
    assert old != b"new" and new == b"new"


class Model:
    """A language model that waits until it is told to answer, and may fail."""

    style = "paper"

    def __init__(self) -> None:
        self.told = threading.Event()
        self.fails = False
        self.asked = 0
        self.answers = ["A hound runs along the shore."]

    async def start(self) -> None:
        """Nothing to start."""

    async def answer(self, prompt: Prompt, count: int) -> list[Answer]:
        """The same answers to all."""
        self.asked += 1
        while not self.told.is_set():
            await asyncio.sleep(0.01)
        if self.fails:
            raise AnswerError("no answer")
        return [Answer(text) for text in self.answers]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def judge() -> Judge:
    """The filters, whose models are loaded once."""
    return Judge()


@pytest.fixture
def model(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    made = Model()
    monkeypatch.setattr(rewording, "Judge", lambda: judge)
    monkeypatch.setattr(rewording, "make_backend", lambda *_: made)
    yield made
    made.told.set()


@pytest.fixture
def reworder(model: Model) -> Reworder:
    return Reworder("openai")


def send_question(site: Site, number: int) -> socket.socket:
    """A request for rewordings, whose response is not awaited."""
    raw = socket.create_connection(("127.0.0.1", site.port), timeout=60)
    body = json.dumps({"text": f"query {number}"}).encode()
    head = "POST /api/reword HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
    raw.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return raw


def test_questions_to_the_language_model_are_bounded_and_only_sent_for_clients_that_wait(
    service: Service, model: Model, reworder: Reworder
) -> None:
    with served(service, reworder=reworder) as site, ExitStack() as stack:
        waiting = []
        for number in range(rewording.MOST_WAITING):
            waiting.append(stack.enter_context(send_question(site, number)))
            wait_until(lambda: reworder.waiting == len(waiting))
        status, headers, _ = site.get(
            "api/reword", b'{"text": "one more"}', **{"content-type": "application/json"}
        )
        assert (status, headers["retry-after"]) == (503, "1")
        for one in waiting[1:-1]:
            one.close()
        site.get("healthz")
        model.told.set()
        assert b" 200 " in waiting[0].recv(4096)[:20] and b" 200 " in waiting[-1].recv(4096)[:20]
    assert model.asked == 2


def test_a_stopped_server_does_not_wait_long_for_the_language_model(
    service: Service, model: Model, reworder: Reworder, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(server, "STOP_SECONDS", 1)
    with ExitStack() as stack:
        with served(service, reworder=reworder) as site:
            waiting = [stack.enter_context(send_question(site, number)) for number in range(3)]
            wait_until(lambda: reworder.waiting == 3 and model.asked == 1)
        assert all(b" 503 " in one.recv(4096)[:20] for one in waiting)
    assert model.asked == 1
    assert not [record for record in caplog.records if record.exc_info]


def test_a_question_is_sent_to_the_language_model_once(model: Model, reworder: Reworder) -> None:
    async def stays() -> bool:
        return False

    async def three_times() -> list[list[str]]:
        text = "a dog running on the beach"
        return await asyncio.gather(*(reworder.suggest(text, stays) for _ in range(3)))

    model.told.set()
    found = asyncio.run(three_times())
    assert found[0] == found[1] == found[2] and model.asked == 1


def test_suggestions_differ_in_words_and_keep_the_meaning(model: Model, reworder: Reworder) -> None:
    async def stays() -> bool:
        return False

    source = "a dog running on the beach"
    same = ["A Dog running on the beach!", "The dog is running on the beach."]
    others = ["A hound runs along the shore.", "a hound runs along the shore"]
    model.answers = [*same, "A running dog on the beach.", *others, "A cat sleeps on a chair."]
    model.told.set()
    assert asyncio.run(reworder.suggest(source, stays)) == [
        others[0],
        "A running dog on the beach.",
    ]


def test_a_language_model_that_fails_is_not_the_fault_of_the_request(
    service: Service, model: Model, reworder: Reworder
) -> None:
    model.fails = True
    model.told.set()
    with served(service, reworder=reworder) as site:
        headers = {"content-type": "application/json"}
        status, _, body = site.get("api/reword", b'{"text": "a dog"}', **headers)
        assert status == 503 and "gave no answer" in json.loads(body)["detail"]
        for text in ("", " \n", "x" * 501, None):
            assert site.get("api/reword", json.dumps({"text": text}).encode(), **headers)[0] == 422
    assert model.asked == 1


@pytest.mark.parametrize(("llm", "hint"), [("opneai", "openai"), ("openai", "PARACLIP_MODEL")])
def test_rewordings_are_offered_only_where_they_can_work(
    llm: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARACLIP_MODEL", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    with pytest.raises(UserError, match=hint) as raised:
        Reworder(llm)
    assert "--backend" not in str(raised.value), "serve has no such option"


def test_a_reader_of_the_page_is_not_told_of_options(
    service: Service, model: Model, reworder: Reworder
) -> None:
    async def fail(*_: object) -> None:
        raise UserError("http://localhost:1", "no server answers there", "Check --base-url.")

    model.start = fail  # type: ignore[method-assign]
    with served(service, reworder=reworder) as site:
        body = site.get("api/reword", b'{"text": "a dog"}', **{"content-type": JSON})[2]
    assert json.loads(body)["detail"] == "http://localhost:1: no server answers there."


def test_an_index_that_changes_is_shown(tmp_path: Path) -> None:
    address = str(tmp_path / "index")
    with served(made_service(made_index(tmp_path, address))) as site:
        store = Store(address)
        store.remove([ONE])
        wait_until(lambda: site.json("api/index")["pictures"] == COUNT - 1)
        found = site.json("api/search?q=disc&k=100")["models"][0]["results"][0]
        assert len(found) == COUNT - 1 and ONE not in {hit["id"] for hit in found}


def test_a_replaced_model_file_is_reported_once(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(serving, "REFRESH_SECONDS", 0.01)
    file = tmp_path / LAST
    file.write_bytes(b"old")
    (tmp_path / RUN_RECORD).write_text("{}")
    # By a path of its own: the server of the other tests watches its models, too.
    service.towers["tuned"].name = str(tmp_path)
    service.warn_of_replaced_models()
    caplog.clear()

    def warned() -> list[str]:
        warnings = [one for one in caplog.records if one.levelname == "WARNING"]
        return [vars(one)["fields"]["model"] for one in warnings]

    look, looks = service.warn_of_replaced_models, list[None]()
    monkeypatch.setattr(service, "warn_of_replaced_models", lambda: looks.append(None) or look())
    with served(service):
        file.unlink()  # as while the run is done again
        wait_until(lambda: len(looks) > 2)
        file.write_bytes(b"another")
        wait_until(lambda: bool(warned()))
    service.warn_of_replaced_models()
    assert warned() == ["tuned"]


def test_cutoffs_that_an_index_run_states_at_its_end_are_taken(
    store: Store, service: Service
) -> None:
    service.current = replace(service.current, cutoffs={"base": 0.1, "tuned": 0.2})
    store.remove([ONE])
    service.take_newest()
    assert (len(service.current.pool), service.current.cutoffs) == (
        COUNT - 1,
        {"base": 0.1, "tuned": 0.2},
    )
    facts = store.facts()
    assert facts is not None
    stated = {model_stamp("base"): 0.3, model_stamp("tuned"): 0.4}
    store.save_facts(replace(facts, cutoffs=stated))
    service.take_newest()
    assert service.current.cutoffs == {"base": 0.3, "tuned": 0.4}


def cutoffs_of(value: float) -> dict[str, float]:
    """What an index run states at its end."""
    return {model_stamp("base"): value, model_stamp("tuned"): value}


def test_an_index_run_is_copied_once_and_not_after_each_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "ROWS_A_SECOND", 0.001)  # hours for this index
    service, batches, copied = made_service(store), store.batches, []

    def counted(columns: tuple[str, ...]) -> Iterator[pa.Table]:
        for part in batches(columns):
            copied.append(len(part))
            yield part

    monkeypatch.setattr(store, "batches", counted)
    facts, rows = store.facts(), store.rows([ONE])
    assert facts is not None
    for number in range(10, 14):  # an index run: it starts, writes, ends and compacts
        store.save_facts(replace(facts, cutoffs={}))
        store.put(rows.set_column(0, rows.schema.field("id"), pa.array([f"{number:024x}"])))
        service.take_newest()
    assert copied == [] and len(service.current.pool) == COUNT
    store.save_facts(replace(facts, cutoffs=cutoffs_of(0.1)))
    service.take_newest()
    store.finish()
    for _ in range(3):
        service.take_newest()
    assert sum(copied) == len(service.current.pool) == COUNT + 4
    assert service.current.cutoffs == {"base": 0.1, "tuned": 0.1}
    store.save_facts(replace(facts, cutoffs={}))
    store.remove([ONE])
    service.take_newest()
    assert len(service.current.pool) == COUNT + 4
    monkeypatch.setattr(serving, "ROWS_A_SECOND", 10**9)
    service.take_newest()
    assert len(service.current.pool) == COUNT + 3, "a run that was killed, or goes on for long"
    service.close()


def test_facts_that_change_while_an_index_is_opened_are_taken_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, facts = made_service(store), store.facts()
    assert facts is not None
    changes = [replace(facts, cutoffs=cutoffs_of(0.5))]

    def change_after(read: Store) -> IndexFacts:
        found = existing_facts(read)
        while changes:
            store.save_facts(changes.pop())
        return found

    monkeypatch.setattr(snapshot, "existing_facts", change_after)
    store.remove([ONE])
    for _ in range(2):
        service.take_newest()
    assert service.current.cutoffs == {"base": 0.5, "tuned": 0.5}
    service.close()


def test_an_answer_is_of_one_version_and_pictures_do_not_wait_for_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, batches = made_service(store), store.batches
    old, begun, shown = service.current, threading.Event(), threading.Event()

    def after_a_thumbnail(columns: tuple[str, ...]) -> Iterator[pa.Table]:
        begun.set()
        assert shown.wait(60), "a thumbnail waits until the index is copied"
        return batches(columns)

    async def both() -> list[int]:
        store.remove([ONE])
        monkeypatch.setattr(store, "batches", after_a_thumbnail)
        copying = asyncio.create_task(service.refresh())
        assert await asyncio.to_thread(begun.wait, 60)
        assert await service.thumbnail(picture_id(NAMES[1]))
        assert service.current is old
        shown.set()
        await copying
        query, versions = Query("disc"), (old, service.current, old)
        searches = (service.search(one, [query], ["tuned"], 40) for one in versions)
        return [len(found[0][0]) for found in await asyncio.gather(*searches)]

    assert asyncio.run(both()) == [COUNT, COUNT - 1, COUNT]
    service.close()


@pytest.mark.parametrize("in_memory", [True, False])
def test_an_index_of_another_image_tower_is_not_shown(
    tmp_path: Path, pictures: Path, models: dict[str, str], in_memory: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Store, "EXACT_BELOW", COUNT + in_memory)
    address = str(tmp_path / "index")
    service = made_service(made_index(tmp_path, address))
    build_index(str(pictures), address, models["base"], Problems(1.0), rebuild=True)
    asyncio.run(service.refresh())
    assert service.fault == "holds another index now" and len(service.current.pool) == COUNT
    asyncio.run(service.row(picture_id("disc-red.png"), ("path",)))
    assert service.fault == "holds another index now", "although its rows can be read"
    with served(service) as site:
        assert site.get("api/search?q=disc")[0] == (200 if in_memory else 503)
        assert site.get(f"api/search?like={picture_id('disc-red.png')}")[0] == 503


def test_a_full_queue_is_refused_until_there_is_room(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(service) as site:
        monkeypatch.setattr(service, "searches", MicroBatchQueue(list, waiting=0))
        status, headers, body = site.get("api/search?q=disc")
        assert status == 503 and headers["retry-after"] == "1"
        assert json.loads(body)["detail"] == "Too many requests are waiting."
        service.searches.close()
        monkeypatch.undo()
        assert site.json("api/search?q=disc")["pictures"] == COUNT


def copy_for_long(address: str, cache: str, copies: Event) -> None:
    """A search that hangs as soon as it copies vectors."""
    os.environ["PARACLIP_CACHE"] = cache

    def hang(*_: object) -> None:
        copies.set()
        time.sleep(60)

    snapshot.pa.ipc.new_file = hang
    open_pool(Store(address))


@pytest.mark.slow
def test_killed_while_searching(tmp_path: Path) -> None:
    address = str(tmp_path / "index")
    made_index(tmp_path, address)
    copies = SERVER.Event()
    process = SERVER.Process(target=copy_for_long, args=(address, str(cache_folder()), copies))
    process.start()
    assert copies.wait(100)
    process.kill()
    process.join()
    (folder,) = (cache_folder() / "search").iterdir()
    assert [path.name[0] for path in folder.iterdir()] == ["."], "nothing looks finished"
    assert len(open_pool(Store(address))[2]) == COUNT
    for part in folder.glob(".*"):
        os.utime(part, (1, 1))
    Store(address).remove([ONE])
    assert len(open_pool(Store(address))[2]) == COUNT - 1
    assert len(list(folder.iterdir())) == 1, "one version is kept, and no leavings"


def test_a_full_disk_while_searching_is_one_line(store: Store) -> None:
    with largest_file(100), pytest.raises(UserError, match="largest allowed file size"):
        open_pool(store)
    (folder,) = (cache_folder() / "search").iterdir()
    assert list(folder.iterdir()) == [], "nothing incomplete is left"
    assert len(open_pool(store)[2]) == COUNT


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"\x80\x04cos\nsystem\n"])
def test_a_damaged_copy_is_taken_again(store: Store, content: bytes) -> None:
    open_pool(store)
    (path,) = cache_folder().rglob(snapshot.VECTORS)
    path.write_bytes(content)
    assert len(open_pool(store)[2]) == COUNT


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_serves_and_stops_gracefully(
    pictures: Path, tmp_path: Path, models: dict[str, str], number: int
) -> None:
    address = str(tmp_path / "index")
    build_index(str(pictures), address, models["base"], Problems(1.0))
    command = [sys.executable, "-m", "paraclip", "serve", "--port", "0", "--index", address]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PARACLIP_QUIET": "0"},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        url = re.search(r"http://\S+/", process.stdout.readline())
        assert url is not None
        with urllib.request.urlopen(f"{url[0]}api/search?q=disc", timeout=60) as response:
            found = json.loads(response.read())
        picture = (pictures / "disc-red.png").read_bytes()
        with urllib.request.urlopen(f"{url[0]}api/search/picture", picture, timeout=60) as response:
            like = json.loads(response.read())
        process.send_signal(number)
        *shown, last = [line for line in process.stderr.read().splitlines() if line]
        lines = [json.loads(line) for line in shown]
        assert process.wait(60) == 128 + number and last == "paraclip: interrupted."
    assert found["pictures"] == 6 and len(found["models"][0]["results"][0]) == 6
    assert like["models"][0]["results"][0][0]["path"] == "disc-red.png"
    assert [line["event"] for line in lines if "ready" in line["event"]]
    assert lines[-1]["event"] != "request" and any(line["event"] == "stopped" for line in lines)

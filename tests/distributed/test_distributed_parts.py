"""The parts of a distributed run that need no Ray."""

import asyncio
import math
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer
from generating import bag_judge, captions, captions_file, generated_from_source, name_of
from hypothesis import given
from hypothesis import strategies as st
from ray_run import ray_config

from paraclip.cluster import _check_cpus
from paraclip.data.triples import FURTHER_SCHEMA
from paraclip.errors import UserError
from paraclip.files import take_lock
from paraclip.paraphrase.backends import Answer, LLMOptions, make_backend
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.distributed.places import (
    ASKERS,
    KEY,
    OUTCOME,
    Place,
    _key_of,
    _outcome_of,
    _row_finder,
    failed_keys,
    outcome_row,
    outcomes_in_order,
    place_of,
    tokens_of_blocks,
    write_captions,
)
from paraclip.paraphrase.distributed.run import (
    _absorb_blocks,
    _Asker,
    _is_locked,
    _share_of,
    _Task,
)
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge, Verdict
from paraclip.paraphrase.log import AnswerLog, EarlierAnswers
from paraclip.paraphrase.steps import Failed, KeptTriple, Outcome, Rejected, answer_settings
from paraclip.provenance import shown_path

ROWS = list(captions(30))


def kept(index: int) -> KeptTriple:
    row = dict.fromkeys(FURTHER_SCHEMA.names) | {"id": ROWS[index].id, "image_id": "p"}
    return KeptTriple(row | {"caption": "c", "paraphrase_1": "d", "paraphrase_2": "e"})


def wrote(place: Place, name: str, outcomes: dict[int, Outcome], **first: int) -> None:
    """A file of outcomes by key."""
    rows: list[dict[str, Any]] = [outcome_row(key, one) for key, one in outcomes.items()]
    rows[0] |= first
    path = f"{place.create('outcomes')}/{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=OUTCOME), path)


def test_outcomes_survive_the_way_through_parquet() -> None:
    verdicts = [Verdict("x", "copy", 0.5, 0.25), Verdict("", "empty", math.nan, 0.0)]
    rejected = Rejected(ROWS[0], 1, "copy", verdicts)
    failed = Failed(ROWS[1], 2, "500")
    unjudged = replace(failed, unjudged=True)
    outcomes = (kept(0), rejected, failed, unjudged, replace(kept(0), missing=(unjudged,)))
    rows = [outcome_row(key, one) for key, one in enumerate(outcomes)]
    back = list(map(_outcome_of, pa.Table.from_pylist(rows, schema=OUTCOME).to_pylist()))
    assert back[0] == kept(0) and len({_key_of(ROWS[0], 0), _key_of(ROWS[0], 1)}) == 2
    assert isinstance(back[1], Rejected) and back[1].caption.id == "c0"
    assert back[1].verdicts[0] == verdicts[0] and math.isnan(back[1].verdicts[1].similarity)
    assert isinstance(back[2], Failed) and (back[2].step, back[2].problem) == (2, "500")
    assert isinstance(back[3], Failed) and isinstance(back[4], KeptTriple)
    assert [one.unjudged for one in (back[2], back[3], *back[4].missing)] == [False, True, True]  # type: ignore[union-attr]


@given(st.lists(st.integers(0, 4), min_size=30, max_size=30), st.randoms())
def test_outcomes_come_in_the_order_of_the_source(files: list[int], chance: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = place_of(Path(folder))
        keys = write_captions(ROWS, place, set())
        for file in set(files):
            rows = [row for row in range(30) if files[row] == file]
            chance.shuffle(rows)
            wrote(place, f"{file}", {int(keys[row]): kept(row) for row in rows})
        wrote(place, "stale", {7: kept(0)})  # of a caption that was edited
        wrote(place, "twice", {int(keys[3]): kept(3)})
        found = [one.row["id"] for one in outcomes_in_order(place, keys)]  # type: ignore[union-attr]
    assert found == [row.id for row in ROWS]
    with tempfile.TemporaryDirectory() as folder:  # nothing, then a lost row
        place = place_of(Path(folder))
        nothing = write_captions([], place, set())
        assert tokens_of_blocks(place) == [0, 0] and not list(outcomes_in_order(place, nothing))
        with pytest.raises(AssertionError, match="lost"):
            list(outcomes_in_order(place, keys))


def test_failed_captions_get_another_key(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    before = write_captions(ROWS[:4], place, set())
    failed = Failed(ROWS[0], 1, "500")
    rejected = Rejected(ROWS[2], 1, "copy", [])
    lacking = replace(kept(3), missing=(rejected, replace(failed, step=3, kind="short")))
    outcomes = dict(zip(before.tolist(), (failed, kept(1), rejected, lacking), strict=True))
    wrote(place, "a", outcomes, prompt_tokens=7, answer_tokens=2)
    after = write_captions(ROWS[:4], place, failed_keys(place))
    assert (after != before).tolist() == [True, False, False, True]
    assert tokens_of_blocks(place) == [7, 2]
    assert _row_finder(after)(np.array([before[0], after[0]])).tolist() == [-1, 0]


def test_a_run_waits_for_the_askers_of_a_killed_one(tmp_path: Path) -> None:
    place, settings = place_of(tmp_path), {"generator": "fake"}
    folder = Path(place.create("answers"))
    asker = (folder.parent / ASKERS).open("ab")
    take_lock(asker, folder, "", shared=True)

    def ask_on() -> None:
        block = AnswerLog(folder / "late.jsonl", settings)
        block.add("0" * 16, [])
        block.close()
        asker.close()

    log = AnswerLog(tmp_path / "answers.jsonl", settings)
    later = threading.Timer(0.3, ask_on)
    later.start()
    assert _absorb_blocks(place, log, settings) == 1 and not list(folder.iterdir())
    later.join()
    log.close()


def test_logs_of_blocks_become_one(tmp_path: Path) -> None:
    place, settings = place_of(tmp_path), {"generator": "fake"}
    log = AnswerLog(tmp_path / "answers.jsonl", settings)
    folder = Path(place.create("answers"))
    block = AnswerLog(folder / "one.jsonl", settings)
    block.add("0" * 16, [])
    assert _is_locked(folder / "one.jsonl")
    block.close()
    with (folder / "one.jsonl").open("ab") as file:
        file.write(b'{"id": "c1", "key": "11')  # killed while writing
    assert _absorb_blocks(place, log, settings) == 1 and not list(folder.iterdir())
    log.close()
    again = AnswerLog(tmp_path / "answers.jsonl", settings)
    assert len(again) == 1 and again.find("0" * 16) == []
    again.close()


def test_a_block_counts_and_finds_earlier_answers(tmp_path: Path) -> None:
    settings, answers = {"generator": "fake"}, [Answer("one", tokens=(5, 2)), Answer("two")]
    log = AnswerLog(tmp_path / "answers.jsonl", settings)
    log.add("0" * 16, answers)
    log.close()
    earlier = EarlierAnswers(tmp_path / "answers.jsonl", settings)
    block = AnswerLog(tmp_path / "block.jsonl", settings, earlier=earlier)
    found = block.find("0" * 16)
    assert len(block) == 1 and found == answers and found[0].tokens == (5, 2)
    earlier.close()
    block.close()


def test_an_exception_in_judging_fails_its_caption_alone_in_a_block(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, sound = bag_judge(), Judge._judge_apart

    def broken(self: Judge, questions: list[Question]) -> list[Verdict]:
        if any(name_of(3) in one.answer for one in questions):
            raise ValueError("broken")
        return sound(self, questions)

    monkeypatch.setattr(Judge, "_judge_apart", broken)
    options = LLMOptions(model="fake", base_url=(server.url,))
    place = place_of(tmp_path)
    write_captions(ROWS, place, set())
    [block] = place.tables("captions")
    asker = _Asker(_Task(place, options, judge, "", answers=Path(place.create("answers"))))

    async def ask() -> list[dict[str, Any]]:
        with asker._open:
            outcomes = await asker._outcomes(pq.read_table(block))
        assert asker._ready is not None
        await asker._ready.result()[0].close()
        return list(outcomes.to_pylist())

    failed = [row for row in asyncio.run(ask()) if row["outcome"] != "kept"]
    assert [(row["id"], row["outcome"]) for row in failed] == [("c3", "unjudged")]
    assert "ValueError: broken (paraclip/paraphrase/filters/judge.py" in failed[0]["reason"]


def test_a_place_is_a_folder_or_a_url(tmp_path: Path) -> None:
    assert place_of(tmp_path).local == tmp_path
    url = place_of(Path(f"file://{tmp_path}"))
    assert url.local is None and url.address == f"file://{tmp_path}" and url.path == str(tmp_path)
    assert shown_path(Path("s3://bucket/run")) == "s3://bucket/run"
    assert shown_path(Path("s3://KEY:password@bucket/run")) == "s3://bucket/run"
    with pytest.raises(UserError, match="--out") as caught:
        place_of(Path("nowhere://KEY:password@bucket/run"))
    assert "password" not in str(caught.value)


def test_a_log_on_the_askers_machine_belongs_to_one_output_and_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    block, options = pa.table({KEY: [1, 2]}), LLMOptions()
    logs = []
    for out, temperature in (("one", 0), ("one", 1), ("other", 1)):
        place = place_of(Path(f"file://{tmp_path}/{out}"))
        logs.append(
            _Asker(_Task(place, options, bag_judge(), ""))._log(block, {"temperature": temperature})
        )
    assert len({log.path for log in logs}) == 3
    for log in logs:
        log.close()


def test_the_broken_rows_of_an_earlier_run_in_an_object_store_are_replaced(tmp_path: Path) -> None:
    place = place_of(Path(f"file://{tmp_path / 'out'}"))

    def write(broken: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name in ["summary.json", *(["problems.txt"] if broken else [])]:
                (Path(folder) / name).write_text(str(broken))
            place.take(Path(folder), ["problems.txt"] if not broken else [])

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("of someone else")
    write(True)
    assert (tmp_path / "out" / "problems.txt").is_file()
    write(False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"notes.txt", "summary.json"}


@pytest.mark.parametrize("fault", ["address", "source"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_fresh_run_that_cannot_begin_deletes_nothing(
    server: FakeServer, tmp_path: Path, fault: str, scheme: str
) -> None:
    out = tmp_path / "out"
    place, config = place_of(out), ray_config(server.url, Path(f"{scheme}{out}"), "")
    config = replace(config, source=str(captions_file(tmp_path, 3)), fresh=True)
    log = AnswerLog(out / "answers.jsonl", answer_settings(config.llm, make_backend(config.llm)))
    log.add("0" * 16, [])
    log.close()
    wrote(place, "a", {7: kept(0)})
    (Path(place.create("answers")) / "block.jsonl").write_text("")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    wrong: dict[str, Any] = (
        {"base_url": "http://127.0.0.1:9/v1"} if fault == "address" else {"source": "none.csv"}
    )
    with pytest.raises(UserError, match=r"no server answers|no such file"):
        generated_from_source(replace(config, **wrong))
    assert before.items() <= {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}.items()


def test_a_json_file_is_never_seen_half_written(tmp_path: Path) -> None:
    place, facts = place_of(tmp_path), {"what": "refused " * 2_000}
    place.write_json("error.json", facts)
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            place.write_json("error.json", facts)

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(keep_writing) for _ in range(2)]
        try:
            assert all(place.read_json("error.json") == facts for _ in range(2_000))
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    assert [path.name for path in (tmp_path / "ray").iterdir()] == ["error.json"]


@pytest.mark.parametrize(
    ("changed", "option"),
    [({"backend": "builtin"}, "--ray-workers"), ({"to_file": Path("r")}, "--ray-workers"),
     ({"max_cost": 3.0, "prices": (1.0, 1.0)}, "--max-cost"),
     ({"ray_workers": None, "out": Path("s3://bucket/run")}, "--out")],
)  # fmt: skip
def test_options_that_do_not_go_with_ray(changed: dict[str, Any], option: str) -> None:
    config = ray_config("http://localhost:1/v1", Path("out"), "x.csv")
    with pytest.raises(UserError) as caught:
        replace(config, **changed)
    assert caught.value.where == option


def test_too_few_cpus_name_the_most_workers() -> None:
    _check_cpus(4.0, 2)
    with pytest.raises(UserError, match="Give --ray-workers 6"):
        _check_cpus(8.0, 7)
    with pytest.raises(UserError, match=r"cluster has 2\. Add machines"):
        _check_cpus(2.0, 1)


def test_workers_share_concurrency_and_rates() -> None:
    options = LLMOptions(
        model="m", base_url=("http://a/v1",), concurrency=9, per_minute=(60.0, 90.0)
    )
    one = _share_of(options, 2, OpenAIBackend(options))
    assert (one.concurrency, one.per_minute, one.base_url) == (5, (30.0, 45.0), options.base_url)

"""The state after an index run is killed, has no disk space, or has no server."""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import draw, word_files

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.models.bert import SentenceModel
from paraclip.search.config import IndexConfig
from paraclip.search.indexing import build, run
from paraclip.search.indexing import pictures as reading
from paraclip.search.indexing.run import build_index
from paraclip.search.snapshot import open_pool
from paraclip.search.stores.store import StoreUnavailable, open_store
from postgres_server import PostgresServer, wait_until

SCRIPT = Path(__file__).parent / "killed_index.py"
COUNT = 40


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(COUNT):
        size = (40 + number, 30)
        draw(folder / f"{number:02}.png", "disc" if number % 2 else "square", "red", size)
    return folder


def test_killed_while_indexing_and_resumed(
    many: Path, address: str, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(address)
    command = [sys.executable, str(SCRIPT), str(many), address, models["base"]]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    wait_until(
        lambda: process.poll() is not None or (store.facts() is not None and store.count() >= 6),
        120,
    )
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = store.count()
    assert 6 <= kept < COUNT
    read = []
    original = reading.file_bytes
    monkeypatch.setattr(
        reading, "file_bytes", lambda found: read.append(found.path) or original(found)
    )
    summary = build_index(
        IndexConfig(str(many), store=address, model=models["base"]), Problems(1.0)
    )
    assert (summary.total, summary.added, len(read)) == (COUNT, COUNT - kept, COUNT - kept)
    assert sorted(store.state()["path"].to_pylist()) == [f"{n:02}.png" for n in range(COUNT)]


def test_a_rebuild_that_is_killed_leaves_the_index_and_resumes(
    many: Path, address: str, models: dict[str, str]
) -> None:
    store = open_store(address)
    build_index(IndexConfig(str(many), store=address, model=models["other"]), Problems(1.0))
    before = store.facts()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(many), address, models["base"], "rebuild"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    staged = store.staged()
    wait_until(
        lambda: process.poll() is not None or bool(staged.facts() and staged.count() >= 6), 120
    )
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = staged.count()
    staged.close()
    assert (store.facts(), store.count()) == (before, COUNT)
    config = IndexConfig(str(many), store=address, model=models["base"], rebuild=True)
    summary = build_index(config, Problems(1.0))
    assert (summary.total, summary.added) == (COUNT, COUNT - kept)
    after = store.facts()
    assert after is not None and after.models == {"base": models["base"]}


def test_a_rebuild_on_a_full_disk_leaves_the_index(
    many: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    config = IndexConfig(str(many), store=str(tmp_path / "index"), model=models["base"])
    build_index(config, Problems(1.0))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, unlimited[1]))
        with pytest.raises(UserError, match="largest allowed file size"):
            build_index(replace(config, rebuild=True), Problems(1.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert len(open_pool(open_store(config.store), 1000)[2]) == COUNT


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_model_whose_vectors_are_not_finite_is_an_error(
    many: Path, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    rebuild: bool,
) -> None:  # fmt: skip
    config = IndexConfig(str(many), store=str(tmp_path / "index"), model=models["base"])
    if rebuild:
        build_index(config, Problems(1.0))
    monkeypatch.setattr(build, "vectors_of", lambda _, some, __: np.full((len(some), 16), np.nan))
    with pytest.raises(UserError, match="NaN or infinite") as caught:
        build_index(replace(config, rebuild=rebuild), Problems(1.0))
    assert str(many) not in str(caught.value)
    assert open_store(config.store).count() == (COUNT if rebuild else 0)


def test_a_damaged_index_can_be_rebuilt(many: Path, tmp_path: Path, models: dict[str, str]) -> None:
    config = IndexConfig(str(many), store=str(tmp_path / "index"), model=models["base"])
    build_index(config, Problems(1.0))
    (tmp_path / "index" / "index.json").write_text("{}")
    with pytest.raises(UserError, match="is not an index of this version"):
        build_index(config, Problems(1.0))
    assert build_index(replace(config, rebuild=True), Problems(1.0)).total == COUNT
    assert len(list((tmp_path / "index").glob("*.lance"))) == 1


def test_a_full_disk_is_one_line_and_the_index_stays(
    many: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    config = IndexConfig(str(many), store=str(tmp_path / "index"), model=models["base"])
    for path in list(many.iterdir())[20:]:
        path.unlink()
    build_index(config, Problems(1.0))
    draw(many / "new.png", "disc", "blue")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))
        with pytest.raises(UserError, match="largest allowed file size"):
            build_index(config, Problems(1.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert len(open_pool(open_store(config.store), 1000)[2]) == 20
    assert build_index(config, Problems(1.0)).total == 21


def test_a_server_that_goes_and_comes_back(many: Path, models: dict[str, str]) -> None:
    with PostgresServer() as server:
        config = IndexConfig(str(many), store=server.url, model=models["base"])
        build_index(config, Problems(1.0))
        store = open_store(server.url)
        assert store.count() == COUNT
        server.stop()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.count()
        server.start()
        assert store.count() == COUNT


def test_a_server_that_refuses_says_why() -> None:
    with PostgresServer() as server:
        server.query("CREATE ROLE guarded LOGIN PASSWORD 'secret'")
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        server.query("SELECT pg_reload_conf()")
        where = f"127.0.0.1:{server.port}"
        for address, reason in (
            (f"guarded:wrong@{where}/postgres", "password authentication failed for user"),
            (f"paraclip@{where}/pictures", 'database "pictures" does not exist'),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                open_store(f"postgresql://{address}").facts()
            assert f"refused ({reason}" in str(caught.value)
            assert "wrong" not in str(caught.value)
        assert open_store(f"postgresql://guarded:secret@{where}/postgres").facts() is None


def test_a_folder_that_goes_and_comes_back(
    many: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    config = IndexConfig(str(many), store=str(tmp_path / "index"), model=models["base"])
    build_index(config, Problems(1.0))
    store = open_store(config.store)
    assert store.count() == COUNT
    (tmp_path / "index").rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable):
        store.count()
    (tmp_path / "away").rename(tmp_path / "index")
    assert store.count() == COUNT
    for version in (tmp_path / "index").glob("*.lance/_versions/*"):
        version.unlink()
    with pytest.raises(StoreUnavailable, match="is gone"):
        store.version()


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("me:secret@127.0.0.1:1/db", "cannot be reached"),
        ("me:50%off-secret@127.0.0.1:1/db", "is not a valid address. In a password, write % as"),
        ("me:secret@[127.0.0.1:1/db", "is not a valid address"),
    ],
)
def test_a_password_is_never_shown(address: str, what: str) -> None:
    store = open_store(f"postgresql://{address}")
    with pytest.raises(UserError) as caught:
        store.facts()
    assert what in str(caught.value)
    assert "secret" not in str(caught.value) and "127.0.0.1" in str(caught.value)


def test_a_model_without_an_image_encoder_replaces_nothing(
    many: Path, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "index")
    build_index(IndexConfig(str(many), store=store, model=models["base"]), Problems(1.0))
    text_only = SentenceModel(word_files("bert"))
    monkeypatch.setattr(run, "load_model", lambda *_: text_only)
    with pytest.raises(UserError, match="minilm: has only a text encoder and reads no pictures"):
        build_index(
            IndexConfig(str(many), store=store, model="minilm", rebuild=True), Problems(1.0)
        )
    assert open_store(store).count() == COUNT

"""No file and no line of `generate` and `quickstart` contains the password of an address."""

from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer
from generating import bag_judge, fake_config

from paraclip.commands import generate as command
from paraclip.commands.quickstart import QuickstartConfig, quickstart_command
from paraclip.data.captions import Columns
from paraclip.errors import UserError
from paraclip.models.checkpoint import save_model
from paraclip.paraphrase.config import CaptionSource
from paraclip.paraphrase.run import count_captions
from tiny import tiny_clip

pytestmark = pytest.mark.usefixtures("quiet")
HOST = "memory://me:sesame@host"
TEXT = "A baker carries {} bread through town."


@pytest.fixture
def source() -> str:
    """Two files of rows with relative and absolute names of pictures; one of six rows is broken."""
    store = fsspec.filesystem("memory")
    for file, place, words in (("a", "x", ("babax", "babex")), ("b", "y", ("babix", "babox"))):
        folder = f"/me:sesame@host/{place}"
        rows = [f"{TEXT.format(words[0])},p.ppm", f"{TEXT.format(words[1])},{HOST}/{place}/p.ppm"]
        store.pipe(f"{folder}/p.ppm", b"P6 2 1 255 " + bytes(6))
        store.pipe(f"{folder}/{file}.csv", "\n".join(["caption,image", *rows, ",p.ppm"]).encode())
    return f"{HOST}/{{x/a,y/b}}.csv"


def everything_in(folder: Path) -> str:
    """The content of all files, with the rows of the triples."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    rows = [pq.read_table(path).to_pylist() for path in files if path.suffix == ".parquet"]
    return f"{rows}" + "".join(path.read_bytes().decode("latin-1") for path in files)


def test_the_files_of_generate(
    source: str, server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("paraclip.paraphrase.filters.judge.Judge", lambda *_: bag_judge())
    for images in (None, f"{HOST}/x"):
        changed = {"columns": Columns(images=images), "max_broken": 0.5}
        config = replace(fake_config(server.url, tmp_path / "out", **changed), source=source)
        for dry_run in (True, False):
            command.generate_command(replace(config, dry_run=dry_run))
        assert "host/x/a.csv:4" in (tmp_path / "out" / "problems.txt").read_text()
        assert "sesame" not in everything_in(tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "triples.parquet").num_rows == 4
    shown = capsys.readouterr()
    assert "memory://host/x/p.ppm" in shown.out and "sesame" not in shown.out + shown.err


def test_the_quickstart_refuses_it_before_anything_is_written(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = str(save_model(tiny_clip(), tmp_path / "base.safetensors"))
    with pytest.raises(UserError, match="password") as refused:
        quickstart_command(QuickstartConfig(source, str(tmp_path / "out"), base))
    assert not (tmp_path / "out").exists()
    assert "sesame" not in f"{refused.value}{capsys.readouterr()}{everything_in(tmp_path)}"


def test_what_workers_get(source: str, tmp_path: Path) -> None:
    with count_captions(CaptionSource(source, max_broken=0.5), tmp_path) as counts:
        assert all("sesame" not in repr(row) for row in counts.rows())

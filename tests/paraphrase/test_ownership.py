"""A run replaces and deletes only files that a run wrote."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_server import FakeServer
from generating import bag_judge, captions, fake_config, generated, generated_from_source

from paraclip.commands.generate import generate_command
from paraclip.errors import UserError
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.run import estimate, generate_async

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    server.behave = lambda prompt, count: prompt  # copies everything: no weights are needed
    return server


def options(url: str, source: Path, out: Path) -> GenerateConfig:
    return replace(fake_config(url, out), source=str(source), max_broken=0.9)


def source_of(folder: Path, broken: bool = False) -> Path:
    path = folder / "captions.jsonl"
    rows = [{"caption": "A dog."}, {"caption": "A cat."}, *([{"caption": ""}] if broken else [])]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["rejected.jsonl", "failed.jsonl"])
@pytest.mark.parametrize("pattern", [False, True])
def test_an_input_is_never_an_output(
    server: FakeServer, tmp_path: Path, name: str, pattern: bool
) -> None:
    path = source_of(tmp_path).rename(tmp_path / name)
    whole = path.read_bytes()
    source = tmp_path / f"{name[:4]}*.jsonl" if pattern else path
    with pytest.raises(UserError, match=f"{name}: .*would be overwritten"):
        generate_command(options(server.url, source, tmp_path))
    assert path.read_bytes() == whole and [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("of_a_run", [False, True])
@pytest.mark.parametrize(
    "name", ["triples.parquet", "rejected.jsonl", "failed.jsonl", "summary.json", "problems.txt"]
)
def test_a_foreign_file_is_not_replaced(
    server: FakeServer, tmp_path: Path, name: str, of_a_run: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if of_a_run:
        generate_command(options(server.url, source_of(tmp_path), out))
        server.asked.clear()
    (out / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name}: exists and was not written by ParaCLIP"):
        generate_command(options(server.url, source_of(tmp_path, broken=True), out))
    assert (out / name).read_text() == "mine" and not server.asked


def test_a_card_that_a_user_wrote_or_edited_stays(server: FakeServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = options(server.url, source_of(tmp_path), out)
    generate_command(config)
    card = (out / "README.md").read_text()
    assert "Counts" in card
    (out / "README.md").unlink()
    generate_command(config)
    assert (out / "README.md").read_text() == card
    for mine in (card.replace("Counts", "My counts"), "mine"):
        (out / "README.md").write_text(mine)
        generate_command(config)
        assert (out / "README.md").read_text() == mine


def test_other_foreign_files_stay(server: FakeServer, tmp_path: Path) -> None:
    out, names = tmp_path / "out", ("problems.txt", "triples.jsonl", ".mine.part")
    out.mkdir()
    for name in names:
        (out / name).write_text("mine")
    for _ in range(2):
        generate_command(options(server.url, source_of(tmp_path), out))
    assert all((out / name).read_text() == "mine" for name in names)


def test_in_a_running_loop_the_async_form_is_named_and_works(
    server: FakeServer, tmp_path: Path
) -> None:
    config = fake_config(server.url, tmp_path)
    how = config.llm, bag_judge(), config.outputs

    async def notebook() -> int:
        with pytest.raises(UserError, match=r"Use `await generate_async"):
            generated(captions(3), config)
        with pytest.raises(UserError, match=r"Use `await asyncio\.to_thread"):
            generated_from_source(config)
        with pytest.raises(UserError, match=r"Use `await asyncio\.to_thread"):
            estimate(captions(3), 3, *how)
        return (await generate_async(captions(3), *how)).captions

    assert asyncio.run(notebook()) == 3

"""Folders of a round with files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from generating import fake_config

from paraclip.errors import UserError
from paraclip.paraphrase.batch.files import (
    MANIFEST,
    Exchange,
    answer_files,
    finish,
    listed_files,
    new_writer,
)
from paraclip.paraphrase.batch.requests import RequestFile, custom_id

KEY, CHAT = "0123456789abcdef", "/v1/chat/completions"
SETTINGS = {"generator": "fake", "candidates": 2, "prompts": ["é"]}


def written(folder: Path, count: int = 3, most: int = 2) -> list[RequestFile]:
    """The files of a complete round with a manifest."""
    writer = new_writer(folder, most)
    for attempt in range(1, count + 1):
        writer.add(custom_id(KEY, attempt), CHAT, {"prompt": "é"})
    return finish(writer, folder, SETTINGS)


def test_a_round_is_listed_by_its_manifest_and_answered_under_its_settings(tmp_path: Path) -> None:
    assert [file.requests for file in written(tmp_path / "one")] == [2, 1]
    names = ["requests-0001.jsonl", "requests-0002.jsonl"]
    assert listed_files(tmp_path / "one") == names
    for name in ("b.jsonl", "a.jsonl", "notes.txt"):
        (tmp_path / "one" / name).touch()
    found = answer_files(tmp_path / "one", {"candidates": 2, "prompts": ("é",)})
    assert [path.name for path in found] == ["a.jsonl", "b.jsonl"]
    for changed in ({"candidates": 3}, {"max_tokens": 5}):
        name = next(iter(changed))
        was = SETTINGS.get(name)
        with pytest.raises(UserError, match=f"other settings: {name} was {was} and is") as caught:
            answer_files(tmp_path / "one", changed)
        assert caught.value.where == f"{tmp_path}/one/{MANIFEST}"
    assert written(tmp_path / "empty", 0) == [] and not (tmp_path / "empty").exists()


@pytest.mark.parametrize("files", ["x", None, [1], ["requests-0001.jsonl", {}]])
def test_a_damaged_manifest_deletes_nothing(tmp_path: Path, files: Any) -> None:
    written(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({"files": files, "settings": 3}))
    with pytest.raises(UserError, match=r"manifest\.json: lists no files\. Give --to-file a new"):
        new_writer(tmp_path, 2)
    with pytest.raises(UserError, match="candidates was None and is 2"):
        answer_files(tmp_path, {"candidates": 2})
    assert len(list(tmp_path.iterdir())) == 3


def test_only_unfinished_files_of_a_killed_round_are_deleted(tmp_path: Path) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.touch()
    folder = tmp_path / "one"
    written(folder)
    names = [*listed_files(folder), "../outside.jsonl", "/etc/passwd"]
    (folder / MANIFEST).write_text(json.dumps({"files": names}))
    with pytest.raises(UserError, match="holds the questions of an earlier round"):
        new_writer(folder, 2)
    (folder / names[1]).rename(folder / f".{names[1]}.part")
    (folder / "mine.jsonl").touch()
    with pytest.raises(UserError, match="holds other files"):
        new_writer(folder, 2)
    (folder / "mine.jsonl").unlink()
    assert written(folder, 1)[0].requests == 1
    assert {path.name for path in folder.iterdir()} == {MANIFEST, names[0]} and outside.exists()


def test_the_next_commands_are_shown_for_what_is_open(tmp_path: Path) -> None:
    paths = tuple(Path(f"a\x1b/requests-000{n}.jsonl") for n in (1, 2, 3))
    exchange = Exchange(1234, 5, 6, paths, 7890, "some/model")
    config = fake_config("http://none", tmp_path, from_file=Path("old"))
    first, second, third, command, last = exchange.lines(config)
    assert first == "1,234 answers and 5 failures in old" and second.startswith("6 of its lines")
    assert third.startswith("7,890 open questions in a\\x1b;")
    assert "-i a\\x1b/requests-0001.jsonl -o a\\x1b/answers-0001.jsonl" in command
    assert command.endswith("--model some/model, and the 2 other files") and "--to-file" in last
    done = replace(exchange, written=(), unused=0)
    assert done.lines(config) == [first] and done.lines(replace(config, from_file=None)) == []

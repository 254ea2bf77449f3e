"""Bad batches: files of answers, and manifests."""

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.inputs.attacks.cases import DAMAGE, LISTED, PLACES, Case, command

KEY = "0123456789abcdef"
RUN = ("--backend", "openai", "--model", "fake")


def generate(sound: Path, folder: Path, *words: object) -> int:
    """Paraphrase one caption."""
    captions = sound / "csv" / "a.csv"
    return command("generate", captions, "--out", folder / "out", "--first", 1, *RUN, *words)


def write_round(sound: Path) -> None:
    """A round of requests with its answers."""
    folder = sound / "round"
    assert generate(sound, sound / "work", "--to-file", folder) == 0
    line = json.loads((folder / "requests-0001.jsonl").read_text())
    (folder / "answers.jsonl").write_text(json.dumps(answered(line["custom_id"])) + "\n")


def answered(identifier: str, text: object = "A red disc.") -> dict[str, Any]:
    """A line of a result file; its answer is the caption, which is rejected without vectors."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}}
    response = {"status_code": 200, "body": {"choices": [choice]}}
    return {"custom_id": identifier, "response": response, "error": None}


def from_file(sound: Path, name: str, make: Callable[[Path], object], folder: Path) -> int:
    """Read a round in which one file is bad."""
    (folder / "round").mkdir()
    for path in (sound / "round").iterdir():
        (folder / "round" / path.name).write_bytes(path.read_bytes())
    (folder / "round" / name).unlink(missing_ok=True)
    make(folder / "round" / name)
    return generate(sound, folder, "--from-file", folder / "round")


def write(content: bytes, path: Path) -> None:
    """Write bytes to a file."""
    path.write_bytes(content)


def write_damaged(sound: Path, what: str, change: Any, path: Path) -> None:
    """Write a damaged copy of a sound file."""
    path.write_bytes(change(sound.read_bytes(), random.Random(f"{sound.name} {what}")))


def contents(sound: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Replacements for a sound file, as a description and a function."""
    for what, content in LISTED.items():
        yield what, partial(write, content)
    for what, change in DAMAGE.items():
        yield what, partial(write_damaged, sound, what, change)
    yield from PLACES.items()


def cases(sound: Path) -> Iterator[Case]:
    """Files of every kind."""
    for name in ("manifest.json", "answers.jsonl"):
        for what, make in contents(sound / "round" / name):
            yield Case(f"batches: {name}", what, partial(from_file, sound, name, make))
    for number, line in enumerate(LINES):
        make = partial(write, json.dumps(line).encode() + b"\n")
        shown = f"own {number}: {json.dumps(line)[:60]}"
        yield Case(
            "batches: answers.jsonl", shown, partial(from_file, sound, "answers.jsonl", make)
        )


LINES: list[Any] = [
    answered(KEY), answered(f"{KEY}-1", 3), answered(f"{KEY}-0"), answered(f"{KEY}-999", "\ud800"),
    answered("../../x-1"), answered(f"{KEY}-1", "x" * 100_000), {"custom_id": f"{KEY}-1"},
    {"custom_id": [], "response": []}, {"custom_id": f"{KEY}-1", "response": {"status_code": []}},
    {"custom_id": f"{KEY}-1", "error": {"message": {"message": [1]}}}, 3, None, [],
    {"custom_id": f"{KEY}-1", "response": {"status_code": 200, "body": {"choices": [{}] * 1000}}},
]  # fmt: skip

"""Bad batches: files of answers, manifests, journals, and servers with a batch API."""

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.inputs.attacks.cases import DAMAGE, LISTED, PLACES, Case, command
from benchmarks.inputs.attacks.servers import ANSWERS, MODELS, Send, body, raw, serve

KEY = "0123456789abcdef"
SECONDS = 0.6  # time limit of an answer; transfers may take 60 times as long
SERVER = "http://127.0.0.1:9/v1"
RUN = ("--backend", "openai", "--model", "fake")


def generate(sound: Path, folder: Path, *words: object) -> int:
    """Paraphrase one caption."""
    captions = sound / "csv" / "a.csv"
    return command("generate", captions, "--out", folder / "out", "--first", 1, *RUN, *words)


def write_round(sound: Path) -> None:
    """A round of requests with its answers, and a journal with an open batch."""
    folder = sound / "round"
    assert generate(sound, sound / "work", "--to-file", folder) == 0
    line = json.loads((folder / "requests-0001.jsonl").read_text())
    (folder / "answers.jsonl").write_text(json.dumps(answered(line["custom_id"])) + "\n")

    from paraclip.paraphrase.batch.journal import Journal
    from paraclip.paraphrase.batch.requests import RequestFile

    journal = Journal(sound / "journal", SERVER)
    journal.end_round([RequestFile("requests-0001.jsonl", 1, "/v1/chat/completions")])
    journal.note(journal.open[0], file_id="file-1")


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


def resume(sound: Path, make: Callable[[Path], object], folder: Path) -> int:
    """Resume with a bad journal; no server responds."""
    batches = folder / "out" / "batches"
    batches.mkdir(parents=True)
    make(batches / "journal.jsonl")
    return generate(sound, folder, "--batch-api", "--base-url", SERVER, "--max-retries", 0)


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
    """Files of every kind, and answers to every request of the batch API."""
    for name in ("manifest.json", "answers.jsonl"):
        for what, make in contents(sound / "round" / name):
            yield Case(f"batches: {name}", what, partial(from_file, sound, name, make))
    for number, line in enumerate(LINES):
        make = partial(write, json.dumps(line).encode() + b"\n")
        shown = f"own {number}: {json.dumps(line)[:60]}"
        yield Case(
            "batches: answers.jsonl", shown, partial(from_file, sound, "answers.jsonl", make)
        )
    for what, make in contents(sound / "journal" / "journal.jsonl"):
        yield Case("batches: journal", what, partial(resume, sound, make))
    for kind in GOOD:
        common = ANSWERS if kind in ("upload", "look", "content") else {}
        for what, send in {**common, **OWN.get(kind, {})}.items():
            yield Case(f"batches: {kind}", what, partial(ask, sound, {kind: send}))


LINES: list[Any] = [
    answered(KEY), answered(f"{KEY}-1", 3), answered(f"{KEY}-0"), answered(f"{KEY}-999", "\ud800"),
    answered("../../x-1"), answered(f"{KEY}-1", "x" * 100_000), {"custom_id": f"{KEY}-1"},
    {"custom_id": [], "response": []}, {"custom_id": f"{KEY}-1", "response": {"status_code": []}},
    {"custom_id": f"{KEY}-1", "error": {"message": {"message": [1]}}}, 3, None, [],
    {"custom_id": f"{KEY}-1", "response": {"status_code": 200, "body": {"choices": [{}] * 1000}}},
]  # fmt: skip


def as_json(content: object) -> Send:
    """A JSON answer."""
    return body(json.dumps(content).encode())


ENDED = {"id": "batch_1", "status": "completed", "output_file_id": "file-2"}
GOOD: dict[str, Send] = {
    "upload": as_json({"id": "file-1"}), "create": as_json({"id": "batch_1"}),
    "list": as_json({"data": [], "has_more": False}), "look": as_json(ENDED),
    "content": body(json.dumps(answered(f"{KEY}-1")).encode() + b"\n"),
}  # fmt: skip
OWN: dict[str, dict[str, Send]] = {
    "upload": {f"id {value!r:.20}": as_json({"id": value}) for value in
               (None, 3, [], "", "../../x", "a b", "\x1b", "x" * 1000)},
    "create": {f"id {value!r:.20}": as_json({"id": value}) for value in
               (None, 3, [], "", "../../x", "a/b", "\ud800")},
    "list": {f"page {value!r:.50}": as_json(value) for value in
             ({"data": 3}, {"data": [3, None, []], "has_more": True}, {"data": [{"metadata": 3}]},
              {"data": [{"id": "a"}], "has_more": True}, {"data": [{"id": []}], "has_more": True})},
    "look": {f"batch {value!r:.60}": as_json(value) for value in (
        {}, {"status": 3}, {"status": "sleeping"}, {"status": []}, {"status": "failed"},
        {"status": "failed", "errors": 3}, {"status": "failed", "errors": {"data": [3]}},
        {"status": "failed", "errors": {"data": [{"code": [], "message": {}}]}},
        {"status": "failed", "errors": {"data": [{"code": "token_limit_exceeded"}]}},
        {"status": "cancelled"}, {"status": "expired"}, ENDED | {"output_file_id": None},
        ENDED | {"output_file_id": "../../../etc/passwd"}, ENDED | {"output_file_id": [1]},
        ENDED | {"request_counts": 3}, ENDED | {"request_counts": {"completed": 1e300}},
    )},
}  # fmt: skip
"""Bad answers by kind of request."""


def route(first: bytes) -> str:
    """The kind of request that a request line begins."""
    path = first.split()[1] if first.strip() else b""
    if first.startswith(b"POST"):
        return "upload" if path.endswith(b"/files") else "create"
    if path.endswith(b"/models"):
        return "models"
    if path.endswith(b"/content"):
        return "content"
    return "look" if b"/batches/" in path else "list"


def ask(sound: Path, sends: dict[str, Send], folder: Path) -> int:
    """Use a server of which one answer is bad."""
    if "list" in sends:  # a list is requested only after a creation without an answer
        sends = sends | {"create": raw(b"")}
    listener = socket.create_server(("127.0.0.1", 0))
    arguments = (listener, MODELS | GOOD | sends, route)
    threading.Thread(target=serve, args=arguments, daemon=True).start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    return generate(
        sound, folder, "--batch-api", "--base-url", address, "--timeout", SECONDS, "--poll", 0.01,
        "--max-retries", int("list" in sends),
    )  # fmt: skip

"""Faults that `paraclip generate` must survive: counts rows lost, duplicated and paid for twice.

    python -m benchmarks.generation.faults    # about 5 minutes on 2 free cores

A server in this process answers with the caption's words in another order and counts every complete
answer that it sent. Each fault disturbs a run; then the run is repeated without the fault. Filters
are replaced by one that accepts everything, except if the fault is a wrong answer.
"""

import argparse
import asyncio
import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq

from benchmarks.generation.server_speed import place_name, read_head, reply, response_of
from benchmarks.machine import RESULTS, facts_of, keep, markdown
from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.paraphrase.backends import make_backend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.cleaning import clean
from paraclip.paraphrase.filters.judge import Judge, Verdict
from paraclip.paraphrase.run import generate

KILLS, CONCURRENCY = 30, 8
ROWS, ROWS_KILLED = 24, 200
KEY = "sk-this-must-not-follow"
HUGE = 10 << 20
PATIENCE = 1.0  # seconds per request in runs against a server that stalls or drips


@dataclass(frozen=True)
class Finding:
    """What happened to the rows of a run.

    Args:
        fault: name of the fault.
        rows: number of captions.
        lost: captions that are in no output file after the last run.
        doubled: captions that are in the outputs more than once.
        twice: answers that were paid for more than once.
        most_twice: answers that were in flight when the run was disturbed.
        note: anything else that was checked.
    """

    fault: str
    rows: int
    lost: int
    doubled: int
    twice: int
    most_twice: int
    note: str = ""

    @property
    def survived(self) -> bool:
        """Whether nothing was lost, duplicated or needlessly paid for twice."""
        return not self.lost and not self.doubled and self.twice <= self.most_twice


class Everything(Judge):
    """Accepts every answer."""

    def judge(self, questions: Any) -> list[Verdict]:
        """See `Judge.judge`."""
        return [Verdict(clean(question.answer), None, 1.0, 0.0) for question in questions]


class Server:
    """Counts complete answers by prompt; `fault` may replace the n-th answer to a prompt."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.heads: list[bytes] = []
        self.fault: Callable[[int], bytes | float | None] = lambda time: None
        self.delay = 0.02
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True).start()
        ready.wait()

    async def serve(self, ready: threading.Event) -> None:
        """Serve until the process ends."""
        server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        await server.serve_forever()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await read_head(reader):
                self.heads += head
                length = next((int(line[15:]) for line in head if line[:9] == b"content-l"), 0)
                body = json.loads(await reader.readexactly(length) or "{}")
                if not await self.answer(body, writer):
                    break
        writer.close()

    async def answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Send an answer or the fault; False ends the connection."""
        if not body:
            writer.write(response_of({"data": []}))
            await writer.drain()
            return True
        prompt = body["messages"][-1]["content"]
        self.asked[prompt] += 1
        await asyncio.sleep(self.delay)
        fault = self.fault(self.asked[prompt])
        if isinstance(fault, float):  # seconds of silence after each byte
            for _ in range(int(fault * 10)):
                writer.write(b" ")
                await asyncio.sleep(0.1)
            return False
        if fault is not None:
            writer.write(fault)
            await writer.drain()
            return False
        writer.write(response_of(reply(body)))
        await writer.drain()
        self.answered[prompt] += 1
        return True


def captions(count: int, changed: int = 0) -> list[Caption]:
    """Captions that differ in a generated name; the first `changed` ones have another one."""
    names = [place_name(row + (5000 if row < changed else 0)) for row in range(count)]
    return [
        Caption(str(row), f"A baker carries bread through {name}.", str(row), None, "own")
        for row, name in enumerate(names)
    ]


def run(server: Server, out: Path, rows: list[Caption], judge: Judge | None = None, **changed: Any):
    """Run once; returns the summary."""
    config = GenerateConfig(
        "own", out, backend="openai", base_url=server.url, model="fake", concurrency=CONCURRENCY
    )
    llm = replace(config.llm, max_retries=3, timeout=30.0)
    backend = make_backend("openai", replace(llm, **changed))
    return generate(rows, config, out, backend=backend, judge=judge or Everything())


def finding(fault: str, server: Server, out: Path, rows: list[Caption], most: int, note: str = ""):
    """Compare the output files with the captions."""
    ids = Counter(pq.read_table(out / "triples.parquet")["id"].to_pylist())
    for name in ("rejected.jsonl", "failed.jsonl"):
        lines = (out / name).read_text(encoding="utf-8").splitlines()
        ids.update(json.loads(line)["id"] for line in lines)
    twice = sum(count - 1 for count in server.answered.values())
    lost = sum(row.id not in ids for row in rows)
    doubled = sum(count > 1 for count in ids.values())
    return Finding(fault, len(rows), lost, doubled, twice, most, note)


def http(status: str, body: bytes, *headers: str, whole: bool = True) -> bytes:
    """A response; an incomplete one promises more bytes than it has."""
    length = f"Content-Length: {len(body) if whole else len(body) + 99}"
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", length, *headers, "", ""]
    return "\r\n".join(head).encode() + body


SERVER_FAULTS: dict[str, bytes | float] = {
    "closes the connection": b"",
    "stalls": 0.05 + 3 * PATIENCE,
    "drips": 3 * PATIENCE,
    "429 without Retry-After": http("429 Too Many Requests", b"{}"),
    "429 with Retry-After": http("429 Too Many Requests", b"{}", "Retry-After: 1"),
    "500": http("500 Internal Server Error", b"{}"),
    "HTML": http("200 OK", b"<html>busy</html>"),
    "half a JSON": http("200 OK", b'{"choices": [{"mess'),
    "half a response": http("200 OK", b'{"choices": [', whole=False),
    "no choice": http("200 OK", b'{"choices": []}'),
    "10 MB": http("200 OK", b" " * HUGE),
}


def server_faults(folder: Path) -> Iterator[Finding]:
    """Each prompt gets the fault once, then an answer."""
    for name, fault in SERVER_FAULTS.items():
        server, out = Server(), folder / name.replace(" ", "_")
        server.fault = lambda time, fault=fault: fault if time == 1 else None  # type: ignore[misc]
        patience = PATIENCE if isinstance(fault, float) else 30.0
        run(server, out, captions(ROWS), timeout=patience)
        yield finding(f"server: {name}", server, out, captions(ROWS), 0)


def another_answer(folder: Path) -> Finding:
    """Every answer belongs to another caption, so the filters must keep none."""
    server, other = Server(), {"messages": [{"content": "Two zebras drink at a green lake."}]}
    server.fault = lambda time: response_of(reply(other))
    rows = captions(ROWS)
    summary = run(server, folder / "other", rows, Judge())
    note = f"{summary.kept} kept"
    return finding("server: someone else's answer", server, folder / "other", rows, 0, note)


def redirect(folder: Path) -> Finding:
    """A redirect to another host, to which neither captions nor key may be sent."""
    server, other, rows = Server(), Server(), captions(ROWS)
    server.fault = lambda time: http("307 Moved", b"", f"Location: {other.url}/chat/completions")
    with mock.patch.dict(os.environ, {"OPENAI_API_KEY": KEY}), refused():
        run(server, folder / "moved", rows)
    note = f"{len(other.heads)} requests followed"
    server.fault = lambda time: None
    run(server, folder / "moved", rows)
    name = "server: redirect to another host"
    return finding(name, server, folder / "moved", rows, CONCURRENCY, note)


@contextmanager
def refused() -> Iterator[None]:
    """Expect that the run ends with one line."""
    try:
        yield
    except UserError:
        return
    raise AssertionError("the run was not refused")


def killed(folder: Path, kills: int = KILLS) -> Finding:
    """kill -9 at random moments, then a complete run."""
    server, rows, out = Server(), captions(ROWS_KILLED), folder / "killed"
    chance = random.Random(0)
    for _ in range(kills):
        process = child(server, out)
        most = server.answered.total() + chance.randrange(2 * ROWS_KILLED // kills)
        while server.answered.total() < most and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.random() / 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(server, out, rows)
    return finding(f"kill -9 at {kills} moments", server, out, rows, kills * CONCURRENCY)


def child(server: Server, out: Path) -> subprocess.Popen[bytes]:
    """Start a run in a separate process."""
    command = [sys.executable, "-m", __spec__.name, "--child", server.url, str(out)]
    return subprocess.Popen(command, env=os.environ | {"PARACLIP_QUIET": "1"})


def damaged_log(folder: Path) -> Finding:
    """The last line of the log is cut."""
    server, rows, out = Server(), captions(ROWS), folder / "cut"
    run(server, out, rows)
    log = out / "answers.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    run(server, out, rows)
    return finding("truncated last line of the log", server, out, rows, 1)


def full_disk(folder: Path) -> Finding:
    """The log cannot grow after half of the answers."""
    server, rows, out = Server(), captions(ROWS), folder / "full"
    from paraclip.paraphrase.log import AnswerLog

    whole, count = AnswerLog.add, Counter[str]()

    def add(self: AnswerLog, *facts: Any) -> None:
        count["added"] += 1
        if count["added"] > ROWS:
            with mock.patch.object(self, "_file") as file:
                file.write.side_effect = OSError(errno.ENOSPC, "No space left on device")
                whole(self, *facts)
        whole(self, *facts)

    with mock.patch.object(AnswerLog, "add", add), refused():
        run(server, out, rows)
    run(server, out, rows)
    return finding("disk full", server, out, rows, CONCURRENCY)


def two_runs(folder: Path) -> Finding:
    """A second run on the same output is refused."""
    server, rows, out = Server(), captions(ROWS_KILLED), folder / "two"
    process = child(server, out)
    while server.answered.total() < 5 and process.poll() is None:
        time.sleep(0.002)
    with refused():
        run(server, out, rows)
    process.wait()
    return finding("two runs on one output", server, out, rows, 0, "the second is refused")


def changed_clock(folder: Path) -> Finding:
    """The clock is set back by a year between two runs and jumps during the second."""
    server, rows, out = Server(), captions(ROWS), folder / "clock"
    run(server, out, rows[: ROWS // 2])
    with mock.patch("time.time", side_effect=lambda: 1e9 * random.random()):
        run(server, out, rows)
    return finding("clock changed", server, out, rows, 0)


def changed_input(folder: Path) -> Finding:
    """Five captions are edited before the run resumes."""
    server, out, rows = Server(), folder / "edited", captions(ROWS, changed=5)
    run(server, out, captions(ROWS))
    before = server.asked.total()
    run(server, out, rows)
    texts = pq.read_table(out / "triples.parquet")["caption"].to_pylist()
    assert texts == [row.caption for row in rows]
    note = f"{server.asked.total() - before} questions for 5 edited captions"
    return finding("input changed under a resumed run", server, out, rows, 0, note)


def older_log(folder: Path) -> Finding:
    """A log without the fields that later versions added."""
    server, rows, out = Server(), captions(ROWS), folder / "older"
    run(server, out, rows)
    log = out / "answers.jsonl"
    head, *lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    older = [{name: line[name] for name in ("id", "step", "key", "text", "answers")}
             for line in lines]  # fmt: skip
    log.write_text("".join(json.dumps(line) + "\n" for line in [head, *older]), encoding="utf-8")
    run(server, out, rows)
    return finding("log from an older version", server, out, rows, 0)


def measured(folder: Path, kills: int) -> Iterator[Finding]:
    """All faults, in the order of the table."""
    yield killed(folder, kills)
    for fault in (
        damaged_log,
        full_disk,
        two_runs,
        changed_clock,
        changed_input,
        older_log,
    ):
        yield fault(folder)
    yield from server_faults(folder)
    yield another_answer(folder)
    yield redirect(folder)


def as_table(found: list[Finding]) -> str:
    """The table, and facts about the machine below it."""
    rows = [
        [one.fault, str(one.rows), str(one.lost), str(one.doubled),
         f"{one.twice} (at most {one.most_twice})", one.note]
        for one in found
    ]  # fmt: skip
    heads = ("fault", "rows", "lost", "doubled", "paid twice", "")
    return f"{markdown(heads, rows)}\n\n{CONCURRENCY} questions in flight. {facts_of()}"


def main() -> None:
    """Run all faults, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2, metavar=("URL", "OUT"), help=argparse.SUPPRESS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ["PARACLIP_QUIET"] = "1"
    if options.child:
        server = argparse.Namespace(url=options.child[0])
        run(server, Path(options.child[1]), captions(ROWS_KILLED))  # type: ignore[arg-type]
        return
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for one in measured(Path(folder), options.kills):
            print(one, flush=True)
            found.append(one)
    keep("generation_faults", options.out, as_table(found), faults=list(map(asdict, found)))
    sys.exit(0 if all(one.survived for one in found) else 1)


if __name__ == "__main__":
    main()

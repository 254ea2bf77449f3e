"""Answers per second that the two-step run gets from a server, compared with its client alone.

    python -m benchmarks.generation.server_speed

A server in a separate process answers every question after a fixed latency with the caption's words
in another order. The client alone is a bare asyncio loop that sends as many questions as a run, and
neither logs nor judges; the run does all of its work, with filters in a separate process. The
server counts answers per second from the first quarter of the answers on, when MiniLM is loaded.
Other work on the machine lowers the rates, so its share of the machine is measured: the round with
the lowest share is reported. Takes a minute and a half per round on 2 free cores.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.generation.watching import OtherWork, worked
from benchmarks.machine import RESULTS, facts_of, keep
from paraclip.commands.generate import GenerateConfig
from paraclip.data.captions import Caption
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.prompts import make_prompt
from paraclip.paraphrase.run import generate
from paraclip.tables import markdown

CAPTIONS = Path(__file__).parents[2] / "recipes" / "paraphraser" / "own_captions.txt"


def main() -> None:
    """Measure the client and the run, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds before each answer")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1, help="the least disturbed one counts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = numbered(options.captions)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(options.latency, sender), daemon=True
    )
    server.start()
    try:
        url, pid = f"http://127.0.0.1:{receiver.recv()}/v1", server.pid or 0
        rounds = [measured(rows, url, options.concurrency, pid) for _ in range(options.rounds)]
    finally:
        server.kill()
    found = min(rounds, key=lambda one: max(run["other"] for run in one.values()))
    keep("server_speed", options.out, as_table, settings=found, rounds=rounds,
         captions=options.captions, latency=options.latency, concurrency=options.concurrency,
         facts=facts_of())  # fmt: skip


def numbered(count: int) -> list[Caption]:
    """The project's own captions in turns, made distinct by a name at the end."""
    lines = [line.rstrip(".") for line in CAPTIONS.read_text(encoding="utf-8").splitlines() if line]
    texts = [f"{lines[row % len(lines)]} in {place_name(row)}." for row in range(count)]
    return [Caption(str(row), text, str(row), None, "own") for row, text in enumerate(texts)]


def place_name(row: int) -> str:
    """A generated name, different for each row."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    return "".join(syllables[row // 60**place % 60] for place in range(3)).capitalize()


def measured(
    rows: list[Caption], url: str, concurrency: int, server: int
) -> dict[str, dict[str, float]]:
    """Answers, rate, processor seconds and triples of the client alone and of the run."""
    with tempfile.TemporaryDirectory() as folder:
        config = GenerateConfig(
            source="own", out=folder, backend="openai", base_url=(url,), model="fake",
            concurrency=concurrency,
        )  # fmt: skip
        alone = counted(lambda: ask_alone(rows, config), url, server)
        judge = Judge()
        run = counted(lambda: generate(rows, config.llm, judge, config.outputs), url, server)
        run["kept"] = pq.read_metadata(Path(folder) / "triples.parquet").num_rows
    return {"client alone": alone, "the run": run}


def counted(work: Callable[[], Any], url: str, server: int) -> dict[str, float]:
    """Answers, answers per second without the first quarter, and processor time with children."""
    began, served, others = processor_seconds(), worked(server), OtherWork()
    work()
    used = processor_seconds() - began
    other = others.share(used + worked(server) - served)
    with urllib.request.urlopen(f"{url}/times") as response:
        times = json.load(response)
    later = times[len(times) // 4 :]
    rate = (len(later) - 1) / (later[-1] - later[0])
    return {"answers": len(times), "rate": rate, "work": used, "other": other, "kept": 0}


def processor_seconds() -> float:
    """Processor time of this process and of the children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def ask_alone(rows: list[Caption], config: GenerateConfig) -> None:
    """Send two questions per caption and discard the answers."""

    async def asking() -> None:
        backend, waiting = OpenAIBackend(config.llm), iter([*rows, *rows])

        async def worker() -> None:
            for row in waiting:
                await backend.answer(make_prompt("paper", 1, row.caption), 1)

        await asyncio.gather(*(worker() for _ in range(config.concurrency or 1)))
        await backend.close()

    asyncio.run(asking())


def serve(latency: float, sender: Any) -> None:
    """Answer chats on a free loopback port until killed; `/times` returns the times, once."""
    times: list[float] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await read_head(reader):
            length = next((int(line[15:]) for line in head if line.startswith(b"content-l")), 0)
            body = await reader.readexactly(length)
            if b"/times" in head[0]:
                writer.write(response_of(times))
                times.clear()
            elif not body:
                writer.write(response_of({"data": []}))
            else:
                await asyncio.sleep(latency)
                times.append(time.monotonic())
                writer.write(response_of(reply(json.loads(body))))
            await writer.drain()
            if b"connection: close" in head:
                writer.close()

    async def serving() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
        sender.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serving())


async def read_head(reader: asyncio.StreamReader) -> list[bytes]:
    """The lines of a request's head in lower case; None if the client has disconnected."""
    try:
        return (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return []


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """An answer that starts with the last two words of the question."""
    messages = body["messages"] or [{"content": ""}]  # a client may ask nothing, for the headers
    words = messages[-1]["content"].rstrip(".").split()
    message = {"role": "assistant", "content": " ".join(words[-2:] + words[:-2])}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    usage = {"prompt_tokens": 60, "completion_tokens": len(words), "total_tokens": 60 + len(words)}
    return {"id": "1", "created": 0, "model": "fake", "choices": choices, "usage": usage}


def response_of(value: Any) -> bytes:
    """A whole HTTP response with a value as JSON."""
    content = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return f"{head}\r\n\r\n".encode() + content


def as_table(record: dict[str, Any]) -> str:
    """The table, and facts about the machine below it."""
    found, count = record["settings"], len(record["rounds"])
    rows = [
        [name, f"{run['rate']:.0f}", f"{run['rate'] / found['client alone']['rate']:.0%}",
         f"{1000 * run['work'] / run['answers']:.1f}", f"{run['other']:.0%}",
         f"{run['kept']:,.0f}"]
        for name, run in found.items()
    ]  # fmt: skip
    heads = ("what", "answers/s", "of the client's", "processor ms/answer",
             "other work on the machine", "triples kept")  # fmt: skip
    setting = f"{record['latency'] * 1000:.0f} ms latency, {record['concurrency']} in flight"
    rounds = f"{count} round{'s' * (count > 1)}, the least disturbed one"
    below = f"{record['captions']:,} captions, {setting}; {rounds}. {record['facts']}"
    return f"{markdown(heads, rows)}\n\n{below}"


if __name__ == "__main__":
    main()

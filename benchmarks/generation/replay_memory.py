"""Memory and speed of a run whose answers are all in the log; memory must not grow with the rows.

    python -m benchmarks.generation.replay_memory --rows 10000 1000000    # 4 minutes on a free core

First a log with both answers of every caption is written, so that the run sends no question and
does the rest of its work: reading captions and log, both steps, writing triples, counts and card. A
filter that accepts everything replaces MiniLM. Each row of the table is a separate process.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.generation.server_speed import place_name, reply
from benchmarks.generation.watching import watched
from benchmarks.machine import RESULTS, facts_of, keep, markdown, say
from paraclip.data.captions import Caption
from paraclip.files import text_hash
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.cleaning import clean
from paraclip.paraphrase.filters.judge import Judge, Verdict
from paraclip.paraphrase.prompts import make_prompt
from paraclip.paraphrase.run import generate_from_source
from paraclip.paraphrase.steps import answer_settings

TEXTS = 1000  # different captions; ids differ, so that each row has its own answers in the log
SIZES = (10_000, 100_000, 1_000_000)
LIMIT = 1800.0  # seconds for a run


class Everything(Judge):
    """Accepts every answer."""

    def judge(self, questions):
        """See `Judge.judge`."""
        return [Verdict(clean(one.answer), None, 1.0, 0.0) for one in questions]


class Silent:
    """A backend that must not receive a question."""

    generator = "none"
    identity: dict[str, str] = {}  # noqa: RUF012
    style = "paper"

    async def start(self) -> None:
        """See `Backend.start`."""

    async def answer(self, prompt, candidates):
        """See `Backend.answer`."""
        raise AssertionError("a question was asked that is in the log")

    async def close(self) -> None:
        """See `Backend.close`."""


def main() -> None:
    """Run each size in a separate process, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.child:
        generate_from_source(config_of(options.child), Silent(), Everything())
        return
    found = {}
    for rows in options.rows:
        found[rows] = replayed(rows)
        say(f"{rows:,} rows: {found[rows]}")
    lines = [
        [f"{rows:,}", f"{one['peak'] / 2**20:.0f}", f"{rows / one['seconds']:,.0f}"]
        for rows, one in found.items()
    ]
    below = f"Rows a second of the whole run, start and reading included. {facts_of(1)}"
    table = f"{markdown(('rows', 'peak MiB', 'rows/s'), lines)}\n\n{below}"
    keep("replay_memory", options.out, table, settings=found)


def replayed(rows: int) -> dict[str, float]:
    """Seconds and peak bytes of a run from the log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, rows)
        command = [sys.executable, "-m", __spec__.name, "--child", name]
        sources = {"PYTHONPATH": os.pathsep.join(sys.path), "PARACLIP_QUIET": "1"}
        run = watched(command, sources, LIMIT, folder / "printed")
        assert run.code == 0, run.output
        summary = json.loads((folder / "out" / "summary.json").read_text())
        assert summary["kept"] == rows and summary["reused_answers"] == 2 * rows, summary
    return {"seconds": run.seconds, "peak": run.peak}


def config_of(folder: Path) -> GenerateConfig:
    """Options of a run against a backend that is not used."""
    return GenerateConfig(str(folder / "captions.jsonl"), folder / "out", backend="openai")


def write_inputs(folder: Path, rows: int) -> None:
    """The captions, and a log with the answers to both steps of each."""
    config = config_of(folder)
    (folder / "out").mkdir()
    head = {"paraclip": 1, "settings": answer_settings(config.llm, Silent())}
    began = time.perf_counter()
    with (
        (folder / "captions.jsonl").open("w", encoding="utf-8") as captions,
        (folder / "out" / "answers.jsonl").open("w", encoding="utf-8") as log,
    ):
        log.write(json.dumps(head) + "\n")
        for row in range(rows):
            text = f"A baker carries a loaf of bread through {place_name(row % TEXTS)}."
            captions.write(json.dumps({"id": str(row), "caption": text}) + "\n")
            for step in (1, 2):
                entry, text = answered(Caption(str(row), text, str(row), None, ""), step)
                log.write(json.dumps(entry) + "\n")
    say(f"wrote the log of {rows:,} rows in {time.perf_counter() - began:.0f} s")


def answered(caption: Caption, step: int) -> tuple[dict[str, object], str]:
    """A line of the log, and the text of the answer."""
    prompt = make_prompt("paper", step, caption.caption)
    question = {"messages": [{"content": caption.caption}]}
    answer = reply(question)["choices"][0]["message"]["content"]
    key = text_hash(f"{caption.id}\n{step}\n0\n{prompt.as_text()}")
    entry = {"id": caption.id, "step": step, "key": key, "text": text_hash(caption.caption)}
    return entry | {"answers": [[answer, False]], "tokens": [60, 12]}, answer


if __name__ == "__main__":
    main()

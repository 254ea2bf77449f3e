"""Hours, questions in flight and processor cores for five million captions, from measured slopes.

    python -m benchmarks.generation.full_scale
    python -m benchmarks.generation.full_scale --output-tokens 3000 --latency 4

Measured, and read from benchmarks/results: tokens of a triple (`cost.py`) and ParaCLIP's processor
time per answer, including filters (`server_speed.py`). Assumed, and set by options: tokens that
one server generates per second, and seconds until an answer. No GPU server was measured.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.generation.cost import TRIPLES
from benchmarks.machine import RESULTS, keep, markdown

SERVERS = (1, 2, 4, 8, 16)
ANSWERS_A_TRIPLE = 2


def main() -> None:
    """Estimate, print and write the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--output-tokens", type=float, default=2000.0, help="a second and server")
    parser.add_argument("--latency", type=float, default=2.0, help="seconds until an answer")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder with the slopes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    slopes = slopes_of(options.results)
    found = [estimate(servers, slopes, options) for servers in SERVERS]
    assumed = {"output_tokens": options.output_tokens, "latency": options.latency}
    keep("full_scale", options.out, as_table, estimates=found, slopes=slopes, assumed=assumed)


def slopes_of(folder: Path) -> dict[str, float]:
    """Tokens of an answer and of its prompt, and processor seconds of an answer."""
    cost = json.loads((folder / "cost.json").read_text())["slopes"]
    run = json.loads((folder / "server_speed.json").read_text())["settings"]["the run"]
    return {
        "prompt_tokens": cost["prompt_tokens"] / ANSWERS_A_TRIPLE,
        "answer_tokens": cost["answer_tokens"] / ANSWERS_A_TRIPLE,
        "processor_seconds": run["work"] / run["answers"],
    }


def estimate(servers: int, slopes: dict[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """Estimate for a number of servers."""
    rate = servers * options.output_tokens / slopes["answer_tokens"]
    return {
        "servers": servers,
        "answers_a_second": rate,
        "hours": ANSWERS_A_TRIPLE * TRIPLES / rate / 3600,
        "in_flight": rate * options.latency,
        "asking_cores": rate * slopes["processor_seconds"],
    }


def as_table(record: dict[str, Any]) -> str:
    """One row per number of servers."""
    slopes, assumed = record["slopes"], record["assumed"]
    heads = ("servers", "answers/s", "hours", "questions in flight", "asking cores")
    rows = [
        [str(one["servers"]), f"{one['answers_a_second']:,.0f}", f"{one['hours']:.1f}",
         f"{one['in_flight']:,.0f}", f"{one['asking_cores']:.1f}"]
        for one in record["estimates"]
    ]  # fmt: skip
    note = (
        f"{TRIPLES:,} captions, two answers each. Measured: {slopes['prompt_tokens']:.0f} tokens "
        f"of a prompt and {slopes['answer_tokens']:.1f} of an answer, and for its filters and the "
        f"rest {1000 * slopes['processor_seconds']:.1f} ms of a core. "
        f"Assumed: {assumed['output_tokens']:,.0f} answer tokens a second and server, "
        f"{assumed['latency']:g} s until an answer. No GPU server was measured."
    )
    return f"{markdown(heads, rows)}\n\n{note}"


if __name__ == "__main__":
    main()

"""Speed of the built-in generator in both steps, and the share of captions that pass the filters.

    python -m benchmarks.generation.speed

Uses the project's own hundred captions; each row of the table is a separate run in a new folder:
one question at a time or many, and few candidates with many asks or many with few. Loading the
model is part of each run. Takes about 4 minutes on 2 free cores.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import RESULTS, facts_of, keep, markdown
from paraclip.data.captions import Caption
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.run import generate

CAPTIONS = Path(__file__).parents[2] / "recipes" / "paraphraser" / "own_captions.txt"
SETTINGS = {
    "one question at a time": {"candidates": 1, "concurrency": 1},
    "16 questions at once": {"candidates": 1},
    "2 candidates": {"candidates": 2},
    "4 candidates": {"candidates": 4},
    "6 candidates (default)": {"candidates": 6},
}


def main() -> None:
    """Measure every setting in turns, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1, help="turns; the median counts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    lines = CAPTIONS.read_text(encoding="utf-8").splitlines()[: options.captions]
    rows = [
        Caption(str(number), line, str(number), None, "own") for number, line in enumerate(lines)
    ]
    turns = [
        {name: measure(rows, dict(setting)) for name, setting in SETTINGS.items()}
        for _ in range(options.rounds)
    ]
    found = {name: middle([turn[name] for turn in turns]) for name in SETTINGS}
    keep("generation", options.out, as_table, settings=found, captions=len(rows),
         rounds=options.rounds, facts=facts_of())  # fmt: skip


def measure(rows: list[Caption], setting: dict[str, int]) -> dict[str, Any]:
    """One run: seconds, answers drawn, triples kept."""
    with tempfile.TemporaryDirectory() as folder:
        config = GenerateConfig(source="own", out=Path(folder), **setting)
        began = time.perf_counter()
        judge = Judge(config.filter_limits)
        summary = generate(rows, config.llm, judge, config.outputs, total=len(rows))
        seconds = time.perf_counter() - began
        log = (Path(folder) / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = sum(len(json.loads(line).get("answers", ())) for line in log)
    return {"seconds": seconds, "answers": answers, "kept": summary.kept}


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of several runs."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def as_table(record: dict[str, Any]) -> str:
    """The table, and facts about the machine below it."""
    captions, rows = record["captions"], []
    for name, run in record["settings"].items():
        speeds = (run["seconds"], captions / run["seconds"], run["answers"] / run["seconds"])
        kept = f"{100 * run['kept'] / captions:.0f} %"
        rows.append([name, *(f"{value:.1f}" for value in speeds), kept])
    heads = ("setting", "seconds", "captions/s", "answers/s", "triples kept")
    below = f"{captions} captions through both steps, {record['rounds']} round(s)."
    return f"{markdown(heads, rows)}\n\n{below} {record['facts']}"


if __name__ == "__main__":
    main()

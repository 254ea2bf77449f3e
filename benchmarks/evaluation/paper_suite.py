"""Time of `paraclip evaluate --benchmarks paper` for a model of the size of ViT-B/32.

    PARACLIP_DATA=folder python -m benchmarks.evaluation.paper_suite            # three evaluations
    python -m benchmarks.evaluation.paper_suite --model mini --suite quick          # a short trial

Three evaluations in one process, each with its report: a first model with empty caches, a second
model with another text tower and the same image tower (its image features are cached), and the
first model again (its scores are cached). The weights are random, which takes as long as trained
weights.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import RESULTS, facts_of, keep, markdown, say
from benchmarks.training.steps import random_clip
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import choose_benchmarks
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import evaluate
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model

RUNS = (
    "first model, nothing cached",
    "second model, same image tower",
    "first model again, scores kept",
)


def make_model(name: str) -> DualEncoder:
    """An open_clip architecture with random weights, or `mini`."""
    return load_model("mini", "cpu") if name == "mini" else random_clip(name)[1].eval()


def other_texts(model: DualEncoder) -> DualEncoder:
    """The same image tower with another text tower."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for value in other.text_tower.parameters():
            value.mul_(0.9)
    return other


def time_runs(
    benchmarks: Sequence[Benchmark], model: DualEncoder, folder: Path, precision: str
) -> list[dict[str, Any]]:
    """Seconds of each evaluation: in all, and of each benchmark's scoring."""
    settings = {
        "cache": folder / "features", "results": folder / "results", "precision": precision,
    }  # fmt: skip
    found = []
    for name, one in zip(RUNS, (model, other_texts(model), model), strict=True):
        began = time.perf_counter()
        report = evaluate({"base": one}, benchmarks, folder / "out", settings)
        found.append(
            {"run": name, "seconds": time.perf_counter() - began, "benchmarks": seconds_of(report)}
        )
        say(f"{found[-1]['seconds']:8.1f} s  {name}")
    return found


def seconds_of(report: Report) -> dict[str, float]:
    """Seconds of each benchmark's scoring; empty if the scores were cached."""
    made = {section.name: section.made["base"] for section in report.sections}
    return {
        name: 0.0 if facts["from_earlier_run"] else float(facts["seconds"])
        for name, facts in made.items()
    }


def as_table(result: dict[str, Any]) -> str:
    """The result in Markdown: one benchmark per row, one run per column, minutes and seconds."""
    runs = result["runs"]
    rows = [row(name, [run["benchmarks"][name] for run in runs]) for name in runs[0]["benchmarks"]]
    rest = [run["seconds"] - sum(run["benchmarks"].values()) for run in runs]
    rows.append(row("intervals, plots, report", rest))
    rows.append(row("**in all**", [run["seconds"] for run in runs]))
    pools = "\n".join(f"- {pool}" for pool in result["pools"])
    missing = ", ".join(result["left_out"]) or "nothing"
    facts = (
        f"{result['model']} with random weights, {result['precision']}; minutes:seconds. Without "
        f"data, so left out: {missing}. {facts_of(result['threads'])}"
    )
    table = markdown(["", *(run["run"] for run in runs)], rows)
    return f"{table}\n\n{pools}\n\n{facts}"


def row(name: str, seconds: Sequence[float]) -> list[str]:
    """One line of the table."""
    return [name, *map(clock, seconds)]


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32", help="open_clip architecture, or mini")
    parser.add_argument("--suite", default="paper")
    parser.add_argument("--benchmarks", help="instead of a suite, with commas between")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def main() -> None:
    """Time the runs; write and print the table."""
    chosen = parser().parse_args()
    torch.set_num_threads(chosen.threads)
    config = EvaluateConfig(
        (), chosen.benchmarks or chosen.suite,
        precision=chosen.precision,
    )  # fmt: skip
    benchmarks, left_out = choose_benchmarks(config)
    with tempfile.TemporaryDirectory() as folder:
        runs = time_runs(benchmarks, make_model(chosen.model), Path(folder), chosen.precision)
    result = {
        "runs": runs, "model": chosen.model, "suite": chosen.suite, "precision": chosen.precision,
        "threads": chosen.threads, "left_out": list(left_out),
        "pools": [f"{benchmark.name}: {benchmark.pool}" for benchmark in benchmarks],
    }  # fmt: skip
    keep("paper_suite", chosen.out, as_table(result), **result)


if __name__ == "__main__":
    main()

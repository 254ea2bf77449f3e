"""Time of `paraclip evaluate --suite paper` for a model of the size of ViT-B/32.

    PARACLIP_DATA=folder python benchmarks/paper_suite.py            # three evaluations
    python benchmarks/paper_suite.py --model mini --suite quick          # to see that it works

Three evaluations in one process, each with its report: a first model with empty caches, a second
model with another text tower and the same image tower (its image features are there already), and
the first model again (its scores are there already). The weights are random, which costs as much
time as trained ones do.
"""

import argparse
import copy
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg

from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.command import choose_benchmarks
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import evaluate
from paraclip.files import write_text
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.provenance import provenance

RESULTS = Path(__file__).parent / "results"
RUNS = (
    "first model, nothing cached",
    "second model, same image tower",
    "first model again, scores kept",
)


def make_model(name: str) -> DualEncoder:
    """An open_clip architecture with random weights, or `mini`."""
    if name == "mini":
        return load_model("mini", "cpu")
    torch.manual_seed(0)
    spec = ClipSpec(name, open_clip.get_model_config(name), asdict(PreprocessCfg()))
    return OpenClip(spec, build_clip(spec)).eval()


def other_texts(model: DualEncoder) -> DualEncoder:
    """The same image tower beside a text tower with other weights."""
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
        print(f"{found[-1]['seconds']:8.1f} s  {name}", flush=True)
    return found


def seconds_of(report: Report) -> dict[str, float]:
    """Seconds of each benchmark's scoring; nothing where the scores were kept."""
    made = {section.name: section.made["base"] for section in report.sections}
    return {
        name: 0.0 if facts["from_earlier_run"] else float(facts["seconds"])
        for name, facts in made.items()
    }


def as_table(result: dict[str, Any]) -> str:
    """The result in Markdown: a benchmark a row, a run a column, minutes and seconds."""
    runs = result["runs"]
    lines = [f"| | {' | '.join(run['run'] for run in runs)} |", f"|---|{'---:|' * len(runs)}"]
    for name in runs[0]["benchmarks"]:
        lines.append(row(name, [run["benchmarks"][name] for run in runs]))
    rest = [run["seconds"] - sum(run["benchmarks"].values()) for run in runs]
    lines.append(row("intervals, plots, report", rest))
    lines.append(row("**in all**", [run["seconds"] for run in runs]))
    missing = ", ".join(result["left_out"]) or "nothing"
    facts = (
        f"{result['model']} with random weights, {result['precision']}, {result['threads']} "
        f"threads; minutes:seconds. Without data, so left out: {missing}. "
        f"{result['machine']['processor']}, load average {result['load_average']:.0f}."
    )
    return "\n".join([*lines, "", *(f"- {pool}" for pool in result["pools"]), "", facts, ""])


def row(name: str, seconds: Sequence[float]) -> str:
    """One line of the table."""
    return f"| {name} | {' | '.join(clock(found) for found in seconds)} |"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def main() -> None:
    """Time the runs; write and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="ViT-B-32", help="open_clip architecture, or mini")
    options.add_argument("--suite", default="paper")
    options.add_argument("--benchmarks", help="instead of a suite, with commas between")
    options.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    config = EvaluateConfig(
        (), chosen.benchmarks, suite=None if chosen.benchmarks else chosen.suite,
        precision=chosen.precision,
    )  # fmt: skip
    benchmarks, left_out = choose_benchmarks(config)
    with tempfile.TemporaryDirectory() as folder:
        runs = time_runs(benchmarks, make_model(chosen.model), Path(folder), chosen.precision)
    result = {
        "runs": runs, "model": chosen.model, "suite": chosen.suite, "precision": chosen.precision,
        "threads": chosen.threads, "left_out": list(left_out),
        "pools": [f"{benchmark.name}: {benchmark.pool}" for benchmark in benchmarks],
        "load_average": os.getloadavg()[0], **provenance(),
        "command": f"python benchmarks/paper_suite.py --precision {chosen.precision}",
    }  # fmt: skip
    write_text(chosen.out / "paper_suite.json", json.dumps(result, indent=1) + "\n")
    write_text(chosen.out / "paper_suite.md", as_table(result))
    print(as_table(result))


if __name__ == "__main__":
    main()

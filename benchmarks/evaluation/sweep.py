"""An alpha sweep over mixtures of base and tuned `mini` on Flickr8k: a table, a plot, the knee.

    PARACLIP_DATA=folder python -m benchmarks.evaluation.sweep

Runs `paraclip merge --sweep` on models from `benchmarks/evaluation/flickr8k.py --setup negatives`.
Takes two minutes per share on 2 cores; existing scores are reused.
"""

import argparse
import json
import shutil
from pathlib import Path

from benchmarks.machine import RESULTS, from_here, keep, parse_with_data
from paraclip.merging.command import merge_command
from paraclip.merging.config import MergeConfig

BENCHMARKS = "paraphrased-retrieval,sugar-crepe-pp,sts,image-text-retrieval"
HEADING = "# Alpha sweep\n\n![sweep](sweep.png)\n\n"


def main() -> None:
    """Run the sweep, and store its results."""
    options = parse_with_data(parser())
    report = Path(options.report)
    knee = report / "knee.safetensors"
    merge_command(MergeConfig(
        base=options.base, tuned=options.tuned, sweep=tuple(options.sweep), data=options.data,
        benchmarks=options.benchmarks, precision="bf16", report=str(report), out=str(knee),
    ))  # fmt: skip
    found = json.loads((report / "sweep.json").read_text(encoding="utf-8"))
    kept = {name: found[name] for name in ("knee", "rule", "points", "benchmarks")}
    kept["models"] = {name: from_here(getattr(options, name)) for name in ("base", "tuned")}
    kept["weights"] = found["provenance"]["weights"]
    table = (report / "sweep.md").read_text(encoding="utf-8").removeprefix(HEADING)
    keep("sweep", Path(options.out), table, **kept)
    shutil.copy(report / "sweep.png", options.plot)


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="runs/flickr8k/base/last.safetensors")
    parser.add_argument("--tuned", default="runs/flickr8k/tuned_negatives-0/last.safetensors")
    parser.add_argument("--sweep", type=float, nargs="+", default=[0.25, 0.5, 0.75])
    parser.add_argument("--benchmarks", default=BENCHMARKS)
    parser.add_argument("--report", default="runs/sweep", help="folder of the sweep and its scores")
    parser.add_argument("--out", default=RESULTS, help="folder of table and JSON")
    parser.add_argument("--plot", default="docs/images/sweep.png")
    return parser


if __name__ == "__main__":
    main()

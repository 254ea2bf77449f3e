"""The grids of `configs/ablations/` with `mini` on Flickr8k, one table each.

    PARACLIP_DATA=folder python -m benchmarks.evaluation.ablations losses merging --seeds 0 1

Runs `paraclip ablate` on each named grid and writes `benchmarks/results/ablation_NAME.md`, which
`benchmarks/tables.py` inserts into docs/ablations.md, and the same as JSON. An interrupted run
resumes, and training that several grids share is done once. A cell takes one to two minutes on 2
free cores, plus a few minutes once for image features.
"""

import argparse
import json
from pathlib import Path

from benchmarks.machine import RESULTS, from_here, keep, parse_with_data
from paraclip.ablation.command import prepare
from paraclip.ablation.config import AblateConfig
from paraclip.ablation.plan import Plan
from paraclip.provenance import machine

GRIDS = Path("configs/ablations")


def main() -> None:
    """Run every named grid in turn."""
    options = parse_with_data(parser())
    for name in options.grids:
        study = prepare(config_of(name, options))
        study.run()
        found = json.loads((study.plan.out / "ablation.json").read_text(encoding="utf-8"))
        base = from_here(options.model)
        made = f"Base {base}; {machine()['processor']}, {machine()['cores']} cores."
        table = f"{study.text}\n\n{made}"
        rows = [{part: row[part] for part in ("name", "kind", "seeds", "figures")}
                for row in found["rows"]]  # fmt: skip
        figures = {"base": base, "unit": found["unit"], "rows": rows, "failed": found["failed"],
                   "trained": trained(study.plan)}  # fmt: skip
        keep(f"ablation_{name.replace('-', '_')}", RESULTS, table, **figures)


def trained(plan: Plan) -> dict[str, dict[str, int]]:
    """Rows and steps of every training run, by name of the cell."""
    runs = {cell.name: Path(cell.training.out) for cell in plan.cells if cell.training is not None}
    found = {}
    for name, run in runs.items():
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        found[name] = {part: summary[part] for part in ("rows", "steps")}
    return found


def parser() -> argparse.ArgumentParser:
    """The command-line options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grids", nargs="+", choices=sorted(x.stem for x in GRIDS.glob("*.toml")))
    parser.add_argument("--model", default="mini", help="the base")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--triples", nargs="+", help="FILE, or NAME=FILE for each that a grid names"
    )
    parser.add_argument("--benchmarks", help="in place of those that the grids name")
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"), help="of scoring")
    parser.add_argument("--out", default="runs/ablate", help="folder of all studies")
    return parser


def config_of(name: str, options: argparse.Namespace) -> AblateConfig:
    """Options of the command for a grid on Flickr8k."""
    data = Path(options.data)
    usual = [str(data / "paraphrases" / "flickr8k_train.jsonl")]
    return AblateConfig(
        grid=str(GRIDS / f"{name}.toml"), triples=tuple(options.triples or usual),
        images=str(data / "flickr8k" / "images"), model=options.model, data=str(data),
        benchmarks=options.benchmarks, precision=options.precision, seeds=tuple(options.seeds),
        out=str(Path(options.out) / name), cells=str(Path(options.out) / "cells"),
    )  # fmt: skip


if __name__ == "__main__":
    main()

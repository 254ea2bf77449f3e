"""Why warm text losses help: which negatives the gradient of L2 sees, and how vectors lie after.

    PARACLIP_DATA=folder python -m benchmarks.study.gradients

First, on the base of the study and on its strong triples: InfoNCE pushes a text from negative j
with the weight p_j / temperature, where p is the softmax over the batch. The table has the share of
that weight on the hardest 1 and 10 % of the negatives of each text, the effective number of
negatives (exp of the entropy), and what is left of the positive's pull (1 - its p). Second,
alignment and uniformity (Wang and Isola 2020) at the last step of every cell of the grid
`temperatures` that is trained. A minute on 2 cores.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from benchmarks.machine import RESULTS, keep, markdown, parse_with_data
from benchmarks.study.run import BASES, GRIDS, Place, study_of
from benchmarks.study.triples import triples_file
from paraclip.ablation.plan import Cell
from paraclip.data.triples import read_triples
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_texts
from paraclip.models.loading import load_model

BATCH = 256
TEMPERATURES = (0.01, 0.05, 0.1, 0.2, 0.4, 1.0)
COLUMNS = {
    "hardest 1 %": "hardest_1", "hardest 10 %": "hardest_10",
    "effective negatives": "effective", "pull left": "pull",
}  # fmt: skip


def weights_of(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Softmax of each row on its negatives, hardest first [B, B - 1], and on its positive [B].

    Args:
        first: unit vectors [B, D].
        second: unit vectors [B, D]; row i is the positive of row i.
        temperature: of the softmax.
    """
    shares = (first @ second.T / temperature).softmax(dim=1)
    positive = shares.diagonal()
    others = shares[~torch.eye(len(shares), dtype=torch.bool)].view(len(shares), -1)
    return others.sort(dim=1, descending=True).values, positive


def figures_at(first: Tensor, second: Tensor, temperature: float) -> dict[str, float]:
    """The figures of one temperature over whole batches of the texts [N, D]."""
    found: dict[str, list[float]] = {name: [] for name in COLUMNS.values()}
    for start in range(0, len(first) - BATCH + 1, BATCH):
        rows = slice(start, start + BATCH)
        others, positive = weights_of(first[rows].double(), second[rows].double(), temperature)
        share = others / others.sum(dim=1, keepdim=True)
        entropy = -(share * share.clamp_min(1e-300).log()).sum(dim=1)
        for name, part in (("hardest_1", 0.01), ("hardest_10", 0.1)):
            count = max(1, round(part * share.shape[1]))
            found[name].append(100 * float(share[:, :count].sum(dim=1).mean()))
        found["effective"].append(float(entropy.exp().mean()))
        found["pull"].append(float((1 - positive).mean()))
    return {name: mean(values) for name, values in found.items()}


def gradients(model: DualEncoder, triples: Path) -> dict[str, dict[str, float]]:
    """The figures at every temperature, and at the model's own; caption and paraphrase_1."""
    table = read_triples(triples)
    first, second = (
        encode_texts(model, table[name].to_pylist()) for name in ("caption", "paraphrase_1")
    )
    own = float(1 / model.logit_scale.detach().exp())
    named = {f"{one:g}": one for one in TEMPERATURES} | {f"{own:.3f} (the model's)": own}
    return {name: figures_at(first, second, one) for name, one in named.items()}


def geometry_of(cell: Cell) -> Mapping[str, float] | None:
    """Alignment and uniformity at the last step of a cell, or None if it is not trained."""
    if cell.training is None or cell.row.merge is not None:
        return None
    path = Path(cell.training.out) / "metrics.jsonl"
    if not path.exists():
        return None
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    known = [row for row in rows if "uniformity" in row and "alignment" in row]
    return known[-1] if known else None


def geometries(cells: list[Cell]) -> dict[str, dict[str, float]]:
    """Means over the seeds by row."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for cell in cells:
        geometry = geometry_of(cell)
        if geometry is not None:
            found.setdefault(cell.row.name, []).append(geometry)
    return {
        row: {name: mean(one[name] for one in rows) for name in ("alignment", "uniformity")}
        for row, rows in found.items()
    }


def main() -> None:
    """Both tables."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    made.add_argument("--results", type=Path, default=RESULTS)
    options = parse_with_data(made)
    place = Place(Path(options.data), options.out)
    model = load_model(str(BASES["a"](place)))
    found = gradients(model, triples_file("strong", place.data, place.out / "triples"))
    study = study_of(GRIDS / "report" / "temperatures.toml", "a", place, ())
    lie = geometries(list(study.plan.cells))
    keep("study_gradients", options.results, as_table(found, lie), gradients=found, geometry=lie)


def as_table(
    found: Mapping[str, Mapping[str, float]], lie: Mapping[str, Mapping[str, float]]
) -> str:
    """Both tables in Markdown."""
    rows = [
        [name, *(f"{values[column]:.2f}" if column == "pull" else f"{values[column]:.1f}"
                 for column in COLUMNS.values())]
        for name, values in found.items()
    ]  # fmt: skip
    first = markdown(["temperature", *COLUMNS], rows)
    note = (
        "Base of the study, caption against paraphrase_1 of the strong triples in batches of "
        f"{BATCH}: share of the negatives' weight in percent, their effective number of "
        f"{BATCH - 1}, and 1 - p of the positive."
    )
    if not lie:
        return f"{first}\n\n{note}"
    rows = [[name, f"{one['alignment']:.3f}", f"{one['uniformity']:.3f}"]
            for name, one in lie.items()]  # fmt: skip
    second = markdown(["after tuning", "alignment", "uniformity"], rows)
    return f"{first}\n\n{note}\n\n{second}\n\nLower is better for both (Wang and Isola 2020)."


if __name__ == "__main__":
    main()

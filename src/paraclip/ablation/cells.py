"""One cell: train, merge, score; and whether that is done already."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.ablation.plan import Cell, as_asked
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.reporting.report import data_hash
from paraclip.evaluation.reporting.stored import Stored, read_stored
from paraclip.evaluation.run import evaluate
from paraclip.files import write_text
from paraclip.merging.merge import merge
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from paraclip.training.config import TrainConfig
from paraclip.training.folder import RunFolder
from paraclip.training.loop import train
from paraclip.training.prepare import prepare
from paraclip.training.processes import joined
from paraclip.training.recipes import check_options

RECORD = "cell.json"
DECIDING = ("k", "precision")
"""Settings that decide the figures beside data and weights."""


@dataclass(frozen=True)
class Scoring:
    """How cells are scored.

    Args:
        benchmarks: each on its data.
        settings: of `evaluate`.
        device: for the models.
    """

    benchmarks: Sequence[Benchmark]
    settings: Mapping[str, Any]
    device: str = "auto"


def do_cell(cell: Cell, how: Scoring) -> None:
    """Train or go on training, merge, score.

    Raises:
        UserError: what the training or the evaluation says.
    """
    if cell.training is not None:
        train_cell(cell.training)
    label = cell.row.kind
    evaluate({label: model_of(cell, how.device)}, how.benchmarks, cell.scores, how.settings)


def train_cell(options: TrainConfig) -> None:
    """Train, or resume training."""
    check_options(options)
    with joined(options.device) as (_, device):
        data = prepare(
            options.triples, options.model, options, images=options.images, replay=options.replay,
            problems=Problems(options.max_broken), device=device,
        )  # fmt: skip
        train(data, options, Path(options.out))


def model_of(cell: Cell, device: str) -> DualEncoder:
    """What is scored."""
    base = cell.row.options.model
    if cell.training is None:
        return load_model(base, device)
    tuned = load_model(str(chosen(cell.training)), device)
    if cell.row.merge is None:
        return tuned
    both = cell.training.image_learning_rate is not None
    return merge(load_model(base, device), tuned, cell.row.merge, both)


def chosen(training: TrainConfig) -> Path:
    """The checkpoint that a run hands on."""
    folder = RunFolder(Path(training.out))
    return folder.best if training.choose == "best" else folder.last


def scores_of(cell: Cell, how: Scoring) -> Stored | None:
    """The scores of a finished cell; None where they are not there or of other benchmarks."""
    if not (cell.scores / "report.json").exists():
        return None
    try:
        stored = read_stored(cell.scores)
    except UserError:
        return None
    found = {section.name: section.data_hash for section in stored.report.sections}
    asked = {one.name: data_hash(one.pool, one.data) for one in how.benchmarks}
    made = stored.report.provenance
    same = all(plain(made.get(name)) == plain(how.settings.get(name)) for name in DECIDING)
    return stored if found == asked and same else None


def plain(value: Any) -> Any:
    """A setting as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def write_record(cell: Cell, seconds: float) -> None:
    """What the cell is and how long it took, for people who look into its folder."""
    facts = {"row": cell.row.name, "seed": cell.seed, **as_asked(cell.row), "seconds": seconds}
    write_text(cell.folder / RECORD, json.dumps(facts, indent=1) + "\n")


def seconds_of(folder: Path) -> float:
    """How long the last go at a finished cell took; 0 where nobody noted it."""
    try:
        return float(json.loads((folder / RECORD).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def drop_weights(cell: Cell) -> None:
    """Remove the checkpoints of a run whose scores are all there; logs and figures stay."""
    if cell.training is not None:
        folder = RunFolder(Path(cell.training.out))
        folder.best.unlink(missing_ok=True)
        folder.last.unlink(missing_ok=True)


def clear(cell: Cell) -> None:
    """Forget that a cell was trained and scored."""
    (cell.scores / "report.json").unlink(missing_ok=True)
    if cell.training is not None:
        RunFolder(Path(cell.training.out)).clear()

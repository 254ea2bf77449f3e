"""A cell: train, merge and score it, and read the scores of a finished one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.ablation.plan import Cell, set_options
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.compare import Stored, read_stored
from paraclip.evaluation.report import data_hash
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
DECISIVE = ("k", "precision")
"""Settings that change the figures, in addition to data and weights."""


@dataclass(frozen=True)
class CellEvaluation:
    """How cells are scored."""

    benchmarks: Sequence[Benchmark]  # benchmarks with their data
    settings: Mapping[str, Any]  # settings for `evaluate`
    device: str = "auto"  # device of the models


def run_cell(cell: Cell, evaluation: CellEvaluation) -> None:
    """Train or resume, merge, and score."""
    if cell.training is not None:
        train_cell(cell.training, evaluation.settings.get("cache"))
    models: dict[str, DualEncoder] = {cell.row.kind: model_of(cell, evaluation.device)}
    evaluate(models, evaluation.benchmarks, cell.scores, evaluation.settings)


def train_cell(options: TrainConfig, cache: Path | None = None) -> None:
    """Train, or resume training, with image features in the folder `cache`."""
    check_options(options)
    with joined(options.device) as (_, device):
        data = prepare(
            options.triples, options.model, options, images=options.images,
            starter=options.starter, replay=options.replay,
            cache=cache, problems=Problems(options.max_broken), device=device,
        )  # fmt: skip
        train(data, options, Path(options.out))


def model_of(cell: Cell, device: str) -> DualEncoder:
    """The model that is scored."""
    base = cell.row.options.model
    if cell.training is None:
        return load_model(base, device)
    tuned = load_model(str(checkpoint_of(cell.training)), device)
    if cell.row.merge is None:
        return tuned
    both = cell.training.image_learning_rate is not None
    return merge(load_model(base, device), tuned, cell.row.merge, both)


def checkpoint_of(training: TrainConfig) -> Path:
    """The chosen checkpoint of a run, best or last."""
    folder = RunFolder(Path(training.out))
    return folder.best if training.choose == "best" else folder.last


def scores_of(cell: Cell, evaluation: CellEvaluation) -> Stored | None:
    """The scores of a finished cell; None if they are missing or from other benchmarks."""
    if not (cell.scores / "report.json").exists():
        return None
    try:
        stored = read_stored(cell.scores)
    except UserError:
        return None
    scored = {section.name: section.data_hash for section in stored.report.sections}
    wanted = {one.name: data_hash(one.pool, one.data) for one in evaluation.benchmarks}
    settings = [evaluation.settings.get(name) for name in DECISIVE]
    in_json = [list(value) if isinstance(value, tuple) else value for value in settings]
    same = in_json == [stored.report.provenance.get(name) for name in DECISIVE]
    return stored if scored == wanted and same else None


def write_record(cell: Cell, seconds: float) -> None:
    """Write `cell.json`, which describes the cell, for readers of its folder."""
    facts = {"row": cell.row.name, "seed": cell.seed, **set_options(cell.row), "seconds": seconds}
    write_text(cell.folder / RECORD, json.dumps(facts, indent=1) + "\n")


def seconds_of(folder: Path) -> float:
    """Duration of the last run of a finished cell; 0 if unknown."""
    try:
        return float(json.loads((folder / RECORD).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def drop_weights(cell: Cell) -> None:
    """Remove the checkpoints of a scored cell; logs and figures stay."""
    if cell.training is not None:
        folder = RunFolder(Path(cell.training.out))
        folder.best.unlink(missing_ok=True)
        folder.last.unlink(missing_ok=True)


def clear(cell: Cell) -> None:
    """Remove the training run and the scores of a cell."""
    (cell.scores / "report.json").unlink(missing_ok=True)
    if cell.training is not None:
        RunFolder(Path(cell.training.out)).clear()

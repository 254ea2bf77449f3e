"""The whole workflow on Debian's stamps, a script on the public API: each stage has its own folder,
and resumes.

captions and pictures -> control, teacher, tuned, merged -> report, sheet

The base is `mini` as included in ParaCLIP, or the user's CLIP. The models learn from the stamps'
own triples and the starter set. `teacher` learns the captioned pictures with L1 alone. It finds
more of them than base does, and `tuned` learns what both find: on pictures that were held out of
the stamps' own, it found as many as teacher and its wordings agreed more.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import paraclip
from paraclip.data.triples import TEXTS, read_provenance, read_triples
from paraclip.errors import printable
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import check_report_folder
from paraclip.models.encoder import DualEncoder
from paraclip.output_folder import OutputFolder
from paraclip.quickstart.config import BUILT_IN, QuickstartConfig
from paraclip.quickstart.results import CUTOFFS, plot
from paraclip.quickstart.stamps import PACKAGE, CaptionedStamps, read_stamps, stamps_folder
from paraclip.starter import FIRST_EDITION, STARTER
from paraclip.training.checkpoint import AnotherRun, RunFolder
from paraclip.training.config import TrainOptions
from paraclip.training.prepare import check_base
from paraclip.training.train import check_training

STARTER_ROWS = FIRST_EDITION  # of the starter set
_ROWS = "rows.jsonl"
_DATA = (_ROWS, f"{_ROWS}.provenance.json", "wordings.jsonl", "pool.txt")
"""Files that one stage writes and the next one reads."""
_L1_ALONE = (1.0, 0.0, 0.0)  # weights of L1, L2 and L3
_LOSSES: dict[str, dict[str, Any]] = {
    "control": {"control": True},  # learns from the original captions only
    "teacher": {"weights": _L1_ALONE, "ranking": 0.0, "sentence_teacher": 0.0},
    "tuned": {"recipe": "taught", "weights": _L1_ALONE},
}
"""Options of the models in the order of their training."""
_EPOCHS = 2
_LEARNING_RATE = 2e-4  # of the built-in model; of others, the default of `paraclip train`


def run_on_stamps(config: QuickstartConfig) -> Report:
    """Run all stages, and print what each does; returns the report that was written.

    Raises:
        UserError: the stamps cannot be had, or a stage failed.
    """
    folder = config.folder
    check_report_folder(folder / "report")
    # The processor for the built-in model, so that figures are the same everywhere.
    base = paraclip.load_model(config.base, "cpu" if config.base == BUILT_IN else "auto")
    _check(config, base)
    announce("Fetching and reading the captioned stamps")
    stamps = read_stamps(stamps_folder())
    if line := stamps.skipped():
        print(line)
    test = _write_test(config, stamps)
    announce(f"Training the text encoder: {', '.join(_LOSSES)}")
    rows = _write_training(config, stamps)
    trained = {name: _train(config, base, rows, name) for name in _LOSSES}
    del trained["teacher"]  # not compared: it is part of the recipe of tuned
    merged = paraclip.load_model(str(checkpoint_of(config, "merged")), str(base.device))
    models = {"base": base, **trained, "merged": merged}
    announce(f"Scoring {', '.join(models)}")
    report = paraclip.evaluate(models, data=folder, out=folder / "report", **test)
    if find_spec("matplotlib") is not None and (drawn := plot(report)) is not None:
        output = OutputFolder(folder / "report", "report")
        output.write(folder / "report" / "scores.png", drawn)  # the table's figures
    return report


def checkpoint_of(config: QuickstartConfig, label: str) -> Path:
    """The checkpoint of a trained model, or of tuned merged with base."""
    if label == "merged":
        return RunFolder(config.folder / "tuned").merged
    return RunFolder(config.folder / label).last


def announce(stage: str) -> None:
    """Print which stage starts."""
    print(f"\n== {printable(stage)}", flush=True)


def train_again(
    base: DualEncoder | str, triples: Path | str, out: Path, *, fresh: bool, **options: Any
) -> DualEncoder:
    """Train, from scratch if the folder has a run on other data or with other options."""
    try:
        return paraclip.train(base, triples, out, fresh=fresh, **options)
    except AnotherRun:
        print(f"The pictures, captions or options have changed: {out.name} starts from scratch")
        return paraclip.train(base, triples, out, fresh=True, **options)


def _check(config: QuickstartConfig, base: DualEncoder) -> None:
    """Raise UserError, before the first long stage, for what a later one would lack."""
    check_base(base)
    data = OutputFolder(config.folder / "data", "quickstart")
    data.refuse_foreign(*(data.path / name for name in _DATA))
    for name in _LOSSES:
        options = TrainOptions(**_training(config, name))
        with suppress(AnotherRun):  # starts from scratch
            check_training(options, config.folder / name, config.fresh, base)


def _training(config: QuickstartConfig, name: str) -> dict[str, Any]:
    """Options of the training of a model."""
    rate = _LEARNING_RATE if config.base == BUILT_IN else None
    return {
        "epochs": config.epochs or _EPOCHS, "learning_rate": rate, "seed": config.seed,
        "batch_size": 128, "dropout": 0.0, "image_loss_on": TEXTS, **_LOSSES[name],
    }  # fmt: skip


def _write_test(config: QuickstartConfig, stamps: CaptionedStamps) -> dict[str, Any]:
    """Write the held-out wordings; returns the options of their benchmark."""
    pool = [row["image_id"] for row in stamps.wordings]
    print(f"{len(stamps.triples)} pictures to learn from, {len(pool)} held out")
    wordings = _write_rows(config, "wordings.jsonl", stamps.wordings)
    names = _write(config, "pool.txt", "".join(f"{name}\n" for name in sorted(set(pool))))
    return {"benchmarks": "variations", "wordings": wordings, "k": CUTOFFS, "pool": names}


def _train(config: QuickstartConfig, base: DualEncoder, rows: Path, name: str) -> DualEncoder:
    """One model, trained from base."""
    options = _training(config, name)
    if name == "tuned":
        options["teacher"] = ["base", str(checkpoint_of(config, "teacher"))]
    return train_again(base, rows, config.folder / name, fresh=config.fresh, **options)


def _write_training(config: QuickstartConfig, stamps: CaptionedStamps) -> Path:
    """Write the rows to learn from, with the starter set and the origin of all texts."""
    record = {"base": config.base, "data": PACKAGE, "starter": read_provenance(STARTER)}
    _write(config, f"{_ROWS}.provenance.json", json.dumps(record, indent=1) + "\n")
    rows = [*stamps.triples, *read_triples(STARTER).slice(0, STARTER_ROWS).to_pylist()]
    # Numbers: a caption and a row of the starter set may have one id.
    return _write_rows(config, _ROWS, ({**row, "id": f"{n}"} for n, row in enumerate(rows)))


def _write_rows(config: QuickstartConfig, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    return _write(config, name, "".join(f"{json.dumps(row)}\n" for row in rows))


def _write(config: QuickstartConfig, name: str, content: str) -> Path:
    """Write a file that the next stage reads."""
    folder = OutputFolder(config.folder / "data", "quickstart")
    folder.write(folder.path / name, content)
    return folder.path / name

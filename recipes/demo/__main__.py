"""The whole workflow on Debian's stamps, which `make demo` runs: each stage resumes.

    python -m recipes.demo

captions -> two steps of paraphrases -> control, paper, teacher, tuned -> report, sheet -> index

The base is `mini` as included in ParaCLIP, or the user's CLIP. A small language model rewords some
of the captions in two steps. The models learn from these triples, the stamps' own and the starter
set: `paper` with the paper's three losses, `tuned` with the recipe of `paraclip train` and L1. Its
`teacher` learns the captioned pictures with L1 alone: it finds more of them than base does, and
`tuned` learns what both find; on pictures that were held out of the stamps' own, it found as many
as teacher and its wordings agreed more. Which model is recommended is measured as `paraclip
quickstart` does on pictures of your own.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import paraclip
from paraclip.cli import keep_freed_memory
from paraclip.commands.packages import require_packages
from paraclip.commands.quickstart import (
    QuickstartConfig,
    announce,
    index_pictures,
    print_files,
    show_recommended,
    train_again,
)
from paraclip.data.triples import read_provenance, read_triples
from paraclip.errors import UserError, printable
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import check_report_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.sources import LAST, check_model
from paraclip.output_folder import OutputFolder
from paraclip.signals import report_end
from paraclip.starter import FIRST_EDITION, STARTER, TEXTS
from paraclip.training.checkpoint import AnotherRun
from paraclip.training.config import TrainOptions
from paraclip.training.prepare import check_base
from paraclip.training.train import check_training
from recipes.demo.results import CUTOFFS, plot, table
from recipes.demo.reworded import CAPTIONS, reword
from recipes.demo.stamps import (
    PACKAGE,
    CaptionedStamps,
    read_stamps,
    stamps_folder,
    write_captions,
)

BUILT_IN = "mini"
STARTER_ROWS = FIRST_EDITION  # of the starter set
_ROWS, _CAPTIONS, _TO_REWORD = "rows.jsonl", "captions.jsonl", "to_reword.jsonl"
_DATA = (_ROWS, f"{_ROWS}.provenance.json", "wordings.jsonl", "pool.txt", _CAPTIONS, _TO_REWORD)
"""Files that one stage writes and the next one reads."""
_LOSSES: dict[str, dict[str, Any]] = {
    "control": {"control": True},  # learns from the original captions only
    "paper": {"recipe": "paper", "image_loss_on": TEXTS[-1:]},
    "teacher": {"recipe": "consistent", "loss_weights": {"L2": 0.0, "L3": 0.0}},
    "tuned": {"recipe": "taught", "loss_weights": {"L1": 1.0}},
}
"""Options of the models in the order of their training."""
_EPOCHS = 2
_LEARNING_RATE = 2e-4  # of the built-in model; of others, the default of `paraclip train`


def main(arguments: list[str] | None = None) -> None:
    """Run all stages; print the table, the recommended model and the files."""
    config = _options(arguments)
    require_packages("quickstart", config, (config.base,))
    check_model(config.base)
    report = run_stages(config)
    print(f"\nbase is {printable(config.base)}.\n\n{table(report)}\n")
    print_files({"Report": config.folder / "report" / "report.md"})
    stamps = stamps_folder()
    config = replace(config, source=str(write_captions(read_stamps(stamps).captions, stamps)))
    index_pictures(config)
    show_recommended(config, config.folder / "data" / _CAPTIONS)


def run_stages(config: QuickstartConfig) -> Report:
    """Train and score all models, and print what each stage does; returns the report that was
    written.

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
    announce(f"Rewording {CAPTIONS} captions in two steps, about a minute")
    reworded = reword(_write_captions(config, stamps), config.folder / "triples", config.fresh)
    announce(f"Training the text encoder: {', '.join(_LOSSES)}")
    rows = _write_training(config, stamps, reworded)
    trained = {name: _train(config, base, rows, name) for name in _LOSSES}
    del trained["teacher"]  # not compared: it is part of the recipe of tuned
    models = {"base": base, **trained}
    announce(f"Scoring {', '.join(models)}")
    report = paraclip.evaluate(models, data=folder, out=folder / "report", **test)
    if find_spec("matplotlib") is not None and (drawn := plot(report)) is not None:
        output = OutputFolder(folder / "report", "report")
        output.write(folder / "report" / "scores.png", drawn)  # the table's figures
    return report


def _options(arguments: list[str] | None) -> QuickstartConfig:
    """The options, those of `paraclip quickstart` without pictures and teachers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", default="runs/demo", help="folder of all stages")
    parser.add_argument("--base", default=BUILT_IN, help="model, as in `paraclip train`")
    parser.add_argument("--epochs", type=int, help=f"default: {_EPOCHS}")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the data")
    parser.add_argument("--fresh", action="store_true", help="run every stage from scratch")
    parser.add_argument("--serve", action="store_true", help="finally, open the search page")
    return QuickstartConfig(PACKAGE, **vars(parser.parse_args(arguments)))


def _check(config: QuickstartConfig, base: DualEncoder) -> None:
    """Raise UserError, before the first long stage, for what a later one would lack."""
    check_base(base)
    data = OutputFolder(config.folder / "data", "demo")
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
    """Write the held-out wordings, and their captions as queries; returns the options of the
    benchmark of the wordings."""
    pool = [row["image_id"] for row in stamps.wordings]
    print(f"{len(stamps.triples)} pictures to learn from, {len(pool)} held out")
    wordings = _write_rows(config, "wordings.jsonl", stamps.wordings)
    names = _write(config, "pool.txt", "".join(f"{name}\n" for name in sorted(set(pool))))
    queries = ({"image": row["image_id"], "caption": row["caption"]} for row in stamps.wordings)
    _write_rows(config, _CAPTIONS, queries)
    return {"benchmarks": "variations", "wordings": wordings, "k": CUTOFFS, "pool": names}


def _train(config: QuickstartConfig, base: DualEncoder, rows: Path, name: str) -> DualEncoder:
    """One model, trained from base."""
    options = _training(config, name)
    if name == "tuned":
        options["teacher"] = ["base", str(config.folder / "teacher" / LAST)]
    return train_again(base, rows, config.folder / name, fresh=config.fresh, **options)


def _write_captions(config: QuickstartConfig, stamps: CaptionedStamps) -> Path:
    """Write the captions to reword, from all folders of the stamps to learn from."""
    chosen = stamps.triples[:: max(1, len(stamps.triples) // CAPTIONS)][:CAPTIONS]
    rows = ({"id": row["image_id"], "caption": row["caption"]} for row in chosen)
    return _write_rows(config, _TO_REWORD, rows)


def _write_training(config: QuickstartConfig, stamps: CaptionedStamps, more: Path | None) -> Path:
    """Write the rows to learn from: the stamps' own triples, those in the file `more` with their
    pictures, and the starter set; with the origin of all texts."""
    record = {"base": config.base, "data": PACKAGE, "starter": read_provenance(STARTER)}
    rows = list(stamps.triples)
    if more is not None:
        record["reworded"] = read_provenance(more)
        own = {row["image_id"]: row for row in stamps.triples}
        texts = (*TEXTS, "generator")
        found = read_triples(more).to_pylist()
        rows += [own[row["id"]] | {name: row[name] for name in texts} for row in found]
    _write(config, f"{_ROWS}.provenance.json", json.dumps(record, indent=1) + "\n")
    rows += read_triples(STARTER).slice(0, STARTER_ROWS).to_pylist()
    # Numbers: a caption and a row of the starter set may have one id.
    return _write_rows(config, _ROWS, ({**row, "id": f"{n}"} for n, row in enumerate(rows)))


def _write_rows(config: QuickstartConfig, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    return _write(config, name, "".join(f"{json.dumps(row)}\n" for row in rows))


def _write(config: QuickstartConfig, name: str, content: str) -> Path:
    """Write a file that the next stage reads."""
    folder = OutputFolder(config.folder / "data", "demo")
    folder.write(folder.path / name, content)
    return folder.path / name


if __name__ == "__main__":
    keep_freed_memory()
    try:
        main()
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(report_end("; run the same command again to resume"))

"""`train`: its values, the function, and what the command prints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from paraclip.commands.packages import require_packages
from paraclip.data.captions import label
from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.models.sources import check_device, check_model
from paraclip.options import takes
from paraclip.progress import suggest
from paraclip.provenance import without_secrets
from paraclip.training.config import L1, RunOptions, name_our_choices

if TYPE_CHECKING:  # `paraclip train --help` needs neither torch nor pyarrow
    from paraclip.data.rows import InMemory
    from paraclip.models.encoder import DualEncoder, Model
    from paraclip.training.data import TrainingData

SHOWN = ("steps", "rows", "texts_cut_to_context")
"""Values of `summary.json` that are printed."""


@dataclass(frozen=True, kw_only=True)
class CalledOptions(RunOptions):
    """What a call of `train` in Python takes as well."""

    device: str = "auto"
    """Device: auto, cpu, mps, cuda or cuda:1; auto leaves a model that is passed where it is."""

    on_step: Callable[[Mapping[str, float]], None] | None = None
    """Called after each step with its line of `metrics.jsonl`, such as `wandb.log`."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunOptions):
    """Fine-tune the text encoder on triples; the image encoder is not changed."""

    triples: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRIPLES")]
    """`scenes`: scenes in several wordings, which come with ParaCLIP, drawn from a grammar and
    written (`starter`: the written ones alone). Or triples (.parquet, .jsonl)."""

    config: str | None = None
    """TOML file with any of these options."""

    base: str = "mini"
    """Base: mini, a checkpoint, or an open_clip name such as ViT-B-32:weights.safetensors."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""


@takes(CalledOptions)
def train(base: "Model", triples: "Path | str | InMemory", options: CalledOptions) -> "DualEncoder":
    """Fine-tune the text encoder on triples; the image encoder is not changed.

    Args:
        base: the model to tune; one that is passed is not changed.
        triples: `scenes` for the scenes that ship with ParaCLIP (`starter` for the written ones
            alone), a file written by `generate`, JSON lines with the same keys, or the rows
            themselves: a list of dictionaries with `caption`, `paraphrase_1` and `paraphrase_2`, a
            `pyarrow.Table`, a data frame or a `datasets.Dataset`.
        options: those below, such as `bank="my_pictures"`, `epochs=2` or `control=True`.

    Returns:
        The tuned model, on the device of the run. Its image vectors are those of the base.

    Raises:
        UserError: the triples cannot be used, or `out` belongs to another run.

    Example:
        >>> tuned = train("mini", "scenes", "runs/tuned", bank="my_pictures")  # doctest: +SKIP

    Source: paper, section 3.
    """
    check_device(options.device)
    _check(base, triples, options)
    recorded = replace(options, on_step=None)  # in the checkpoint
    data, checkpoint = _run(base, triples, recorded, options.device, on_step=options.on_step)
    from paraclip.models.loading import load_model

    return load_model(str(checkpoint), str(data.model.device))


def train_command(config: TrainConfig) -> None:
    """Train, in all processes that torchrun or SLURM started together."""
    check_device(config.device)
    _check(config.base, config.triples, config)
    from paraclip.training.distributed import each_process, this_process  # torch, only now

    with each_process(config.device) as device:
        _, checkpoint = _run(config.base, config.triples, config, device, _print_rows)
        if this_process().first:  # the others would print the same
            print_summary(checkpoint)
            _suggest_check(config, checkpoint)


def _check(base: "Model", triples: "Path | str | InMemory", options: RunOptions) -> None:
    """Raise UserError for what is missing, before torch is imported."""
    from paraclip.training.sources import check_sources, split_share

    teachers = [name for name, _ in map(split_share, options.teacher)]
    require_packages("train", options, (base, *teachers), [options.bank])
    check_sources(triples, options)
    if isinstance(base, Path | str):
        check_model(str(base))


def _run(
    base: "Model",
    triples: "Path | str | InMemory",
    options: RunOptions,
    device: str = "auto",
    tell: "Callable[[TrainingData, RunOptions], None]" = lambda *_: None,
    on_step: Callable[[Mapping[str, float]], None] | None = None,
) -> "tuple[TrainingData, Path]":
    """Read what is learned from, say so, and train; returns the checkpoint as well."""
    from paraclip.training.prepare import prepare_run
    from paraclip.training.train import train as fit

    data = prepare_run(base, triples, options, device)
    tell(data, options)
    return data, fit(data, options, Path(options.out), fresh=options.fresh, on_step=on_step)


def _print_rows(data: "TrainingData", options: RunOptions) -> None:
    count, pictures = len(data.triples), int(data.has_image().sum())
    shown = f", {pictures:,} with a picture" if pictures else ""
    if data.bank is not None:
        print(f"{count:,} rows{shown}, and a bank of {len(data.bank.vectors):,} pictures.")
    else:
        print(f"{count:,} rows{shown or ', all without a picture'}.")
    if options.recipe == "paper" and not options.control:
        print(name_our_choices(options))
    if 0 < pictures < count and L1 in options.losses:
        print(f"L1 learns nothing from the {count - pictures:,} without.")


def _suggest_check(config: TrainConfig, checkpoint: Path) -> None:
    """Suggest to check the index that was learned from, or else to index pictures."""
    from paraclip.indexes import is_index

    models = ("--base", config.base, "--tuned", checkpoint if config.control else checkpoint.parent)
    bank = config.bank and str(config.bank)
    if bank and is_index(bank):
        suggest("swap-check", "--index", without_secrets(bank), *models)
    else:
        suggest("index", bank or config.images or "my_pictures", *models)


def print_summary(checkpoint: Path) -> None:
    """Print the result of a run; raises UserError if its summary is damaged."""
    from paraclip.evaluation.unlabelled import measures_table
    from paraclip.tables import aligned
    from paraclip.training.checkpoint import START_OVER, RunFolder

    folder = RunFolder(checkpoint.parent)
    summary = read_json_object(folder.summary_file, START_OVER)
    missing = [name for name in SHOWN if name not in summary]
    if missing:
        raise UserError(folder.summary_file, f"has no value {label(missing[0])}", START_OVER)
    if summary["texts_cut_to_context"]:
        print(f"{summary['texts_cut_to_context']:,} texts were cut to the model's context.")
    print(f"{summary['steps']:,} steps on {summary['rows']:,} rows")
    print(f"Checkpoint: {checkpoint}")
    choice = summary.get("choice")
    if folder.has_merged():
        share = f"{100 * choice['share']:.0f} % of it" if choice else "half of it"
        print(f"Merged, {share} and the rest of base: {folder.merged}")
    if choice:
        print(f"\n{choice['scenes']} scenes that no run learns, in the bank, without labels:")
        print("\n".join(aligned(measures_table(choice["measured"]))))
        print(choice["reason"])

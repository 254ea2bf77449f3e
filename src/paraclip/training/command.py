"""`paraclip train` and `paraclip align`: prepare, run, print."""

from pathlib import Path
from typing import Any

import torch

from paraclip.data.captions import label
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.models.loading import find_device, load_model
from paraclip.models.mini import Mini
from paraclip.training.config import AlignConfig, TrainConfig
from paraclip.training.folder import START_OVER, RunFolder
from paraclip.training.loop import align, train
from paraclip.training.prepare import TrainingData, prepare, prepare_captions
from paraclip.training.processes import Processes, joined, reported
from paraclip.training.recipes import check_options


def train_command(config: TrainConfig) -> None:
    """Train, in all processes that torchrun or SLURM started together."""
    check_options(config)
    with joined(config.device) as (processes, device):
        reported(train_together, processes)(config, processes, device)


def train_together(config: TrainConfig, processes: Processes, device: str) -> None:
    """Prepare and train, and print the path of the checkpoint."""
    data = prepare(
        config.triples, config.model, config, images=config.images, starter=config.starter,
        replay=config.replay, problems=Problems(config.max_broken), device=device,
    )  # fmt: skip
    print_rows(data)
    checkpoint = train(data, config, Path(config.out))
    if processes.first:
        report(checkpoint, data.problems)


def print_rows(data: TrainingData) -> None:
    """Print the number of rows, and of those that L1 cannot use."""
    count, pictures = len(data.rows), data.pictures
    if data.replayed:
        print(f"{count - data.replayed:,} triples, and {data.replayed:,} captions for L1 alone.")
    print(f"{count:,} rows, {pictures:,} with a picture.")
    if pictures < count:
        print(f"{count - pictures:,} have none and feed L2 and L3 only.")


def align_command(config: AlignConfig) -> None:
    """Align, in all processes that torchrun or SLURM started together."""
    check_options(config)
    with joined(config.device) as (processes, device):
        reported(align_together, processes)(config, processes, device)


def align_together(config: AlignConfig, processes: Processes, device: str) -> None:
    """Read captions with pictures, align, and print the path of the checkpoint."""
    problems = Problems(config.max_broken)
    captions = list(read_captions(config.source, config.columns, problems))
    pictures = sum(1 for row in captions if row.image)
    print(f"{len(captions):,} captions, {pictures:,} with a picture.")
    if not pictures:
        raise UserError(config.source, "no caption has a picture", "Give pictures with captions.")
    base = f"{config.model}, new heads" if config.new_heads else config.model
    facts = {"source": Path(config.source).name, "base": base}
    model = unaligned(config, device)
    data = prepare_captions(captions, model, problems=problems, facts=facts)
    checkpoint = align(data, config, Path(config.out))
    if processes.first:
        report(checkpoint, problems)


def unaligned(config: AlignConfig, device: str) -> Mini:
    """The model from which alignment starts."""
    if config.new_heads:
        if config.model != "mini":
            hint = "Omit one of them: new heads start from mini's towers."
            raise UserError("--new-heads", f"{config.model} has heads of its own", hint)
        torch.manual_seed(config.seed)  # the heads are initialised at random
        return Mini.with_linear_heads(heads=None).to(find_device(device))
    model = load_model(config.model, device)
    if not isinstance(model, Mini):
        what = f"{config.model} is aligned already"
        raise UserError("--model", what, "Only mini has heads to fit; use `paraclip train`.")
    return model


SHOWN = (
    *("steps", "rows", "rows_held_out", "texts_cut_to_context", "best_held_out_loss", "best_step"),
)
"""Values of `summary.json` that are printed."""


def read_summary(path: Path) -> dict[str, Any]:
    """The results of a finished run; raises UserError if the file is damaged."""
    summary = read_json_object(path, START_OVER)
    missing = [name for name in SHOWN if name not in summary]
    if missing:
        raise UserError(path, f"has no value {label(missing[0])}", START_OVER)
    return summary


def report(checkpoint: Path, problems: Problems) -> None:
    """Print the result of a run."""
    folder = RunFolder(checkpoint.parent)
    summary = read_summary(folder.summary_file)
    if problems.count:
        print(f"{problems.summary()}\nListed in {folder.problems_file}")
    if summary["texts_cut_to_context"]:
        print(f"{summary['texts_cut_to_context']:,} texts were cut to the model's context.")
    best = summary["best_held_out_loss"]
    judged = f"; held-out loss {best:.4f} after step {summary['best_step']}" if best else ""
    print(
        f"{summary['steps']:,} steps on {summary['rows'] - summary['rows_held_out']:,} rows{judged}"
    )
    print(f"Checkpoint: {checkpoint}")

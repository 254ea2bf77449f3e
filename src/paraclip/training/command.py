"""`paraclip train` and `paraclip align`: read, run, write, print."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from paraclip.data.captions import Caption
from paraclip.data.images import fault_of
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import attach_images, read_provenance, read_triples, with_replay
from paraclip.errors import UserError
from paraclip.files import cache_folder, file_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import PREPROCESSORS, mapped_features
from paraclip.models.loading import find_device, load_model
from paraclip.models.mini import Mini
from paraclip.progress import track
from paraclip.starter import resolve
from paraclip.training.align import align
from paraclip.training.checks import check_options
from paraclip.training.config import AlignConfig, TrainConfig
from paraclip.training.examples import rows_with_numbers
from paraclip.training.folder import RunFolder
from paraclip.training.launch import joined, reported
from paraclip.training.loop import train
from paraclip.training.processes import Processes


def train_command(config: TrainConfig) -> None:
    """Train, with all processes that torchrun or SLURM started together.

    Raises:
        UserError: anything that the user can fix, as one line.
    """
    check_options(config)
    with joined(config.device) as (processes, device):
        reported(train_together, processes)(config, processes, device)


def train_together(config: TrainConfig, processes: Processes, device: str) -> None:
    """Read the rows, compute or recall the image features, train, say where the checkpoint is."""
    problems = Problems(config.max_broken)
    rows = rows_of(config, problems)
    model = load_model(config.model, device)
    features = None
    if config.image_learning_rate is None:  # else pictures are seen in every step
        with processes.first_goes_first():
            features = features_of(model, rows["image"].to_pylist(), problems)
        say_pictures(rows, int(rows_with_numbers(features).sum()))
    else:
        rows = with_whole_pictures(rows, problems)
        say_pictures(rows, len(rows) - rows["image"].null_count)
    facts = {
        "triples": {
            "sha256": file_hash(resolve(config.triples)),
            **read_provenance(config.triples),
        },
        "base": config.model,
    }
    checkpoint = train(model, rows, features, config, Path(config.out), facts)
    if processes.first:
        report(checkpoint, problems)


def rows_of(config: TrainConfig, problems: Problems) -> pa.Table:
    """The triples, and behind them the captions of `--replay`.

    Raises:
        UserError: a file cannot be used, or has no captions to replay.
    """
    triples = read_triples(config.triples, problems, config.one_step, config.negatives)
    if config.images is not None:
        triples = attach_images(triples, config.images)
    if config.replay is None:
        return triples
    seen = Problems(problems.max_share)  # of captions; broken triples have been judged already
    captions = read_captions(config.replay, problems=seen)
    rows = with_replay(triples, captions, config.replay_per_triple, config.seed)
    problems.take(seen)
    if len(rows) == len(triples):
        what = "has no captions of pictures beside those of the triples"
        raise UserError(config.replay, what, "Name captions with pictures, or leave --replay out.")
    print(f"{len(triples):,} triples, and {len(rows) - len(triples):,} captions for L1 alone.")
    return rows


def with_whole_pictures(triples: pa.Table, problems: Problems) -> pa.Table:
    """The triples, those whose picture cannot be decoded without one; each is looked at once.

    Where the image tower is trained a picture is first opened in the middle of a step, and one
    that is broken would stop the run there.
    """
    images = triples["image"].to_pylist()
    names = list(dict.fromkeys(name for name in images if name))
    with ThreadPoolExecutor(PREPROCESSORS) as pool:
        looked_at = track(pool.map(fault_of, names), "checking pictures", len(names), "image")
        faults = dict(zip(names, looked_at, strict=True))
    seen = Problems(problems.max_share)
    for name, what in faults.items():
        if what is not None:
            seen.add(name, what)
    check_pictures(seen, len(names))
    problems.take(seen)
    whole = pa.array([None if faults.get(name) else name for name in images], pa.string())
    place = triples.schema.get_field_index("image")
    return triples.set_column(place, triples.schema.field(place), whole)


def check_pictures(seen: Problems, pictures: int) -> None:
    """Stop where too many pictures are broken.

    Raises:
        UserError: it names --images, too.
    """
    try:
        seen.check(pictures)
    except UserError as error:
        hint = f"{error.hint} Pictures that were moved are found by their names with --images."
        raise UserError(error.where, error.what, hint) from None


def features_of(model: DualEncoder, references: list[str | None], problems: Problems) -> Tensor:
    """`embed_pixels` rows [N, F], NaN where there is no picture; [N, 0] where nobody has one."""
    if not any(references):
        return torch.zeros(len(references), 0)
    seen = Problems(problems.max_share)  # of pictures; broken rows have been judged already
    found = mapped_features(model, references, cache_folder() / "image_features", seen)
    check_pictures(seen, len({name for name in references if name}))
    problems.take(seen)
    return found


def say_pictures(rows: pa.Table, with_image: int) -> None:
    """Count the rows that L1 cannot use."""
    count = len(rows)
    print(f"{count:,} rows, {with_image:,} with a picture.")
    if with_image < count:
        print(f"{count - with_image:,} have none and feed L2 and L3 only.")


def align_command(config: AlignConfig) -> None:
    """Align, with all processes that torchrun or SLURM started together.

    Raises:
        UserError: anything that the user can fix, as one line.
    """
    check_options(config)
    with joined(config.device) as (processes, device):
        reported(align_together, processes)(config, processes, device)


def align_together(config: AlignConfig, processes: Processes, device: str) -> None:
    """Read captions with pictures, compute or recall the features, align, say where it is."""
    problems = Problems(config.max_broken)
    captions = with_pictures(config, problems)
    model = unaligned(config, device)
    with processes.first_goes_first():
        features = features_of(model, [row.image for row in captions], problems)
    texts, ids = [row.caption for row in captions], [row.image_id for row in captions]
    base = f"{config.model}, new heads" if config.new_heads else config.model
    facts = {"source": Path(config.source).name, "base": base}
    checkpoint = align(model, texts, features, ids, config, Path(config.out), facts)
    if processes.first:
        report(checkpoint, problems)


def unaligned(config: AlignConfig, device: str) -> Mini:
    """What alignment starts from.

    Raises:
        UserError: it has no heads to fit, or heads of its own where new ones are asked for.
    """
    if config.new_heads:
        if config.model != "mini":
            hint = "Leave one of them out: new heads begin from mini's towers."
            raise UserError("--new-heads", f"{config.model} has heads of its own", hint)
        torch.manual_seed(config.seed)  # the heads are drawn
        return Mini.from_wheels(heads=None).to(find_device(device))
    model = load_model(config.model, device)
    if not isinstance(model, Mini):
        what = f"{config.model} is aligned already"
        raise UserError("--model", what, "Only mini has heads to fit; use `paraclip train`.")
    return model


def with_pictures(config: AlignConfig, problems: Problems) -> list[Caption]:
    """The captions that have a picture."""
    every = list(read_captions(config.source, config.columns, problems))
    captions = [row for row in every if row.image]
    print(f"{len(every):,} captions, {len(captions):,} with a picture.")
    if not captions:
        raise UserError(config.source, "no caption has a picture", "Give pictures with captions.")
    return captions


def report(checkpoint: Path, problems: Problems) -> None:
    """What came out of a run."""
    folder = RunFolder(checkpoint.parent)
    summary: dict[str, Any] = json.loads(folder.summary_file.read_text(encoding="utf-8"))
    if problems.count:
        problems.write(folder.path / "problems.txt")
        print(f"{problems.summary()}\nAll of them: {folder.path / 'problems.txt'}")
    if summary["texts_cut_to_context"]:
        print(f"{summary['texts_cut_to_context']:,} texts were cut to the model's context.")
    best = summary["best_held_out_loss"]
    judged = f"; held-out loss {best:.4f} after step {summary['best_step']}" if best else ""
    print(
        f"{summary['steps']:,} steps on {summary['rows'] - summary['rows_held_out']:,} rows{judged}"
    )
    print(f"Checkpoint: {checkpoint}")

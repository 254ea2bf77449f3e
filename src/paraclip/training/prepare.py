"""Prepares everything that a training run needs: rows, pictures, cached image features.

Used by the command line, `quickstart`, `ablate`, the benchmarks and from Python.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from paraclip.data.captions import Caption
from paraclip.data.images import fault_of
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import (
    attach_images,
    read_provenance,
    read_triples,
    with_replay,
    with_starter,
)
from paraclip.errors import UserError
from paraclip.files import cache_folder, file_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import PREPROCESSORS, ahead, mapped_features
from paraclip.models.loading import load_model
from paraclip.progress import track
from paraclip.starter import STARTER, TRIPLES, resolve
from paraclip.training.config import TrainOptions
from paraclip.training.processes import this_process

ROWS_AT_ONCE = 16_384
MOST_AHEAD = 256
"""Maximum number of pictures that wait to be checked; a waiting one takes about two kilobytes."""


@dataclass(frozen=True)
class TrainingData:
    """The data of a run, as input for `train` and `align`.

    Args:
        model: the base; training changes it in place.
        rows: N rows with the columns `caption` and `image_id`; for `train` also `image`,
            `paraphrase_1` and `paraphrase_2`.
        features: `embed_pixels` rows float32 [N, F] of the rows' pictures; a row of NaN means no
            picture. None if no row has a picture, or if the image tower is trained.
        facts: JSON-serialisable facts for the checkpoints: origin of base and rows.
        replayed: number of rows that are captions without paraphrases.
        problems: broken rows and pictures, which were skipped.
    """

    model: DualEncoder
    rows: pa.Table
    features: Tensor | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    replayed: int = 0
    problems: Problems = field(default_factory=Problems)

    @property
    def pictures(self) -> int:
        """Number of rows with a usable picture."""
        if self.features is None:
            return len(self.rows) - int(self.rows["image"].null_count)
        return int(rows_with_numbers(self.features).sum())


def prepare(
    triples: pa.Table | Path | str,
    model: DualEncoder | str,
    options: TrainOptions,
    *,
    images: Path | str | None = None,
    starter: bool = False,
    replay: Iterable[Caption] | Path | str | None = None,
    cache: Path | None = None,
    problems: Problems | None = None,
    device: str = "auto",
    facts: Mapping[str, Any] | None = None,
) -> TrainingData:
    """Read triples, find their pictures, and compute or load the image features.

    Args:
        triples: a file written by `paraclip generate`, JSON lines, or the rows themselves.
        model: the base, or a name that `load_model` accepts.
        options: options of the run, which determine the columns that are read and whether pictures
            are decoded in every step (`image_learning_rate`), which needs no features.
        images: folder of the pictures, for triples that name them by image_id only.
        starter: whether to train on the starter set too, which has no pictures.
        replay: captions with pictures, which L1 learns from in addition to the triples, or their
            source.
        cache: folder of image features; None: the default in ParaCLIP's cache folder.
        problems: collects broken rows and pictures; None: one per cent may be broken.
        device: device for a model given by name.
        facts: facts for the checkpoints, in addition to those of the files.

    Raises:
        UserError: a file cannot be used, too many rows are broken, or there is nothing to replay.
    """
    problems = Problems() if problems is None else problems
    known: dict[str, Any] = {}
    rows = triples
    if not isinstance(rows, pa.Table):
        rows = read_triples(rows, problems, options.one_step, options.negatives)
        known["triples"] = {"sha256": file_hash(resolve(triples)), **read_provenance(triples)}
    rows = without_empty_names(rows)
    if images is not None:
        rows = attach_images(rows, images)
    if starter:
        refuse_starter_twice(triples)
        rows = with_starter(rows)
        known["starter"] = read_provenance(STARTER)
    count = len(rows)
    if replay is not None:
        rows = replayed_beside(rows, replay, options, problems)
    if isinstance(model, str):
        known["base"], model = model, load_model(model, device)
    features = None
    if options.image_learning_rate is None:
        features = features_of(model, rows["image"].to_pylist(), problems, cache)
    else:  # pictures are decoded in every step
        rows = with_whole_pictures(rows, problems)
    return TrainingData(
        model, rows, features, known | dict(facts or {}), len(rows) - count, problems
    )


def without_empty_names(rows: pa.Table) -> pa.Table:
    """The rows with null for an empty `image`, so that such rows do not count as one picture."""
    index = rows.schema.get_field_index("image")
    if index < 0 or not pc.any(pc.equal(rows["image"], "")).as_py():
        return rows
    images = pa.array([name or None for name in rows["image"].to_pylist()], pa.string())
    return rows.set_column(index, rows.schema.field(index), images.cast(rows["image"].type))


def refuse_starter_twice(triples: pa.Table | Path | str) -> None:
    """Raise UserError if the triples are the starter set itself."""
    if not isinstance(triples, pa.Table) and Path(resolve(triples)).resolve() == TRIPLES.resolve():
        what = "adds the triples that are trained on already"
        raise UserError("--starter", what, "Omit it, or name other triples.")


def prepare_captions(
    captions: Iterable[Caption],
    model: DualEncoder,
    *,
    cache: Path | None = None,
    problems: Problems | None = None,
    facts: Mapping[str, Any] | None = None,
) -> TrainingData:
    """Captions with their pictures' features, for `align`; those without a picture are omitted.

    Args:
        captions: captions, as returned by `read_captions`.
        model: the model to align.
        cache: folder of image features; None: the default in ParaCLIP's cache folder.
        problems: collects broken pictures; None: one per cent may be broken.
        facts: facts for the checkpoints.

    Raises:
        UserError: too many pictures are broken, or no caption has one.
    """
    problems = Problems() if problems is None else problems
    with_picture = [row for row in captions if row.image]
    if not with_picture:
        raise UserError("captions", "no caption has a picture", "Give pictures with captions.")
    names = ("caption", "image_id", "image")
    rows = pa.table({
        name: pa.array([getattr(row, name) for row in with_picture], pa.string()) for name in names
    })  # fmt: skip
    features = features_of(model, rows["image"].to_pylist(), problems, cache)
    return TrainingData(model, rows, features, dict(facts or {}), problems=problems)


def replayed_beside(
    triples: pa.Table,
    replay: Iterable[Caption] | Path | str,
    options: TrainOptions,
    problems: Problems,
) -> pa.Table:
    """The triples, followed by captions from which only L1 learns."""
    seen = Problems(problems.max_share)  # the share is counted separately for triples and captions
    captions = replay
    if isinstance(captions, Path | str):
        captions = read_captions(str(captions), problems=seen)
    rows = with_replay(triples, captions, options.replay_per_triple, options.seed)
    problems.take(seen)
    if len(rows) == len(triples):
        what = "has no captions of pictures beside those of the triples"
        hint = "Name captions with pictures, or leave --replay out."
        raise UserError(replay if isinstance(replay, Path | str) else "replay", what, hint)
    return rows


def features_of(
    model: DualEncoder,
    references: list[str | None],
    problems: Problems,
    cache: Path | None = None,
) -> Tensor:
    """`embed_pixels` rows [N, F], NaN for rows without a picture; [N, 0] if no row has one.

    With several processes, the first one computes them.
    """
    if not any(references):
        return torch.zeros(len(references), 0)
    seen = Problems(problems.max_share)  # the share is counted separately for pictures and rows
    folder = cache or cache_folder() / "image_features"
    with this_process().first_goes_first():
        features = mapped_features(model, references, folder, seen)
    check_pictures(seen, len({name for name in references if name}))
    problems.take(seen)
    return features


def with_whole_pictures(triples: pa.Table, problems: Problems) -> pa.Table:
    """The triples without undecodable pictures; each picture is opened once.

    A broken picture would otherwise stop the run in the middle of a step.
    """
    images = triples["image"].to_pylist()
    names = list(dict.fromkeys(name for name in images if name))
    opened = ahead(fault_of, names, PREPROCESSORS, MOST_AHEAD)
    faults = dict(track(opened, "checking pictures", len(names), "image"))
    seen = Problems(problems.max_share)
    for name, what in faults.items():
        if what is not None:
            seen.add(name, what)
    check_pictures(seen, len(names))
    problems.take(seen)
    whole = pa.array([None if faults.get(name) else name for name in images], pa.string())
    index = triples.schema.get_field_index("image")
    return triples.set_column(index, triples.schema.field(index), whole)


def check_pictures(seen: Problems, pictures: int) -> None:
    """Raise if too many pictures are broken."""
    try:
        seen.check(pictures)
    except UserError as error:
        hint = f"{error.hint} --images FOLDER finds moved pictures whose image_id is their name."
        raise UserError(error.where, error.what, hint) from None


def rows_with_numbers(features: Tensor) -> NDArray[np.bool_]:
    """Which rows [N] of features [N, F] have a picture, that is, are not NaN throughout.

    Reads a few rows at a time, because the features may be in a file larger than memory.
    """
    has_pictures = np.zeros(len(features), dtype=bool)
    for start in range(0, len(features), ROWS_AT_ONCE):
        part = features[start : start + ROWS_AT_ONCE]
        finite = torch.isfinite(part)
        has_image = ~torch.isnan(part).all(1) if part.shape[1] else finite.any(1)
        broken = (has_image & ~finite.all(1)).nonzero()
        if len(broken):
            where = f"image features: row {start + int(broken[0]) + 1}"
            hint = "Compute the features again, in fp32."
            raise UserError(where, "a value is NaN or infinite", hint)
        has_pictures[start : start + ROWS_AT_ONCE] = has_image.numpy()
    return has_pictures

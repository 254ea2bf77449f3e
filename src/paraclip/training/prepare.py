"""What a run reads before the first step: triples, pictures, the bank, and its teachers."""

import math
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paraclip.data.captions import Problems
from paraclip.data.rows import InMemory
from paraclip.errors import UserError
from paraclip.files import cache_folder
from paraclip.given_models import loaded_model
from paraclip.models.checkpoint import check_kind
from paraclip.models.encoder import DualEncoder, Model
from paraclip.models.features import find_ranking_scale, image_features
from paraclip.models.loading import find_device, load_model
from paraclip.models.row_store import StoredRows
from paraclip.training.config import LOSSES, RunOptions
from paraclip.training.data import TrainingData
from paraclip.training.distributed import this_process
from paraclip.training.ranking import check_bank, load_teachers, read_bank
from paraclip.training.sources import RunRows, read_run_rows
from paraclip.training.train import check_training

_TRIPLES_ALONE = RunOptions()


def prepare_run(
    base: Model, triples: Path | str | InMemory, options: RunOptions, device: str = "auto"
) -> TrainingData:
    """What a run learns from, read and checked: `triples` is what `read_triples` reads, and a base
    that is passed is not changed.

    `device` is where the model is trained; `auto` leaves one that is passed where it is. Raises
    UserError for a file that cannot be used, or a run that could not be written.
    """
    problems, facts = Problems(), {}
    rows = read_run_rows(triples, options, problems)  # what is wrong there needs no model
    if isinstance(base, Path | str):
        facts = {"base": str(base)}
        model = load_model(str(base), device)
    else:
        model = deepcopy(loaded_model(base))
        check_kind(model)
        if device != "auto":
            model = model.to(find_device(device))
    check_training(options, Path(options.out), options.fresh, model)  # before pictures are encoded
    return prepare(rows, model, options, problems=problems, facts=facts)


def prepare(
    triples: RunRows | Path | str | InMemory,
    model: DualEncoder,
    options: RunOptions = _TRIPLES_ALONE,
    *,
    cache: Path | None = None,
    problems: Problems | None = None,
    facts: Mapping[str, Any] | None = None,
) -> TrainingData:
    """Read triples, find their pictures, and compute or load the image features.

    Args:
        triples: what `read_run_rows` has read, or what `read_triples` reads.
        model: the base.
        options: what else is learned from.
        cache: folder of image features; None: the default in ParaCLIP's cache folder.
        problems: collects broken rows and pictures; None: one per cent may be broken.
        facts: facts for the checkpoints, in addition to those of the files.

    Raises:
        UserError: a file cannot be used, or too many rows are broken.
    """
    problems = Problems() if problems is None else problems
    text_only = not model.architecture.reads_pictures
    if text_only and not options.bank:
        what = "is missing, and a text encoder alone ranks the vectors of an index"
        raise UserError("--bank", what, "Name the index whose queries it encodes.")
    rows = triples if isinstance(triples, RunRows) else read_run_rows(triples, options, problems)
    table, known = rows.table, dict(rows.facts)
    teachers = load_teachers(() if options.control else options.teacher, model)
    if teachers:
        known["teachers"] = {
            str(number): {
                "taught_by": one.name,
                "share": one.share,
                "made_from": one.model.made_from,
            }
            for number, one in enumerate(teachers, 1)
        }
    bank = None
    if options.bank is not None and not options.control:
        bank = read_bank(str(options.bank), model, problems, options.seed, options.images)
        known["bank"] = {"source": str(options.bank), "pictures": len(bank.vectors)}
        check_bank(bank, teachers, model)  # before pictures are embedded for long
        if text_only:
            scale = find_ranking_scale(model, bank.vectors, table["caption"].to_pylist())
            model.logit_scale.data.fill_(math.log(scale))
    # Beside a bank, R needs no pictures of the rows.
    read = bank is None or any(LOSSES[name].reads_pictures for name in options.losses)
    pictures = table["image"].to_pylist() if read and not text_only else [None] * len(table)
    features = _features_of(model, pictures, problems, cache)
    facts = known | dict(facts or {})
    spoken = tuple(options.spoken)
    return TrainingData(model, table, features, facts, problems, bank, teachers, spoken)


def check_base(model: DualEncoder) -> None:
    """Raise UserError for a model that reads no pictures."""
    if not model.architecture.reads_pictures:
        raise UserError("--base", "has only a text encoder", "Name a CLIP or mini.")


def _features_of(
    model: DualEncoder, references: list[str | None], problems: Problems, cache: Path | None
) -> Tensor | StoredRows:
    """`embed_pixels` rows [N, F], NaN for rows without a picture; [N, 0] if no row has one.

    With several processes, the first one computes them.
    """
    if not any(references):
        return torch.zeros(len(references), 0)
    seen = Problems(problems.max_share)  # the share is counted separately for pictures and rows
    folder = cache or cache_folder() / "image_features"
    with this_process().first_goes_first():
        features = image_features(model, references, folder, seen)
    try:
        problems.take(seen, len({name for name in references if name}))
    except UserError as error:
        hint = f"{error.hint} --images FOLDER finds moved pictures whose image_id is their name."
        raise UserError(error.where, error.what, hint) from None
    return features

"""What a run reads before the first step: triples, pictures, the bank, and its teachers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from paraclip.data.captions import label
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import (
    ENGLISH,
    attach_images,
    choose_wordings,
    read_provenance,
    read_triples,
    with_column,
    with_starter,
    with_texts,
)
from paraclip.errors import UserError
from paraclip.files import cache_folder, file_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import image_features
from paraclip.models.row_store import StoredRows
from paraclip.starter import STARTER, TRIPLES, resolve
from paraclip.training.bank import check_bank, load_teachers, read_bank
from paraclip.training.data import TrainingData
from paraclip.training.distributed import this_process


@dataclass(frozen=True)
class Sources:
    """What a run learns from beside its triples.

    Args:
        images: folder of the pictures, for triples that name them by image_id only, or for a bank
            whose index has the paths of another machine.
        starter: whether to train on the starter set too, which has no pictures.
        bank: pictures over which rankings are distilled; see `read_bank`.
        teachers: models whose rankings are distilled, each as MODEL or MODEL=SHARE; `base` is the
            model itself. None: base alone.
        texts: sources that `read_captions` reads, whose texts are learned from as well, each as a
            row of its own without a picture.
        languages: languages of the further wordings that are learned from, for rows that have some.
        control: whether a control is trained, which reads no bank and has no teacher.
        seed: seed of the sample of a large bank.
    """

    images: Path | str | None = None
    starter: bool = False
    bank: Path | str | None = None
    teachers: Sequence[str] = ()
    texts: Sequence[str] = ()
    languages: Sequence[str] = (ENGLISH,)
    control: bool = False
    seed: int = 0


_TRIPLES_ALONE = Sources()


def prepare(
    triples: pa.Table | Path | str,
    model: DualEncoder,
    sources: Sources = _TRIPLES_ALONE,
    *,
    cache: Path | None = None,
    problems: Problems | None = None,
    facts: Mapping[str, Any] | None = None,
) -> TrainingData:
    """Read triples, find their pictures, and compute or load the image features.

    Args:
        triples: a file written by `paraclip generate`, JSON lines, or the rows themselves.
        model: the base.
        sources: what else is learned from.
        cache: folder of image features; None: the default in ParaCLIP's cache folder.
        problems: collects broken rows and pictures; None: one per cent may be broken.
        facts: facts for the checkpoints, in addition to those of the files.

    Raises:
        UserError: a file cannot be used, or too many rows are broken.
    """
    problems = Problems() if problems is None else problems
    check_base(model)
    table, known = _read_rows(triples, sources, problems)
    spoken = {language for of_row in choose_wordings(table) for _, language in of_row} | {ENGLISH}
    if unknown := [name for name in sources.languages if name not in spoken]:
        hint = f"The rows have {', '.join(sorted(spoken))}."
        raise UserError("--languages", f"no row has a wording in {label(unknown[0])}", hint)
    teachers = load_teachers(() if sources.control else sources.teachers, model)
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
    if sources.bank is not None and not sources.control:
        bank = read_bank(str(sources.bank), model, problems, sources.seed, sources.images)
        known["bank"] = {"source": str(sources.bank), "pictures": len(bank.vectors)}
        check_bank(bank, teachers, model)
    features = _features_of(model, table["image"].to_pylist(), problems, cache)
    facts = known | dict(facts or {})
    languages = tuple(sources.languages)
    return TrainingData(model, table, features, facts, problems, bank, teachers, languages)


def check_base(model: DualEncoder) -> None:
    """Raise UserError for a model that reads no pictures."""
    if model.architecture.kind == "sentence":
        raise UserError("--base", "has only a text encoder", "Name a CLIP or mini.")


def _read_rows(
    triples: pa.Table | Path | str, sources: Sources, problems: Problems
) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of a run from all their sources, and facts about these."""
    known: dict[str, Any] = {}
    of_starter = False
    if isinstance(triples, pa.Table):
        table = triples
    else:
        table = read_triples(triples, problems)
        known["triples"] = {"sha256": file_hash(resolve(triples)), **read_provenance(triples)}
        of_starter = Path(resolve(triples)).resolve() == TRIPLES.resolve()
        if sources.starter and of_starter:
            what = "adds the triples that are trained on already"
            raise UserError("--starter", what, "Omit it, or name other triples.")
    if pc.any(pc.equal(table["image"], "")).as_py():
        # Null for an empty name, so that such rows do not count as one picture.
        table = with_column(table, "image", [name or None for name in table["image"].to_pylist()])
    if sources.images is not None and not of_starter:
        table = attach_images(table, sources.images)
    if sources.starter:
        table = with_starter(table)
        known["starter"] = read_provenance(STARTER)
    if sources.texts:
        found = [
            row.caption for source in sources.texts for row in read_captions(source, None, problems)
        ]
        table = with_texts(table, found)
        known["texts"] = {"data": list(sources.texts), "count": len(found)}
    return table, known


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

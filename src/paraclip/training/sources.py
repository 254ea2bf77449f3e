"""What a run learns from: its rows from all sources, read without a model and without torch."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from paraclip.data.captions import Problems, label
from paraclip.data.reading import find_files, read_captions
from paraclip.data.rows import InMemory
from paraclip.data.triples import (
    attach_images,
    check_triples,
    choose_wordings,
    read_provenance,
    read_triples,
    scene_table,
    with_column,
    with_starter,
    with_texts,
)
from paraclip.errors import UserError
from paraclip.files import file_hash
from paraclip.indexes import check_address
from paraclip.models.sources import BUILT_IN, SUFFIXES, check_model
from paraclip.starter import DRAWN, SCENES_ORIGIN, STARTER, TRIPLES, is_scenes, resolve
from paraclip.starter.scenes import ENGLISH
from paraclip.training.config import RunOptions

BASE = "base"
"""Name of the student before training, as a teacher."""
_LARGEST_SHARE = 1_000_000  # of a teacher; the sum of all is finite


def check_sources(triples: Path | str | InMemory, options: RunOptions) -> None:
    """Raise UserError for the name of no model, file or folder, before torch is imported."""
    of_starter = is_scenes(triples)
    if isinstance(triples, Path | str) and not of_starter:
        _refuse_model(str(triples))
        of_starter = check_triples(triples).resolve() == TRIPLES.resolve()
    if options.starter and of_starter:
        what = "adds the triples that are trained on already"
        raise UserError("--starter", what, "Omit it, or name other triples.")
    for source in options.texts:
        find_files(str(source))
    if options.control:
        return
    for name, _ in map(split_share, options.teacher):
        if name != BASE:
            check_model(name)
    if options.bank:
        check_address(str(options.bank))


class RunRows(NamedTuple):
    """The rows of a run."""

    table: pa.Table  # triples, with the columns of `read_triples`
    facts: dict[str, Any]  # of their sources, for the checkpoints


def _refuse_model(triples: str) -> None:
    """Raise UserError for a model in the place of triples."""
    model = triples in BUILT_IN or triples.endswith(SUFFIXES)
    if not model and not os.path.exists(triples):
        with suppress(UserError):
            check_model(triples)
            model = True
    if model:
        what = "is a model, and triples are due here"
        order = "train(base, triples, out) in Python, and train TRIPLES --base MODEL as a command"
        raise UserError(triples, what, f"Write {order}.")


def read_run_rows(
    triples: Path | str | InMemory, options: RunOptions, problems: Problems
) -> RunRows:
    """The rows of a run from all their sources (triples as `read_triples` reads them); no model is
    needed.

    Raises UserError if a file cannot be used, too many rows are broken, or none has a wording in
    one of the languages.
    """
    known: dict[str, Any] = {}
    of_starter = False
    check_sources(triples, options)
    if is_scenes(triples):
        # Each language gets its own share: its words have to be learned as well.
        drawn = DRAWN * len({ENGLISH, *options.spoken})
        table = scene_table(drawn, options.seed, options.spoken)
        known["triples"] = {"scenes": drawn, "seed": options.seed, **SCENES_ORIGIN}
    else:
        table = read_triples(triples, problems)
    if isinstance(triples, Path | str) and not is_scenes(triples):
        known["triples"] = {"sha256": file_hash(resolve(triples)), **read_provenance(triples)}
        of_starter = Path(resolve(triples)).resolve() == TRIPLES.resolve()
    if pc.any(pc.equal(table["image"], "")).as_py():
        # Null for an empty name, so that such rows do not count as one picture.
        table = with_column(table, "image", [name or None for name in table["image"].to_pylist()])
    if options.images is not None and not (of_starter or is_scenes(triples)):
        # Of a run with a bank, they may be the bank's alone.
        table = attach_images(table, options.images, required=options.bank is None)
    if options.starter or is_scenes(triples):
        table = with_starter(table)
        known["starter"] = read_provenance(STARTER)
    if options.texts:
        found = [
            row.caption
            for source in options.texts
            for row in read_captions(str(source), None, problems)
        ]
        table = with_texts(table, found)
        known["texts"] = {"data": list(options.texts), "count": len(found)}
    spoken = {language for of_row in choose_wordings(table) for _, language in of_row} | {ENGLISH}
    if unknown := [name for name in options.spoken if name not in spoken]:
        hint = f"The rows have {', '.join(sorted(spoken))}."
        raise UserError("--languages", f"no row has a wording in {label(unknown[0])}", hint)
    return RunRows(table, known)


def split_share(named: Path | str) -> tuple[str, float]:
    """The name and the share of MODEL or MODEL=SHARE; raises UserError for a share out of range."""
    name, equals, stated = str(named).rpartition("=")
    try:
        share = float(stated if equals else "")
    except ValueError:
        return str(named), 1.0  # a path may contain the sign
    if not 1 / _LARGEST_SHARE <= share <= _LARGEST_SHARE:  # or NaN
        hint = f"Give a number up to {_LARGEST_SHARE:,}, or leave the model out."
        raise UserError("--teacher", f"the share of {label(name)} is {stated[:20]}", hint)
    return name, share

"""Pairs of texts with the same meaning, from any table with two text columns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paraclip.data.captions import BrokenRow, clean_text, plain_text, require
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import numbered
from paraclip.evaluation.inputs.rows import ROW_READERS, read_rows, refuse_repeated
from paraclip.files import check_input, file_hash, text_hash

SECOND = ("caption2", "paraphrase", "paraphrase_1", "paraphrase_2")
"""Default names of the second column; the first one that the file has is read."""
PICTURE = ("image_id", "filename", "image")
"""Columns that name the picture of a pair (triples, SugarCrepe++); the first one is read."""


@dataclass(frozen=True)
class Pairs:
    """Captions and a paraphrase of each."""

    name: str  # name of the set: its file or folder, and the two columns
    ids: tuple[str, ...]  # unique, one for each pair
    captions: tuple[str, ...]  # first wordings
    paraphrases: tuple[str, ...]  # second wordings, in the same order
    hash: str  # hash of the files
    skipped: int = 0  # number of broken rows
    pictures: tuple[str, ...] = ()  # name of each pair's picture, or empty if none is known

    @property
    def clusters(self) -> NDArray[np.integer] | None:
        """Numbers [pairs], equal for pairs of one picture, which are resampled together."""
        return numbered(self.pictures) if self.pictures else None

    def __len__(self) -> int:
        return len(self.ids)


class Pair(NamedTuple):
    """One pair, with its file and row, its two columns and its picture."""

    id: str
    caption: str
    paraphrase: str
    where: str
    columns: tuple[str, str]
    picture: str  # the pair's id if its picture is not known


def read_pairs(
    source: str | Path,
    first: str | None = None,
    second: str | None = None,
    problems: Problems | None = None,
) -> Pairs:
    """Read a file of pairs, or all such files in a folder as one set.

    Args:
        source: .csv, .tsv, .jsonl, .json or .parquet, or a folder of them (SugarCrepe++).
        first: column of the first wording; default `caption`.
        second: column of the second wording; by default the first of caption2 (SugarCrepe++),
            paraphrase, paraphrase_1 and paraphrase_2 (triples) that exists.
        problems: lists broken rows; by default at most 1 % of the rows may be broken.

    Raises:
        UserError: if a file or column does not exist, an id is duplicated, too many rows are
            invalid, or there are no pairs.
    """
    problems = Problems() if problems is None else problems
    files, before = pair_files(Path(source)), problems.count
    several = len(files) > 1
    pairs = [
        pair
        for file in files
        for pair in file_pairs(file, first, second, f"{file.stem}/" if several else "", problems)
    ]
    skipped = problems.count - before
    problems.check(len(pairs) + skipped)
    if not pairs:
        raise UserError(source, "contains no pairs", "Name a file with two text columns.")
    keys = ((pair.id, f"id {pair.id!r} occurs twice", pair.where) for pair in pairs)
    refuse_repeated(keys, "Make the ids unique.")
    ids, captions, paraphrases, _, columns, pictures = zip(*pairs, strict=True)
    names = " and ".join(dict.fromkeys(name for two in columns for name in two))
    files_hash = text_hash(" ".join(file_hash(file) for file in files))
    name = f"{Path(source).name} ({names})"
    return Pairs(name, ids, captions, paraphrases, files_hash, skipped, pictures)


def pair_files(source: Path) -> list[Path]:
    """Return the file itself, or the tables in a folder, sorted by name."""
    check_input(source)
    if not source.exists():
        raise UserError(source, "there is no such file or folder", "Check the name.")
    if not source.is_dir():
        return [source]
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in ROW_READERS)
    if not files:
        known = ", ".join(ROW_READERS)
        raise UserError(source, f"contains no file of pairs ({known})", "Name another folder.")
    return files


def file_pairs(
    file: Path, first: str | None, second: str | None, prefix: str, problems: Problems
) -> Iterator[Pair]:
    """Yield the pairs of one file; their ids start with the prefix."""
    columns = None
    for number, (where, values) in enumerate(read_rows(str(file), problems)):
        columns = columns or choose_texts(list(values), first or "caption", second, str(file))
        try:
            caption, paraphrase = (clean_text(values.get(name), name) for name in columns)
            pair_id = plain_text(values.get("id", values.get("index")), "id")
            picture = picture_of(values)
        except BrokenRow as broken:
            problems.add(where, str(broken))
            continue
        pair_id = prefix + (str(number) if pair_id is None else pair_id)
        yield Pair(pair_id, caption, paraphrase, where, columns, picture or f"pair {pair_id}")


def picture_of(values: Mapping[str, Any]) -> str | None:
    """The name of the picture of a row, if a column gives it."""
    named = (values.get(column) for column in PICTURE)
    return next((str(name) for name in named if isinstance(name, str | int) and name != ""), None)


def choose_texts(known: list[str], first: str, second: str | None, file: str) -> tuple[str, str]:
    """Return the two text columns; raises UserError if one is missing."""
    require(known, first, "first", file)
    defaults = (name for name in SECOND if name in known and name != first)
    return first, require(known, second or next(defaults, SECOND[0]), "second", file)

"""Pairs of texts with the same meaning, from any table with two text columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from paraclip.arrays import Integers
from paraclip.data.captions import BrokenRow, clean_text, plain_text, require
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import numbered
from paraclip.evaluation.rows import ROW_READERS, good_rows, read_rows, refuse_repeated
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
    def clusters(self) -> Integers | None:
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


KINDS = (
    "lexical", "syntactic", "telegraphic", "verbose", "colloquial", "technical", "typo",
)  # fmt: skip
CONTRAST = "contrast"
RESERVED = ("change", "plain caption")  # would give two figures the same name, as in "R@10 change"
FORM = (
    'A row is {"image_id": "a.jpg", "caption": "...", "variations": {"lexical": "...", ..., '
    '"contrast": "..."}}.'
)


@dataclass(frozen=True)
class Wording:
    """One caption of one picture, and its rewordings."""

    image: str  # name of the picture in the pool
    caption: str  # the original caption
    rewordings: tuple[tuple[str, str], ...]  # (kind, text) of each; all have the caption's meaning
    contrast: str  # nearly the same words with another meaning
    where: str  # file and row (`variations.jsonl:3`)


@dataclass(frozen=True)
class Wordings:
    """The rewordings of a whole file."""

    name: str  # name of the set
    items: tuple[Wording, ...]  # items in the order of the file
    kinds: tuple[str, ...]  # all kinds that occur, in the order of the report
    hash: str  # hash of the file
    skipped: int = field(default=0)  # number of broken rows

    def __len__(self) -> int:
        return len(self.items)


def read_wordings(
    source: str | Path, kinds: Sequence[str] | None = KINDS, problems: Problems | None = None
) -> Wordings:
    """Read a JSONL or JSON file of captions and their variations.

    A row contains `image_id` (or `image`), `caption`, and `variations`, an object with one text
    per kind and one named `contrast`.
    """
    problems = Problems() if problems is None else problems
    check_input(source)
    if not Path(source).is_file():
        raise UserError(source, "there is no such file", f"Check the name. {FORM}")
    items, skipped = good_rows(source, lambda row, at: read_wording(row, kinds, at), problems)
    if not items:
        raise UserError(source, "contains no rows", FORM)
    keys = (
        (
            (item.image, item.caption, item.rewordings),
            f"{item.image!r} occurs twice with this caption",
            item.where,
        )
        for item in items
    )
    refuse_repeated(keys, "Remove one.")
    all_kinds = tuple(dict.fromkeys(kind for item in items for kind, _ in item.rewordings))
    return Wordings(Path(source).name, tuple(items), all_kinds, file_hash(source), skipped)


def read_wording(values: dict[str, Any], kinds: Sequence[str] | None, where: str) -> Wording:
    """The caption and rewordings of one row.

    Raises:
        UserError: a column or a kind is missing.
        BrokenRow: a text is empty or not text.
    """
    image, texts = values.get("image_id", values.get("image")), values.get("variations")
    for name, value in (("image_id", image), ("caption", values.get("caption"))):
        if value is None:
            raise UserError(where, f"has no {name!r}", FORM)
    if not isinstance(texts, dict):
        raise UserError(where, "has no 'variations'", FORM)
    wanted = [kind for kind in texts if kind != CONTRAST] if kinds is None else list(kinds)
    missing = [kind for kind in [*wanted, CONTRAST] if kind not in texts]
    if missing or not wanted:
        what = f"has no {missing[0]!r}" if missing else "has no rewording"
        raise UserError(where, f"{what} among its variations", FORM)
    for kind in wanted:
        if kind in RESERVED:
            what = f"has a kind of rewording called {kind!r}, which is the name of a figure"
            raise UserError(where, what, "Rename the kind.")
    return Wording(
        image=plain_text(image, "image_id") or "",
        caption=clean_text(values["caption"]),
        rewordings=tuple((kind, clean_text(texts[kind], kind)) for kind in wanted),
        contrast=clean_text(texts[CONTRAST], CONTRAST),
        where=where,
    )

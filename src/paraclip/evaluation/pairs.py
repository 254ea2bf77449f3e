"""Texts with the same meaning: pairs from any table, and captions with rewordings of each kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paraclip.arrays import Integers
from paraclip.data.captions import BrokenRow, Problems, clean_text, plain_text, require_columns
from paraclip.data.rows import Values, good_rows, read_rows
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import numbered
from paraclip.files import check_input, file_hash, text_hash

_SECOND = ("caption2", "paraphrase", "paraphrase_1", "paraphrase_2")
"""Default names of the second column; the first one that the file has is read."""
_PICTURE = ("image_id", "filename", "image")
"""Columns that name the picture of a pair (triples, SugarCrepe++); the first one is read."""
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""Suffixes of the files that are read of a folder."""
_NEGATIVE = ("negative_caption", "negative", "contrast")
"""Columns of a text with another meaning; the first one is read, if all rows have it."""


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
    negatives: tuple[str, ...] = ()  # texts of another meaning, or empty if some pair has none

    @property
    def clusters(self) -> Integers | None:
        """Numbers [pairs], equal for pairs of one picture, which are resampled together."""
        return numbered(self.pictures) if self.pictures else None

    def __len__(self) -> int:
        return len(self.ids)


def read_pairs(
    source: str | Path, first: str | None = None, second: str | None = None,
    problems: Problems | None = None,
) -> Pairs:  # fmt: skip
    """Read a file of pairs (.csv, .tsv, .jsonl, .json or .parquet), or all such files in a folder
    as one set.

    The columns are by default `caption`, and the first of caption2 (SugarCrepe++), paraphrase,
    paraphrase_1 and paraphrase_2 (triples) that exists. At most 1 % of the rows may be broken,
    unless `problems` says otherwise. Raises UserError if a file or column does not exist, an id is
    duplicated, too many rows are invalid, or there are no pairs.
    """
    problems = Problems() if problems is None else problems
    check_input(source)
    files, before = [Path(source)], problems.count
    if not files[0].exists():
        raise UserError(source, "there is no such file or folder", "Check the name.")
    if files[0].is_dir():
        files = sorted(path for path in files[0].iterdir() if path.suffix.lower() in _TABLES)
        if not files:
            what = f"contains no file of pairs ({', '.join(_TABLES)})"
            raise UserError(source, what, "Name another folder.")
    rows: list[tuple[str, str, str, str, str]] = []  # id, both wordings, picture, negative
    seen: dict[str, str] = {}
    names: list[str] = []
    for file in files:
        columns: tuple[str, str] | None = None
        for number, (where, values) in enumerate(read_rows(str(file), problems)):
            if columns is None:
                one = first or "caption"
                defaults = (name for name in _SECOND if name in values and name != one)
                columns = one, second or next(defaults, _SECOND[0])
                hint = "Name both with --columns FIRST SECOND."
                require_columns(values, columns, str(file), hint)
                names += columns
            try:
                caption, paraphrase = (clean_text(values.get(name), name) for name in columns)
                own_id = plain_text(values.get("id", values.get("index")), "id")
                others = [name for name in _NEGATIVE if values.get(name) and name not in columns]
                negative = clean_text(values[others[0]], others[0]) if others else ""
                named = [
                    plain_text(values[column], column)
                    for column in _PICTURE
                    if isinstance(values.get(column), str | bytes | int)
                ]
            except BrokenRow as broken:
                problems.add(where, str(broken))
                continue
            prefix = f"{file.stem}/" if len(files) > 1 else ""
            pair_id = f"{prefix}{number if own_id is None else own_id}"
            if pair_id in seen:
                what = f"id {pair_id!r} occurs twice (first at {seen[pair_id]})"
                raise UserError(where, what, "Make the ids unique.")
            seen[pair_id] = where
            picture = next(filter(None, named), f"pair {pair_id}")
            rows.append((pair_id, caption, paraphrase, picture, negative))
    skipped = problems.count - before
    problems.check(len(rows) + skipped)
    if not rows:
        raise UserError(source, "contains no pairs", "Name a file with two text columns.")
    ids, captions, paraphrases, pictures_of, negatives = zip(*rows, strict=True)
    name = f"{Path(source).absolute().name} ({' and '.join(dict.fromkeys(names))})"
    files_hash = text_hash(" ".join(file_hash(file) for file in files))
    negatives = negatives if all(negatives) else ()
    return Pairs(name, ids, captions, paraphrases, files_hash, skipped, pictures_of, negatives)


KINDS = (
    "lexical", "syntactic", "telegraphic", "verbose", "colloquial", "technical", "typo",
)  # fmt: skip
_CONTRAST = "contrast"
# Kinds of these names would give two figures one name, as in "R@10 change".
_RESERVED = ("change", "plain caption", "both ways", "margin", "negative")
_LONGEST_KIND = 100  # characters; it is part of the names of figures and arrays
_FORM = (
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
    skipped: int = 0  # number of broken rows

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
    items, skipped = good_rows(
        source, lambda row, at: _read_wording(row, kinds, at), problems, _FORM
    )
    first: dict[tuple[object, ...], str] = {}
    for item in items:
        key = (item.image, item.caption, item.rewordings)
        if key in first:
            what = f"{item.image!r} occurs twice with this caption (first at {first[key]})"
            raise UserError(item.where, what, "Remove one.")
        first[key] = item.where
    all_kinds = tuple(dict.fromkeys(kind for item in items for kind, _ in item.rewordings))
    return Wordings(Path(source).name, tuple(items), all_kinds, file_hash(source), skipped)


def _read_wording(values: Values, kinds: Sequence[str] | None, where: str) -> Wording:
    """Return the caption and rewordings of one row; raises BrokenRow for a text that is none."""
    image, texts = values.get("image_id", values.get("image")), values.get("variations")
    for name, value in (("image_id", image), ("caption", values.get("caption"))):
        if value is None:
            raise UserError(where, f"has no {name!r}", _FORM)
    if not isinstance(texts, dict):
        raise UserError(where, "has no 'variations'", _FORM)
    wanted = [kind for kind in texts if kind != _CONTRAST] if kinds is None else list(kinds)
    missing = [kind for kind in [*wanted, _CONTRAST] if kind not in texts]
    if missing or not wanted:
        what = f"has no {missing[0]!r}" if missing else "has no rewording"
        raise UserError(where, f"{what} among its variations", _FORM)
    for kind in wanted:
        clean_text(kind, "kind")
        if len(kind) > _LONGEST_KIND:
            what = f"has a kind of rewording of more than {_LONGEST_KIND} characters"
            raise UserError(where, what, "Rename the kind.")
        if kind in _RESERVED:
            what = f"has a kind of rewording called {kind!r}, which is the name of a figure"
            raise UserError(where, what, "Rename the kind.")
    return Wording(
        image=plain_text(image, "image_id") or "",
        caption=clean_text(values["caption"]),
        rewordings=tuple((kind, clean_text(texts[kind], kind)) for kind in wanted),
        contrast=clean_text(texts[_CONTRAST], _CONTRAST),
        where=where,
    )

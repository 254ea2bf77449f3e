"""Captions with rewordings of several kinds, and a contrast that must not match."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paraclip.data.captions import clean_text, plain_text
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.inputs.rows import good_rows, refuse_repeated
from paraclip.files import check_input, file_hash

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

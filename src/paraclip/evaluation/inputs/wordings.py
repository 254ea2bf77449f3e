"""Captions in other wordings: rewordings of several kinds, and a contrast that must not match."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paraclip.data.captions import clean_text, plain_text
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.inputs.rows import good_rows
from paraclip.files import check_input, file_hash

KINDS = (
    "lexical", "syntactic", "telegraphic", "verbose", "colloquial", "technical", "typo",
)  # fmt: skip
CONTRAST = "contrast"
FORM = (
    'A row is {"image_id": "a.jpg", "caption": "...", "variations": {"lexical": "...", ..., '
    '"contrast": "..."}}.'
)


@dataclass(frozen=True)
class Wording:
    """One caption of one picture, said in other ways.

    Args:
        image: name of the picture in the pool.
        caption: the plain caption.
        rewordings: (kind, text) of each, all of the caption's meaning.
        contrast: another meaning in nearly the same words.
        where: where it stands (`variations.jsonl:3`).
    """

    image: str
    caption: str
    rewordings: tuple[tuple[str, str], ...]
    contrast: str
    where: str


@dataclass(frozen=True)
class Wordings:
    """Many of them.

    Args:
        name: what to call the set.
        items: in the order of the file.
        kinds: all kinds that occur, in the order in which they are reported.
        hash: of the file.
        skipped: broken rows that were left out.
    """

    name: str
    items: tuple[Wording, ...]
    kinds: tuple[str, ...]
    hash: str
    skipped: int = field(default=0)

    def __len__(self) -> int:
        return len(self.items)


def read_wordings(
    source: str | Path, kinds: Sequence[str] | None = KINDS, problems: Problems | None = None
) -> Wordings:
    """Read a JSONL or JSON file of captions and their variations.

    A row holds `image_id` (or `image`), `caption`, and `variations`: a text for each kind and one
    called `contrast`.

    Args:
        source: the file.
        kinds: what each row must have; None takes what each row has (probes: one kind a row).
        problems: takes broken rows; 1 % of them at most by default.

    Raises:
        UserError: no such file, a column or a kind is missing, the same rewordings of a
            caption and its picture are there twice, too many broken rows, no row at all.
    """
    problems = Problems() if problems is None else problems
    check_input(source)
    if not Path(source).is_file():
        raise UserError(source, "there is no such file", f"Check the name. {FORM}")
    items, skipped = good_rows(source, lambda row, at: read_wording(row, kinds, at), problems)
    if not items:
        raise UserError(source, "holds no rows", FORM)
    refuse_twice(items)
    found = tuple(dict.fromkeys(kind for item in items for kind, _ in item.rewordings))
    return Wordings(Path(source).name, tuple(items), found, file_hash(source), skipped)


def read_wording(row: dict[str, Any], kinds: Sequence[str] | None, where: str) -> Wording:
    """One row.

    Raises:
        UserError: it lacks a column or a kind.
        BrokenRow: a text is empty or no text.
    """
    image = row.get("image_id", row.get("image"))
    told = row.get("variations")
    for name, value in (("image_id", image), ("caption", row.get("caption"))):
        if value is None:
            raise UserError(where, f"has no {name!r}", FORM)
    if not isinstance(told, dict):
        raise UserError(where, "has no 'variations'", FORM)
    wanted = [kind for kind in told if kind != CONTRAST] if kinds is None else list(kinds)
    lacking = [kind for kind in [*wanted, CONTRAST] if kind not in told]
    if lacking or not wanted:
        what = f"has no {lacking[0]!r}" if lacking else "has no rewording"
        raise UserError(where, f"{what} among its variations", FORM)
    return Wording(
        image=plain_text(image, "image_id") or "",
        caption=clean_text(row["caption"]),
        rewordings=tuple((kind, clean_text(told[kind], kind)) for kind in wanted),
        contrast=clean_text(told[CONTRAST], CONTRAST),
        where=where,
    )


def refuse_twice(items: Sequence[Wording]) -> None:
    """Raise where the same rewordings of one caption and picture are there twice."""
    seen: dict[tuple[object, ...], str] = {}
    for item in items:
        key = (item.image, item.caption, item.rewordings)
        if key in seen:
            what = f"{item.image!r} is there twice with this caption (first at {seen[key]})"
            raise UserError(item.where, what, "Take one out.")
        seen[key] = item.where

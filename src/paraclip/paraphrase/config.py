"""What a run of `generate` reads and writes, and the thresholds of its filters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.data.captions import Columns
from paraclip.errors import UserError


@dataclass(frozen=True)
class Limits:
    """Thresholds of the filters; `docs/guide/generate.md` describes them."""

    similarity: float = 0.35
    """Minimum MiniLM cosine between an answer and its source, -1 to 1."""
    support: float = 0.1
    """Minimum support of every new content word by the source's words: cosine of MiniLM's word
    vectors in context, -1 to 1."""
    exchange: float = 0.5
    """The same for a word that replaces another one while most other words are unchanged."""
    kept: float = 0.25
    """Minimum share of the source's content words that the answer must keep, 0 to 1."""
    growth: float = 2.2
    """Maximum number of words of an answer, as a multiple of the source's (plus 4 words)."""
    words: int = 60
    """Maximum number of words of an answer."""
    changed_kind: bool = False
    """Reject an answer that names another kind of thing than its source ("canine" for "pony"), by a
    list of common kinds, even if most other words have changed."""
    fault: float = 1.0
    """Maximum probability of a fault according to the checker (`filters/minilm.py`), 0 to 1; 1
    switches it off."""


STRONG = Limits()
CHECKED = Limits(similarity=0.2, support=-1.0, exchange=-1.0, kept=0.0, fault=0.6)
"""The checker instead of the limits on vectors; the choice is in `recipes/filters/README.md`."""
LIMITS = {"strong": STRONG, "checked": CHECKED}


@dataclass(frozen=True)
class CaptionSource:
    """Captions, and how they are read."""

    name: str  # folder, file or pattern, as for `read_captions`
    columns: Columns = Columns()  # noqa: RUF009 frozen
    max_broken: float = 0.01  # largest share of broken rows, 0 to 1
    first: int | None = None  # number of captions to read, at most


@dataclass(frozen=True)
class Outputs:
    """The folder of a run, and what is written there."""

    folder: Path
    settings: Mapping[str, Any]  # of the run, for the provenance; `licence` is that of the answers
    fresh: bool = False  # delete earlier answers


@dataclass(frozen=True)
class Part:
    """One of the parts of a large run: the captions whose ids choose it."""

    number: int  # from 1
    of: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"part-{self.number}-of-{self.of}"


def read_part(text: str) -> Part:
    """The part that a text such as `3/100` names; raises UserError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError("--part", f"{text!r} names no part", "Give 1/8 for the first of eight.")
    return Part(int(found[1]), int(found[2]))

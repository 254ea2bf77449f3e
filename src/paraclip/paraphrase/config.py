"""What a run of `generate` reads and writes, and the thresholds of its filters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from paraclip.data.captions import Columns
from paraclip.errors import UserError

Filters = Literal["default", "plain", "none"]


@dataclass(frozen=True)
class Limits:
    """Which filters are applied, and their thresholds, in the order of application."""

    filters: Filters = "default"
    """plain: without the two models that compare meanings; none: an answer only has to be text."""
    words: int = 60
    """Maximum number of words of an answer."""
    growth: float = 3.0
    """Maximum number of words of an answer, as a multiple of the source's (plus 4 words)."""
    similarity: float = 0.2
    """Minimum MiniLM cosine between an answer and its source, -1 to 1."""
    fault: float = 0.6
    """Maximum probability of a fault according to the checker (`filters/minilm.py`), 0 to 1; 1
    switches it off. `recipes/filters/README.md` says how both were chosen."""
    title_fault: float = 0.9
    """The same for a source without articles, as most alternative texts are: the checker learned
    from sentences, and takes what a good answer drops or explains for a fault."""

    @property
    def asks_checker(self) -> bool:
        """Whether the checker is used."""
        return self.filters == "default" and self.fault < 1.0


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

    def with_settings(self, **settings: Any) -> "Outputs":
        """The same with further settings."""
        return replace(self, settings={**self.settings, **settings})


@dataclass(frozen=True)
class Part:
    """One of the parts of a large run: the captions whose ids choose it."""

    number: int  # from 1
    of: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"part-{self.number}-of-{self.of}"


def read_words(text: str) -> tuple[int, int]:
    """The least and the largest number of words in a text such as `2-15`; raises UserError."""
    found = re.fullmatch(r"(\d{1,6})-(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError("--words", f"{text!r} names no numbers of words", "Give 2-15, for example.")
    return int(found[1]), int(found[2])


def read_part(text: str) -> Part:
    """The part that a text such as `3/100` names; raises UserError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError("--part", f"{text!r} names no part", "Give 1/8 for the first of eight.")
    return Part(int(found[1]), int(found[2]))

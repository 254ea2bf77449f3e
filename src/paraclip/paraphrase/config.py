"""Options of `paraclip generate`; the text under each field is its help."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What an answer may cost in meaning; see `docs/paraphrase.md` for how they were chosen."""

    similarity: float = 0.35
    """Least MiniLM cosine between an answer and its source, -1 to 1."""
    support: float = 0.25
    """Least support of every new content word by the source's words, cosine of MiniLM's word
    vectors in context, -1 to 1."""
    kept: float = 0.25
    """Least share of the source's content words that the answer must carry on, 0 to 1."""
    growth: float = 2.2
    """Most words of an answer, as a multiple of the source's words (4 more are always allowed)."""
    words: int = 60
    """Most words of an answer."""
    changed_kind: bool = False
    """Reject an answer that names another kind of thing than its source does ("pony" as
    "canine"), by a list of common kinds; worth it for small generators."""


STRONG = Limits()
SMALL = Limits(similarity=0.6, support=0.4, kept=0.6, growth=1.6, words=40, changed_kind=True)

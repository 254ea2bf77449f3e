"""What captions say about a query: which pictures are right; and queries to try."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from paraclip.data.triples import TEXTS
from paraclip.image_search.snapshot import Hit, SearchPool
from paraclip.paraphrase.english import is_content, is_negated, words
from paraclip.starter.scenes import scenes

_MOST_CAPTIONS = 300_000  # of which the words are kept: about 40 bytes a caption
_SCENES = 400  # of which examples are chosen
_TYPED = ("caption", "sentence", "short")  # kinds of wording
_ALIKE = 0.8  # share of common content words from which two wordings show nothing


class Wanted:
    """The content words of each wording; a picture is right if its caption has all of one.

    Plural and singular count as one word; words with another spelling or meaning do not.
    """

    def __init__(self, wordings: Sequence[str]) -> None:
        sets = map(_content, wordings)
        self.sets = list(dict.fromkeys(one for one in sets if one))

    def fits(self, caption: str) -> bool:
        """Whether a caption has every word of a wording."""
        found = set(_singulars(words(caption))) if self.sets else set()
        return any(one <= found for one in self.sets)


class CaptionWords:
    """The rows of a pool by the words of their captions; empty for a large or stored pool."""

    def __init__(self, pool: SearchPool) -> None:
        self.pool = pool
        self._rows: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        captions = pool.captions if len(pool) <= _MOST_CAPTIONS else None
        for number, caption in enumerate(captions.to_pylist() if captions is not None else ()):
            for word in set(_singulars(words(caption))):
                self._rows[word].append(number)

    def has_right(self, wanted: Wanted) -> bool:
        """Whether the pool is known to have a picture whose caption fits."""
        by_word = ([self._rows.get(word, ()) for word in one] for one in wanted.sets)
        # From the rarest word, so that the set is small.
        return any(set(min(rows, key=len)).intersection(*rows) for rows in by_word)


@dataclass(frozen=True)
class Example:
    """Two wordings of a picture of the index."""

    q: str
    second: str
    picture: str  # its id


def choose_examples(
    pairs: Sequence[tuple[str, str]], found: Sequence[Sequence[Hit]], count: int
) -> list[Example]:
    """The pairs of wordings that both find one picture first, and close, each of another picture:
    those that captions confirm, then the most similar ones.

    `found` are the results of both wordings of each pair in turn.
    """
    best: dict[str, tuple[tuple[float, float], Example]] = {}
    for pair, one, two in zip(pairs, found[::2], found[1::2], strict=True):
        if not one or one[0].id != two[0].id or not (one[0].close and two[0].close):
            continue
        picture = one[0].id
        rating = _share_said(pair, one[0].caption), min(one[0].score, two[0].score)
        if picture not in best or rating > best[picture][0]:
            best[picture] = rating, Example(*pair, picture)
    ranked = sorted(best.values(), key=lambda known: known[0], reverse=True)
    return [example for _, example in ranked[:count]]


def _share_said(wordings: Iterable[str], caption: str) -> float:
    """The share of a wording's content words that a caption has, 0 to 1: the largest of them."""
    said = _content(caption)
    return max(len(one & said) / max(len(one), 1) for one in map(_content, wordings))


def _content(text: str) -> frozenset[str]:
    """The content words of a text."""
    return frozenset(_singulars(filter(is_content, words(text))))


def _singulars(found: Iterable[str]) -> list[str]:
    """The words without the s of a plural."""
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found]


@cache
def everyday_pairs() -> list[tuple[str, str]]:
    """Everyday scenes, which no model of ours learnt from, each in the two of its wordings that
    have the fewest words in common."""
    pairs = []
    for row in scenes(_SCENES, held_out=True):
        texts = dict(zip((row[name] for name in TEXTS), row["kinds"], strict=True))
        texts |= {wording["text"]: wording["kind"] for wording in row["wordings"]}
        typed = [
            text for text, kind in texts.items() if kind in _TYPED and not is_negated(words(text))
        ]
        rated = [(_common(*pair), pair) for pair in combinations(typed, 2)]
        pairs += [pair for common, pair in sorted(rated)[:1] if common < _ALIKE]
    return pairs


def _common(one: str, other: str) -> float:
    """The share of the content words of two texts that both have, 0 to 1."""
    first, second = _content(one), _content(other)
    return len(first & second) / max(len(first | second), 1)

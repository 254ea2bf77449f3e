"""What captions say about a query: which pictures are right."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence

from paraclip.data.words import is_content, words
from paraclip.image_search.snapshot import SearchPool

_MOST_CAPTIONS = 300_000  # about 40 bytes of words are kept of each


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


def _content(text: str) -> frozenset[str]:
    """The content words of a text."""
    return frozenset(_singulars(filter(is_content, words(text))))


def _singulars(found: Iterable[str]) -> list[str]:
    """The words without the s of a plural."""
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found]

"""What captions say about a query: which pictures are right, and examples of queries."""

import json
import random
from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from paraclip.image_search.snapshot import Pool
from paraclip.paraphrase.language.words import is_content, words
from paraclip.starter import QUERIES

_MOST_CANDIDATES = 2000  # captions that are compared word by word
_LONGEST_EXAMPLE = 80  # characters
_DRAWN = 60  # pictures whose captions may become examples


class Wanted:
    """The content words of each wording; a picture is right if its caption has all of one.

    Plural and singular count as one word; words with another spelling or meaning do not.
    """

    def __init__(self, wordings: Sequence[str]) -> None:
        sets = (frozenset(_singulars(filter(is_content, words(text)))) for text in wordings)
        self.sets = list(dict.fromkeys(one for one in sets if one))

    def fits(self, caption: str) -> bool:
        """Whether a caption has every word of a wording."""
        found = set(_singulars(words(caption)))
        return any(one <= found for one in self.sets)

    def fits_any(self, captions: pa.ChunkedArray | None) -> bool:
        """Whether one of the captions fits; of very many candidates, the first are compared."""
        for wanted in self.sets if captions is not None else ():
            left = captions
            for word in sorted(wanted, key=len, reverse=True):
                left = left.filter(pc.match_substring(left, word, ignore_case=True))
            if any(map(self.fits, left.slice(0, _MOST_CANDIDATES).to_pylist())):
                return True
        return False


def _singulars(found: Sequence[str] | filter) -> list[str]:
    """The words without the s of a plural."""
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found]


def example_queries(pool: Pool, count: int) -> list[tuple[str, str]]:
    """Queries, each with another wording or "": captions of the index, else of the starter set."""
    captions = {hit.caption.strip(): None for hit in pool.sample(_DRAWN)}
    short = [one for one in captions if 0 < len(one) <= _LONGEST_EXAMPLE]
    return [(one, "") for one in short[:count]] or random.sample(_starter_queries(), count)


@cache
def _starter_queries() -> list[tuple[str, str]]:
    """The starter set's query pairs."""
    rows = map(json.loads, QUERIES.read_text("utf-8").splitlines())
    return [(row["query"], row["rewording"]) for row in rows]

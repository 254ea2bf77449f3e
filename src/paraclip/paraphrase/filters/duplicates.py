"""Near-duplicates of earlier triples, by MinHash (Broder 1997) from `datasketch`."""

from collections.abc import Sequence

from paraclip.paraphrase.language.words import words

PERMUTATIONS, BANDS = 128, 8  # 16 values per band: finds texts with a similarity of about 0.85
SHINGLE = 3  # words


class NearDuplicates:
    """Stores triples, as 8 hashes each (about 0.6 KiB), and recognises similar ones.

    A triple counts as a near-duplicate if one of its bands equals that of an earlier triple. The
    probability of this is 0.80 if the word trigrams of both have a Jaccard similarity of 0.9, 0.99
    at 0.95, 0.03 at 0.7, and 1 for equal texts.
    """

    def __init__(self) -> None:
        self._bands: set[int] = set()

    def seen(self, texts: Sequence[str]) -> bool:
        """Whether an earlier triple was similar; if not, this one is stored."""
        from datasketch import MinHash

        sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch([shingle.encode() for shingle in shingles(texts)])
        rows = sketch.hashvalues.reshape(BANDS, -1)
        bands = {hash((number, row.tobytes())) for number, row in enumerate(rows)}
        if bands & self._bands:
            return True
        self._bands |= bands
        return False


def shingles(texts: Sequence[str]) -> set[str]:
    """The word trigrams of texts, or the whole text if it is shorter, with its position."""
    result = set()
    for position, text in enumerate(texts):
        tokens = words(text)
        for start in range(max(1, len(tokens) - SHINGLE + 1)):
            result.add(f"{position} {' '.join(tokens[start : start + SHINGLE])}")
    return result

"""Selects the candidate to keep."""

from collections import Counter
from collections.abc import Sequence

from paraclip.language.words import overlap
from paraclip.paraphrase.filters import Verdict

MARGIN = 0.08  # cosine; candidates this close to the highest similarity count as equally similar


def choose(verdicts: Sequence[Verdict], apart_from: Sequence[str] = ()) -> Verdict | None:
    """The best candidate that passed, or None.

    Of the candidates whose similarity is within `MARGIN` of the highest, it is the one that shares
    the fewest content words with its source and with the texts in `apart_from`.
    """
    passed = [verdict for verdict in verdicts if verdict.reason is None]
    if not passed:
        return None
    highest = max(verdict.similarity for verdict in passed)
    near = [verdict for verdict in passed if verdict.similarity >= highest - MARGIN]
    return min(near, key=lambda verdict: (_shared(verdict, apart_from), -verdict.similarity))


def _shared(verdict: Verdict, apart_from: Sequence[str]) -> float:
    return verdict.overlap + sum(overlap(text, verdict.text) for text in apart_from)


def main_reason(verdicts: Sequence[Verdict]) -> str:
    """The most frequent reason among the candidates; on a tie the first."""
    counted = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    return counted.most_common(1)[0][0] if counted else "empty"

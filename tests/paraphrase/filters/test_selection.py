"""The selected candidate is first close in meaning, then different in wording."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from fake_encoder import BagEncoder

from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge, Verdict
from paraclip.paraphrase.steps import _SIMILARITY_MARGIN, _choose_candidate, _main_reason


def verdict(text: str, similarity: float, overlap: float, reason: str | None = None) -> Verdict:
    return Verdict(text, reason, similarity, overlap)


@pytest.mark.parametrize(
    ("chosen", "other"),
    [  # the nearest, if others are far in meaning; else the farthest in wording
        (("near", 0.9, 0.9), ("far", 0.9 - 2 * _SIMILARITY_MARGIN, 0.1)),
        (("other", 0.9 - _SIMILARITY_MARGIN / 2, 0.1), ("same", 0.9, 0.9)),
        (("A pup jogs", 0.8, 0.2), ("A dog runs", 0.8, 0.2)),  # words of the caption count
        (("passed", 0.5, 0.5), ("", 0.99, 0.0, "copy")),
    ],
)
def test_the_best_candidate(chosen: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    best = verdict(*chosen)
    assert _choose_candidate([verdict(*other), best], ("A dog runs.",)) is best
    assert _choose_candidate([]) is None


def test_the_most_frequent_reason_represents_all() -> None:
    failed = [verdict("", 0, 0, reason) for reason in ("copy", "drift", "drift")]
    assert _main_reason(failed) == "drift"
    assert _main_reason(failed[:2]) == "copy"
    assert _main_reason([]) == "empty"


def test_the_answers_of_many_captions_are_judged_together() -> None:
    batches: list[int] = []

    class Counting(Judge):
        def judge(self, questions: Sequence[Question]) -> list[Verdict]:
            batches.append(len(questions))
            return [verdict(one.answer, 1.0, 0.0) for one in questions]

    async def all_of_them() -> list[Verdict]:
        with closing(Counting(encoder=BagEncoder()).queue()) as queue:
            return await asyncio.gather(*(queue(Question("", str(row))) for row in range(40)))

    assert [one.text for one in asyncio.run(all_of_them())] == list(map(str, range(40)))
    assert len(batches) < 5 and sum(batches) == 40

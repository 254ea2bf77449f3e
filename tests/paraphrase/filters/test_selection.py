"""The selected candidate is first close in meaning, then different in wording."""

import asyncio
from collections.abc import Sequence

from fake_encoder import BagEncoder

from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge, Verdict, judging
from paraclip.paraphrase.steps import SIMILARITY_MARGIN, choose_candidate, main_reason


def verdict(text: str, similarity: float, overlap: float, reason: str | None = None) -> Verdict:
    return Verdict(text, reason, similarity, overlap)


def test_the_nearest_wins_when_others_are_far_in_meaning() -> None:
    near, far = verdict("near", 0.9, 0.9), verdict("far", 0.9 - 2 * SIMILARITY_MARGIN, 0.1)
    assert choose_candidate([far, near]) is near


def test_of_equally_near_ones_the_farthest_in_wording_wins() -> None:
    same, other = verdict("same", 0.9, 0.9), verdict("other", 0.9 - SIMILARITY_MARGIN / 2, 0.1)
    assert choose_candidate([same, other]) is other


def test_words_of_the_caption_count_in_step_two() -> None:
    caption = "A dog runs."
    back, away = verdict("A dog runs", 0.8, 0.2), verdict("A pup jogs", 0.8, 0.2)
    assert choose_candidate([back, away], (caption,)) is away


def test_what_failed_is_never_chosen() -> None:
    assert choose_candidate([verdict("", 0.99, 0.0, "copy")]) is None
    assert choose_candidate([]) is None


def test_the_most_frequent_reason_represents_all() -> None:
    failed = [verdict("", 0, 0, reason) for reason in ("copy", "drift", "drift")]
    assert main_reason(failed) == "drift"
    assert main_reason(failed[:2]) == "copy"
    assert main_reason([]) == "empty"


def test_the_answers_of_many_captions_are_judged_together() -> None:
    batches: list[int] = []

    class Counting(Judge):
        def judge(self, questions: Sequence[Question]) -> list[Verdict]:
            batches.append(len(questions))
            return [verdict(one.answer, 1.0, 0.0) for one in questions]

    async def all_of_them() -> list[Verdict]:
        with judging(Counting(encoder=BagEncoder())) as queue:
            return await asyncio.gather(*(queue(Question("", str(row))) for row in range(40)))

    assert [one.text for one in asyncio.run(all_of_them())] == list(map(str, range(40)))
    assert len(batches) < 5 and sum(batches) == 40

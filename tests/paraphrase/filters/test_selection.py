"""The selected candidate is first close in meaning, then different in wording."""

import asyncio
from collections.abc import Sequence

from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.desk import JudgingDesk, JudgingDesks, in_thread
from paraclip.paraphrase.filters.judge import Verdict
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


class CountingJudge:
    """Passes every answer, records the size of each batch, and can be set to fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.batches, self.error = list[int](), error

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        if self.error is not None:
            raise self.error
        self.batches.append(len(questions))
        return [verdict(one.answer, 1.0, 0.0) for one in questions]


def judged_together(judge: CountingJudge, count: int) -> list[list[Verdict] | BaseException]:
    async def judging() -> list[list[Verdict] | BaseException]:
        desk = JudgingDesk(in_thread(judge))  # type: ignore[arg-type]
        own = ([Question("source", f"{row}-{part}") for part in range(row)] for row in range(count))
        return await asyncio.gather(*map(desk.judge, own), return_exceptions=True)

    return asyncio.run(judging())


def test_answers_of_many_captions_share_batches_and_stay_apart() -> None:
    judge = CountingJudge()
    for row, verdicts in enumerate(judged_together(judge, 40)):
        assert isinstance(verdicts, list)
        assert [one.text for one in verdicts] == [f"{row}-{part}" for part in range(row)]
    assert len(judge.batches) < 40 and sum(judge.batches) == 780


def test_every_caption_gets_the_judges_error() -> None:
    error = RuntimeError("no weights")
    assert judged_together(CountingJudge(error), 5) == [error] * 5


def test_all_texts_of_a_caption_go_to_one_desk() -> None:
    judges = [CountingJudge() for _ in range(3)]
    desks = JudgingDesks([JudgingDesk(in_thread(judge)) for judge in judges])  # type: ignore[arg-type]

    async def judging() -> None:
        for number in range(30):
            caption = f"caption {number}"
            before = [sum(judge.batches) for judge in judges]
            await desks.judge([Question(caption, "one"), Question(caption, "two")])
            await desks.judge([Question("one", "three", caption)])
            used = [sum(judge.batches) - count for judge, count in zip(judges, before, strict=True)]
            assert sorted(used) == [0, 0, 3]
        assert await desks.judge([]) == []

    asyncio.run(judging())
    assert all(sum(judge.batches) for judge in judges)

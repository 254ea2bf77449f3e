"""The selected candidate is first close in meaning, then different in wording."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from unittest.mock import AsyncMock

import pytest
from fake_encoder import BagEncoder
from generating import Runs

from paraclip.data.captions import Caption
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge, Verdict
from paraclip.paraphrase.outputs import Summary


def run_judged(run: Runs, *verdicts: Verdict) -> Summary:
    """A run over "A dog runs.", in which these are the answers to each question."""
    of_text = {one.text: one for one in verdicts}

    class Told(Judge):
        def judge(self, questions: Sequence[Question]) -> list[Verdict]:
            return [of_text[one.answer] for one in questions]

    run.server.behave = lambda prompt, count: list(of_text)
    caption = Caption("c", "A dog runs.", "c", None, "here")
    return run([caption], Told(encoder=BagEncoder()), candidates=len(of_text))


@pytest.mark.parametrize(
    ("chosen", "other"),
    [  # the nearest, if others are far in meaning; else the farthest in wording
        (Verdict("near", None, 0.9, 0.9), Verdict("far", None, 0.75, 0.1)),
        (Verdict("other", None, 0.85, 0.1), Verdict("same", None, 0.9, 0.9)),
        # Words of the caption count, too.
        (Verdict("A pup jogs", None, 0.8, 0.2), Verdict("A dog runs", None, 0.8, 0.2)),
        (Verdict("passed", None, 0.5, 0.5), Verdict("", "copy", 0.99, 0.0)),
    ],
)
def test_the_best_candidate(run: Runs, chosen: Verdict, other: Verdict) -> None:
    run_judged(run, other, chosen)
    assert [row["paraphrase_2"] for row in run.triples()] == [chosen.text]


@pytest.mark.parametrize(("reasons", "main"), [("a b b", "b"), ("a b", "a")])
def test_the_most_frequent_reason_represents_all(run: Runs, reasons: str, main: str) -> None:
    verdicts = [Verdict(f"{row}", one, 0, 0) for row, one in enumerate(reasons.split())]
    assert run_judged(run, *verdicts).rejected == {f"step 1: {main}": 1}


def test_a_backend_without_answers_gives_the_reason_empty(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIBackend, "answer", AsyncMock(return_value=[]))
    found = run_judged(run, Verdict("not asked", None, 1, 1))
    assert found.rejected == {"step 1: empty": 1}


def test_the_answers_of_many_captions_are_judged_together() -> None:
    batches: list[int] = []

    class Counting(Judge):
        def judge(self, questions: Sequence[Question]) -> list[Verdict]:
            batches.append(len(questions))
            return [Verdict(one.answer, None, 1.0, 0.0) for one in questions]

    async def all_of_them() -> list[Verdict]:
        with closing(Counting(encoder=BagEncoder()).queue()) as queue:
            return await asyncio.gather(*(queue(Question("", str(row))) for row in range(40)))

    assert [one.text for one in asyncio.run(all_of_them())] == list(map(str, range(40)))
    assert len(batches) < 5 and sum(batches) == 40

"""One caption through both steps: ask, judge, choose."""

import asyncio
from dataclasses import dataclass
from typing import Any

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.files import text_hash
from paraclip.paraphrase.backends import Answer, AnswerError, Backend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters import Question, Verdict
from paraclip.paraphrase.judging import JudgingDesk
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.prompts import make_prompt
from paraclip.paraphrase.selection import choose, main_reason

MOST_FAILURES = 25  # in a row: then the server is gone, and the rest is not tried


@dataclass(frozen=True)
class Kept:
    """A triple. `row` has the columns of `data.triples.SCHEMA`."""

    row: dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """No candidate of a step passed. `reason` is the most frequent one."""

    caption: Caption
    step: int
    reason: str
    verdicts: list[Verdict]


@dataclass(frozen=True)
class Failed:
    """A question got no answer; it is asked again on the next run."""

    caption: Caption
    step: int
    problem: str


Outcome = Kept | Rejected | Failed


class Paraphraser:
    """Takes captions through both steps.

    Args:
        config: styles, candidates, how many questions may be under way.
        backend: who answers.
        log: what was answered before; new answers go there at once.
        desk: who judges.
    """

    def __init__(
        self, config: GenerateConfig, backend: Backend, log: AnswerLog, desk: JudgingDesk
    ) -> None:
        self.config, self.backend, self.log, self.desk = config, backend, log, desk
        self._free = asyncio.Semaphore(config.concurrency or 16)
        self._failures = 0

    async def outcome(self, caption: Caption) -> Outcome:
        """What becomes of a caption.

        Raises:
            UserError: no question can succeed, or the server is gone.
        """
        first = await self._step(caption, 1, caption.caption)
        if not isinstance(first, Verdict):
            return first
        second = await self._step(caption, 2, first.text)
        if not isinstance(second, Verdict):
            return second
        return Kept(self._row(caption, first, second))

    def _row(self, caption: Caption, first: Verdict, second: Verdict) -> dict[str, Any]:
        return {
            "id": caption.id,
            "image_id": caption.image_id,
            "caption": caption.caption,
            "paraphrase_1": first.text,
            "paraphrase_2": second.text,
            "image": caption.image,
            "similarity_1": first.similarity,
            "similarity_2": second.similarity,
            "overlap_1": first.overlap,
            "overlap_2": second.overlap,
            "generator": self.backend.generator,
        }

    async def _step(self, caption: Caption, step: int, text: str) -> Verdict | Rejected | Failed:
        """The kept candidate of one step; asked again while nothing passes and asks are left."""
        original = caption.caption if step == 2 else ""
        verdicts: list[Verdict] = []
        for ask in range(self.config.most_asks):
            try:
                answers = await self._answers(caption.id, step, text, ask)
            except AnswerError as error:
                return Failed(caption, step, str(error))
            questions = [Question(text, one.text, original, one.cut) for one in distinct(answers)]
            verdicts += await self.desk.judge(questions)
            best = choose(verdicts, (original,) if original else ())
            if best is not None:
                return best
        return Rejected(caption, step, main_reason(verdicts), verdicts)

    async def _answers(self, caption_id: str, step: int, text: str, ask: int) -> list[Answer]:
        """From the log, else from the backend and then into the log."""
        prompt = make_prompt(self.config.prompt_style, step, text)
        key = text_hash(f"{caption_id}\n{step}\n{ask}\n{prompt.as_text()}")
        known = self.log.find(key)
        if known is not None:
            return known
        async with self._free:
            try:
                found = await self.backend.answer(prompt, self.config.drawn)
            except AnswerError as error:
                self._count_failure(error)
                raise
        self._failures = 0
        self.log.add(key, caption_id, step, text, found)
        return found

    def _count_failure(self, error: AnswerError) -> None:
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            what = f"{self._failures} questions in a row got no answer ({error})"
            raise UserError("generator", what, "Check the server; the same command resumes.")


def distinct(answers: list[Answer]) -> list[Answer]:
    """The answers without those whose text came before."""
    return list({answer.text: answer for answer in reversed(answers)}.values())[::-1]

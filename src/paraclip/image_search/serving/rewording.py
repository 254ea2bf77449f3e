"""Rewordings of a query, by the language models that also write the triples."""

import asyncio
from collections.abc import Awaitable, Callable

from paraclip.compute.micro_batch import Overloaded
from paraclip.errors import UserError
from paraclip.image_search.serving.service import Recent
from paraclip.paraphrase.backends import AnswerError, llm_options, make_backend
from paraclip.paraphrase.english import content_roots
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.prompts import make_prompt

_STEP = 2  # the step that uses other words and another structure
_OFFERED, _DRAWN = 3, 6  # the checker refuses some answers, and some are alike
MOST_WAITING = 8  # requests; a local model answers one in a few seconds
_CACHED = 1000
_SECONDS = 30.0  # for an answer of the model


class Reworder:
    """Suggests rewordings; the model is started at the first request.

    Args:
        llm: backend of the language model, as for `paraclip generate`.

    Raises:
        UserError: a package, weights or an option of the language model or the filters is missing.
    """

    def __init__(self, llm: str) -> None:
        self.backend = make_backend(llm_options(llm, timeout=_SECONDS, max_retries=1))
        self.judge = Judge()
        self.is_started = False
        self.one_at_a_time = asyncio.Lock()
        self.known: Recent[str, list[str]] = Recent(_CACHED)
        self.waiting = 0

    async def suggest(self, text: str, has_left: Callable[[], Awaitable[bool]]) -> list[str]:
        """Return at most three rewordings that the checker passes, the most different ones first.

        Args:
            text: the query.
            has_left: whether nobody waits for the answer any more; the model is not used then.

        Raises:
            Overloaded: too many requests wait for the model.
            UserError: the model cannot be started, or gave no answer; its hint is for whoever runs
                the server.
        """
        text = " ".join(text.split())
        known = self.known.get(text)
        if known is not None:
            return known
        if self.waiting >= MOST_WAITING:
            raise Overloaded
        self.waiting += 1
        try:
            async with self.one_at_a_time:
                known = self.known.get(text)  # the same question may have been answered meanwhile
                if known is None and not await has_left():
                    known = await self._ask(text)
                    self.known.put(text, known)
        finally:
            self.waiting -= 1
        return known or []

    async def _ask(self, text: str) -> list[str]:
        """Send the question to the model."""
        if not self.is_started:
            await self.backend.start()
            self.is_started = True
        prompt = make_prompt(self.backend.style, _STEP, text)
        try:
            answers = await asyncio.wait_for(self.backend.answer(prompt, _DRAWN), _SECONDS)
        except (AnswerError, TimeoutError) as error:
            what = "the language model gave no answer"
            raise UserError("rewording", what, "Try again.") from error
        questions = [Question(text, answer.text, cut=answer.cut) for answer in answers]
        verdicts = await asyncio.to_thread(self.judge.judge, questions)
        # Texts with the same content words in the same order are one wording.
        wordings = {tuple(content_roots(text)): ""}
        for verdict in sorted(verdicts, key=lambda one: one.overlap):
            if verdict.reason is None:
                wordings.setdefault(tuple(content_roots(verdict.text)), verdict.text)
        return list(wordings.values())[1 : _OFFERED + 1]  # the first stands for the query itself

    async def close(self) -> None:
        """Release the model."""
        await self.backend.close()

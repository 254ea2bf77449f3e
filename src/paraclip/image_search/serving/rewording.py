"""Rewordings of a query, by the language models that also write the triples."""

import asyncio
from collections.abc import Awaitable, Callable

from paraclip.errors import UserError
from paraclip.image_search.serving.service import Recent
from paraclip.micro_batch import Overloaded
from paraclip.paraphrase.backends import (
    AnswerError,
    Backend,
    backend_kind,
    llm_options,
    make_backend,
)
from paraclip.paraphrase.config import LIMITS
from paraclip.paraphrase.filters.checks import Question, plain_reason
from paraclip.paraphrase.filters.cleaning import clean
from paraclip.paraphrase.prompts import make_prompt

_STEP = 2  # the step that uses other words and another structure
_OFFERED = 3
_MOST_WAITING = 8  # requests; a local model answers one in a few seconds
_CACHED = 1000
_SECONDS = 30.0


class Reworder:
    """Suggests rewordings; the model is started at the first request.

    Args:
        llm, model, base_url: backend of the language model, as for `paraclip generate`.
    """

    def __init__(self, llm: str, model: str | None = None, base_url: str | None = None) -> None:
        urls = (base_url,) if base_url is not None else ()
        self.llm, self.limits = llm, LIMITS[backend_kind(llm).limits]
        self.options = llm_options(llm, model=model, base_url=urls, timeout=_SECONDS, max_retries=1)
        self.backend: Backend | None = None
        self.one_at_a_time = asyncio.Lock()
        self.known: Recent[str, list[str]] = Recent(_CACHED)
        self.waiting = 0

    async def suggest(self, text: str, has_left: Callable[[], Awaitable[bool]]) -> list[str]:
        """Return at most three rewordings that pass the filters for copies, chatter and facts.

        Args:
            text: the query.
            has_left: whether nobody waits for the answer any more; the model is not used then.

        Raises:
            Overloaded: too many requests wait for the model.
            UserError: the model cannot be started, or gave no answer.
        """
        text = " ".join(text.split())
        known = self.known.get(text)
        if known is not None:
            return known
        if self.waiting >= _MOST_WAITING:
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
        if self.backend is None:
            # In a thread: its packages take seconds to import.
            backend = await asyncio.to_thread(make_backend, self.options)
            await backend.start()
            self.backend = backend
        prompt = make_prompt(self.backend.style, _STEP, text)
        drawn = max(self.options.candidates, _OFFERED)
        try:
            answers = await asyncio.wait_for(self.backend.answer(prompt, drawn), _SECONDS)
        except (AnswerError, TimeoutError) as error:
            what = "the language model gave no answer"
            raise UserError("rewording", what, "Try again.") from error
        kept: dict[str, None] = {}
        for answer in answers:
            question, wording = Question(text, answer.text, cut=answer.cut), clean(answer.text)
            if wording and plain_reason(question, wording, self.limits) is None:
                kept[wording] = None
        return list(kept)[:_OFFERED]

    async def close(self) -> None:
        """Release the model."""
        if self.backend is not None:
            await self.backend.close()

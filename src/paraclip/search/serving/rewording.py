"""Rewordings of a query, by the language models that also write the triples."""

import asyncio
from pathlib import Path

from paraclip.errors import UserError
from paraclip.paraphrase.backends import AnswerError, Backend, make_backend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.checks import Question, plain_reason
from paraclip.paraphrase.filters.cleaning import clean
from paraclip.paraphrase.prompts import make_prompt
from paraclip.search.serving.batching import Recent

STEP = 2  # the step that uses other words and another structure
OFFERED = 3
CACHED = 1000
SECONDS = 30.0


def rewording_config(backend: str, model: str | None, base_url: str | None) -> GenerateConfig:
    """Options of the language model."""
    servers = (base_url,) if base_url is not None else ()
    return GenerateConfig(
        source="query", out=Path("."), backend=backend, model=model, base_url=servers,
        timeout=SECONDS, max_retries=1,
    )  # fmt: skip


class Reworder:
    """Suggests rewordings; the model is started at the first request.

    Args:
        config: options of the language model.
    """

    def __init__(self, config: GenerateConfig) -> None:
        self.config = config
        self.backend: Backend | None = None
        self.one_at_a_time = asyncio.Lock()
        self.known: Recent[str, list[str]] = Recent(CACHED)

    async def suggest(self, text: str) -> list[str]:
        """Return at most three rewordings that pass the filters for copies, chatter and facts.

        Raises:
            UserError: the model cannot be started, or gave no answer.
        """
        text = " ".join(text.split())
        known = self.known.get(text)
        if known is None:
            async with self.one_at_a_time:
                known = self.known.get(text)  # the same question may have been answered meanwhile
                if known is None:
                    known = await self.ask(text)
                    self.known.put(text, known)
        return known

    async def ask(self, text: str) -> list[str]:
        """Send the question to the model."""
        if self.backend is None:
            backend = make_backend(self.config)
            await backend.start()
            self.backend = backend
        prompt = make_prompt(self.config.prompt_style, STEP, text)
        try:
            drawn = max(self.config.drawn, OFFERED)
            answers = await asyncio.wait_for(self.backend.answer(prompt, drawn), SECONDS)
        except (AnswerError, TimeoutError) as error:
            what = "the language model gave no answer"
            raise UserError("rewording", what, "Try again.") from error
        limits = self.config.filter_limits
        kept = [
            clean(answer.text)
            for answer in answers
            if plain_reason(Question(text, answer.text, cut=answer.cut), clean(answer.text), limits)
            is None
        ]
        return [one for one in dict.fromkeys(kept) if one][:OFFERED]

    async def close(self) -> None:
        """Release the model."""
        if self.backend is not None:
            await self.backend.close()

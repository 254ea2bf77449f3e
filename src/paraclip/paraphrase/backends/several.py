"""Several OpenAI-compatible servers of the same model as one backend."""

import asyncio
from dataclasses import replace

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer, AnswerError, Refused
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt

REST = 60.0  # seconds during which a server that failed is used only if no other is left


class SeveralServers:
    """Asks the least busy server, and the others if that fails.

    The config's limits on questions in flight and rates are divided evenly among the servers.

    Args:
        config: config with the addresses of at least two servers.

    Raises:
        UserError: see `OpenAIBackend`.
    """

    def __init__(self, config: GenerateConfig) -> None:
        count = len(config.base_url)
        self.servers = [
            OpenAIBackend(
                replace(share_of(config, count), base_url=(url,), engine="asyncio", workers=1)
            )
            for url in config.base_url
        ]
        self.generator, self.identity = self.servers[0].generator, self.servers[0].identity
        self.model, self.base_url = self.servers[0].model, self.servers[0].base_url
        self._asked, self._rests_until = [0] * count, [0.0] * count

    async def start(self) -> None:
        """Check all servers; raises UserError if none can be used."""
        faults = await asyncio.gather(
            *(server.start() for server in self.servers), return_exceptions=True
        )
        for index, fault in enumerate(faults):
            if fault is not None and (not isinstance(fault, UserError) or all(faults)):
                raise fault
            if fault is not None:
                self._let_rest(index)

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """See `Backend.answer`; a server is at fault if it fails and another one answers."""
        errors: dict[int, AnswerError | UserError] = {}
        for index in self._by_load():
            try:
                answers = await self._ask(index, prompt, candidates)
            except (AnswerError, UserError) as error:
                errors[index] = error
                continue
            for failed in errors:
                self._let_rest(failed)
            return answers
        first = next(iter(errors.values()))
        raise next((one for one in errors.values() if isinstance(one, Refused)), first)

    async def _ask(self, index: int, prompt: Prompt, candidates: int) -> list[Answer]:
        self._asked[index] += 1
        try:
            return await self.servers[index].answer(prompt, candidates)
        finally:
            self._asked[index] -= 1

    def _by_load(self) -> list[int]:
        """Indices of the servers, least busy first; servers that failed recently come last."""
        now = asyncio.get_running_loop().time()
        return sorted(
            range(len(self.servers)),
            key=lambda index: (self._rests_until[index] > now, self._asked[index]),
        )

    def _let_rest(self, index: int) -> None:
        self._rests_until[index] = asyncio.get_running_loop().time() + REST

    async def close(self) -> None:
        """Close all connections."""
        for server in self.servers:
            await server.close()


def share_of(config: GenerateConfig, parts: int) -> GenerateConfig:
    """The config with its limits on questions in flight and rates divided by `parts`."""
    requests, tokens = config.requests_per_minute, config.tokens_per_minute
    return replace(
        config,
        concurrency=max(1, -(-config.most_in_flight // parts)),
        requests_per_minute=requests and max(0.01, requests / parts),
        tokens_per_minute=tokens and max(1.0, tokens / parts),
    )

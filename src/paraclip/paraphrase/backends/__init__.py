"""The interface of LLM backends, and the table of those that exist."""

import importlib
from dataclasses import dataclass, field
from typing import Protocol, cast

from paraclip.errors import UserError, nearest
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt

BACKENDS = {
    "builtin": "paraclip.paraphrase.backends.builtin:BuiltInBackend",
    "transformers": "paraclip.paraphrase.backends.huggingface.backend:TransformersBackend",
    "openai": "paraclip.paraphrase.backends.openai_server:OpenAIBackend",
}
"""Name for `--backend` -> "module:Class", imported at the first use. The class is a `Backend` that
takes a `GenerateConfig`."""


@dataclass(frozen=True)
class Answer:
    """One candidate.

    Args:
        text: as the generator wrote it; may be empty.
        cut: generation stopped at the token limit, so the end is missing.
        tokens: tokens of the prompt and of the answers that the server reports for the request;
            its first answer carries all of them.
    """

    text: str
    cut: bool = False
    tokens: tuple[int, int] = field(default=(0, 0), compare=False)


class AnswerError(Exception):
    """A question got no answer after all retries. The message must not contain a key.

    The caption counts as failed; the next run asks again.
    """


class RefusedInBatch(AnswerError):
    """A question failed in a batch for good; it does not say that the server is down now."""


class Waiting(AnswerError):
    """The answer comes with a later round; the caption waits.

    Args:
        message: what it waits for.
        tokens: of prompt and answers that the question takes at most.
    """

    def __init__(self, message: str, tokens: tuple[int, int]) -> None:
        super().__init__(message)
        self.tokens = tokens


class Backend(Protocol):
    """A generator.

    Attributes:
        generator: its name and settings, recorded in the triples.
        identity: anything else that decides the answers, such as hashes of weights, by name. A
            run resumes only with the same generator and identity.
    """

    generator: str
    identity: dict[str, str]

    async def start(self) -> None:
        """Prepare for questions; raises UserError if none can succeed."""

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """`candidates` answers to one prompt.

        Raises:
            AnswerError: this question failed; others may succeed.
            UserError: no question can succeed (wrong key, unknown model).
        """

    async def close(self) -> None:
        """Release connections and memory."""


def check_backend(name: str) -> None:
    """Raise UserError with the nearest name if there is no such backend."""
    if name not in BACKENDS:
        raise UserError("--backend", f"there is no backend {name!r}", nearest(name, list(BACKENDS)))


def make_backend(config: GenerateConfig) -> Backend:
    """The backend that the config names.

    Raises:
        UserError: there is no such backend, or an option of it is missing.
    """
    check_backend(config.backend)
    if len(config.base_url) > 1:
        from paraclip.paraphrase.backends.several import SeveralServers

        return SeveralServers(config)
    module, _, name = BACKENDS[config.backend].partition(":")
    return cast(Backend, getattr(importlib.import_module(module), name)(config))

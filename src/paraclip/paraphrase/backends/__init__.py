"""The interface of LLM backends, and the table of available ones."""

import importlib
from dataclasses import dataclass, field
from typing import Protocol, cast

from paraclip.errors import UserError, nearest
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt

BACKENDS = {
    "builtin": "paraclip.paraphrase.backends.builtin:BuiltInBackend",
    "openai": "paraclip.paraphrase.backends.openai_server:OpenAIBackend",
}
"""Name for `--backend` -> "module:Class", imported at the first use. The class is a `Backend`
constructed from a `GenerateConfig`."""


@dataclass(frozen=True)
class Answer:
    """One candidate.

    Args:
        text: the generator's text, unchanged; may be empty.
        cut: generation stopped at the token limit, so the end is missing.
        tokens: tokens of the prompt and the answers that the server reports for the request; the
            first answer carries the total.
    """

    text: str
    cut: bool = False
    tokens: tuple[int, int] = field(default=(0, 0), compare=False)


class AnswerError(Exception):
    """A question got no answer after all retries. The message must not contain a key.

    The caption counts as failed, and the next run asks the question again.
    """


class Refused(AnswerError):
    """The server refuses this question and always will; it may answer others."""


class RefusedInBatch(AnswerError):
    """A question failed permanently in a batch; the server itself may be available."""


class Waiting(AnswerError):
    """The answer will arrive in a later round; the caption waits for it.

    Args:
        message: description of what is awaited.
        tokens: maximum numbers of prompt and answer tokens of the question.
    """

    def __init__(self, message: str, tokens: tuple[int, int]) -> None:
        super().__init__(message)
        self.tokens = tokens


class Backend(Protocol):
    """A generator.

    Attributes:
        generator: its name and settings, recorded in the triples.
        identity: anything else that determines the answers, such as hashes of weights, by name. A
            run resumes only with the same generator and identity.
    """

    generator: str
    identity: dict[str, str]

    async def start(self) -> None:
        """Prepare for questions; raises UserError if none can succeed."""

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """Return `candidates` answers to one prompt.

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
    """Create the backend that the config names.

    Raises:
        UserError: there is no such backend, or a required option is missing.
    """
    check_backend(config.backend)
    if config.backend == "openai" and len(config.base_url) > 1:
        from paraclip.paraphrase.backends.several import SeveralServers

        return SeveralServers(config)
    module, _, name = BACKENDS[config.backend].partition(":")
    return cast(Backend, getattr(importlib.import_module(module), name)(config))

"""LLM backends: their interface, their options, and the table of available ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Protocol, cast

from paraclip.errors import UserError, nearest, require
from paraclip.paraphrase.prompts import Messages, Prompt
from paraclip.plugins import Table

_MOST_TOKENS = 10**9  # of one question; larger numbers are damage
UNKNOWN_LICENCE = "not stated: see the terms of the generator's vendor"


@dataclass(frozen=True)
class LLMOptions:
    """How an LLM is asked, and what it may cost; `llm_options` has the backends' defaults."""

    backend: str = "openai"  # name in BACKENDS
    model: str | None = None  # the server's name of a model
    base_url: tuple[str, ...] = ()  # addresses of servers of the same model
    candidates: int = 1  # answers per question
    asks: int = 1  # at most, of one question until an answer passes the filters
    temperature: float = 1.0  # 0 to 2
    top_p: float = 0.1  # probability mass of nucleus sampling, 0 to 1
    max_tokens: int = 64  # of an answer
    prompts: tuple[Messages, ...] = ()  # of step 1 and step 2, in place of those of the style
    words: tuple[int, int] | None = None  # of a caption; others are rejected without a question
    kinds: tuple[str, ...] = ()  # of further wordings to ask for, in `paraphrase/prompts.py`
    concurrency: int = 16  # questions in flight, at most
    per_minute: tuple[float, float] | None = None  # requests and tokens, at most
    timeout: float = 60.0  # seconds from a request to the last byte of its answer
    max_retries: int = 5  # of a request
    prices: tuple[float, float] | None = None  # dollars per million tokens of prompts, of answers
    max_cost: float | None = None  # dollars at which no further question is asked


@dataclass(frozen=True)
class BackendKind:
    """A backend: where its class is, and its defaults."""

    place: str  # "module:class", imported at the first use; constructed from `LLMOptions`
    options: LLMOptions = LLMOptions()
    licence: str = UNKNOWN_LICENCE  # licence or terms of the answers
    # The modules that it needs, each with its extra.
    packages: dict[str, str] = field(default_factory=dict)


BACKENDS = Table(
    "backends",
    {
        "openai": BackendKind(
            "paraclip.paraphrase.backends.openai_server:OpenAIBackend",
            packages=dict.fromkeys(("openai", "genai_prices"), "llm"),
        ),
    },
)
"""Backends by name for `--backend`."""


@dataclass(frozen=True)
class Answer:
    """One candidate."""

    text: str  # the generator's text, unchanged; may be empty
    cut: bool = False  # generation stopped at the token limit, so the end is missing
    # Of the prompt and the answers, as reported for the request; the first answer has the total.
    tokens: tuple[int, int] = field(default=(0, 0), compare=False)


class AnswerError(Exception):
    """A question got no answer after all retries; the next run asks it again.

    The message must not contain a key.
    """


class Refused(AnswerError):
    """The server refuses this question and always will; it may answer others."""


class RefusedInBatch(AnswerError):
    """A question failed permanently in a batch; the server itself may be available."""


class Waiting(AnswerError):
    """The answer will arrive in a later round; the caption waits for it."""

    def __init__(self, message: str, tokens: tuple[int, int]) -> None:
        super().__init__(message)
        self.tokens = tokens  # of the question's prompt and answers, at most


class Backend(Protocol):
    """A generator, constructed from `LLMOptions`.

    Attributes:
        generator: its name and settings, recorded in the triples.
        identity: anything else that determines the answers, such as hashes of weights, by name. A
            run resumes only with the same generator and identity.
        style: style of its prompts, a name in `prompts.STYLES`; `LLMOptions.prompts` replace those
            of the two steps.
    """

    generator: str
    identity: dict[str, str]
    style: str

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


def backend_kind(name: str) -> BackendKind:
    """The line of the table; raises UserError with the nearest name if there is none."""
    if name not in BACKENDS:
        raise UserError(name, "is not a backend", nearest(name, list(BACKENDS)))
    return BACKENDS[name]


def llm_options(backend: str, **given: Any) -> LLMOptions:
    """The default options of a backend, replaced by those that are given and not None."""
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(backend_kind(backend).options, backend=backend, **changed)


def make_backend(options: LLMOptions) -> Backend:
    """Create the backend that the options name; raises UserError if there is none, an extra is not
    installed, or an option is missing or of no use to it."""
    require(backend_kind(options.backend).packages)
    return cast(Backend, backend_class(options.backend)(options))


def backend_class(name: str) -> Any:
    """The class of a backend, imported."""
    module, _, class_name = backend_kind(name).place.partition(":")
    return getattr(import_module(module), class_name)


def tokens_in(entry: dict[str, Any]) -> list[int]:
    """Numbers of prompt and answer tokens of an entry; zeros if they are missing or damaged."""
    tokens = entry.get("tokens")
    if not isinstance(tokens, list) or [type(count) for count in tokens] != [int, int]:
        return [0, 0]
    return tokens if min(tokens) >= 0 and max(tokens) < _MOST_TOKENS else [0, 0]


def add_tokens(tokens: Sequence[int], *more: Sequence[int]) -> list[int]:
    """The sums of numbers of prompt and of answer tokens."""
    return [sum(column) for column in zip(tokens, *more, strict=True)]

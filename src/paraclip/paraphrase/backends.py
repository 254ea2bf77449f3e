"""Who answers the prompts: one small interface, and the client of OpenAI-compatible servers."""

import os
from dataclasses import dataclass
from typing import Any, Protocol

import openai

from paraclip.errors import UserError
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt
from paraclip.provenance import without_secrets

OPENAI_URL = "https://api.openai.com/v1"
PROBE_SECONDS = 15.0
NEWER_LIMIT = "max_completion_tokens"  # what OpenAI's newer models call max_tokens
LONGEST = 4000  # characters kept of one answer; a server may send anything


@dataclass(frozen=True)
class Answer:
    """One candidate.

    Args:
        text: as the generator wrote it; empty where it wrote nothing.
        cut: it stopped at the token limit, so the end is missing.
    """

    text: str
    cut: bool = False


class AnswerError(Exception):
    """A question that got no answer after all retries; its row is failed and asked again next time.

    The message never holds the key.
    """


class Backend(Protocol):
    """A generator. `generator` names it with its settings, for the triples."""

    generator: str

    async def start(self) -> None:
        """Get ready; raises UserError where nobody will answer."""

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """`candidates` answers to one prompt.

        Raises:
            AnswerError: this question failed; others may not.
            UserError: no question can succeed (wrong key, unknown model).
        """

    async def close(self) -> None:
        """Let go of connections and of the model."""


class OpenAIBackend:
    """Any server with OpenAI's chat and completions endpoints.

    Time-outs, dropped connections, rate limits (with Retry-After) and server errors are repeated
    by the `openai` package with growing pauses; nonsense answers are repeated here.

    Args:
        config: model, address, sampling, time-out, retries.
        base_url: the address, where it is not the config's.

    Raises:
        UserError: no model or no key where one is needed.
    """

    def __init__(self, config: GenerateConfig, base_url: str | None = None) -> None:
        self.config = config
        self.base_url = base_url or config.base_url or os.environ.get("OPENAI_BASE_URL", OPENAI_URL)
        self.shown_url = without_secrets(self.base_url)
        self.model = config.model or os.environ.get("PARACLIP_MODEL", "")
        self._key = "none" if base_url else os.environ.get("OPENAI_API_KEY", "").strip()
        self._check()
        self._one_by_one = False
        self._limit = "max_tokens"
        temperature, top_p = config.sampling
        self.generator = f"{self.model} temperature={temperature} top_p={top_p}"
        self._client = openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._key or "none",
            timeout=config.timeout,
            max_retries=config.max_retries,
        )

    def _check(self) -> None:
        if not self.model:
            hint = "Name one with --model or PARACLIP_MODEL."
            raise UserError("--model", "no model is named for the server", hint)
        if self.base_url == OPENAI_URL and not self._key:
            hint = "Set OPENAI_API_KEY, or name a server of your own with --base-url."
            raise UserError("OPENAI_API_KEY", "OpenAI's server needs a key and none is set", hint)
        if not (self._key.isascii() and self._key.isprintable()):
            what = "holds what no key does: a line break, or a letter outside ASCII"
            raise UserError("OPENAI_API_KEY", what, "Copy the key once more.")

    async def start(self) -> None:
        """Ask the server for its models: is it there, and does it take the key?

        Raises:
            UserError: nobody listens, or the key is refused.
        """
        probe = self._client.with_options(timeout=min(self.config.timeout, PROBE_SECONDS))
        try:
            await probe.with_options(max_retries=0).models.list()
        except openai.AuthenticationError as error:
            raise self._wrong_key() from error
        except openai.APIConnectionError as error:  # time-outs are of this class too
            raise self._down() from error
        except (openai.OpenAIError, ValueError):
            return  # many servers list no models; the first question will tell

    def _wrong_key(self) -> UserError:
        hint = "Check OPENAI_API_KEY and its rights for the model."
        return UserError(self.shown_url, "the server refuses the key", hint)

    def _down(self) -> UserError:
        hint = "Start the server, or check --base-url and OPENAI_BASE_URL."
        return UserError(self.shown_url, "no server answers there", hint)

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """See `Backend.answer`; servers that give one answer whatever `n` says are asked again."""
        found: list[Answer] = []
        while len(found) < candidates:
            missing = 1 if self._one_by_one else candidates - len(found)
            fresh = await self._retried(prompt, missing)
            self._one_by_one = self._one_by_one or len(fresh) < missing
            found += fresh
        return found[:candidates]

    async def _retried(self, prompt: Prompt, count: int) -> list[Answer]:
        """One request, repeated while the server sends nonsense."""
        problem = ""
        for _ in range(self.config.max_retries + 1):
            try:
                return answers_of(await self._request(prompt, count))
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise self._wrong_key() from error
            except openai.NotFoundError as error:
                hint = "Check --model and --base-url."
                raise UserError(
                    self.model, f"{self.shown_url} knows no such model", hint
                ) from error
            except (openai.APIResponseValidationError, ValueError) as error:
                problem = self._safe(f"not an answer: {error}")
            except openai.OpenAIError as error:
                raise AnswerError(self._safe(f"{type(error).__name__}: {error}")) from error
        raise AnswerError(problem)

    async def _request(self, prompt: Prompt, count: int) -> Any:
        """One request; a server that wants the limit of tokens by its newer name is asked so."""
        try:
            return await self._send(prompt, count)
        except openai.BadRequestError as error:
            if self._limit == NEWER_LIMIT or NEWER_LIMIT not in str(error):
                raise
            self._limit = NEWER_LIMIT
            return await self._send(prompt, count)

    async def _send(self, prompt: Prompt, count: int) -> Any:
        temperature, top_p = self.config.sampling
        common: dict[str, Any] = {
            "model": self.model, "temperature": temperature, "top_p": top_p,
            self._limit: self.config.max_tokens,
        }  # fmt: skip
        if count > 1:
            common["n"] = count
        if prompt.stop:
            common["stop"] = list(prompt.stop)
        if prompt.text is not None:
            return await self._client.completions.create(prompt=prompt.text, **common)
        common["messages"] = list(prompt.messages or ())
        return await self._client.chat.completions.create(**common)

    def _safe(self, message: str) -> str:
        """The message on one line, at most 300 characters, without the key."""
        if len(self._key) > 4:
            message = message.replace(self._key, "***")
        return " ".join(message.split())[:300]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def answers_of(response: Any) -> list[Answer]:
    """The candidates in a response of either endpoint.

    Raises:
        ValueError: there is no choice in it, or a choice is no text.
    """
    choices = getattr(response, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise ValueError("the response has no choices")
    return [_answer_of(choice) for choice in choices]


def _answer_of(choice: Any) -> Answer:
    message = getattr(choice, "message", None)
    text = getattr(choice, "text", None) if message is None else getattr(message, "content", None)
    if text is not None and not isinstance(text, str):
        raise ValueError("the answer is not a text")
    whole = (text or "").encode("utf-8", "replace").decode()  # a lone surrogate is no text
    cut = getattr(choice, "finish_reason", None) == "length" or len(whole) > LONGEST
    return Answer(whole[:LONGEST], cut)

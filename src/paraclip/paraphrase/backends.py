"""Who answers the prompts: one small interface, and the client of OpenAI-compatible servers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import openai

from paraclip.errors import UserError, printable
from paraclip.paraphrase.client import (
    BoundedClient,
    check_address,
    http,
    parsed,
    secrets_of,
    tls_problem,
)
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt
from paraclip.provenance import without_secrets

OPENAI_URL = "https://api.openai.com/v1"
PROBE_SECONDS = 15.0
NEWER_LIMIT = "max_completion_tokens"  # what OpenAI's newer models call max_tokens
REDIRECTS = range(300, 400)
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
    by the `openai` package with growing pauses; nonsense answers are repeated here. What the server
    sends is untrusted: it is limited in time and size, and neither the key nor the password of the
    address is kept where it repeats them.

    Args:
        config: model, address, sampling, time-out, retries.
        base_url: the address, where it is not the config's.

    Raises:
        UserError: no model or no key where one is needed, or the address is none.
    """

    def __init__(self, config: GenerateConfig, base_url: str | None = None) -> None:
        self.config = config
        self.base_url = base_url or address_of(config)
        self.shown_url = without_secrets(self.base_url)
        self.model = config.model or os.environ.get("PARACLIP_MODEL", "")
        self._key = "none" if base_url else os.environ.get("OPENAI_API_KEY", "").strip()
        self._check()
        self._secrets = secrets_of(self._key, self.base_url)
        self._one_by_one = False
        self._limit = "max_tokens"
        temperature, top_p = config.sampling
        self.generator = f"{self.model} temperature={temperature} top_p={top_p}"
        self._client = openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._key or "none",
            timeout=config.timeout,
            max_retries=config.max_retries,
            http_client=BoundedClient(config.timeout),
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
            UserError: nobody listens, the key is refused, or it is another kind of server.
        """
        probe = self._client.with_options(
            timeout=min(self.config.timeout, PROBE_SECONDS), max_retries=0
        )
        try:
            response = await probe.get("/models", cast_to=http.Response)
        except openai.AuthenticationError as error:
            raise self._wrong_key() from error
        except openai.APIConnectionError as error:  # time-outs are of this class too
            raise self._down(error) from error
        except openai.APIStatusError as error:
            self._refuse_redirect(error)
            return  # many servers list no models; the first question will tell
        except (openai.OpenAIError, ValueError):
            return
        if "html" in response.headers.get("Content-Type", "").lower():
            what = "answers with a web page, which no OpenAI-compatible server does"
            raise UserError(self.shown_url, what, "Check --base-url: most addresses end in /v1.")

    def _wrong_key(self) -> UserError:
        hint = "Check OPENAI_API_KEY and its rights for the model."
        return UserError(self.shown_url, "the server refuses the key", hint)

    def _down(self, error: Exception) -> UserError:
        problem = tls_problem(error)
        if problem is not None:
            hint = "Check http or https in --base-url, or name the authority with SSL_CERT_FILE."
            return UserError(self.shown_url, problem, hint)
        hint = "Start the server, or check --base-url and OPENAI_BASE_URL."
        return UserError(self.shown_url, "no server answers there", hint)

    def _refuse_redirect(self, error: openai.APIStatusError) -> None:
        """Raise where the server sends its clients elsewhere: nothing is sent there unasked."""
        if error.status_code in REDIRECTS:
            place = without_secrets(self._safe(error.response.headers.get("Location", "")))
            hint = "Give the new address with --base-url, if you trust it."
            raise UserError(self.shown_url, f"the server redirects to {place!r}", hint) from error

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
                return answers_of(await self._request(prompt, count), self._without_secrets)
            except ValueError as error:
                problem = self._safe(f"not an answer: {error}")
            except openai.OpenAIError as error:
                raise self._final(error) from error
        raise AnswerError(problem)

    def _final(self, error: openai.OpenAIError) -> UserError | AnswerError:
        """What an error means that repeating does not help against."""
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return self._wrong_key()
        if isinstance(error, openai.NotFoundError):
            what = f"{self.shown_url} knows no such model"
            return UserError(self.model, what, "Check --model and --base-url.")
        if isinstance(error, openai.APIStatusError):
            self._refuse_redirect(error)
        cause = f" ({error.__cause__})" if isinstance(error, openai.APIConnectionError) else ""
        return AnswerError(self._safe(f"{type(error).__name__}: {error}{cause}"))

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
            place = "/completions"
            common["prompt"] = prompt.text
        else:
            place = "/chat/completions"
            common["messages"] = list(prompt.messages or ())
        # The package's own classes take any response for an answer; the body is read here instead.
        response = await self._client.post(place, cast_to=http.Response, body=common)
        return parsed(response.content)

    def _without_secrets(self, text: str) -> str:
        """A text in which a server may have repeated the key or the password."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _safe(self, message: str) -> str:
        """The message on one printable line, at most 300 characters, without secrets."""
        return printable(" ".join(self._without_secrets(message).split()))[:300]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def address_of(config: GenerateConfig) -> str:
    """The server's address; an empty OPENAI_BASE_URL counts as none.

    Raises:
        UserError: it is no address.
    """
    if config.base_url is not None:
        check_address("--base-url", config.base_url)
        return config.base_url
    named = os.environ.get("OPENAI_BASE_URL", "").strip()
    if named:
        check_address("OPENAI_BASE_URL", named)
    return named or OPENAI_URL


def answers_of(response: Any, hide: Callable[[str], str]) -> list[Answer]:
    """The candidates in a response of either endpoint.

    Args:
        response: parsed JSON, of any shape.
        hide: takes secrets out of a text.

    Raises:
        ValueError: there is no choice in it, or a choice is no text.
    """
    choices = response.get("choices") if isinstance(response, dict) else None
    if not isinstance(choices, list) or not choices:
        raise ValueError("the response has no choices")
    return [_answer_of(choice, hide) for choice in choices]


def _answer_of(choice: Any, hide: Callable[[str], str]) -> Answer:
    if not isinstance(choice, dict):
        raise ValueError("a choice is no object")
    holder, name = (choice, "text") if "message" not in choice else (choice["message"], "content")
    if not isinstance(holder, dict) or name not in holder:
        raise ValueError("a choice has no message")
    text = holder[name]
    if text is not None and not isinstance(text, str):  # null is what models say that refuse
        raise ValueError("the answer is not a text")
    whole = hide(text or "").encode("utf-8", "replace").decode()  # a lone surrogate is no text
    cut = choice.get("finish_reason") == "length" or len(whole) > LONGEST
    return Answer(whole[:LONGEST], cut)

"""The backend for OpenAI-compatible servers."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai

from paraclip.errors import UserError, printable
from paraclip.paraphrase.backends import Answer, AnswerError, Refused
from paraclip.paraphrase.backends.client import (
    BoundedClient,
    check_address,
    http,
    parsed,
    secrets_of,
    tls_problem,
)
from paraclip.paraphrase.backends.pace import Pace, asked_pause, pause_before, tokens_of
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt
from paraclip.provenance import without_secrets

OPENAI_URL = "https://api.openai.com/v1"
PROBE_SECONDS = 15.0
NEWER_LIMIT = "max_completion_tokens"  # newer OpenAI models use this name for max_tokens
LONGEST_ANSWER = 4000  # characters kept of one answer


class OpenAIBackend:
    """Any server with OpenAI's chat and completions endpoints.

    Requests are repeated after time-outs, dropped connections, rate limits, server errors and
    malformed answers, with growing random pauses; `Pace` limits requests in flight and rates. The
    retries of the `openai` package are disabled, because it ignores a Retry-After above two
    minutes. Responses are untrusted: time and size are limited, and the key and the password of the
    address are removed from them.

    Args:
        config: model, address, sampling, time-out, retries.
        base_url: overrides the config's address; the key is not sent to it.

    Raises:
        UserError: the model or a required key is missing, or the address is invalid.
    """

    def __init__(self, config: GenerateConfig, base_url: str | None = None) -> None:
        self.config = config
        self.base_url = base_url or address_of(config)
        self.shown_url = without_secrets(self.base_url)
        self.model = model_of(config)
        self._key = "none" if base_url else os.environ.get("OPENAI_API_KEY", "").strip()
        self._check()
        self._secrets = secrets_of(self._key, self.base_url)
        self._one_by_one = False
        self._limit_name = "max_tokens"
        self.generator = generator_of(config, self.model)
        self.identity: dict[str, str] = {}
        self.pace = Pace(
            config.most_in_flight, config.requests_per_minute, config.tokens_per_minute
        )
        self._client = openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._key or "none",
            timeout=config.timeout,
            max_retries=0,
            http_client=BoundedClient(config.timeout),
        )

    def _check(self) -> None:
        if self.base_url == OPENAI_URL and not self._key:
            hint = "Set OPENAI_API_KEY, or name another server with --base-url."
            raise UserError("OPENAI_API_KEY", "OpenAI's server needs a key and none is set", hint)
        if not (self._key.isascii() and self._key.isprintable()):
            what = "contains a line break or a non-ASCII character, which no key has"
            raise UserError("OPENAI_API_KEY", what, "Copy the key again.")

    async def start(self) -> None:
        """Check that the server responds and accepts the key, by requesting its list of models.

        Raises:
            UserError: no server responds, it rejects the key, or it is not OpenAI-compatible.
        """
        seconds = min(self.config.timeout, PROBE_SECONDS)
        probe = self._client.with_options(timeout=seconds)
        try:
            response = await probe.get("/models", cast_to=http.Response)
        except openai.AuthenticationError as error:
            raise self._wrong_key() from error
        except openai.APIConnectionError as error:  # includes time-outs
            raise self._unreachable(error) from error
        except openai.APIStatusError as error:
            self._refuse_redirect(error)
            return  # many servers do not list models
        except (openai.OpenAIError, ValueError):
            return
        if "html" in response.headers.get("Content-Type", "").lower():
            what = "answers with a web page, so it is not an OpenAI-compatible server"
            raise UserError(self.shown_url, what, "Check --base-url: most addresses end in /v1.")

    def _wrong_key(self) -> UserError:
        hint = "Check OPENAI_API_KEY and its rights for the model."
        return UserError(self.shown_url, "the server refuses the key", hint)

    def _unreachable(self, error: Exception) -> UserError:
        what, hint = tls_problem(error), "Check http or https in --base-url, or set SSL_CERT_FILE."
        if what is None:
            what = "no server answers there"
            hint = "Start the server, or check --base-url and OPENAI_BASE_URL."
        return UserError(self.shown_url, what, hint)

    def _refuse_redirect(self, error: openai.APIStatusError) -> None:
        """Raise UserError if the response is a redirect; captions are not sent to other servers."""
        if 300 <= error.status_code < 400:
            target = without_secrets(self.safe(error.response.headers.get("Location", "")))
            hint = "Give the new address with --base-url, if you trust it."
            raise UserError(self.shown_url, f"the server redirects to {target!r}", hint) from error

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """See `Backend.answer`; repeats the request if the server ignores `n` and returns fewer."""
        answers: list[Answer] = []
        while len(answers) < candidates:
            missing = 1 if self._one_by_one else candidates - len(answers)
            received = await self._retried(prompt, missing)
            self._one_by_one = self._one_by_one or len(received) < missing
            answers += received
        return answers[:candidates]

    async def _retried(self, prompt: Prompt, count: int) -> list[Answer]:
        """Send one request, and repeat it while the error may be temporary.

        Raises:
            AnswerError: it failed too often, or would fail again.
            UserError: every request will fail.
        """
        attempt = 1
        while True:
            try:
                return await self._asked(prompt, count)
            except ValueError as error:
                if attempt > self.config.max_retries:
                    raise AnswerError(self.safe(f"malformed answer: {error}")) from error
            except openai.OpenAIError as error:
                if attempt > self.config.max_retries or not may_pass(error):
                    raise self.final(error) from error
            # In addition to the server's own pause, which may be 0 and which `Pace` keeps.
            await asyncio.sleep(pause_before(attempt))
            attempt += 1

    async def _asked(self, prompt: Prompt, count: int) -> list[Answer]:
        """Send one request when its turn comes; raises ValueError for a malformed answer."""
        estimate = tokens_of(len(prompt.as_text()), count, self.config.max_tokens)
        async with self.pace.turn(estimate) as began:
            try:
                response = await self._request(prompt, count)
            except openai.OpenAIError as error:
                self.pace.pause(pause_of(error))
                if is_overload(error):
                    self.pace.overloaded(began)
                raise
            answers = answers_of(response, self.without_secrets)
        used = tokens_used(response)
        self.pace.answered(sum(used) - estimate if any(used) else 0)
        return [replace(answers[0], tokens=used), *answers[1:]]

    def final(self, error: openai.OpenAIError) -> UserError | AnswerError:
        """The exception to raise for an error that remains after all retries."""
        if isinstance(error, openai.AuthenticationError):
            return self._wrong_key()
        if isinstance(error, openai.NotFoundError):
            what = f"{self.shown_url} has no such model"
            return UserError(self.model, what, "Check --model and --base-url.")
        if isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota":
            hint = "Raise the account's limit; the same command resumes."
            return UserError(self.shown_url, "the account has no quota left", hint)
        if isinstance(error, openai.APIStatusError):
            self._refuse_redirect(error)
        cause = f" ({error.__cause__})" if isinstance(error, openai.APIConnectionError) else ""
        kind = AnswerError if may_pass(error) else Refused
        return kind(self.safe(f"{type(error).__name__}: {error}{cause}"))

    async def _request(self, prompt: Prompt, count: int) -> Any:
        """The parsed response; switches to the newer name of the token limit if required."""
        used = self._limit_name  # another question may switch it in the meantime
        try:
            return await self._send(prompt, count)
        except openai.BadRequestError as error:
            if used == NEWER_LIMIT or NEWER_LIMIT not in str(error):
                raise
            self._limit_name = NEWER_LIMIT
            return await self._send(prompt, count)

    async def _send(self, prompt: Prompt, count: int) -> Any:
        endpoint, body = request_of(self.config, self.model, prompt, count, self._limit_name)
        # The package's response classes accept any JSON; the body is validated here instead.
        response = await self._client.post(endpoint, cast_to=http.Response, body=body)
        return parsed(response.content)

    def without_secrets(self, text: str) -> str:
        """The text with the key and the password replaced by ***."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def safe(self, message: str) -> str:
        """The message on one printable line of at most 300 characters, without secrets."""
        return printable(" ".join(self.without_secrets(message).split()))[:300]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def model_of(config: GenerateConfig) -> str:
    """The server's name of the model; raises UserError if none is given."""
    model = config.model or os.environ.get("PARACLIP_MODEL", "")
    if not model:
        hint = "Name one with --model or PARACLIP_MODEL."
        raise UserError("--model", "the model is not named", hint)
    return model


def generator_of(config: GenerateConfig, model: str) -> str:
    """Model name and sampling, which identify the generator in a log of answers."""
    temperature, top_p = config.sampling
    return f"{model} temperature={temperature} top_p={top_p}"


def request_of(
    config: GenerateConfig, model: str, prompt: Prompt, count: int, limit_name: str
) -> tuple[str, dict[str, Any]]:
    """Return the endpoint and the body of a request.

    Args:
        config: sampling and the maximum number of answer tokens.
        model: the server's name of the model.
        prompt: a chat or plain text.
        count: number of candidates.
        limit_name: the server's name for the maximum number of answer tokens.
    """
    temperature, top_p = config.sampling
    body: dict[str, Any] = {
        "model": model, "temperature": temperature, "top_p": top_p, limit_name: config.max_tokens,
    }  # fmt: skip
    if count > 1:
        body["n"] = count
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    if prompt.text is not None:
        return "/completions", body | {"prompt": prompt.text}
    return "/chat/completions", body | {"messages": list(prompt.messages or ())}


def may_pass(error: openai.OpenAIError) -> bool:
    """Whether the same request may succeed later."""
    if not isinstance(error, openai.APIStatusError):
        return isinstance(error, openai.APIConnectionError)  # includes time-outs
    if error.code == "insufficient_quota":
        return False
    return status_may_pass(error.status_code)


def status_may_pass(status: int) -> bool:
    """Whether a request with this HTTP status may succeed later."""
    return status in (408, 409, 425, 429) or status >= 500


def is_overload(error: openai.OpenAIError) -> bool:
    """Whether an error means that the server is overloaded."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in (429, 503, 529)
    return isinstance(error, openai.APITimeoutError)


def pause_of(error: openai.OpenAIError) -> float | None:
    """Seconds that the server requests to wait before any further request, or None."""
    headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
    return asked_pause(headers)


def tokens_used(response: Any) -> tuple[int, int]:
    """Tokens of the prompt and of the answers as reported by a response, or else zeros."""
    usage = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(usage, dict):
        return 0, 0
    used = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    most = 10**9
    if all(type(count) is int and 0 <= count < most for count in used):
        return used  # type: ignore[return-value]
    return 0, 0


def address_of(config: GenerateConfig) -> str:
    """The server's address: the first option, else OPENAI_BASE_URL if not empty, else OpenAI's.

    Raises:
        UserError: the text is not an address.
    """
    if config.base_url:
        check_address("--base-url", config.base_url[0])
        return config.base_url[0]
    address = os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
    check_address("OPENAI_BASE_URL", address)
    return address


def answers_of(response: Any, hide: Callable[[str], str]) -> list[Answer]:
    """The candidates in a response from either endpoint.

    Args:
        response: parsed JSON, of any shape.
        hide: removes secrets from a text.

    Raises:
        ValueError: there are no choices, or a choice is malformed.
    """
    try:
        answers = [_answer_of(choice, hide) for choice in response["choices"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the response has no choices, or one without a text") from error
    if not answers:
        raise ValueError("the response has no choices")
    return answers


def _answer_of(choice: dict[str, Any], hide: Callable[[str], str]) -> Answer:
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    # None means that the model refused; encoding replaces lone surrogates.
    text = "" if text is None else text
    if not isinstance(text, str):
        raise TypeError("the text is not a string")
    text = hide(text).encode("utf-8", "replace").decode()
    cut = choice.get("finish_reason") == "length" or len(text) > LONGEST_ANSWER
    return Answer(text[:LONGEST_ANSWER], cut)

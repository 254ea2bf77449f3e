"""The backend for OpenAI-compatible servers."""

import asyncio
import os
from typing import Any

import openai

from paraclip.errors import UserError, printable
from paraclip.paraphrase.backends import Answer, AnswerError, LLMOptions, Refused
from paraclip.paraphrase.backends.client import (
    LONGEST_PAUSE,
    Server,
    ServersClient,
    check_address,
    http,
    parsed,
    secrets_of,
    shown_seconds,
    tls_problem,
)
from paraclip.paraphrase.backends.messages import (
    NEWER_LIMIT,
    answers_in,
    generator_of,
    may_pass,
    model_of,
    request_of,
)
from paraclip.paraphrase.prompts import Prompt
from paraclip.provenance import without_secrets

OPENAI_URL = "https://api.openai.com/v1"
PROBE_SECONDS = 15.0


class OpenAIBackend:
    """Any server with OpenAI's chat and completions endpoints, or several of the same model.

    The `openai` package repeats requests after time-outs, dropped connections, rate limits, server
    errors and malformed answers, with growing random pauses; `ServersClient` limits requests in
    flight and rates, and sends a repeated request to another server if there is one. Responses are
    untrusted: time and size are limited, and keys and passwords are removed from them.

    Args:
        options: model, addresses, sampling, rates, time-out and retries. The rates and the number
            of questions in flight are divided evenly among several servers.
        key: API key; None: the variable OPENAI_API_KEY.

    Raises:
        UserError: the model or a required key is missing, or an address is invalid.
    """

    def __init__(self, options: LLMOptions, key: str | None = None) -> None:
        self.options, self.model = options, model_of(options)
        self.addresses = addresses = addresses_of(options)
        self.base_url = addresses[0]
        self._key = os.environ.get("OPENAI_API_KEY", "").strip() if key is None else key
        if OPENAI_URL in addresses and not self._key:
            hint = "Set OPENAI_API_KEY, or name another server with --base-url."
            raise UserError("OPENAI_API_KEY", "OpenAI's server needs a key and none is set", hint)
        if not (self._key.isascii() and self._key.isprintable()):
            what = "contains a line break or a non-ASCII character, which no key has"
            raise UserError("OPENAI_API_KEY", what, "Copy the key again.")
        self._secrets = {secret for one in addresses for secret in secrets_of(self._key, one)}
        self._one_by_one = False
        self._limit_name = "max_tokens"
        self.generator = generator_of(self.model, options)
        self.identity: dict[str, str] = {}
        self.style = options.style or "paper"
        parts = len(addresses)
        rates = options.per_minute and (
            options.per_minute[0] / parts,
            options.per_minute[1] / parts,
        )
        most = max(1, -(-options.concurrency // parts))
        self.servers = [Server(address, most, rates) for address in addresses]
        self._http = ServersClient(self.servers, options.timeout)
        self._client = openai.AsyncOpenAI(
            base_url=self.base_url, api_key=self._key or "none", timeout=options.timeout,
            max_retries=options.max_retries, http_client=self._http,
        )  # fmt: skip

    async def start(self) -> None:
        """Check that a server responds and accepts the key, by requesting its list of models.

        Raises:
            UserError: no server responds, it rejects the key, or it is not OpenAI-compatible.
        """
        faults = await asyncio.gather(*map(self._fault, self.servers))
        for server, fault in zip(self.servers, faults, strict=True):
            if fault is not None:
                server.rest()
        if all(faults):
            raise next(fault for fault in faults if fault is not None)

    async def _fault(self, server: Server) -> UserError | None:
        """Why a server cannot be used, or None."""
        seconds = min(self.options.timeout, PROBE_SECONDS)
        try:
            response = await self._http.probe(server, self._key or "none", seconds)
        except http.RequestError as error:
            what, hint = tls_problem(error), "Check http or https in --base-url, or SSL_CERT_FILE."
            if what is None:
                what = "no server answers there"
                hint = "Start the server, or check --base-url and OPENAI_BASE_URL."
            return UserError(server.shown, what, hint)
        if response.status_code == 401:
            return _wrong_key(server)
        if 300 <= response.status_code < 400:
            return self._redirect(server, response)
        kind = response.headers.get("Content-Type", "").lower()
        if response.status_code == 200 and "html" in kind:
            what = "answers with a web page, so it is not an OpenAI-compatible server"
            return UserError(server.shown, what, "Check --base-url: most addresses end in /v1.")
        return None  # many servers do not list models

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """See `Backend.answer`; repeats the request if the server ignores `n` and returns fewer."""
        answers: list[Answer] = []
        while len(answers) < candidates:
            missing = 1 if self._one_by_one else candidates - len(answers)
            received = await self._asked(prompt, missing)
            self._one_by_one = self._one_by_one or len(received) < missing
            answers += received
        return answers[:candidates]

    async def _asked(self, prompt: Prompt, count: int) -> list[Answer]:
        """Send one question; if a server fails, it rests, and the next attempt goes to another."""
        errors: list[UserError | AnswerError] = []
        for _ in self.servers:
            self._check_pause()
            try:
                return await self._sent(prompt, count)
            except openai.OpenAIError as error:
                self._check_pause()
                errors.append(self._final(error))
                errors[-1].__cause__ = error
        raise next((one for one in errors if isinstance(one, Refused)), errors[0])

    def _check_pause(self) -> None:
        """Raise UserError if all servers requested a pause that is too long to wait for."""
        pause = self._http.pause_left()
        if pause > LONGEST_PAUSE:
            what = f"requests a pause of {shown_seconds(pause)} (Retry-After)"
            hint = "Run the same command after it, or name another server."
            raise UserError(self.servers[0].shown, what, hint)

    async def _sent(self, prompt: Prompt, count: int) -> list[Answer]:
        """The answers; switches to the newer name of the token limit if a server requires it."""
        name = self._limit_name  # another question may switch it in the meantime
        endpoint, body = request_of(self.model, self.options, prompt, count, name)
        try:
            # The package's response classes accept any JSON; the client validates the body.
            response = await self._client.post(endpoint, cast_to=http.Response, body=body)
        except openai.BadRequestError as error:
            if name == NEWER_LIMIT or NEWER_LIMIT not in str(error):
                raise
            self._limit_name = NEWER_LIMIT
            return await self._sent(prompt, count)
        return answers_in(parsed(response.content), self._hide)

    def _final(self, error: openai.OpenAIError) -> UserError | AnswerError:
        """The exception to raise for an error that remains after all retries."""
        if isinstance(error, openai.APIStatusError):
            server = error.request.extensions.get("server", self.servers[0])
            if isinstance(error, openai.AuthenticationError):
                return _wrong_key(server)
            if isinstance(error, openai.NotFoundError):
                what = f"{server.shown} has no such model"
                return UserError(self.model, what, "Check --model and --base-url.")
            if error.code == "insufficient_quota":
                hint = "Raise the account's limit; the same command resumes."
                return UserError(server.shown, "the account has no quota left", hint)
            if 300 <= error.status_code < 400:
                return self._redirect(server, error.response)
            kind = AnswerError if may_pass(error.status_code) else Refused
            return kind(self._safe(f"{type(error).__name__}: {error}"))
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return AnswerError(self._safe(f"{type(error).__name__}: {error}{cause}"))

    def _redirect(self, server: Server, response: Any) -> UserError:
        """Captions are not sent to other servers."""
        target = without_secrets(self._safe(response.headers.get("Location", "")))
        hint = "Give the new address with --base-url, if you trust it."
        return UserError(server.shown, f"the server redirects to {target!r}", hint)

    def _hide(self, text: str) -> str:
        """The text with keys and passwords replaced by ***."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _safe(self, message: str) -> str:
        """The message on one printable line of at most 300 characters, without secrets."""
        return printable(" ".join(self._hide(message).split()))[:300]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _wrong_key(server: Server) -> UserError:
    hint = "Check OPENAI_API_KEY and its rights for the model."
    return UserError(server.shown, "the server refuses the key", hint)


def addresses_of(options: LLMOptions) -> tuple[str, ...]:
    """The servers' addresses: the option, else OPENAI_BASE_URL if not empty, else OpenAI's.

    Raises:
        UserError: a text is not an address.
    """
    for address in options.base_url:
        check_address("--base-url", address)
    if options.base_url:
        return options.base_url
    address = os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
    check_address("OPENAI_BASE_URL", address)
    return (address,)

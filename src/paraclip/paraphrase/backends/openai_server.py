"""The backend for OpenAI-compatible servers, which are untrusted: time and size of their answers
are bounded, and redirects are not followed.

Retries are those of the `openai` package, with a client for each server. Its HTTP client is
subclassed here: every attempt waits for the server's rates, and a malformed answer is an error that
may be retried. A question goes to the least busy server.
"""

import asyncio
import json
import os
import ssl
import sys
from base64 import b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import openai

from paraclip.errors import UserError, printable
from paraclip.paraphrase.backends import Answer, AnswerError, LLMOptions, Refused, messages
from paraclip.paraphrase.prompts import Prompt
from paraclip.progress import is_quiet
from paraclip.provenance import KEY, without_secrets

_OPENAI_URL = "https://api.openai.com/v1"
_PROBE_SECONDS = 15.0
_REST = 60.0  # seconds for which a server that failed is used only if all others did as well
_MOST_RESPONSE_BYTES = 8 << 20  # long lists of models have 1 MiB
_TOO_LARGE = f"the answer is larger than {_MOST_RESPONSE_BYTES >> 20} MiB"
_LONGEST_ADDRESS = 2000
_LONGEST_PLACEHOLDER = 15  # letters; keys are longer or contain digits
_OWN_PAUSE = 60.0  # seconds; `openai` waits for shorter ones (3.57 for up to 120)
_LONGEST_PAUSE = 3600.0  # seconds; a server that requests a longer pause ends the run
_BYTES_PER_TOKEN = 4  # rough figure for English, if the server does not report the number
_ENCODINGS = ("", "identity", "gzip", "deflate")  # one layer, which expands at most 1,000 times
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_NO_PROXY = dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"))
_ADDRESS_HINT = "Give an address such as http://localhost:8000/v1."
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_HEADERS = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")  # `openai` sends them
_PROXIES = ("all_proxy", "https_proxy", "http_proxy", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


# The HTTP package that `openai` uses: `httpx`, or its successor from openai 3 on.
_bases = {one.__name__: one for one in openai.DefaultAsyncHttpxClient.__mro__}
http: Any = sys.modules[_bases["AsyncClient"].__module__.partition(".")[0]]


def _now() -> float:
    return asyncio.get_running_loop().time()


class _Rate:
    """Spaces units evenly, so that no minute exceeds its share; 0 is no limit."""

    def __init__(self, per_minute: float) -> None:
        self._spacing = 60 / per_minute if per_minute else 0.0
        self._free = 0.0  # event loop time at which the next unit may be used

    def take(self, units: float) -> float:
        """Count units; returns the seconds to wait for all that were counted before."""
        now = _now()
        turn = max(now, self._free)
        self._free = turn + units * self._spacing
        return turn - now


class _Server(openai.DefaultAsyncHttpxClient):
    """A server: an HTTP client that aborts answers that take too long or are too large. It gets an
    equal share of the rates in the options.

    Redirects are not followed: they could send captions, and possibly the key, to another host.
    """

    def __init__(self, address: str, options: LLMOptions, key: str) -> None:
        url, self.shown = http.URL(address), without_secrets(address)
        # What the environment says about proxies and certificates is of no use, and may be wrong.
        plain = url.scheme == "http" and url.host in _THIS_MACHINE
        headers = {"Accept-Encoding": "identity"}
        super().__init__(
            follow_redirects=False, headers=headers, mounts=_NO_PROXY, trust_env=not plain
        )
        self.api = openai.AsyncOpenAI(
            base_url=address, api_key=key, timeout=options.timeout,
            max_retries=options.max_retries, http_client=self,
        )  # fmt: skip
        self.requests, self.tokens = (
            _Rate(rate and rate / len(options.base_url)) for rate in options.per_minute or (0, 0)
        )
        self.in_flight = 0  # questions
        self.rests_until = float("-inf")  # event loop time

    async def send(self, request: Any, **options: Any) -> Any:
        """The whole response to a request; a question waits for the rates.

        Raises:
            ReadTimeout: an error of the HTTP package: the response took too long.
            DecodingError: the body is too large, or contains no answers.
        """
        if request.method == "GET":
            return await self._bounded(request, **options)
        await asyncio.sleep(self.tokens.take(0))
        await asyncio.sleep(self.requests.take(1))
        response = await self._bounded(request, **options)
        if response.is_success:
            self.tokens.take(_tokens_of(response))
        elif _OWN_PAUSE < (pause := _requested_pause(response)) <= _LONGEST_PAUSE:
            await self._pause(pause)
            del response.headers["Retry-After"]
        return response

    async def _bounded(self, request: Any, **options: Any) -> Any:
        """A copy of a response with its body read, and decompressed although identity was asked."""
        try:
            async with asyncio.timeout(request.extensions["timeout"]["read"]):
                response = await super().send(request, **options | {"stream": True})
                try:
                    headers, body = response.headers.copy(), bytearray()
                    if headers.pop("Content-Encoding", "").lower() not in _ENCODINGS:
                        what = "the answer is compressed in an unknown way"
                        raise http.DecodingError(what, request=request)
                    async for piece in response.aiter_bytes():
                        body += piece
                        if len(body) > _MOST_RESPONSE_BYTES:
                            raise http.DecodingError(_TOO_LARGE, request=request)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise http.ReadTimeout("the answer took too long", request=request) from error
        for name in ("Content-Length", "Transfer-Encoding"):
            headers.pop(name, None)
        return http.Response(
            response.status_code, headers=headers, content=bytes(body), request=request
        )

    async def _pause(self, seconds: float) -> None:
        """Wait as the server requests, and say so once; new questions go to other servers."""
        if _now() + seconds > self.rests_until + _OWN_PAUSE and not is_quiet():
            what = f"{self.shown} requests {_shown_pause(seconds)}; waiting."
            print(what, file=sys.stderr, flush=True)
        self.rest(seconds)
        await asyncio.sleep(seconds)

    def rest(self, seconds: float = _REST) -> None:
        """Take questions only if all other servers rest as well."""
        self.rests_until = max(self.rests_until, _now() + seconds)

    def busyness(self) -> tuple[bool, int]:
        """What orders servers: whether it rests, and questions in flight."""
        return self.rests_until > _now(), self.in_flight


def _requested_pause(response: Any) -> float:
    """Seconds to wait until the request may succeed (Retry-After, if not a date), or 0."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() and messages.may_pass(response.status_code) else 0.0


def _shown_pause(seconds: float) -> str:
    return f"a pause of {-(-seconds // 60):,.0f} minutes (Retry-After)"


def _tokens_of(response: Any) -> float:
    """Tokens of a question and its answers; raises DecodingError if there are no answers."""
    try:
        answers = messages.answers_in(_parsed(response.content))
    except ValueError as error:
        what = f"malformed answer: {error}"
        raise http.DecodingError(what, request=response.request) from error
    size = len(response.request.content) + len(response.content)
    return sum(answers[0].tokens) or size / _BYTES_PER_TOKEN


def _parsed(content: bytes) -> Any:
    """The JSON in a response; raises ValueError if it is invalid or nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _check_address(option: str, address: str) -> None:
    """Raise UserError, without the password, if the value of an option is no server's address."""
    if len(address) > _LONGEST_ADDRESS:
        raise UserError(option, f"is longer than {_LONGEST_ADDRESS:,} characters", _ADDRESS_HINT)
    try:
        parts = urlsplit(address)
        http.URL(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, http.InvalidURL):
        valid = False
    if not valid or not address.isprintable() or " " in address:
        shown = without_secrets(address) if "://" in address else address.rpartition("@")[2]
        raise UserError(option, f"{shown!r} is not the address of a server", _ADDRESS_HINT)


def _tls_problem(error: BaseException) -> str | None:
    """The TLS failure that caused an error, or None if there was none."""
    cause: BaseException | None = error
    for _ in range(20):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"the server does not speak TLS as expected ({cause.reason or 'unknown reason'})"
        cause = cause and (cause.__cause__ or cause.__context__)
    return None


def _environment_fault(error: Exception) -> UserError | None:
    """The variable that kept a client from being made, or None; values may contain passwords."""
    named = next(filter(os.environ.get, _CERTIFICATES), None)
    if named and isinstance(error, OSError):  # of `ssl`, too
        what = f"its certificates cannot be read ({error.strerror or error})"
        return UserError(named, what, "Name a file in PEM format, or unset the variable.")
    for name in filter(os.environ.get, _PROXIES):
        address = os.environ[name]
        try:
            proxy = http.Proxy(address if "://" in address else f"http://{address}")
            http.AsyncHTTPTransport(proxy=proxy, verify=False)
        except ImportError:
            what = "names a SOCKS proxy, and the package socksio is not installed"
            return UserError(name, what, "pip install socksio")
        except Exception:
            hint = "Give an address such as http://proxy:3128, or unset the variable."
            return UserError(name, "is not the address of a proxy", hint)
    return None


def _secrets_of(key: str, address: str) -> set[str]:
    """The key, and the password and keys in an address, if long enough to be recognised."""
    if key.isalpha() and len(key) <= _LONGEST_PLACEHOLDER:
        key = ""  # a placeholder for a local server, such as "dummy"; captions may contain it
    parts = urlsplit(address)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    basic = b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
    found = {key, parts.password or "", password, basic, *KEY.findall(parts.path)}
    return {secret for secret in found if len(secret) > 4}


class OpenAIBackend:
    """Any server with OpenAI's chat and completions endpoints, or several of the same model.

    The `openai` package repeats requests after time-outs, dropped connections, rate limits, server
    errors and malformed answers, with growing random pauses; after the last, a question goes to
    another server if there is one. Responses are untrusted: time and size are limited, and keys and
    passwords are removed from them.

    Args:
        options: model, addresses, sampling, rates, time-out and retries. The rates are divided
            evenly among several servers.
        key: API key; None: the variable OPENAI_API_KEY.

    Raises:
        UserError: the model or a required key is missing, or an address or a variable of the
            environment is invalid.
    """

    style = "paper"

    def __init__(self, options: LLMOptions, key: str | None = None) -> None:
        self.model, option, addresses = messages.model_of(options), "--base-url", options.base_url
        if not addresses:
            option = "OPENAI_BASE_URL"
            addresses = (os.environ.get(option, "").strip() or _OPENAI_URL,)
        for address in addresses:
            _check_address(option, address)
        self.options = options = replace(options, base_url=addresses)
        self.base_url = addresses[0]
        key = os.environ.get("OPENAI_API_KEY", "").strip() if key is None else key
        if _OPENAI_URL in addresses and not key:
            hint = f"Set it, or name another server with OPENAI_BASE_URL ({messages.OLLAMA})."
            raise UserError("OPENAI_API_KEY", "OpenAI's server needs a key and none is set", hint)
        sent = [(name, os.environ.get(name, "")) for name in _HEADERS]
        for name, value in [("OPENAI_API_KEY", key), *sent]:
            # One of the headers a line; their white space is stripped.
            lines = map(str.strip, value.split("\n")) if "HEADERS" in name else [value]
            if not all(line.isascii() and line.isprintable() for line in lines):
                what = "contains a line break or a non-ASCII character, which no header may have"
                raise UserError(name, what, "Copy the value again.")
        self._secrets = {secret for one in addresses for secret in _secrets_of(key, one)}
        self._one_by_one, self._limit_name = False, "max_tokens"
        self.generator = messages.generator_of(self.model, options)
        self.identity: dict[str, str] = {}
        try:
            self.servers = [_Server(one, options, key or "none") for one in addresses]
        except Exception as error:
            fault = _environment_fault(error)
            if fault is None:
                raise
            raise fault from error

    async def start(self) -> None:
        """Check that a server responds and accepts the key, by requesting its list of models;
        raises UserError if none responds, it rejects the key, or it is not OpenAI-compatible."""
        faults = await asyncio.gather(*map(self._fault, self.servers))
        for server, fault in zip(self.servers, faults, strict=True):
            if fault is not None:
                server.rest()
        if all(faults):
            raise next(fault for fault in faults if fault is not None)

    async def _fault(self, server: _Server) -> UserError | None:
        """Why a server cannot be used, or None."""
        once: Any = {"max_retries": 0, "timeout": min(self.options.timeout, _PROBE_SECONDS)}
        try:
            response = await server.api.get("/models", cast_to=http.Response, options=once)
        except openai.APIConnectionError as error:
            hint = "Check http or https in --base-url, or SSL_CERT_FILE and SSL_CERT_DIR."
            what = _tls_problem(error)
            if what is None:
                what = "no server answers there"
                where = f"--base-url and OPENAI_BASE_URL ({messages.OLLAMA})"
                hint = f"Start the server, or check {where}."
            return UserError(server.shown, what, hint)
        except openai.APIStatusError as error:  # many servers do not list models
            fault = self._final(server, error)
            return fault if error.status_code <= 401 and isinstance(fault, UserError) else None
        if "html" in response.headers.get("Content-Type", "").lower():
            what = "answers with a web page, so it is not an OpenAI-compatible server"
            return UserError(server.shown, what, "Check --base-url: most addresses end in /v1.")
        return None

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
        """Send one question; if a server fails, it rests, and the question goes to another."""
        errors: list[UserError | AnswerError] = []
        left = list(self.servers)
        while left:
            server = min(left, key=_Server.busyness)
            left.remove(server)
            server.in_flight += 1
            try:
                return await self._sent(server, prompt, count)
            except openai.OpenAIError as error:
                server.rest()
                errors.append(self._final(server, error))
                errors[-1].__cause__ = error
            finally:
                server.in_flight -= 1
        raise next((one for one in errors if isinstance(one, Refused)), errors[0])

    async def _sent(self, server: _Server, prompt: Prompt, count: int) -> list[Answer]:
        """The answers; switches to the newer name of the token limit if a server requires it."""
        name = self._limit_name  # another question may switch it in the meantime
        endpoint, body = messages.request_of(self.model, self.options, prompt, count, name)
        try:
            # The package's response classes accept any JSON; the client validates the body.
            response = await server.api.post(endpoint, cast_to=http.Response, body=body)
        except openai.BadRequestError as error:
            if name == messages.NEWER_LIMIT or messages.NEWER_LIMIT not in str(error):
                raise
            self._limit_name = messages.NEWER_LIMIT
            return await self._sent(server, prompt, count)
        return messages.answers_in(_parsed(response.content), self._hide)

    def _final(self, server: _Server, error: openai.OpenAIError) -> UserError | AnswerError:
        """The exception to raise for an error that remains after all retries."""
        if isinstance(error, openai.APIStatusError):
            if isinstance(error, openai.AuthenticationError):
                hint = "Check OPENAI_API_KEY and its rights for the model."
                return UserError(server.shown, "the server refuses the key", hint)
            if isinstance(error, openai.NotFoundError):
                what = f"{server.shown} has no such model"
                return UserError(self.model, what, "Check --model and --base-url.")
            if error.code == "insufficient_quota":
                hint = "Raise the account's limit; the same command resumes."
                return UserError(server.shown, "the account has no quota left", hint)
            if error.status_code < 400:
                return self._redirect(server, error.response)
            if (pause := _requested_pause(error.response)) > _LONGEST_PAUSE:
                hint = "Run the same command after it, or name another server."
                return UserError(server.shown, f"requests {_shown_pause(pause)}", hint)
            kind = AnswerError if messages.may_pass(error.status_code) else Refused
            return kind(self._safe(f"{type(error).__name__}: {error}"))
        what, cause = f"{type(error).__name__}: {error}", error.__cause__
        if isinstance(cause, http.DecodingError):  # `openai` calls it a connection error
            what = str(cause)
        elif cause:
            what = f"{what} ({cause})"
        return AnswerError(self._safe(what))

    def _redirect(self, server: _Server, response: Any) -> UserError:
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
        await asyncio.gather(*(server.aclose() for server in self.servers))

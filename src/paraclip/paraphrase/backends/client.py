"""HTTP for untrusted servers: limits on rates, total time and size, no redirects.

The retries are those of the `openai` package, whose HTTP client is subclassed here: every attempt
passes through `ServersClient.send`, which chooses the server, keeps its limits and pauses, and
turns a malformed answer into an error that may be retried.
"""

import asyncio
import json
import os
import ssl
import sys
from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import openai

from paraclip.errors import UserError
from paraclip.paraphrase.backends.limiter import Limiter, RequestQueue, requested_pause
from paraclip.paraphrase.backends.messages import answers_in, may_pass
from paraclip.provenance import KEY, without_secrets

MOST_RESPONSE_BYTES = 8 << 20  # long lists of models have 1 MiB
TOO_LARGE = f"the answer is larger than {MOST_RESPONSE_BYTES >> 20} MiB"
LONGEST_ADDRESS = 2000
LONGEST_PLACEHOLDER = 15  # letters; keys are longer or contain digits
LONGEST_PAUSE = 3600.0  # seconds; a server that requests a longer pause ends the run
SHORT_PAUSE = 10.0  # seconds; longer ones are announced
BYTES_PER_TOKEN = 4  # rough figure for English, if the server does not report the number
OVERLOADED = (429, 503, 529)
ENCODINGS = ("", "identity", "gzip", "deflate")  # one layer, which expands at most 1,000 times
ADDRESS_HINT = "Give an address such as http://localhost:8000/v1."


def http_package() -> Any:
    """The HTTP package that `openai` uses: `httpx`, or its successor from openai 3 on."""
    bases = openai.DefaultAsyncHttpxClient.__mro__
    base = next(one for one in bases if one.__name__ == "AsyncClient")
    return sys.modules[base.__module__.partition(".")[0]]


http = http_package()


class Server(Limiter):
    """A server and its limits.

    Args:
        address: its address; may include a user name, a password and a key.
        most: maximum number of requests in flight.
        per_minute: maximum numbers of requests and of tokens per minute, or None.
    """

    def __init__(self, address: str, most: int, per_minute: tuple[float, float] | None) -> None:
        super().__init__(most, per_minute)
        self.url, self.shown = http.URL(address), without_secrets(address)


class ServersClient(openai.DefaultAsyncHttpxClient):
    """A client of several equal servers that aborts responses that take too long or are too large.

    Redirects are not followed: they could send captions, and possibly the key, to another host.

    Args:
        servers: at least one; the address of the first is the base URL of all requests.
        seconds: longest time from sending a request to the last byte of its response.
    """

    def __init__(self, servers: Sequence[Server], seconds: float) -> None:
        super().__init__(follow_redirects=False, headers={"Accept-Encoding": "identity"})
        self.servers, self.seconds = servers, seconds
        self._queue = RequestQueue(servers)

    async def send(self, request: Any, **options: Any) -> Any:
        """Wait for a server, and return its whole response.

        Raises:
            ReadTimeout: an error of the HTTP package: the response took too long.
            DecodingError: the body is too large, or contains no answers.
        """
        async with self._queue.turn() as server:
            assert isinstance(server, Server)
            endpoint = request.url.path.removeprefix(self.servers[0].url.path.rstrip("/"))
            request.url = server.url.copy_with(path=server.url.path.rstrip("/") + endpoint)
            request.headers["Host"] = request.url.netloc.decode("ascii")
            request.extensions = {**request.extensions, "server": server}
            began = asyncio.get_running_loop().time()
            try:
                response = await self._bounded(request, self.seconds, **options)
            except http.TransportError as error:
                server.rest()
                if isinstance(error, http.TimeoutException):
                    server.overloaded(began)
                raise
            self._note(server, response, began)
            return response

    async def probe(self, server: Server, key: str, seconds: float) -> Any:
        """The response of one server to a request for its list of models; see `send`."""
        url = server.url.copy_with(path=server.url.path.rstrip("/") + "/models")
        request = self.build_request("GET", url, headers={"Authorization": f"Bearer {key}"})
        return await self._bounded(request, seconds)

    async def _bounded(self, request: Any, seconds: float, **options: Any) -> Any:
        """A copy of a response with its body read, and decompressed although identity was asked."""
        try:
            async with asyncio.timeout(seconds):
                response = await super().send(request, **options | {"stream": True})
                try:
                    headers, body = response.headers.copy(), bytearray()
                    if headers.pop("Content-Encoding", "").lower() not in ENCODINGS:
                        what = "the answer is compressed in an unknown way"
                        raise http.DecodingError(what, request=request)
                    async for piece in response.aiter_bytes():
                        body += piece
                        if len(body) > MOST_RESPONSE_BYTES:
                            raise http.DecodingError(TOO_LARGE, request=request)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise http.ReadTimeout("the answer took too long", request=request) from error
        for name in ("Content-Length", "Transfer-Encoding"):
            headers.pop(name, None)
        return http.Response(
            response.status_code, headers=headers, content=bytes(body), request=request
        )

    def _note(self, server: Server, response: Any, began: float) -> None:
        """Adapt the limits of a server to its response; raises DecodingError like `send`.

        The headers for retries are replaced: the pause is kept here, and `openai` only has to know
        whether to send the request again.
        """
        status, headers = response.status_code, response.headers
        pause = requested_pause(headers) if status >= 400 else None
        if pause is not None:
            self._pause(server, pause)
        for name in ("retry-after", "retry-after-ms"):
            headers.pop(name, None)
        no_quota = status == 429 and b"insufficient_quota" in response.content
        again = may_pass(status) and not no_quota and self.pause_left() <= LONGEST_PAUSE
        headers["x-should-retry"] = "true" if again else "false"
        if status in OVERLOADED:
            server.overloaded(began)
        elif 200 <= status < 300:
            try:
                answers = answers_in(parsed(response.content))
            except ValueError as error:
                server.rest()
                what = f"malformed answer: {error}"
                raise http.DecodingError(what, request=response.request) from error
            size = len(response.request.content) + len(response.content)
            server.answered(sum(answers[0].tokens) or size / BYTES_PER_TOKEN)
        else:
            server.rest()

    def _pause(self, server: Server, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        paused = server.paused_until - now
        server.pause(seconds)
        is_longer = seconds > SHORT_PAUSE and seconds > paused + SHORT_PAUSE
        if is_longer and os.environ.get("PARACLIP_QUIET") != "1":
            what = f"{server.shown} requests a pause of {shown_seconds(seconds)} (Retry-After)"
            print(f"{what}; waiting.", file=sys.stderr, flush=True)

    def pause_left(self) -> float:
        """Seconds until a server may be asked again; 0 or less if one may be asked now."""
        now = asyncio.get_running_loop().time()
        return min(server.paused_until for server in self.servers) - now


def shown_seconds(seconds: float) -> str:
    """A duration in a suitable unit."""
    for unit, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.0f} seconds"


def parsed(content: bytes) -> Any:
    """The JSON in a response; raises ValueError if it is invalid or nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def check_address(option: str, address: str) -> None:
    """Validate the address of a server.

    Args:
        option: option or variable that contained it, for the error.
        address: may include a user name and a password, which are not shown.

    Raises:
        UserError: the text is not the address of a server.
    """
    if not address.strip():
        raise UserError(option, "is empty", ADDRESS_HINT)
    if len(address) > LONGEST_ADDRESS:
        raise UserError(option, f"is longer than {LONGEST_ADDRESS:,} characters", ADDRESS_HINT)
    if not address.isprintable() or " " in address:
        raise UserError(option, "contains a space or a control character", ADDRESS_HINT)
    try:
        parts = urlsplit(address)
        http.URL(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, http.InvalidURL):
        valid = False
    if not valid:
        shown = without_secrets(address) if "://" in address else address.rpartition("@")[2]
        raise UserError(option, f"{shown!r} is not the address of a server", ADDRESS_HINT)


def tls_problem(error: BaseException) -> str | None:
    """The TLS failure that caused an error, or None if there was none."""
    cause: BaseException | None = error
    for _ in range(20):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"the server does not speak TLS as expected ({cause.reason or 'unknown reason'})"
        cause = cause and (cause.__cause__ or cause.__context__)
    return None


def secrets_of(key: str, address: str) -> set[str]:
    """The key, and the secrets in an address, if they are long enough to be recognised.

    An address may contain a password, which is sent as `Authorization: Basic`, and a key in its
    path. A key that is a plain word, such as "dummy", is a placeholder for a local server; captions
    may contain it.
    """
    if key.isalpha() and len(key) <= LONGEST_PLACEHOLDER:
        key = ""
    parts = urlsplit(address)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    basic = b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
    found = {key, parts.password or "", password, basic, *KEY.findall(parts.path)}
    return {secret for secret in found if len(secret) > 4}

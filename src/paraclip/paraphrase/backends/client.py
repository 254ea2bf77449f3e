"""HTTP for untrusted servers: limits on total time and size of each response, no redirects.

The `openai` package limits only the time of each read. Its client class is subclassed here, so that
its proxies and connection limits still apply.
"""

import asyncio
import json
import ssl
import sys
import zlib
from base64 import b64encode
from typing import Any
from urllib.parse import unquote, urlsplit

import openai

from paraclip.errors import UserError
from paraclip.provenance import KEY, without_secrets

MOST_RESPONSE_BYTES = 8 << 20  # before and after decompression; long model lists have 1 MiB
UNREADABLE = "the answer cannot be decompressed"
TOO_LARGE = f"the answer is larger than {MOST_RESPONSE_BYTES >> 20} MiB"
LONGEST_ADDRESS = 2000
LONGEST_PLACEHOLDER = 15  # letters; keys are longer or contain digits
ANY_HEADER = 47  # zlib's window bits for either gzip or zlib headers
ADDRESS_HINT = "Give an address such as http://localhost:8000/v1."


def http_package() -> Any:
    """The HTTP package that `openai` uses: `httpx`, or its successor from openai 3 on."""
    bases = openai.DefaultAsyncHttpxClient.__mro__
    base = next(one for one in bases if one.__name__ == "AsyncClient")
    return sys.modules[base.__module__.partition(".")[0]]


http = http_package()


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """A client that aborts responses that take too long in total or are too large.

    Redirects are not followed: they could send captions, and possibly the key, to another host.

    Args:
        seconds: longest time from sending a request to the last byte of its response.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(follow_redirects=False, headers={"Accept-Encoding": "identity"})
        self.seconds = seconds

    async def send(self, request: Any, **options: Any) -> Any:
        """Return the whole response.

        Raises:
            ReadTimeout: an error of the HTTP package: the response took too long.
            DecodingError: the body is too large or cannot be decompressed.
        """
        limit = request.extensions.get("timeout", {}).get("read") or self.seconds
        try:
            async with asyncio.timeout(min(limit, self.seconds)):
                response = await super().send(request, **options | {"stream": True})
                try:
                    return await bounded_response(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise http.ReadTimeout("the answer took too long", request=request) from error


async def bounded_response(response: Any) -> Any:
    """A copy of a streamed response with its body read; raises DecodingError like `send`."""
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MOST_RESPONSE_BYTES:
            raise http.DecodingError(TOO_LARGE, request=response.request)
    headers = response.headers.copy()
    content = decompressed(bytes(body), headers.pop("Content-Encoding", ""), response.request)
    for name in ("Content-Length", "Transfer-Encoding"):
        headers.pop(name, None)
    return http.Response(
        response.status_code, headers=headers, content=content, request=response.request
    )


def decompressed(body: bytes, encoding: str, request: Any) -> bytes:
    """The body without compression, which some servers apply although the request forbids it.

    Raises:
        DecodingError: see `BoundedClient.send`.
    """
    encoding = encoding.lower().strip()
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise http.DecodingError("the answer is compressed in an unknown way", request=request)
    stream = zlib.decompressobj(ANY_HEADER)
    try:
        content = stream.decompress(body, MOST_RESPONSE_BYTES + 1)
    except zlib.error as error:
        raise http.DecodingError(UNREADABLE, request=request) from error
    if len(content) > MOST_RESPONSE_BYTES:
        raise http.DecodingError(TOO_LARGE, request=request)
    if not stream.eof or stream.unused_data:  # truncated, or followed by more
        raise http.DecodingError(UNREADABLE, request=request)
    return content


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


def secrets_of(key: str, address: str) -> tuple[str, ...]:
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
    return tuple(secret for secret in found if len(secret) > 4)

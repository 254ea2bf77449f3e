"""HTTP to a server that nobody vouches for: a total time and a size for every answer, no redirects.

The `openai` package limits the time of each read and the size of nothing. Its own client class is
extended here, so that proxies and connection limits stay as it sets them.
"""

import asyncio
import json
import ssl
import sys
import zlib
from typing import Any
from urllib.parse import unquote, urlsplit

import openai

from paraclip.errors import UserError
from paraclip.provenance import without_secrets

MOST_BYTES = 8 << 20  # of one response, packed and unpacked; long lists of models have 1 MiB
LONGEST_ADDRESS = 2000
ANY_HEADER = 47  # zlib's window bits that take the headers of gzip and of zlib
ADDRESS_HINT = "Give an address such as http://localhost:8000/v1."


def http_package() -> Any:
    """The HTTP package below `openai`: `httpx`, or its successor from openai 3 on."""
    bases = openai.DefaultAsyncHttpxClient.__mro__
    base = next(kind for kind in bases if kind.__name__ == "AsyncClient")
    return sys.modules[base.__module__.partition(".")[0]]


http = http_package()


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """A client that gives up responses that take too long in all or are too large.

    A redirect is handed back as it is: following it would carry the captions, and with a careless
    server the key, to another host.

    Args:
        seconds: longest time from sending a request to the last byte of its response.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(follow_redirects=False, headers={"Accept-Encoding": "identity"})
        self.seconds = seconds

    async def send(self, request: Any, **options: Any) -> Any:
        """The whole response.

        Raises:
            TimeoutException: of the HTTP package: the time was up.
            DecodingError: of the HTTP package: the body is too large or cannot be unpacked.
        """
        given = request.extensions.get("timeout", {}).get("read") or self.seconds
        try:
            async with asyncio.timeout(min(given, self.seconds)):
                response = await super().send(request, **options | {"stream": True})
                try:
                    return await whole(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise http.ReadTimeout("the answer took too long", request=request) from error


async def whole(response: Any) -> Any:
    """A copy of a response that is being streamed, with all its body read.

    Raises:
        DecodingError: of the HTTP package: the body is too large or cannot be unpacked.
    """
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MOST_BYTES:
            raise too_large(response)
    headers = response.headers.copy()
    content = unpacked(bytes(body), headers.pop("Content-Encoding", ""), response)
    for name in ("Content-Length", "Transfer-Encoding"):
        headers.pop(name, None)
    return http.Response(
        response.status_code, headers=headers, content=content, request=response.request
    )


def unpacked(body: bytes, encoding: str, response: Any) -> bytes:
    """A body without its compression; some servers pack what was asked for unpacked.

    Raises:
        DecodingError: of the HTTP package: see `whole`.
    """
    if encoding.lower().strip() in ("", "identity"):
        return body
    if encoding.lower().strip() not in ("gzip", "x-gzip", "deflate"):
        raise http.DecodingError("the answer is packed, in no known way", request=response.request)
    try:
        content = zlib.decompressobj(ANY_HEADER).decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        what = "the answer cannot be unpacked"
        raise http.DecodingError(what, request=response.request) from error
    if len(content) > MOST_BYTES:
        raise too_large(response)
    return content


def too_large(response: Any) -> Exception:
    """The error for a body past the limit."""
    what = f"the answer is larger than {MOST_BYTES >> 20} MiB"
    error: Exception = http.DecodingError(what, request=response.request)
    return error


def parsed(content: bytes) -> Any:
    """The JSON in a response.

    Raises:
        ValueError: there is none, or it is nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def check_address(option: str, address: str) -> None:
    """Refuse what is no address of a server.

    Args:
        option: where it was given.
        address: may hold a user name and a password, which are not shown.

    Raises:
        UserError: naming the option.
    """
    if not address.strip():
        raise UserError(option, "is empty", ADDRESS_HINT)
    if len(address) > LONGEST_ADDRESS:
        raise UserError(option, f"is longer than {LONGEST_ADDRESS:,} letters", ADDRESS_HINT)
    shown = without_secrets(address) if "://" in address else address.rpartition("@")[2]
    if not address.isprintable() or " " in address:
        raise UserError(option, "holds a space or a control character", ADDRESS_HINT)
    try:
        parts = urlsplit(address)
        http.URL(address)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, http.InvalidURL):
        fine = False
    if not fine:
        raise UserError(option, f"{shown!r} is no address of a server", ADDRESS_HINT)


def tls_problem(error: BaseException) -> str | None:
    """What TLS said, where it is the reason of an error; None where it is not."""
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None:
            return None
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"the server's certificate is not trusted ({seen.verify_message})"
        if isinstance(seen, ssl.SSLError):
            return f"the server does not speak TLS as expected ({seen.reason or 'no reason given'})"
        seen = seen.__cause__ or seen.__context__
    return None


def secrets_of(key: str, address: str) -> tuple[str, ...]:
    """The key and the password in an address, where they are long enough to be known again."""
    try:
        password = urlsplit(address).password or ""
    except ValueError:
        password = ""
    known = {key, password, unquote(password)}
    return tuple(secret for secret in known if len(secret) > 4)

"""The client against servers that are slow, endless, compressed, redirecting or absent."""

import asyncio
import gzip
import json
import shutil
import ssl
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, response
from raw_server import ok, raw_server

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer, AnswerError, LLMOptions
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.prompts import Prompt

KEY = "sk-secret-key"
ASKED = Prompt(messages=({"role": "user", "content": "a dog runs"},))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def backend(url: str | None, **changed: Any) -> OpenAIBackend:
    options: dict[str, Any] = {"model": "fake", "max_retries": 0, "timeout": 5.0} | changed
    return OpenAIBackend(LLMOptions(base_url=() if url is None else (url,), **options))


def ask(url: str, started: bool = False, **changed: Any) -> Answer:
    async def asking() -> Answer:
        made = backend(url, **changed)
        try:
            if started:
                await made.start()
            return (await made.answer(ASKED, 1))[0]
        finally:
            await made.close()

    return asyncio.run(asking())


def forever(piece: bytes, pause: float) -> Any:
    """A handler that sends a piece again and again."""

    def handler(head: bytes, send: Callable[[bytes], None]) -> None:
        send(ok())
        while True:
            time.sleep(pause)
            send(piece)

    return handler


def test_a_server_that_drips_bytes_times_out() -> None:
    with raw_server(forever(b" ", 0.05)) as server:
        with pytest.raises(AnswerError, match="APITimeoutError"):
            ask(server.url, timeout=0.5)
        with pytest.raises(UserError, match="no server answers there"):
            ask(server.url, started=True, timeout=0.5)


def test_an_endless_answer_is_aborted() -> None:
    with raw_server(forever(b" " * 100_000, 0.0)) as server:
        with pytest.raises(AnswerError, match="larger than 8 MiB"):
            ask(server.url)
        assert server.sent < 40 << 20


FLOOD = gzip.compress(b" " * (20 << 20), 6)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (ok(Content_Encoding="gzip") + FLOOD, "larger than 8 MiB|unknown way"),
        (ok(Content_Encoding="gzip, gzip") + gzip.compress(FLOOD), "larger than 8 MiB|unknown way"),
        (ok(Content_Encoding="br") + b"{}", "compressed in an unknown way"),
        (ok(Content_Encoding="gzip") + b"{}", "decompressing"),
        (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", "^malformed answer"),
    ],
)
def test_a_compressed_flood_or_a_malformed_answer_is_an_answer_error(
    answer: bytes, what: str
) -> None:
    with (
        raw_server(lambda head, send: send(answer)) as server,
        pytest.raises(AnswerError, match=what),
    ):
        ask(server.url)


@pytest.mark.parametrize(
    ("answer", "scheme", "what"),
    [
        (ok("text/html; charset=utf-8") + b"<html>Welcome</html>", "http:", r"web page.*in /v1"),
        (b"HTTP/1.1 400 No\r\n\r\n", "https:", r"does not speak TLS.*Check http or https"),
    ],
)
def test_another_kind_of_server_is_one_line(answer: bytes, scheme: str, what: str) -> None:
    with (
        raw_server(lambda head, send: send(answer)) as server,
        pytest.raises(UserError, match=what),
    ):
        ask(server.url.replace("http:", scheme), started=True)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_compressed_answer_is_read(pack: Callable[[bytes], bytes]) -> None:
    name = "gzip" if pack is gzip.compress else "deflate"
    body = pack(response(["fine"], plain=False))
    with raw_server(lambda head, send: send(ok(Content_Encoding=name) + body)) as server:
        assert ask(server.url).text == "fine"
        assert b"accept-encoding: identity" in server.heads[0].lower()


@pytest.mark.parametrize("started", [True, False])
def test_a_redirect_carries_no_key_and_no_caption_elsewhere(started: bool) -> None:
    with FakeServer() as other:

        def handler(head: bytes, send: Callable[[bytes], None]) -> None:
            to = other.url.replace("://", "://me:secret@").encode()
            if started or head.startswith(b"POST"):
                send(b"HTTP/1.1 307 Go\r\nConnection: close\r\nLocation: %s\r\n\r\n" % to)

        with (
            raw_server(handler) as server,
            pytest.raises(UserError, match=r"redirects to 'http://127.*if you trust it") as caught,
        ):
            ask(server.url, started)
        assert not other.asked and "secret" not in str(caught.value)


@pytest.mark.parametrize("listed", [b"null", b"[" * 100_000, b"", b'{"data": 7}'])
def test_any_list_of_models_is_accepted(listed: bytes) -> None:
    def handler(head: bytes, send: Callable[[bytes], None]) -> None:
        send(ok() + (listed if head.startswith(b"GET") else response(["fine"], plain=False)))

    with raw_server(handler) as server:
        assert ask(server.url, started=True).text == "fine"


def test_repeated_secrets_are_removed() -> None:
    texts = [f"{KEY} p@ssword", "x" * 3995 + KEY]
    message = json.dumps({"error": {"message": f"\x1b[2J bad {KEY} p@ssword"}}).encode()
    with FakeServer() as server:
        server.behave = lambda prompt, count: [texts[count - 1]]
        url = server.url.replace("://", "://me:p%40ssword@")
        assert [ask(url).text, ask(url).text] == ["*** ***", "x" * 3995 + "***"]
    refusal = with_status("400 No", "Content-Type: application/json", body=message)
    with raw_server(lambda head, send: send(refusal)) as raw:
        with pytest.raises(AnswerError) as caught:
            ask(raw.url.replace("://", "://me:p%40ssword@"))
        assert KEY not in str(caught.value) and "p@ss" not in str(caught.value)
        assert "\x1b" not in str(caught.value) and "bad ***" in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["", " ", "localhost:8000/v1", "ftp://host/v1", "http://", "http://[::1/v1", "http://host:x/v1",
     "http://host:99999/v1", "http://ho st/v1", "http://host/\x1b[2J", "host", "http://:80",
     "http://host:0/v1", "http://me:p@ss:x@host:x/v1", "me:p@ss:x@host", "http://a\nb",
     "http://\udcff/v1", "http://xn--\xff/v1", "http://" + "a" * 70000],
)  # fmt: skip
def test_an_invalid_address_is_one_line(address: str) -> None:
    with pytest.raises(UserError, match=r"^--base-url: ") as caught:
        backend(address)
    assert "p@" not in str(caught.value) and "ss:x" not in str(caught.value)
    for valid in ("http://host", "https://me:pass@host:8000/v1/", "http://[::1]:80/v1"):
        assert backend(valid).base_url == valid


def test_the_variable_for_an_address_may_be_empty_but_not_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert backend(None).base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "host:80")
    with pytest.raises(UserError, match=r"^OPENAI_BASE_URL: 'host:80' is not the address"):
        backend(None)


@pytest.mark.parametrize(
    ("key", "user", "path", "text", "shown"),
    [  # a placeholder for a key and short passwords are words that an answer may contain
        ("dummy", "me:sesame@", "/0a1b2c3d4e5f6071/openai",
         "me dummy sesame bWU6c2VzYW1l 0a1b2c3d4e5f6071", "me dummy *** *** ***"),
        ("abcdefghijklmnop", "me:pw@", "", "pw bWU6cHc= abcdefghijklmnop", "pw *** ***"),
    ],
)  # fmt: skip
def test_what_of_a_key_and_an_address_is_secret(
    monkeypatch: pytest.MonkeyPatch, key: str, user: str, path: str, text: str, shown: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with FakeServer() as server:
        server.behave = lambda prompt, count: text
        assert ask(server.url.replace("://", f"://{user}") + path).text == shown


def with_status(status: str, *headers: str, body: bytes = b"{}") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (with_status("429 Wait", f"Retry-After: {10**15}"), "requests a pause of .*,667 minutes"),
        (with_status("429 Wait", "Retry-After: 86400"), "requests a pause of 1,440 minutes"),
        (with_status("429 X", body=b'{"error": {"code": "insufficient_quota"}}'), "no quota left"),
    ],
)
def test_a_long_pause_or_a_spent_quota_ends_the_run(answer: bytes, what: str) -> None:
    with (
        raw_server(lambda head, send: send(answer)) as server,
        pytest.raises(UserError, match=what) as caught,
    ):
        ask(server.url)
    assert "same command" in str(caught.value)


@pytest.mark.skipif(not shutil.which("openssl"), reason="a certificate is made with openssl")
def test_an_untrusted_certificate_is_reported(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 1 -subj /CN=x"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with (
        raw_server(lambda head, send: None, context) as server,
        pytest.raises(UserError, match=r"certificate is not trusted \(self.signed"),
    ):
        ask(server.url.replace("http:", "https:"), started=True)

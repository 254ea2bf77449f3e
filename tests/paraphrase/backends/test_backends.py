"""The client against a server that stalls, fails, limits rates or sends malformed answers."""

import asyncio
import gzip
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, Reply, response, rotate
from raw_server import ok, raw_server

from paraclip.commands.generate import GenerateConfig
from paraclip.errors import UserError
from paraclip.paraphrase.backends import (
    BACKENDS,
    Answer,
    AnswerError,
    BackendKind,
    LLMOptions,
    Refused,
    llm_options,
    make_backend,
)
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.prompts import Prompt, make_prompt

KEY = "sk-secret-key"
ASKED = Prompt(messages=({"role": "user", "content": "a dog runs"},))


def options(*urls: str, **changed: Any) -> LLMOptions:
    given: dict[str, Any] = {"model": "fake", "max_retries": 2, "timeout": 2.0} | changed
    return LLMOptions(base_url=urls, **given)


def ask(backend: OpenAIBackend, candidates: int = 1, prompt: Prompt = ASKED) -> list[Answer]:
    [answers] = ask_all(backend, [prompt], candidates)
    return answers


def ask_all(
    backend: OpenAIBackend, prompts: Sequence[Prompt], candidates: int = 1, started: bool = True
) -> list[list[Answer]]:
    async def asking() -> list[list[Answer]]:
        try:
            if started:
                await backend.start()
            return await asyncio.gather(*(backend.answer(one, candidates) for one in prompts))
        finally:
            await backend.close()

    return asyncio.run(asking())


def asked(urls: Sequence[str], count: int, **changed: Any) -> list[str]:
    """The answers to so many different questions."""
    prompts = [make_prompt("paper", 1, f"caption {number}") for number in range(count)]
    answers = ask_all(OpenAIBackend(options(*urls, **changed)), prompts)
    return [one.text for [one] in answers]


def asked_at(url: str, started: bool = False, key: str = KEY, **changed: Any) -> Answer:
    """The answer of a server to one question, which is not repeated."""
    how = {"max_retries": 0, "timeout": 5.0} | changed
    [[answer]] = ask_all(OpenAIBackend(options(url, **how), key=key), [ASKED], started=started)
    return answer


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PARACLIP_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a second request, `openai` waits half a second."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


def test_chat_and_completion_endpoints(server: FakeServer) -> None:
    expected = [Answer(rotate("a dog runs"))]
    assert ask(OpenAIBackend(options(server.url))) == expected
    assert ask(OpenAIBackend(options(server.url)), prompt=Prompt(text="a dog runs")) == expected


@pytest.mark.parametrize(
    "fault",
    [429, 503, None, b"<html>busy</html>", b'{"choices": []}', b"{}", b'{"choices": "no"}',
     b'{"choices": [{"message": {"content": 7}}]}', b"null", b'{"choices": [{"message": null}]}',
     b'{"choices": [{"message": "fine"}]}', b'{"choices": [{"message": {}}]}', b"[" * 100_000,
     b'{"choices": [[]]}', b'{"choices": [{"text": [["fine"]]}]}'],
)  # fmt: skip
def test_a_transient_fault_is_retried(server: FakeServer, fault: Reply) -> None:
    server.behave = lambda prompt, count: fault if count == 1 else "fine"
    assert ask(OpenAIBackend(options(server.url))) == [Answer("fine")]
    assert server.asked.total() == 2


def test_several_candidates_in_one_request_or_in_several(server: FakeServer) -> None:
    server.behave = lambda prompt, count: ["one", None, "three"]
    answers = ask(OpenAIBackend(options(server.url)), 3)
    assert answers == [Answer("one"), Answer(""), Answer("three")]
    assert server.asked.total() == 1
    server.choices, server.behave = 1, lambda prompt, count: "fine"  # it ignores `n`
    assert len(ask(OpenAIBackend(options(server.url)), 3)) == 3
    assert server.asked.total() == 4


@pytest.mark.parametrize("fault", [429, 500, None, b"nonsense", 400, 403])
def test_a_lasting_fault_is_an_answer_error(server: FakeServer, fault: Reply) -> None:
    server.behave = lambda prompt, count: fault
    with pytest.raises(Refused if fault in (400, 403) else AnswerError):
        ask(OpenAIBackend(options(server.url, max_retries=1)))
    assert server.asked.total() == (1 if fault in (400, 403) else 2)


@pytest.mark.parametrize(
    ("changed", "error", "what"),
    [
        ({"delay": 2.0}, AnswerError, "imeout"),
        ({"key": "another"}, UserError, "refuses the key"),
        ({"models_status": 404, "behave": lambda *_: 401}, UserError, "refuses the key"),
        ({"behave": lambda *_: 404}, UserError, "no such model"),
        ({"behave": lambda *_: 422}, AnswerError, "422|Unprocessable"),
    ],
)
def test_an_error_is_one_line_without_the_key(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], error, what: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    vars(server).update(changed)
    timeout = 0.5 if "delay" in changed else 5.0
    with pytest.raises(error, match=what) as caught:
        ask(OpenAIBackend(options(server.url, timeout=timeout, max_retries=0)))
    assert KEY not in str(caught.value)


def test_no_server_is_one_line_without_the_password() -> None:
    with FakeServer() as gone:
        url = gone.url.replace("://", "://me:secret@")
    with pytest.raises(UserError, match=r"no server answers there\. Start the server") as caught:
        ask(OpenAIBackend(options(url, max_retries=0)))
    assert "secret" not in str(caught.value) and "127.0.0.1" in str(caught.value)
    settings = GenerateConfig("a", "o", backend="openai", base_url=(url,)).outputs.settings
    assert settings["base_url"] == gone.url and "secret" not in str(settings)


def test_the_newer_name_of_the_token_limit_is_used_if_required(server: FakeServer) -> None:
    server.limit = "max_completion_tokens"
    assert len(asked([server.url], 8, max_retries=1)) == 8
    server.limit = "another"
    with pytest.raises(AnswerError, match="BadRequestError"):
        ask(OpenAIBackend(options(server.url)))


def test_a_server_of_this_machine_is_not_asked_through_a_proxy(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
        assert ask(OpenAIBackend(options(url, max_retries=0)))[0].text == rotate("a dog runs")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("all_proxy", "socks5://me:secret@h:1", "socksio is not installed. pip install socksio"),
        ("https_proxy", "socks5h://h", "socksio is not installed"),
        ("ALL_PROXY", "socks4://h:1", "not the address of a proxy"),
        ("HTTPS_PROXY", "http://me:secret@h:x", "not the address of a proxy"),
        ("HTTPS_PROXY", "http://[::1", "not the address of a proxy"),
        ("HTTP_PROXY", "h:1:2", "not the address of a proxy"),
        ("HTTP_PROXY", "http://secret\x1b", "not the address of a proxy"),
        ("SSL_CERT_FILE", "/nowhere", "certificates cannot be read (No such file"),
        ("SSL_CERT_FILE", "/", "certificates cannot be read (Is a directory"),
        ("SSL_CERT_FILE", __file__, "certificates cannot be read ("),
        ("OPENAI_API_KEY", "secret\nlines", "contains a line break"),
        ("OPENAI_ORG_ID", "secret-\u00e9", "contains a line break"),
        ("OPENAI_PROJECT_ID", "secret\n", "contains a line break"),
        ("OPENAI_CUSTOM_HEADERS", "a: b\nc: secret-\u00e9", "contains a line break"),
    ],
)
def test_a_variable_that_keeps_the_client_from_working_is_named_and_its_value_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, what: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    for other in os.environ.copy():
        if other.lower().endswith("_proxy") or other.startswith("SSL_CERT_"):
            monkeypatch.delenv(other)
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        OpenAIBackend(options("https://server.invalid/v1"))
    assert str(caught.value).startswith(f"{name}: ") and what in str(caught.value)
    assert "secret" not in str(caught.value) and "0x" not in str(caught.value)


def test_model_address_and_key_come_from_the_environment(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = KEY
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("PARACLIP_MODEL", "named")
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")  # its line end is not sent
    backend = OpenAIBackend(LLMOptions())
    assert backend.base_url == server.url and backend.generator.startswith("named ")
    assert ask(backend) == [Answer(rotate("a dog runs"))] and KEY not in backend.generator


def said(text: str, **more: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]} | more).encode()


def used(prompt: object, answers: object) -> dict[str, object]:
    return {"prompt_tokens": prompt, "completion_tokens": answers}


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("dog " * 5000, Answer(("dog " * 5000)[:4000], cut=True)),
        (said("a \ud800"), Answer("a ?")),
        (said("a", usage=used(3, 4)), Answer("a", tokens=(3, 4))),
        *((said("a", usage=bad), Answer("a", tokens=(0, 0)))
          for bad in (None, [], {"prompt_tokens": 3}, used(-1, 2), used(True, 2), used(10**10, 2))),
    ],
)  # fmt: skip
def test_an_answer_is_bounded_and_valid_and_its_tokens_are_numbers(
    server: FakeServer, reply: Reply, answer: Answer
) -> None:
    server.behave = lambda prompt, count: reply
    [found] = ask(OpenAIBackend(options(server.url)))
    assert found == answer and found.tokens == answer.tokens


def test_missing_model_key_and_backend_are_one_line() -> None:
    with pytest.raises(UserError, match="model is not named"):
        make_backend(LLMOptions())
    with pytest.raises(UserError, match="needs a key"):
        make_backend(LLMOptions(model="m"))
    with pytest.raises(UserError, match=r"openia: is not a backend\. Did you mean openai"):
        llm_options("openia")


def test_a_server_has_the_papers_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    server = GenerateConfig("a", "o")
    assert server.llm == LLMOptions()
    assert "vendor" in server.outputs.settings["licence"]
    changed = GenerateConfig("a", "o", candidates=2, temperature=0.5)
    assert (changed.llm.candidates, changed.llm.temperature, changed.llm.top_p) == (2, 0.5, 1.0)
    owned = BackendKind("another_project:Own", LLMOptions(asks=2), licence="CC0")
    monkeypatch.setitem(BACKENDS, "own", owned)
    own = GenerateConfig("a", "o", backend="own")
    assert own.llm.asks == 2 and own.outputs.settings["licence"] == "CC0"


def test_questions_that_meet_an_overload_are_all_answered(server: FakeServer) -> None:
    server.behave = lambda prompt, count: 429 if count <= 8 else "fine"
    backend = OpenAIBackend(options(server.url, concurrency=8, max_retries=20))
    assert ask_all(backend, [ASKED] * 8) == [[Answer("fine")]] * 8


def test_several_servers_share_the_questions(server: FakeServer) -> None:
    with FakeServer() as second:
        server.delay = second.delay = 0.02
        assert len(asked([server.url, second.url], 12, concurrency=4)) == 12
        assert min(server.asked.total(), second.asked.total()) >= 4


@pytest.mark.parametrize(("fault", "retries"), [(400, 2), (404, 2), (500, 0)])
def test_a_server_that_fails_is_left_alone(server: FakeServer, fault: int, retries: int) -> None:
    with FakeServer() as one, FakeServer() as other:
        one.behave = other.behave = lambda prompt, time: fault
        urls = [one.url, other.url, server.url]
        assert len(asked(urls, 40, concurrency=3, max_retries=retries)) == 40
        assert max(one.asked.total(), other.asked.total()) < server.asked.total() == 40
        server.behave = lambda prompt, time: 400
        with pytest.raises(Refused):
            asked(urls, 1, max_retries=retries)


def test_a_server_that_is_down_at_the_start_is_left_alone(server: FakeServer) -> None:
    down = "http://127.0.0.1:9/v1"
    expected = [rotate(f"caption {number}") for number in range(3)]
    assert asked([down, server.url], 3) == expected
    with pytest.raises(UserError, match="no server answers"):
        asked([down, down], 1)


# --- servers that are slow, endless, compressed, redirecting or no such servers ---


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
            asked_at(server.url, timeout=0.5)
        with pytest.raises(UserError, match="no server answers there"):
            asked_at(server.url, started=True, timeout=0.5)


def test_an_endless_answer_is_aborted() -> None:
    with raw_server(forever(b" " * 100_000, 0.0)) as server:
        with pytest.raises(AnswerError, match="larger than 8 MiB"):
            asked_at(server.url)
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
        asked_at(server.url)


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
        asked_at(server.url.replace("http:", scheme), started=True)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_compressed_answer_is_read(pack: Callable[[bytes], bytes]) -> None:
    name = "gzip" if pack is gzip.compress else "deflate"
    body = pack(response(["fine"], plain=False))
    with raw_server(lambda head, send: send(ok(Content_Encoding=name) + body)) as server:
        assert asked_at(server.url).text == "fine"
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
            asked_at(server.url, started)
        assert not other.asked and "secret" not in str(caught.value)


@pytest.mark.parametrize("listed", [b"null", b"[" * 100_000, b"", b'{"data": 7}'])
def test_any_list_of_models_is_accepted(listed: bytes) -> None:
    def handler(head: bytes, send: Callable[[bytes], None]) -> None:
        send(ok() + (listed if head.startswith(b"GET") else response(["fine"], plain=False)))

    with raw_server(handler) as server:
        assert asked_at(server.url, started=True).text == "fine"


def test_repeated_secrets_are_removed() -> None:
    texts = [f"{KEY} p@ssword", "x" * 3995 + KEY]
    message = json.dumps({"error": {"message": f"\x1b[2J bad {KEY} p@ssword"}}).encode()
    with FakeServer() as server:
        server.behave = lambda prompt, count: [texts[count - 1]]
        url = server.url.replace("://", "://me:p%40ssword@")
        assert [asked_at(url).text, asked_at(url).text] == ["*** ***", "x" * 3995 + "***"]
    refusal = with_status("400 No", "Content-Type: application/json", body=message)
    with raw_server(lambda head, send: send(refusal)) as raw:
        with pytest.raises(AnswerError) as caught:
            asked_at(raw.url.replace("://", "://me:p%40ssword@"))
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
        OpenAIBackend(options(address), key=KEY)
    assert "p@" not in str(caught.value) and "ss:x" not in str(caught.value)
    for valid in ("http://host", "https://me:pass@host:8000/v1/", "http://[::1]:80/v1"):
        assert OpenAIBackend(options(valid), key=KEY).base_url == valid


def test_the_variable_for_an_address_may_be_empty_but_not_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert OpenAIBackend(options(), key=KEY).base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "host:80")
    with pytest.raises(UserError, match=r"^OPENAI_BASE_URL: 'host:80' is not the address"):
        OpenAIBackend(options(), key=KEY)


@pytest.mark.parametrize(
    ("key", "user", "path", "text", "shown"),
    [  # a placeholder for a key and short passwords are words that an answer may contain
        ("dummy", "me:sesame@", "/0a1b2c3d4e5f6071/openai",
         "me dummy sesame bWU6c2VzYW1l 0a1b2c3d4e5f6071", "me dummy *** *** ***"),
        ("abcdefghijklmnop", "me:pw@", "", "pw bWU6cHc= abcdefghijklmnop", "pw *** ***"),
    ],
)  # fmt: skip
def test_what_of_a_key_and_an_address_is_secret(
    server: FakeServer, key: str, user: str, path: str, text: str, shown: str
) -> None:
    server.behave = lambda prompt, count: text
    assert asked_at(server.url.replace("://", f"://{user}") + path, key=key).text == shown


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
        asked_at(server.url)
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
        asked_at(server.url.replace("http:", "https:"), started=True)

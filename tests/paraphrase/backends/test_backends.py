"""The client against a server that stalls, fails, limits rates or sends malformed answers."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from fake_server import FakeServer, Reply, rotate

from paraclip.errors import UserError
from paraclip.paraphrase.backends import (
    BACKENDS,
    Answer,
    AnswerError,
    LLMOptions,
    Refused,
    llm_options,
    make_backend,
)
from paraclip.paraphrase.backends.builtin import BuiltInBackend
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.config import CHECKED, STRONG, GenerateConfig
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
    backend: OpenAIBackend, prompts: Sequence[Prompt], candidates: int = 1
) -> list[list[Answer]]:
    async def asking() -> list[list[Answer]]:
        try:
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
    with pytest.raises(UserError, match=r"no backend 'openia'\. Did you mean openai"):
        llm_options("openia")
    with pytest.raises(UserError, match="--base-url: is for servers only"):
        BuiltInBackend(llm_options("builtin", base_url=("http://a",)))


def test_a_backend_owns_its_defaults() -> None:
    built_in, server = (GenerateConfig("a", "o", backend=name) for name in BACKENDS)
    assert (built_in.llm.candidates, built_in.llm.asks, built_in.filter_limits) == (6, 2, STRONG)
    assert (built_in.llm.temperature, built_in.llm.top_p) == (0.7, 0.9)
    assert server.llm == LLMOptions() and server.filter_limits == STRONG
    changed = GenerateConfig(
        "a", "o", backend="builtin", candidates=2, temperature=0.5, limits="checked"
    )
    assert (changed.llm.candidates, changed.llm.temperature, changed.llm.top_p) == (2, 0.5, 1.0)
    assert changed.filter_limits == CHECKED and "Apache-2.0" in changed.outputs.settings["licence"]
    assert "vendor" in server.outputs.settings["licence"]


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

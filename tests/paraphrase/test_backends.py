"""The client against a server that answers, stalls, fails, rate-limits and lies."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, Reply, rotate

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer, AnswerError, OpenAIBackend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt
from paraclip.paraphrase.run import make_backend, settings_of

KEY = "sk-secret-key"
ASKED = Prompt(messages=({"role": "user", "content": "a dog runs"},))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


def config(url: str, **changed: Any) -> GenerateConfig:
    options = {"model": "fake", "max_retries": 2, "timeout": 2.0} | changed
    return GenerateConfig("x.csv", Path("out"), backend="openai", base_url=url, **options)


def ask(backend: OpenAIBackend, candidates: int = 1, prompt: Prompt = ASKED) -> list[Answer]:
    async def asking() -> list[Answer]:
        try:
            await backend.start()
            return await backend.answer(prompt, candidates)
        finally:
            await backend.close()

    return asyncio.run(asking())


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PARACLIP_MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_a_chat_and_a_completion_are_answered(server: FakeServer) -> None:
    expected = [Answer(rotate("a dog runs"))]
    assert ask(OpenAIBackend(config(server.url))) == expected
    assert ask(OpenAIBackend(config(server.url)), prompt=Prompt(text="a dog runs")) == expected


def test_several_candidates_in_one_request(server: FakeServer) -> None:
    server.behave = lambda prompt, count: ["one", None, "three"]
    answers = ask(OpenAIBackend(config(server.url)), 3)
    assert answers == [Answer("one"), Answer(""), Answer("three")]
    assert server.asked.total() == 1


def test_a_server_that_gives_one_choice_is_asked_again(server: FakeServer) -> None:
    server.choices = 1
    assert len(ask(OpenAIBackend(config(server.url)), 3)) == 3
    assert server.asked.total() == 3


@pytest.mark.parametrize(
    "trouble",
    [429, 500, 503, None, b"<html>busy</html>", b'{"choices": []}', b"{}", b'{"choices": "no"}',
     b'{"choices": [{"message": {"content": 7}}]}', b"null", b'{"choices": [{"message": null}]}',
     b'{"choices": [{"message": "fine"}]}', b'{"choices": [{"message": {}}]}', b"[" * 100_000,
     b'{"choices": [[]]}', b'{"choices": [{"text": [["fine"]]}]}'],
)  # fmt: skip
def test_trouble_is_overcome_by_asking_again(server: FakeServer, trouble: Reply) -> None:
    server.behave = lambda prompt, count: trouble if count == 1 else "fine"
    assert ask(OpenAIBackend(config(server.url))) == [Answer("fine")]
    assert server.asked.total() == 2


@pytest.mark.parametrize("trouble", [429, 500, None, b"nonsense", b'{"choices": []}', 400])
def test_lasting_trouble_is_an_answer_error(server: FakeServer, trouble: Reply) -> None:
    server.behave = lambda prompt, count: trouble
    with pytest.raises(AnswerError):
        ask(OpenAIBackend(config(server.url)))
    assert server.asked.total() == (1 if trouble == 400 else 3)


def test_a_stalling_server_is_given_up(server: FakeServer) -> None:
    server.delay = 0.3
    with pytest.raises(AnswerError, match="imeout"):
        ask(OpenAIBackend(config(server.url, timeout=0.05, max_retries=1)))


def test_no_password_of_an_address_is_shown() -> None:
    with FakeServer() as gone:
        url = gone.url.replace("://", "://me:secret@")
    with pytest.raises(UserError, match="no server answers there") as caught:
        ask(OpenAIBackend(config(url, max_retries=0)))
    assert "secret" not in str(caught.value) and "127.0.0.1" in str(caught.value)
    assert settings_of(config(url))["base_url"] == gone.url


def test_no_server_is_one_line() -> None:
    with FakeServer() as gone:
        url = gone.url
    with pytest.raises(UserError, match=r"no server answers there\. Start the server"):
        ask(OpenAIBackend(config(url)))


def test_a_wrong_key_is_one_line_without_the_key(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "another"
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(UserError, match="refuses the key") as caught:
        ask(OpenAIBackend(config(server.url)))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_without_rights_is_found_at_the_first_question(
    server: FakeServer, status: int
) -> None:
    server.models_status = 404
    server.behave = lambda prompt, count: status
    with pytest.raises(UserError, match="refuses the key"):
        ask(OpenAIBackend(config(server.url)))


def test_an_unknown_model_is_named(server: FakeServer) -> None:
    server.behave = lambda prompt, count: 404
    with pytest.raises(UserError, match=r"fake: .* knows no such model"):
        ask(OpenAIBackend(config(server.url)))


def test_the_right_key_is_sent_and_never_shown(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    backend = OpenAIBackend(config(server.url))
    assert ask(backend) == [Answer(rotate("a dog runs"))]
    assert KEY not in backend.generator
    server.behave = lambda prompt, count: 422
    assert "***" in backend._safe(f"bad key {KEY}") and KEY not in backend._safe(KEY)


@pytest.mark.parametrize("key", ["sk-two\nlines", "sk-é"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="OPENAI_API_KEY: holds what no key does") as caught:
        OpenAIBackend(config("http://127.0.0.1:9/v1"))
    assert key not in str(caught.value)


def test_a_key_may_have_a_line_end_behind_it(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert ask(OpenAIBackend(config(server.url))) == [Answer(rotate("a dog runs"))]


def test_a_server_that_names_the_limit_anew_is_asked_so(server: FakeServer) -> None:
    server.limit = "max_completion_tokens"
    backend = OpenAIBackend(config(server.url, max_retries=1))
    assert ask(backend, 2) == [Answer(rotate("a dog runs"))] * 2
    server.limit = "another"
    with pytest.raises(AnswerError, match="BadRequestError"):
        ask(OpenAIBackend(config(server.url)))


def test_model_and_address_come_from_the_environment(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("PARACLIP_MODEL", "named")
    found = OpenAIBackend(GenerateConfig("x.csv", Path("out"), backend="openai"))
    assert found.base_url == server.url and found.generator.startswith("named ")
    assert ask(found) == [Answer(rotate("a dog runs"))]


def test_missing_model_key_and_backend_are_one_line() -> None:
    openai = GenerateConfig("x.csv", Path("out"), backend="openai")
    with pytest.raises(UserError, match="no model is named"):
        make_backend(openai)
    with pytest.raises(UserError, match="needs a key"):
        make_backend(GenerateConfig("x.csv", Path("out"), backend="openai", model="m"))
    with pytest.raises(UserError, match=r"no backend 'openia'\. Did you mean openai"):
        make_backend(GenerateConfig("x.csv", Path("out"), backend="openia"))


def test_an_endless_answer_is_cut_and_says_so(server: FakeServer) -> None:
    server.behave = lambda prompt, count: "dog " * 5000
    answer = ask(OpenAIBackend(config(server.url)))[0]
    assert answer.cut and len(answer.text) == 4000


def test_half_a_surrogate_is_replaced(server: FakeServer) -> None:
    server.behave = lambda prompt, count: b'{"choices": [{"message": {"content": "a \\ud800"}}]}'
    assert ask(OpenAIBackend(config(server.url)))[0].text == "a ?"

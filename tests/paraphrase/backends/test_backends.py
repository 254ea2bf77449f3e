"""The client against a server that stalls, fails, limits rates or sends malformed answers."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from fake_server import FakeServer, Reply, rotate

from paraclip.errors import UserError
from paraclip.paraphrase.backends import BACKENDS, Answer, AnswerError, Refused, make_backend
from paraclip.paraphrase.backends.client import http
from paraclip.paraphrase.backends.openai_server import OpenAIBackend, may_pass, tokens_used
from paraclip.paraphrase.backends.pace import Pace
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt
from paraclip.paraphrase.run import generate_from_source
from paraclip.paraphrase.settings import settings_of

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


def test_chat_and_completion_endpoints(server: FakeServer) -> None:
    expected = [Answer(rotate("a dog runs"))]
    assert ask(OpenAIBackend(config(server.url))) == expected
    assert ask(OpenAIBackend(config(server.url)), prompt=Prompt(text="a dog runs")) == expected


def test_several_candidates_in_one_request(server: FakeServer) -> None:
    server.behave = lambda prompt, count: ["one", None, "three"]
    answers = ask(OpenAIBackend(config(server.url)), 3)
    assert answers == [Answer("one"), Answer(""), Answer("three")]
    assert server.asked.total() == 1


def test_a_server_that_ignores_n_is_asked_again(server: FakeServer) -> None:
    server.choices = 1
    assert len(ask(OpenAIBackend(config(server.url)), 3)) == 3
    assert server.asked.total() == 3


@pytest.mark.parametrize(
    "fault",
    [429, 500, 503, None, b"<html>busy</html>", b'{"choices": []}', b"{}", b'{"choices": "no"}',
     b'{"choices": [{"message": {"content": 7}}]}', b"null", b'{"choices": [{"message": null}]}',
     b'{"choices": [{"message": "fine"}]}', b'{"choices": [{"message": {}}]}', b"[" * 100_000,
     b'{"choices": [[]]}', b'{"choices": [{"text": [["fine"]]}]}'],
)  # fmt: skip
def test_a_transient_fault_is_retried(server: FakeServer, fault: Reply) -> None:
    server.behave = lambda prompt, count: fault if count == 1 else "fine"
    assert ask(OpenAIBackend(config(server.url))) == [Answer("fine")]
    assert server.asked.total() == 2


@pytest.mark.parametrize("fault", [429, 500, None, b"nonsense", b'{"choices": []}', 400])
def test_a_lasting_fault_is_an_answer_error(server: FakeServer, fault: Reply) -> None:
    server.behave = lambda prompt, count: fault
    with pytest.raises(AnswerError):
        ask(OpenAIBackend(config(server.url)))
    assert server.asked.total() == (1 if fault == 400 else 3)


@pytest.mark.parametrize("fault", [429, 500, b"<html>busy</html>", b'{"choices": []}'])
def test_every_retry_waits_whatever_pause_the_server_requests(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, fault: Reply
) -> None:
    waited: list[int] = []
    paused: list[float | None] = []

    def pause_before(attempt: int) -> float:
        waited.append(attempt)
        return 0.0

    monkeypatch.setattr("paraclip.paraphrase.backends.openai_server.pause_before", pause_before)
    monkeypatch.setattr(Pace, "pause", lambda pace, seconds: paused.append(seconds))
    server.behave = lambda prompt, count: fault if count < 3 else "fine"
    assert ask(OpenAIBackend(config(server.url))) == [Answer("fine")] and waited == [1, 2]
    # The server's Retry-After holds all requests, also after a status other than 429 and 503.
    assert paused == ([0.01] * 2 if isinstance(fault, int) else [])


def test_a_stalling_server_times_out(server: FakeServer) -> None:
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


def test_a_wrong_key_is_reported_at_the_first_question(server: FakeServer) -> None:
    server.models_status = 404
    server.behave = lambda prompt, count: 401
    with pytest.raises(UserError, match="refuses the key"):
        ask(OpenAIBackend(config(server.url)))


def test_a_forbidden_question_may_be_the_only_one(server: FakeServer) -> None:
    server.behave = lambda prompt, count: 403  # a gateway that moderates, or a key without rights
    with pytest.raises(Refused, match="403"):
        ask(OpenAIBackend(config(server.url)))
    assert server.asked.total() == 1


def test_an_unknown_model_is_named(server: FakeServer) -> None:
    server.behave = lambda prompt, count: 404
    with pytest.raises(UserError, match=r"fake: .* has no such model"):
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
    assert "***" in backend.safe(f"bad key {KEY}") and KEY not in backend.safe(KEY)


@pytest.mark.parametrize("key", ["sk-two\nlines", "sk-é"])
def test_an_invalid_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="OPENAI_API_KEY: contains a line break") as caught:
        OpenAIBackend(config("http://127.0.0.1:9/v1"))
    assert key not in str(caught.value)


def test_a_line_end_after_the_key_is_ignored(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert ask(OpenAIBackend(config(server.url))) == [Answer(rotate("a dog runs"))]


def test_the_newer_name_of_the_token_limit_is_used_if_required(server: FakeServer) -> None:
    server.limit = "max_completion_tokens"
    backend = OpenAIBackend(config(server.url, max_retries=1))
    assert ask(backend, 2) == [Answer(rotate("a dog runs"))] * 2
    server.limit = "another"
    with pytest.raises(AnswerError, match="BadRequestError"):
        ask(OpenAIBackend(config(server.url)))


def test_questions_at_the_same_time_all_learn_the_newer_name(server: FakeServer) -> None:
    server.limit = "max_completion_tokens"

    async def together() -> list[list[Answer]]:
        backend = OpenAIBackend(config(server.url))
        prompts = [Prompt(text=f"dog {number}") for number in range(8)]
        try:
            return await asyncio.gather(*(backend.answer(prompt, 1) for prompt in prompts))
        finally:
            await backend.close()

    assert len(asyncio.run(together())) == 8


def test_model_and_address_come_from_the_environment(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("PARACLIP_MODEL", "named")
    backend = OpenAIBackend(GenerateConfig("x.csv", Path("out"), backend="openai"))
    assert backend.base_url == server.url and backend.generator.startswith("named ")
    assert ask(backend) == [Answer(rotate("a dog runs"))]


def test_missing_model_key_and_backend_are_one_line() -> None:
    openai = GenerateConfig("x.csv", Path("out"), backend="openai")
    with pytest.raises(UserError, match="model is not named"):
        make_backend(openai)
    with pytest.raises(UserError, match="needs a key"):
        make_backend(GenerateConfig("x.csv", Path("out"), backend="openai", model="m"))
    with pytest.raises(UserError, match=r"no backend 'openia'\. Did you mean openai"):
        make_backend(GenerateConfig("x.csv", Path("out"), backend="openia"))


def test_servers_are_only_for_the_backend_that_asks_them(tmp_path: Path) -> None:
    options = GenerateConfig("x.csv", tmp_path, model="m", base_url="http://a")
    with pytest.raises(UserError, match="--base-url: is for servers only"):
        generate_from_source(options)


def test_an_overlong_answer_is_cut_and_marked(server: FakeServer) -> None:
    server.behave = lambda prompt, count: "dog " * 5000
    answer = ask(OpenAIBackend(config(server.url)))[0]
    assert answer.cut and len(answer.text) == 4000


def test_a_lone_surrogate_is_replaced(server: FakeServer) -> None:
    server.behave = lambda prompt, count: b'{"choices": [{"message": {"content": "a \\ud800"}}]}'
    assert ask(OpenAIBackend(config(server.url)))[0].text == "a ?"


def test_a_backend_is_a_class_and_a_line_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module outside the package, named in the table, answers a whole run."""
    (tmp_path / "echoing.py").write_text(
        "from paraclip.paraphrase.backends import Answer\n"
        "class Echo:\n"
        "    def __init__(self, config):\n"
        "        self.generator, self.identity = 'echo', {'weights': 'none'}\n"
        "    async def start(self): ...\n"
        "    async def answer(self, prompt, candidates):\n"
        "        return [Answer(prompt.messages[-1]['content'])] * candidates\n"
        "    async def close(self): ...\n"
    )
    (tmp_path / "captions.csv").write_text("caption\nA dog runs.\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(BACKENDS, "echo", "echoing:Echo")
    config = GenerateConfig(str(tmp_path / "captions.csv"), tmp_path / "out", backend="echo")
    generation = generate_from_source(config)
    assert generation.summary.generator == "echo"
    assert generation.summary.rejected == {"step 1: copy": 1}
    log = (tmp_path / "out" / "answers.jsonl").read_text()
    assert '"weights": "none"' in log.splitlines()[0] and "A dog runs." in log


def test_from_python_nothing_is_printed(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "captions.csv").write_text("caption\nA dog.\n")
    server.behave = lambda prompt, count: 400
    changed = {"source": str(tmp_path / "captions.csv"), "out": tmp_path / "out"}
    generation = generate_from_source(replace(config(server.url), **changed))
    assert generation.triples == tmp_path / "out" / "triples.parquet"
    assert generation.summary.failed == 1 and not generation.problems.count
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="no caption got an answer"):
        generation.check()


def test_overloads_lower_the_requests_in_flight(server: FakeServer) -> None:
    server.behave = lambda prompt, count: 429 if count <= 8 else "fine"
    backend = OpenAIBackend(config(server.url, concurrency=8, max_retries=20))

    async def asking() -> list[list[Answer]]:
        try:
            return await asyncio.gather(*(backend.answer(ASKED, 1) for _ in range(8)))
        finally:
            await backend.close()

    assert asyncio.run(asking()) == [[Answer("fine")]] * 8
    assert backend.pace.overloads and backend.pace.limit < 8


def test_no_quota_left_is_one_line(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    error = openai.RateLimitError(
        "quota",
        response=http.Response(429, request=http.Request("POST", server.url)),
        body={"code": "insufficient_quota"},
    )
    assert not may_pass(error)
    with pytest.raises(UserError, match="no quota left"):
        raise OpenAIBackend(config(server.url)).final(error)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4)),
        *[(bad, (0, 0)) for bad in (None, [], {"prompt_tokens": 3}, {"prompt_tokens": -1,
          "completion_tokens": 2}, {"prompt_tokens": True, "completion_tokens": 2},
          {"prompt_tokens": 10**10, "completion_tokens": 2})],
    ],
)  # fmt: skip
def test_tokens_that_a_response_reports(usage: object, tokens: tuple[int, int]) -> None:
    assert tokens_used({"usage": usage}) == tokens and tokens_used([usage]) == (0, 0)

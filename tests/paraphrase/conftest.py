"""Fixtures of runs against a fake server."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fake_server import FakeServer

from paraclip.paraphrase.backends import BACKENDS, LLMOptions


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    kind = replace(BACKENDS["openai"], options=LLMOptions(max_retries=0))
    monkeypatch.setitem(BACKENDS, "openai", kind)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake

"""Fixtures of runs against a fake server."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_server import FakeServer
from generating import Runs

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


@pytest.fixture
def run(quiet: None, server: FakeServer, tmp_path: Path) -> Runs:
    """Runs the two steps in one folder over a server of its own."""
    return Runs(server, tmp_path / "out")

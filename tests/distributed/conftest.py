"""A small Ray cluster shared by the tests in this folder that run in the test process."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_server import FakeServer
from ray_run import LEAST

import paraclip
from paraclip.paraphrase import parts
from paraclip.paraphrase.backends import BACKENDS, LLMOptions


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LEAST_CAPTIONS", LEAST)
    once = replace(BACKENDS["openai"], options=LLMOptions(max_retries=1))
    monkeypatch.setitem(BACKENDS, "openai", once)


@pytest.fixture(scope="session")
def small_ray() -> Iterator[None]:
    """A local Ray with 4 logical CPUs."""
    ray = pytest.importorskip("ray")

    here = Path(__file__).parent
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    package = Path(paraclip.__file__).parents[1]
    paths = os.pathsep.join(map(str, [here, here.parent / "paraphrase", package]))
    environment = {"env_vars": {"PYTHONPATH": paths, "PARACLIP_QUIET": "1"}}
    ray.init(
        "local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False,
        log_to_driver=False, logging_level="error", runtime_env=environment,
    )  # fmt: skip
    yield
    ray.shutdown()

"""One thread, because the matrices are too small for a second to help; one run that tests share."""

from collections.abc import Iterator

import pytest
import torch
from training_rows import Tuned, tune

from paraclip.evaluation.unlabelled import scene_queries
from paraclip.training import choice

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Vectors of teachers do not go to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARACLIP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def few_scenes() -> Iterator[None]:
    """Forty scenes are enough to see what a run measures."""
    queries = scene_queries(40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "scene_queries", lambda: queries)
        yield


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """A finished run of the tiny model with the paper's recipe; not to be written to."""
    return tune(tmp_path_factory.mktemp("tuned"))

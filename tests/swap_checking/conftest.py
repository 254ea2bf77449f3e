from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from paraclip.evaluation.unlabelled import scene_queries
from paraclip.image_search.everyday import everyday_pairs
from paraclip.models.checkpoint import save_model
from paraclip.models.features import encode_images
from paraclip.models.openclip import OpenClip
from postgres_server import PostgresServer
from tiny import draw, retuned, tiny_clip

SHAPES = ("disc", "square")
COLOURS = ("red", "green", "blue", "black", "orange", "purple")


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty scenes are enough to see what is computed."""
    pairs = everyday_pairs()[:40]
    monkeypatch.setattr("paraclip.swapping.checking.everyday_pairs", lambda: pairs)
    monkeypatch.setattr("paraclip.swapping.checking.scene_queries", lambda: scene_queries(40))


@pytest.fixture(scope="session")
def base() -> OpenClip:
    """The model that made the index."""
    return tiny_clip()


@pytest.fixture(scope="session")
def tuned(base: OpenClip) -> OpenClip:
    """The same model with another text tower."""
    return retuned(base)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A dozen pictures."""
    folder = tmp_path_factory.mktemp("photos")
    return [
        draw(folder / f"{shape}-{colour}.png", shape, colour)
        for shape in SHAPES
        for colour in COLOURS
    ]


@pytest.fixture(scope="session")
def vectors(base: OpenClip, photos: list[str]) -> np.ndarray:
    """Their vectors by the base."""
    return encode_images(base, photos).numpy()


@pytest.fixture
def models(base: OpenClip, tuned: OpenClip, tmp_path: Path) -> dict[str, str]:
    """Checkpoints of both, as options of the command."""
    return {
        "base": str(save_model(base, tmp_path / "base.safetensors")),
        "tuned": str(save_model(tuned, tmp_path / "tuned.safetensors")),
    }


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server with pgvector; skips without one."""
    pytest.importorskip("psycopg")
    with PostgresServer() as server:
        yield server

"""A tiny CLIP with a tuned copy, and drawn pictures."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from paraclip.models.checkpoint import save_model
from tiny import draw, tiny_clip

KINDS = [(shape, colour) for shape in ("disc", "square") for colour in ("red", "green", "blue")]


@pytest.fixture(autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress bars, and a cache folder per test."""
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path_factory.mktemp("cache")))
    torch.set_num_threads(1)


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Address of a store that is not there yet."""
    return str(tmp_path / "index")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints: base, tuned (other text weights), and other (another image tower)."""
    folder = tmp_path_factory.mktemp("models")
    model = tiny_clip()
    save_model(model, folder / "base.safetensors")
    with torch.no_grad():
        model.text_tower.text_projection.mul_(-1).add_(torch.randn(32, 16) * 0.05)
    save_model(model, folder / "tuned.safetensors")
    with torch.no_grad():
        model.image_tower.proj.add_(1)
    save_model(model, folder / "other.safetensors")
    return {name: str(folder / f"{name}.safetensors") for name in ("base", "tuned", "other")}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of six pictures, two of them in a subfolder, one with a caption."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number, (shape, colour) in enumerate(KINDS):
        inside = folder / "more" if number > 3 else folder
        draw(inside / f"{shape}-{colour}.png", shape, colour)
    (folder / "disc-red.txt").write_text("a red disc\n")
    return folder


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children react to SIGINT, which a run in the background (`make test &`) ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

import json
import os
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import open_clip
import pytest
from export_models import LOADERS, TEXTS, Load, node, program

from paraclip.models.openclip import OpenClip
from tiny import SMALL_CLIP, small_clip


@pytest.fixture(scope="session")
def quick_clip() -> OpenClip:
    """A tiny CLIP with QuickGELU."""
    return small_clip(quick_gelu=True)


@pytest.fixture(scope="session")
def plain_clip() -> OpenClip:
    """A tiny CLIP with GELU."""
    return small_clip()


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[..., OpenClip]:
    """Make open_clip call the tiny CLIP by one of its own names, and return such a model."""

    def make(name: str, quick: bool = False) -> OpenClip:
        changes = {"quick_gelu": True} if quick else {}
        config = deepcopy({**SMALL_CLIP, **changes})
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        return small_clip(name, **changes)

    return make


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Embed the texts with a system's own loader, in its environment."""

    def run(loader: str, environment: str, folder: Path, *words: str) -> np.ndarray:
        texts, out = tmp_path / "texts.json", tmp_path / "vectors.npy"
        texts.write_text(json.dumps(TEXTS), encoding="utf-8")
        command = [*program(environment), str(LOADERS / loader), str(folder), str(texts), str(out)]
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, check=False, timeout=280,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "PARACLIP_NODE": node()},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        if loader.endswith(".mjs"):
            return np.asarray(json.loads(out.read_text()), np.float32)
        return np.load(out)

    return run

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import open_clip
import pytest
from export_models import LOADERS, TEXTS, Load, LoadEach, node, program

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


ONE_BY_ONE = """
import json, runpy, sys
for words in json.load(sys.stdin):
    sys.path[0], sys.argv = words.pop(0), words
    runpy.run_path(words[0], run_name="__main__")
"""
"""Runs a loader several times in one process, which imports its packages once."""


@pytest.fixture
def load_each(tmp_path: Path) -> LoadEach:
    """Embed the texts with a system's own loader, in its environment, from several folders."""

    def run(
        loader: str, environment: str, folders: Sequence[Path], *words: str
    ) -> list[np.ndarray]:
        texts = tmp_path / "texts.json"
        texts.write_text(json.dumps(TEXTS), encoding="utf-8")
        outs = [tmp_path / f"vectors-{number}.npy" for number in range(len(folders))]
        jobs = [
            [str(word) for word in (LOADERS, LOADERS / loader, folder, texts, out, *words)]
            for folder, out in zip(folders, outs, strict=True)
        ]
        node_alone = loader.endswith(".mjs")
        done = subprocess.run(
            [*program(environment), *(jobs[0][1:] if node_alone else ["-c", ONE_BY_ONE])],
            input=json.dumps(jobs), capture_output=True, text=True, check=False, timeout=280,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "PARACLIP_NODE": node()},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        if node_alone:
            return [np.asarray(json.loads(outs[0].read_text()), np.float32)]
        return [np.load(out) for out in outs]

    return run


@pytest.fixture
def load(load_each: LoadEach) -> Load:
    """The same from one folder."""
    return lambda loader, environment, folder, *words: load_each(
        loader, environment, [folder], *words
    )[0]

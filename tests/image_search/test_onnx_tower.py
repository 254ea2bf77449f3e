"""Text towers without torch give the vectors of their models and are cached by file."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from paraclip.files import cache_folder
from paraclip.image_search import towers
from paraclip.image_search.towers import (
    TextTower,
    TorchTower,
    model_stamp,
    open_tower,
    prepared_tower,
)
from paraclip.models import features
from paraclip.models.features import encode_texts, image_space
from paraclip.models.loading import load_model
from paraclip.store import IndexFacts

TEXTS = (
    "a red disc on white paper", "", "a", "two dogs " * 100, "A YOUNG Child's café, naïve",
    "\u201ccurly\u201d &amp; it\u2019s", "日本の猫 🐈", "x" * 500, "3 red cars, 2 blue; 1/2 (half)",
    "don't &lt;b&gt; \u00bd",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, towers.WRITERS)), reason="no onnx or onnxscript"),
]


def opened(name: str) -> TextTower:
    """The tower of a model for an index of its own."""
    space = image_space(load_model(name, "cpu"))
    return open_tower(name, IndexFacts(space, 16, "/a", "/a", {"base": name}), "index")


def kept() -> list[Path]:
    """The folders of towers in the cache."""
    return list((cache_folder() / "towers").iterdir())


@pytest.mark.parametrize("kind", ["clip", pytest.param("mini", marks=pytest.mark.weights)])
def test_a_tower_that_is_kept_gives_the_vectors_of_torch(models: dict[str, str], kind: str) -> None:
    name = models["base"] if kind == "clip" else "mini"
    assert isinstance(opened(name), TorchTower)
    towers._write_tower(name)
    tower, model = opened(name), load_model(name, "cpu")
    assert not isinstance(tower, TorchTower)
    theirs = encode_texts(model, TEXTS).numpy()
    np.testing.assert_allclose(tower.embed(TEXTS), theirs, atol=1e-4)
    one_by_one = np.concatenate([tower.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(one_by_one, theirs, atol=1e-4)


def test_a_search_with_a_kept_tower_loads_no_torch(models: dict[str, str]) -> None:
    assert prepared_tower(models["tuned"]) is not None, "a process of its own wrote it"
    code = (
        "import sys; from paraclip.image_search.towers import prepared_tower\n"
        f"prepared_tower({models['tuned']!r}).embed(['a red disc'])\n"
        "print([name for name in ('torch', 'transformers', 'open_clip') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["text.onnx", "tokenizer.json", "tower.json"])
def test_a_damaged_tower_is_dropped(models: dict[str, str], name: str) -> None:
    towers._write_tower(models["base"])
    (folder,) = kept()
    (folder / name).write_bytes(b"{}")
    assert isinstance(opened(models["base"]), TorchTower)
    assert kept() == []


def test_a_changed_file_has_another_stamp(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(models["base"]).read_bytes())
    before = model_stamp(str(copy))
    os.utime(copy, (1, 1))
    assert model_stamp(str(copy)) != before
    assert model_stamp(f"ViT-B-32:{copy}") != model_stamp(str(copy))
    monkeypatch.setenv("HOME", str(tmp_path))
    before = model_stamp("ViT-B-32:openai:~/copy.safetensors")
    os.utime(copy, (2, 2))
    assert model_stamp("ViT-B-32:openai:~/copy.safetensors") != before


def test_a_graph_that_computes_something_else_is_not_kept(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "encode_texts", lambda *given: -encode_texts(*given))
    with pytest.raises(ValueError, match="other vectors"):
        towers._write_tower(models["base"])
    assert kept() == []


def test_weights_that_the_package_ships_count_in_the_name_of_the_kept_tower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights" / "some_head.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    monkeypatch.setattr(towers, "files", lambda _: tmp_path)
    before = towers.model_stamp("mini")
    weights.write_bytes(b"three")
    assert towers.model_stamp("mini") != before

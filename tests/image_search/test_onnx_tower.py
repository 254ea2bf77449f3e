"""Text towers without torch give the vectors of their models and are cached by file."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from paraclip.image_search import towers
from paraclip.image_search.towers import (
    _PROBES,
    TorchTower,
    _folder_of,
    _kept_tower,
    _write_tower,
    open_tower,
    prepared_tower,
)
from paraclip.models.features import encode_texts, image_space
from paraclip.models.loading import load_model
from paraclip.stores import IndexFacts

TEXTS = (*_PROBES, "a red disc on white paper", "small green square", "don't &lt;b&gt; \u00bd")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, towers.WRITERS)), reason="no onnx or onnxscript"),
]


@pytest.mark.parametrize("kind", ["clip", pytest.param("mini", marks=pytest.mark.weights)])
def test_a_tower_gives_the_same_vectors_without_torch(models: dict[str, str], kind: str) -> None:
    name = models["base"] if kind == "clip" else "mini"
    assert _write_tower(name)
    tower, model = _kept_tower(name), load_model(name, "cpu")
    assert tower is not None and tower.image_space == image_space(model)
    theirs = encode_texts(model, TEXTS).numpy()
    np.testing.assert_allclose(tower.embed(TEXTS), theirs, atol=1e-4)
    one_by_one = np.concatenate([tower.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(one_by_one, theirs, atol=1e-4)


def test_a_search_with_a_kept_tower_loads_no_torch(models: dict[str, str]) -> None:
    assert prepared_tower(models["tuned"]) is not None, "a process of its own wrote it"
    code = (
        "import sys; from paraclip.image_search.towers import _kept_tower\n"
        f"_kept_tower({models['tuned']!r}).embed(['a red disc'])\n"
        "print([name for name in ('torch', 'transformers', 'open_clip') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_tower_is_chosen_where_it_is_kept_and_torch_elsewhere(models: dict[str, str]) -> None:
    model = load_model(models["base"], "cpu")
    facts = IndexFacts(image_space(model), 16, "/a", "/a", {"base": models["base"]})
    assert isinstance(open_tower(models["base"], facts, "index"), TorchTower)
    assert _write_tower(models["base"])
    assert not isinstance(open_tower(models["base"], facts, "index"), TorchTower)


@pytest.mark.parametrize("name", ["text.onnx", "tokenizer.json", "tower.json"])
def test_a_damaged_tower_is_dropped(models: dict[str, str], name: str) -> None:
    assert _write_tower(models["base"])
    (_folder_of(models["base"]) / name).write_bytes(b"{}")
    assert _kept_tower(models["base"]) is None
    assert not _folder_of(models["base"]).exists()


def test_a_changed_file_has_another_key(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(models["base"]).read_bytes())
    before = _folder_of(str(copy))
    os.utime(copy, (1, 1))
    assert _folder_of(str(copy)) != before
    assert _folder_of(f"ViT-B-32:{copy}") != _folder_of(str(copy))
    monkeypatch.setenv("HOME", str(tmp_path))
    before = _folder_of("ViT-B-32:openai:~/copy.safetensors")
    os.utime(copy, (2, 2))
    assert _folder_of("ViT-B-32:openai:~/copy.safetensors") != before


def test_a_graph_that_computes_something_else_is_not_kept(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(towers, "_CLOSE", -1.0)
    assert not _write_tower(models["base"])
    assert _kept_tower(models["base"]) is None
    assert list(_folder_of(models["base"]).parent.iterdir()) == []


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

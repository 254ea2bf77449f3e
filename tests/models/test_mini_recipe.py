"""The recipes of the shipped heads still run, on drawn pictures and vectors of class names."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from paraclip.models.features import encode_texts
from paraclip.models.mini import _CLASSES, Mini, read_heads
from recipes.mini.flickr8k import load_heads
from tiny import write_flickr8k


def load(name):
    path = Path(__file__).parents[2] / "recipes" / "mini" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recipe():
    return load("train_heads")


@pytest.fixture
def drawn(tmp_path) -> Path:
    """A data set in Flickr8k's layout: eight pictures for training, four for each score."""
    names = [path.name for path in write_flickr8k(tmp_path, shades=4)]
    for split, part in (("train", names[:8]), ("dev", names[8:12]), ("test", names[12:])):
        (tmp_path / f"{split}_images.txt").write_text("\n".join(part))
    return tmp_path


def test_the_recipe_runs_and_its_heads_load(recipe, drawn, mini, monkeypatch):
    monkeypatch.setattr(Mini, "with_towers", lambda width: mini)
    out = drawn / "heads.safetensors"
    arguments = ["--data", str(drawn), "--work", str(drawn / "work"), "--out", str(out)]
    recipe.main([*arguments, "--epochs", "3", "--batch-size", "4"])
    model = load_heads(Mini(mini.text_files, embed_dim=8), out)
    assert not torch.equal(model.image_tower.head.weight, mini.image_tower.head.weight)
    with safe_open(out, "pt") as heads:
        made = json.loads(heads.metadata()["paraclip"])
    assert made["settings"]["epochs"] == 3
    assert str(drawn) not in json.dumps(made)


def test_the_loss_falls_and_folded_heads_are_the_trained_ones(recipe):
    torch.manual_seed(0)
    hidden = torch.randn(64, 6)  # facts that pictures and captions share
    images = hidden @ torch.randn(6, 20) + 5.0
    texts = (hidden @ torch.randn(6, 12))[:, None] + 0.1 * torch.randn(64, 2, 12)
    pairs = recipe.Pairs(images, texts)
    settings = recipe.Settings(epochs=30, batch_size=32, dropout=0.0, learning_rate=0.02)
    heads, losses = recipe.train(pairs, settings, embed_dim=8)
    assert losses[-1] < 0.5 * losses[0] and recipe.recall(heads, pairs)["R@5"] > 80
    folded = heads.folded()
    rows = pairs.images @ folded["image.weight"].float().T + folded["image.bias"].float()
    vectors = torch.nn.functional.normalize(rows, dim=-1)
    torch.testing.assert_close(vectors, heads("image", pairs.images), rtol=0, atol=5e-3)


def test_no_batch_holds_two_captions_of_a_picture(recipe):
    images = torch.arange(10.0)[:, None]
    texts = images[:, None] + torch.tensor([0.0, 0.25, 0.5])[:, None]
    for chosen, captions in recipe.batches(recipe.Pairs(images, texts), size=4):
        assert len(set(chosen.flatten().tolist())) == 4
        assert torch.equal(captions.floor(), chosen)


def test_the_class_head_holds_the_vectors_of_the_prompts_and_how_it_was_made(mini, tmp_path):
    recipe = load("class_head")
    names = recipe.class_names()
    assert len(names) == _CLASSES
    assert names[1] == "goldfish" and names[292] == "tiger" and names[849] == "teapot"
    recipe.write(recipe.class_head(mini, ["red", "blue disc"]), tmp_path / "head.safetensors")
    tensors, made = read_heads(tmp_path / "head.safetensors")
    expected = encode_texts(mini, ["a photo of a red", "a photo of a blue disc"]).T
    torch.testing.assert_close(tensors["classes.weight"].float(), expected, atol=1e-3, rtol=0)
    assert made["licence"] == "Apache-2.0" and made["prompt"] == "a photo of a {}"
    assert str(tmp_path) not in str(made)

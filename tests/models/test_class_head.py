"""The recipe of the class head uses only vectors of class names."""

import importlib.util
from pathlib import Path

import pytest
import torch

from paraclip.models.features import encode_texts
from paraclip.models.mini import CLASSES, read_heads

RECIPE = Path(__file__).parents[2] / "recipes" / "mini" / "class_head.py"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("class_head", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_names_are_those_of_the_classifier_in_its_order(recipe):
    names = recipe.class_names()
    assert len(names) == CLASSES
    assert names[1] == "goldfish" and names[292] == "tiger" and names[849] == "teapot"


def test_the_file_holds_the_vectors_of_the_prompts_and_how_it_was_made(recipe, mini, tmp_path):
    recipe.write(recipe.class_head(mini, ["red", "blue disc"]), tmp_path / "head.safetensors")
    tensors, made = read_heads(tmp_path / "head.safetensors")
    expected = encode_texts(mini, ["a photo of a red", "a photo of a blue disc"]).T
    torch.testing.assert_close(tensors["classes.weight"].float(), expected, atol=1e-3, rtol=0)
    assert made["licence"] == "Apache-2.0" and made["prompt"] == "a photo of a {}"
    assert str(tmp_path) not in str(made)

"""The recipe of the shipped class head still runs."""

import torch

from paraclip.models.features import encode_texts
from paraclip.models.mini import read_heads
from recipes.mini import class_head as recipe


def test_the_class_head_holds_the_vectors_of_the_prompts_and_how_it_was_made(mini, tmp_path):
    names = recipe.class_names()
    assert len(names) == 1000
    assert names[1] == "goldfish" and names[292] == "tiger" and names[849] == "teapot"
    recipe.write(recipe.class_head(mini, ["red", "blue disc"]), tmp_path / "head.safetensors")
    tensors, made = read_heads(tmp_path / "head.safetensors")
    expected = encode_texts(mini, ["a photo of a red", "a photo of a blue disc"]).T
    torch.testing.assert_close(tensors["classes.weight"].float(), expected, atol=1e-3, rtol=0)
    assert made["licence"] == "Apache-2.0" and made["prompt"] == "a photo of a {}"
    assert str(tmp_path) not in str(made)

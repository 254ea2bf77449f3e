"""Merged models: exact at both ends, the mean in between, refused for different architectures."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paraclip.commands.merge import MergeConfig, merge_command
from paraclip.errors import UserError
from paraclip.merging import merge
from paraclip.models.checkpoint import read_header, save_model
from paraclip.models.features import image_space
from paraclip.models.loading import load_model
from tiny import TINY_CLIP, TinyModel, tiny_clip


def two_models() -> tuple[TinyModel, TinyModel]:
    """A base, and a tuned one: same image side, another text side."""
    base, tuned = TinyModel(0), TinyModel(1)
    tuned.image_tower.load_state_dict(base.image_tower.state_dict())
    tuned.logit_scale.data.fill_(3.0)
    return base, tuned


def same_weights(one: TinyModel, other: TinyModel) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_the_ends_are_base_and_tuned_bit_for_bit():
    base, tuned = two_models()
    assert same_weights(merge(base, tuned, 0.0), base)
    assert same_weights(merge(base, tuned, 1.0), tuned)
    for model, count in ((base, 3), (tuned, 9)):
        model.text_tower.register_buffer("count", torch.tensor(count))
    assert merge(base, tuned, 0.5).text_tower.count == 3
    assert merge(base, tuned, 1.0).text_tower.count == 9
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="--share"):
            merge(base, tuned, share)


def test_a_share_gives_the_weighted_mean_and_changes_neither_model():
    base, tuned = two_models()
    before = deepcopy(base), deepcopy(tuned)
    merged = merge(base, tuned, 0.25)
    assert merged.logit_scale.item() == pytest.approx(2.25)
    ours, theirs = base.text_tower.hidden.weight, tuned.text_tower.hidden.weight
    torch.testing.assert_close(merged.text_tower.hidden.weight, 0.75 * ours + 0.25 * theirs)
    assert same_weights(base, before[0]) and same_weights(tuned, before[1])
    assert same_weights(merged.image_tower, base.image_tower)


def test_a_model_of_sixteen_bits_keeps_its_type():
    base, tuned = two_models()
    merged = merge(deepcopy(base).half(), tuned, 0.5, image_tower=True)
    assert merged.text_tower.hidden.weight.dtype == torch.float16


def test_what_is_equal_keeps_its_bits_so_that_the_image_space_stays():
    base, tuned = two_models()
    for model in (base, tuned):
        next(model.image_tower.parameters()).data.fill_(-0.0)
    merged = merge(base, tuned, 0.5)
    assert image_space(merged) == image_space(base)


def test_image_towers_are_merged_on_request():
    base, tuned = TinyModel(0), TinyModel(1)
    merged = merge(base, tuned, 0.5, image_tower=True)
    for name, value in base.state_dict().items():
        torch.testing.assert_close(
            merged.state_dict()[name], (value + tuned.state_dict()[name]) / 2
        )
    assert same_weights(merge(base, tuned, 1.0, image_tower=True), tuned)


def test_models_that_do_not_fit_are_refused():
    base, tuned = two_models()
    with pytest.raises(UserError, match="different image encoders"):
        merge(base, TinyModel(1), 0.5)
    fewer = tiny_clip(text_cfg={**TINY_CLIP["text_cfg"], "layers": 1})
    for pair in ((tiny_clip(), fewer), (fewer, tiny_clip())):
        with pytest.raises(UserError, match="number or size of their layers"):
            merge(*pair, 0.5)
    tuned.architecture = replace(tuned.architecture, quick_gelu=True)
    with pytest.raises(UserError, match=r"architecture \(quick_gelu"):
        merge(base, tuned, 0.5)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("role", ["base", "tuned model"])
def test_weights_that_are_not_finite_are_refused(broken, role):
    models = two_models()
    models[role != "base"].text_tower.hidden.weight.data[0, 0] = broken
    with pytest.raises(UserError, match=f"the {role} has weights .* text_tower.hidden.weight"):
        merge(*models, 1.0)


def test_the_command_writes_a_model_between_both(tmp_path: Path, capsys):
    base, tuned = tiny_clip(), tiny_clip()
    with torch.no_grad():
        tuned.text_tower.text_projection.add_(1.0)
    names = [
        str(save_model(model, tmp_path / f"{name}.safetensors"))
        for name, model in (("base", base), ("tuned", tuned))
    ]
    out = tmp_path / "merged.safetensors"
    merge_command(MergeConfig(base=names[0], tuned=names[1], share=0.25, out=str(out)))
    assert "25% tuned" in capsys.readouterr().out
    assert read_header(out)["merged"]["share"] == 0.25
    found = load_model(str(out)).text_tower.text_projection
    torch.testing.assert_close(found, base.text_tower.text_projection + 0.25)

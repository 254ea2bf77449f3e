"""Merged models: exact at both ends, the mean in between, refused for different architectures."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from tiny_model import TinyModel
from tiny_models import TINY_CLIP, tiny_clip

from paraclip.errors import UserError
from paraclip.merging.merge import between, merge


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


def test_half_gives_the_mean_and_changes_neither_model():
    base, tuned = two_models()
    before = deepcopy(base), deepcopy(tuned)
    merged = merge(base, tuned, 0.25)
    assert merged.logit_scale.item() == pytest.approx(2.25)
    ours, theirs = base.text_tower.hidden.weight, tuned.text_tower.hidden.weight
    torch.testing.assert_close(merged.text_tower.hidden.weight, 0.75 * ours + 0.25 * theirs)
    assert same_weights(base, before[0]) and same_weights(tuned, before[1])
    assert all(torch.equal(merged.image_tower.state_dict()[name], value)
               for name, value in base.image_tower.state_dict().items())  # fmt: skip


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(alpha):
    with pytest.raises(UserError, match="--alpha"):
        merge(*two_models(), alpha)


def test_image_towers_are_merged_on_request():
    base, tuned = TinyModel(0), TinyModel(1)
    merged = merge(base, tuned, 0.5, image_tower=True)
    for name, value in base.state_dict().items():
        mean = (value + tuned.state_dict()[name]) / 2
        torch.testing.assert_close(merged.state_dict()[name], mean)
    assert same_weights(merge(base, tuned, 1.0, image_tower=True), tuned)


def test_statistics_are_mixed_and_counts_are_the_bases():
    half = between(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0]), 0.5)
    assert half.tolist() == [0.5, 2.0]
    assert between(torch.tensor(3), torch.tensor(9), 0.5).item() == 3
    assert between(torch.tensor(3), torch.tensor(9), 1.0).item() == 9


def test_models_that_do_not_fit_are_refused():
    base, tuned = two_models()
    with pytest.raises(UserError, match=r"different image towers.*--image-tower"):
        merge(base, TinyModel(1), 0.5)
    fewer = tiny_clip(text_cfg={**TINY_CLIP["text_cfg"], "layers": 1})
    for pair in ((tiny_clip(), fewer), (fewer, tiny_clip())):
        with pytest.raises(UserError, match="number or size of their layers"):
            merge(*pair, 0.5)
    tuned.architecture = replace(tuned.architecture, quick_gelu=True)
    with pytest.raises(UserError, match="architecture"):
        merge(base, tuned, 0.5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_weights_that_are_not_finite_are_refused(alpha, broken, which):
    models = two_models()
    models[which].text_tower.hidden.weight.data[0, 0] = broken
    role = ("base", "tuned model")[which]
    with pytest.raises(UserError, match=f"the {role} has weights .* text_tower.hidden.weight"):
        merge(*models, alpha)

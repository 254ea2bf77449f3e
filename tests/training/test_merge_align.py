"""Merging is exact at its ends; alignment fits the heads by the same loop."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from tiny_model import TinyModel
from training_rows import make_features, make_triples, weights_of

from paraclip.errors import UserError
from paraclip.training.align import align
from paraclip.training.config import AlignConfig
from paraclip.training.merge import merge
from paraclip.training.metrics_log import read_metrics


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


def test_in_between_lies_the_mean_and_neither_model_changes():
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


def test_models_that_do_not_belong_together_are_refused():
    base, tuned = two_models()
    with pytest.raises(UserError, match="different image sides"):
        merge(base, TinyModel(1), 0.5)
    tuned.architecture = replace(tuned.architecture, quick_gelu=True)
    with pytest.raises(UserError, match="architecture"):
        merge(base, tuned, 0.5)


def fit_tiny(out, model=None, features=None, **changes):
    """Align a tiny model to tiny captions."""
    triples, model = make_triples(), model or TinyModel()
    settings = {
        "source": "pictures", "epochs": 40, "batch_size": 8, "learning_rate": 3e-3,
        "head_learning_rate": 1e-2, "held_out": 0.0, "precision": "fp32",
    }  # fmt: skip
    config = AlignConfig(**(settings | changes))
    features = make_features(triples) if features is None else features
    captions, ids = triples["caption"].to_pylist(), triples["image_id"].to_pylist()
    return model, align(model, captions, features, ids, config, out)


def test_alignment_trains_heads_and_tower_and_leaves_the_backbone(tmp_path):
    _, path = fit_tiny(tmp_path)
    start, aligned = TinyModel().state_dict(), weights_of(path)
    changed = {name for name in start if not torch.equal(start[name], aligned[name])}
    assert not {name for name in changed if "backbone" in name}
    assert {"image_tower.head.weight", "text_tower.projection.weight", "logit_scale"} <= changed
    assert "text_tower.hidden.weight" in changed
    steps = read_metrics(tmp_path / "metrics.jsonl")
    assert steps[-1]["L1"] < 0.5 * steps[0]["L1"]


def test_each_part_learns_at_its_own_rate(tmp_path):
    model, _ = fit_tiny(
        tmp_path, epochs=1, batch_size=24, weight_decay=0.0, warmup=0.0, dropout=0.0
    )
    start = TinyModel().state_dict()
    moved = {
        name: (value - start[name]).abs().max().item() for name, value in model.state_dict().items()
    }
    ratio = moved["image_tower.head.weight"] / moved["text_tower.hidden.weight"]
    assert ratio == pytest.approx(1e-2 / 3e-3, rel=0.05)


def test_alignment_without_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match="fewer than two captions have a picture"):
        fit_tiny(tmp_path, features=torch.full((24, 12), torch.nan))

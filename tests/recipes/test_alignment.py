"""Alignment fits heads and text tower, each at its own rate, and leaves the backbone."""

import pytest
import torch
from training_rows import Tuned, make_features

from paraclip.models.mini import Mini
from paraclip.training.data import TrainingData
from recipes.alignment import FEATURE_DROPOUT, AlignOptions, align, drop_features
from tiny import TinyModel, make_triples, word_files


def fit_tiny(out, **changes) -> tuple[Tuned, dict[str, float]]:
    """A tiny model aligned with a few captions, and by how much each weight has moved."""
    triples, model = make_triples(), TinyModel()
    settings = {
        "epochs": 40, "batch_size": 8, "learning_rate": 3e-3, "head_learning_rate": 1e-2,
        "precision": "fp32",
    }  # fmt: skip
    data = TrainingData(model, triples, make_features(triples))
    heads = (model.image_tower["head"], model.text_tower.projection)
    path = align(data, heads, AlignOptions(**(settings | changes)), out)
    start = TinyModel().state_dict()
    moved = {name: float((v - start[name]).abs().max()) for name, v in model.state_dict().items()}
    return Tuned(model, out, path), moved


def test_alignment_trains_heads_and_tower_and_leaves_the_backbone(tmp_path):
    run, moved = fit_tiny(tmp_path)
    assert run.checkpoint == tmp_path / "last.safetensors"
    changed = {name for name, distance in moved.items() if distance}
    assert not {name for name in changed if "backbone" in name}
    assert {"image_tower.head.weight", "text_tower.projection.weight", "logit_scale"} <= changed
    assert "text_tower.hidden.weight" in changed
    assert run.steps[-1]["L1"] < 0.5 * run.steps[0]["L1"]


def test_each_part_learns_at_its_own_rate(tmp_path, monkeypatch):
    monkeypatch.setattr("paraclip.training.train.WEIGHT_DECAY", 0.0)
    _, moved = fit_tiny(tmp_path, epochs=1, batch_size=24, dropout=0.0)
    ratio = moved["image_tower.head.weight"] / moved["text_tower.hidden.weight"]
    assert ratio == pytest.approx(1e-2 / 3e-3, rel=0.05)


def test_feature_dropout_acts_on_the_learnt_map_alone_and_while_it_is_trained():
    model, features = Mini(word_files("bert")), torch.rand(3, 1280)
    tower = model.image_tower
    whole = tower.project(features)
    classes = tower.class_head(tower.probabilities(features))
    drop_features(model)
    torch.testing.assert_close(tower.project(features), whole)  # not trained now
    tower.head.train()
    torch.manual_seed(0)
    dropped = torch.nn.functional.dropout(features, FEATURE_DROPOUT)
    torch.manual_seed(0)
    learnt = torch.nn.functional.linear(dropped, tower.head.weight, tower.head.bias)
    torch.testing.assert_close(tower.project(features), learnt + classes)

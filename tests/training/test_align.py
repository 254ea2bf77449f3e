"""Alignment trains the heads of `mini` with the same loop as tuning."""

import pyarrow as pa
import pytest
import torch
from tiny_model import TinyModel
from training_rows import make_features, make_triples, weights_of

from paraclip.errors import UserError
from paraclip.training.config import AlignOptions, TrainOptions, hyperparameters
from paraclip.training.examples import split_rows
from paraclip.training.loop import align
from paraclip.training.metrics import read_metrics
from paraclip.training.prepare import TrainingData
from paraclip.training.task import alignment_of

pytestmark = pytest.mark.slow


def fit_tiny(out, model=None, features=None, **changes):
    """Align a tiny model with a few captions."""
    triples, model = make_triples(), model or TinyModel()
    settings = {
        "epochs": 40, "batch_size": 8, "learning_rate": 3e-3,
        "head_learning_rate": 1e-2, "held_out": 0.0, "precision": "fp32",
    }  # fmt: skip
    config = AlignOptions(**(settings | changes))
    features = make_features(triples) if features is None else features
    return model, align(TrainingData(model, triples, features), config, out)


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


def test_feature_dropout_reaches_the_image_tower_and_decides_the_run(tmp_path):
    model, _ = fit_tiny(tmp_path, epochs=1, feature_dropout=0.3)
    assert model.image_tower.feature_dropout == 0.3
    assert hyperparameters(AlignOptions())["feature_dropout"] == 0.4
    assert "feature_dropout" not in hyperparameters(AlignOptions(feature_dropout=0.0))
    assert "feature_dropout" not in hyperparameters(TrainOptions())


def test_captions_of_one_file_are_held_out_together():
    """Also if the captions file has another image id in every row."""
    images = [f"{row // 2}.png" for row in range(24)]
    rows = pa.table({
        "caption": [f"caption {row}" for row in range(24)],
        "image_id": [str(row) for row in range(24)],
        "image": images,
    })  # fmt: skip
    options = AlignOptions(precision="fp32")
    data = TrainingData(TinyModel(), rows, torch.randn(12, 12).repeat_interleave(2, 0))
    learn, held_out = split_rows(alignment_of(data, options).examples.image_keys, 0.3, 0)
    assert len(held_out) == 6
    assert not {images[row] for row in learn} & {images[row] for row in held_out}

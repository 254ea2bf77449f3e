"""Contrasts: texts that a row must not match, and what the base finds for them."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_model import EMBED_DIM, TinyModel
from training_rows import (
    assert_same_outcome,
    make_features,
    make_options,
    make_triples,
    stopped,
    tune,
)

from paraclip.errors import UserError
from paraclip.models.features import encode_texts
from paraclip.training.config import resolved
from paraclip.training.data import TrainingData
from paraclip.training.losses import CONTRAST, CONTRAST_TEACHER
from paraclip.training.train import plan_training

CHANGES = {"contrast": 1.0, "ranking": 3.0, "recipe": "consistent"}


def with_contrasts(count=24, every=2):
    """Triples of which some have a contrast."""
    table = make_triples(count)
    texts = table["caption"].to_pylist()
    found = [f"{text[1:]}q" if row % every == 0 else None for row, text in enumerate(texts)]
    return table.append_column(CONTRAST, pa.array(found, pa.string()))


def test_contrasts_are_encoded_by_base_and_batch_and_other_rows_have_none():
    model, table = TinyModel(), with_contrasts(6)
    bank = torch.nn.functional.normalize(torch.randn(9, EMBED_DIM), dim=1)
    data = TrainingData(model, table, make_features(table), bank=bank)
    rows, objective, _ = plan_training(data, resolved(make_options(**CHANGES), "mini"))
    assert objective.losses[-2:] == ("R", CONTRAST)
    teacher = rows.constants[CONTRAST_TEACHER]
    given = [text for text in table[CONTRAST].to_pylist() if text]
    torch.testing.assert_close(teacher[::2], encode_texts(model, given))
    assert not teacher[1::2].any()
    batch = rows.batch(np.array([5, 4, 0]))
    assert batch.rows.contrasted.tolist() == [1, 2]
    assert len(torch.cat([chunk[:, 0] for chunk in batch.chunks])) == 3 * 3 + 2


def test_wordings_come_apart_from_contrasts(tmp_path):
    table = with_contrasts(every=1)
    changes = {**CHANGES, "weights": (0.0, 1.0, 1.0), "epochs": 20, "held_out": 0.0}

    def margin(model):
        caption, one, contrast = (
            encode_texts(model, table[name].to_pylist())
            for name in ("caption", "paraphrase_1", CONTRAST)
        )
        return float(((caption * one).sum(1) - (caption * contrast).sum(1)).mean())

    tuned = tune(tmp_path, triples=table, **changes)
    without = tune(tmp_path / "without", triples=table, **{**changes, "contrast": 0.0})
    assert margin(tuned.model) > margin(without.model) + 0.1


def test_a_run_with_contrasts_resumes_bit_for_bit(tmp_path):
    table = with_contrasts()
    stopped(tmp_path / "parts", 4, triples=table, **CHANGES)
    parts = tune(tmp_path / "parts", triples=table, **CHANGES)
    assert_same_outcome(parts, tune(tmp_path / "whole", triples=table, **CHANGES))
    with pytest.raises(UserError, match="other settings: data"):
        tune(tmp_path / "whole", triples=with_contrasts(every=3), **CHANGES)


def test_without_a_contrast_there_is_nothing_to_compare_with(tmp_path):
    with pytest.raises(UserError, match="--contrast"):
        tune(tmp_path, **CHANGES)
    nothing = make_triples().append_column(CONTRAST, pa.nulls(24, pa.string()))
    with pytest.raises(UserError, match="--contrast"):
        tune(tmp_path, triples=nothing, **CHANGES)

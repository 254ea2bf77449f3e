"""Faults that a user can fix give one plain line and leave nothing half written."""

import json
import re
from pathlib import Path
from uuid import UUID

import pytest
import torch
from faults import apart, curves_without_room, run, short_of_room
from test_resume import assert_same_outcome
from tiny_model import TinyModel
from tiny_models import tiny_clip, word_files
from training_rows import make_config, make_features, make_triples

from paraclip.errors import UserError
from paraclip.files import locked
from paraclip.models.mini import Mini
from paraclip.training.loop import train
from paraclip.training.metrics import JsonLines, read_metrics
from paraclip.training.prepare import TrainingData

pytestmark = pytest.mark.slow


def tune(out, model=None, triples=None, features="given", **changes):
    """Train a tiny model; returns metrics and summary."""
    triples, model = triples or make_triples(), model or TinyModel()
    features = make_features(triples) if isinstance(features, str) else features
    train(TrainingData(model, triples, features), make_config(**changes), out)
    return read_metrics(out / "metrics.jsonl"), json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return out


@pytest.mark.parametrize(
    ("name", "most", "where"),
    [
        ("", 50, "run.json"),
        ("state-000000004", 900, "state-000000004.safetensors"),
        ("best", 900, "best.safetensors"),
        ("last", 900, "last.safetensors"),
    ],
)
def test_a_file_for_which_there_is_no_room_is_one_line(tmp_path, whole, name, most, where):
    out, log = tmp_path / "out", tmp_path / "told"
    assert apart(short_of_room, out, name, most, log) == 0
    assert re.search(rf"({where}): exceeds the largest allowed file size\. Choose", log.read_text())
    assert not list(out.rglob(".*.part")) and not (out / "last.safetensors").exists()
    run(out)
    assert_same_outcome(out, whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
@pytest.mark.parametrize("name", ["run.json", "summary.json"])
def test_a_full_disk_is_one_line_and_the_run_continues_once_there_is_room(
    tmp_path, whole, name, monkeypatch
):
    monkeypatch.setattr("paraclip.files.uuid4", lambda: UUID(int=0))
    full = tmp_path / f".{name}.{UUID(int=0).hex[:12]}.part"
    full.symlink_to("/dev/full")
    with monkeypatch.context() as patch:
        patch.setattr("paraclip.training.folder.RunFolder.clear_parts", lambda self: None)
        with pytest.raises(UserError, match=rf"{name}: the disk is full. Free some space"):
            run(tmp_path)
    assert not (tmp_path / name).exists() and not full.is_symlink()
    run(tmp_path)
    assert_same_outcome(tmp_path, whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_full_disk_under_the_log_is_one_line(tmp_path):
    log = JsonLines(tmp_path)
    log.lines.close()
    with Path("/dev/full").open("a") as log.lines:
        with pytest.raises(UserError, match=r"metrics.jsonl: the disk is full"):
            log.write(1, {"loss": 2.0})
        log.close()


def test_a_full_disk_under_tensorboard_is_one_line(tmp_path):
    assert apart(curves_without_room, tmp_path, tmp_path / "told") == 0
    assert "tensorboard: exceeds the largest allowed file size." in (tmp_path / "told").read_text()


def test_two_runs_do_not_write_to_one_folder(tmp_path, whole):
    with locked(tmp_path), pytest.raises(UserError, match="another run is writing here"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    run(tmp_path)
    assert_same_outcome(tmp_path, whole)


def test_too_few_pictures_to_hold_any_out_are_reported(tmp_path, capsys):
    _, summary = tune(tmp_path / "few", triples=make_triples(5), held_out=0.05)
    assert summary["rows_held_out"] == 0
    assert "too few pictures to hold any out; the last" in capsys.readouterr().err
    with pytest.raises(UserError, match="--patience: there are too few pictures"):
        tune(tmp_path / "patience", triples=make_triples(5), held_out=0.05, patience=1)


def test_a_batch_of_one_row_has_no_negatives_and_continues(tmp_path):
    steps, _ = tune(tmp_path, triples=make_triples(7), held_out=0.0, batch_size=2, epochs=1)
    assert len(steps) == 4 and sum(step["loss"] == 0 for step in steps) >= 1
    assert all(step["gradient_norm"] == 0 for step in steps if step["loss"] == 0)


def test_captions_that_are_all_equal_but_for_their_case_are_refused(tmp_path):
    table = make_triples(4).to_pylist()
    for row, caption in zip(table, ("A cat", "a cat", "a  cat", "A CAT "), strict=True):
        row["caption"] = caption
    with pytest.raises(UserError, match="all 4 rows have the same caption"):
        tune(tmp_path, triples=make_triples().from_pylist(table))
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_none_among_the_features_is_refused_with_its_row(tmp_path, number):
    features = make_features(make_triples())
    features[6, 2] = number
    with pytest.raises(UserError, match="image features: row 7: a value is NaN or infinite"):
        tune(tmp_path, features=features)


@pytest.mark.parametrize("make", [tiny_clip, lambda: Mini(word_files("bert"), embed_dim=8)])
def test_a_caption_of_ten_thousand_words_is_cut_and_counted(tmp_path, make):
    table = make_triples(12).to_pylist()
    table[2]["caption"] = "red disc on white paper " * 2000
    triples = make_triples().from_pylist(table)
    model = make()
    steps, summary = tune(tmp_path, model, triples, features=None, held_out=0.0, epochs=1)
    cut = model.tokenize([row["caption"] for row in table]).truncated
    assert cut and summary["texts_cut_to_context"] >= cut and steps[-1]["loss"] > 0

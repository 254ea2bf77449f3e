"""Rankings distilled over a bank: where its vectors come from, and what a run learns from them."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import EMBED_DIM, TinyModel
from training_rows import (
    assert_same_outcome,
    make_features,
    make_options,
    make_triples,
    stopped,
    tune,
)

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.models.features import encode_texts
from paraclip.training import data as data_module
from paraclip.training.config import TrainConfig
from paraclip.training.data import _BANK_AT_ONCE, TrainingData, _read_bank, prepare
from paraclip.training.losses import ALL_TEXTS, BANK, TEACHER
from paraclip.training.train import plan_training, train


def unit_rows(count, width=EMBED_DIM, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def index(tmp_path):
    """An index of 300 vectors whose pictures nobody has."""
    np.save(tmp_path / "index.npy", unit_rows(300) * 3)
    return tmp_path / "index.npy"


def test_an_index_gives_its_vectors(index):
    assert np.allclose(_read_bank(str(index), TinyModel(), Problems()), unit_rows(300), atol=1e-6)


def test_a_large_index_gives_a_sample_that_the_seed_determines(index, monkeypatch):
    monkeypatch.setattr(data_module, "_BANK_MOST", 40)
    one, again, other = (
        _read_bank(str(index), TinyModel(), Problems(), seed) for seed in (1, 1, 2)
    )
    assert one.shape == (40, EMBED_DIM)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_folder_gives_the_vectors_of_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    folder, model = tmp_path / "pictures", TinyModel()
    (folder / "inside").mkdir(parents=True)
    for number, name in enumerate(("a.png", "inside/b.png")):
        Image.new("RGB", (8, 8), (90 * number, 40, 10)).save(folder / name)
    with torch.no_grad():
        pixels = torch.stack([
            model.preprocess(Image.open(folder / name)) for name in ("a.png", "inside/b.png")
        ])  # fmt: skip
        wanted = model.project_images(model.embed_pixels(pixels))
    assert torch.allclose(_read_bank(str(folder), model, Problems()), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda folder: folder.mkdir(), "no pictures"),
        (lambda folder: np.save(folder.with_suffix(".npy"), unit_rows(5, 9)), "9 numbers"),
        (lambda folder: None, "no such"),
    ],
)
def test_a_bank_that_cannot_be_used_is_refused(tmp_path, make, word):
    make(tmp_path / "bank")
    name = str(next(tmp_path.glob("bank*"), tmp_path / "bank"))
    with pytest.raises(UserError, match=word):
        _read_bank(name, TinyModel(), Problems())


def test_the_teacher_is_the_base_on_the_averaged_wordings():
    model, triples = TinyModel(), make_triples()
    options = make_options(ranking=1.0, image_loss_on=("caption",))
    rows, _, _ = plan_training(TrainingData(model, triples, make_features(triples)), options)
    texts = [encode_texts(model, triples[name].to_pylist()) for name in ALL_TEXTS]
    mean = (texts[0] + texts[1] + texts[2]) / 3
    wanted = mean / mean.norm(dim=1, keepdim=True)
    found = rows.batch(np.arange(len(rows))).constants[TEACHER]
    assert torch.allclose(found, wanted, atol=1e-6)


def test_without_a_bank_the_pictures_of_the_rows_are_ranked_each_once():
    model, triples = TinyModel(), make_triples()
    features = make_features(triples)
    options = make_options(ranking=1.0, image_loss_on=("caption",))
    rows, _, _ = plan_training(TrainingData(model, triples, features), options)
    shown = set(np.asarray(triples["image_id"].to_pylist())[~features.isnan().all(1).numpy()])
    assert rows.bank is not None
    assert len(rows.bank) == len(shown)


def test_a_step_draws_part_of_a_large_bank_by_its_rows():
    model, triples = TinyModel(), make_triples()
    data = TrainingData(
        model, triples, make_features(triples), bank=torch.from_numpy(unit_rows(_BANK_AT_ONCE + 99))
    )
    rows, _, _ = plan_training(data, make_options(ranking=1.0, image_loss_on=("caption",)))
    first, again, other = (
        rows.batch(np.arange(start, start + 8), share).constants[BANK]
        for start, share in ((0, (0, 1)), (0, (1, 2)), (8, (0, 1)))
    )
    assert first.shape == (_BANK_AT_ONCE, EMBED_DIM)
    assert torch.equal(first, again)  # in every process
    assert not torch.equal(first, other)


def test_rankings_are_learned_without_any_picture_of_the_rows(tmp_path, index, monkeypatch):
    """The job of a user who has an index and nothing else."""
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    data = prepare(make_triples(), TinyModel(), bank=index)
    options = make_options(ranking=3.0, weights=(0.0, 0.0, 0.0), epochs=12, held_out=0.0)
    train(data, options, tmp_path / "run")
    steps = [line for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines() if line]
    losses = [float(line.split('"R": ')[1].split(",")[0].rstrip("}")) for line in steps]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_run_over_a_bank_resumes_bit_for_bit_and_not_over_another(tmp_path):
    changes = {"ranking": 2.0, "image_loss_on": ("caption",)}
    stopped(tmp_path / "stopped", 4, **changes)
    resumed = tune(tmp_path / "stopped", **changes)
    assert_same_outcome(resumed, tune(tmp_path / "whole", **changes))
    triples, bank = make_triples(), torch.from_numpy(unit_rows(300))
    data = TrainingData(TinyModel(), triples, make_features(triples), bank=bank)
    with pytest.raises(UserError, match="other settings"):
        train(data, make_options(**changes), tmp_path / "whole")


def test_rankings_need_pictures_and_a_bank_needs_rankings(tmp_path):
    triples = make_triples()
    options = make_options(ranking=1.0, weights=(0.0, 1.0, 1.0))
    with pytest.raises(UserError, match="--bank"):
        train(TrainingData(TinyModel(), triples, None), options, tmp_path / "run")
    single = TrainingData(TinyModel(), triples, None, bank=torch.from_numpy(unit_rows(1)))
    with pytest.raises(UserError, match="two pictures"):
        train(single, options, tmp_path / "run")
    with pytest.raises(UserError, match="--ranking"):
        TrainConfig(triples="starter", bank="index.npy", recipe="consistent")
    wide = TrainingData(TinyModel(), triples, None, bank=torch.from_numpy(unit_rows(5, 9)))
    with pytest.raises(UserError, match="9 numbers"):
        train(wide, options, tmp_path / "run")

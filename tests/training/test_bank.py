"""Rankings distilled over a bank: where its vectors come from, and what a run learns from them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from training_rows import make_features, make_options, tune

from forked import peak_memory
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.indexes import reading
from paraclip.models.features import encode_images, image_space
from paraclip.store import IndexFacts, Store, schema
from paraclip.systems import columns, files
from paraclip.systems.system import IndexAddress
from paraclip.training.bank import Bank, read_bank
from paraclip.training.config import TrainConfig, resolved
from paraclip.training.data import BANK_AT_ONCE, TrainingData
from paraclip.training.log import read_metrics
from paraclip.training.losses import BANK
from paraclip.training.prepare import prepare
from paraclip.training.sources import Sources
from paraclip.training.train import plan_training, train
from tiny import EMBED_DIM, TinyModel, draw_pictures, make_triples, without_rights


def vectors_alone(count, width=EMBED_DIM):
    """A bank whose pictures nobody has."""
    return Bank(torch.from_numpy(unit_rows(count, width)), None)


def unit_rows(count, width=EMBED_DIM, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def index(tmp_path):
    """An index of 300 vectors whose pictures nobody has."""
    np.save(tmp_path / "index.npy", unit_rows(300) * 3)
    return tmp_path / "index.npy"


def read(source, model=None, seed=0):
    return read_bank(str(source), model or TinyModel(), Problems(), seed)


def test_an_index_gives_its_vectors(index, monkeypatch, capsys):
    """All of a small index, in its order, to the bit what one division of the matrix gives."""
    monkeypatch.setattr(columns, "ROWS_AT_ONCE", 70)
    values = np.load(index)
    found = read(index)
    assert np.array_equal(found.vectors, values / np.linalg.norm(values, axis=1)[:, None])
    assert found.names is None
    assert f"no picture of {index} can be opened" in capsys.readouterr().err


def test_of_a_large_index_the_seed_determines_a_sample_and_no_more_is_held(index):
    np.save(index, unit_rows(100_099))
    one, again, other = (read(index, seed=seed).vectors for seed in (1, 1, 2))
    assert one.shape == (100_000, EMBED_DIM)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    rows = 5_000_099  # more than are read without a sample
    np.save(index, np.ones((rows, 1), np.float32))
    for sample, share in ((rows, 1.25), (1000, 0.1)):
        assert len(reading.read_index(IndexAddress(str(index)), sample).vectors) == sample
        peak = peak_memory(reading.read_index, IndexAddress(str(index)), sample)
        assert peak < share * rows * 4


def test_each_row_of_a_large_index_is_as_likely_and_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROWS_AT_ONCE", 7)
    angles = np.arange(1, 31) / 20
    vectors = pa.array(np.stack([np.cos(angles), np.sin(angles)], 1).tolist())
    paths = [str(row) for row in range(30)]
    pq.write_table(pa.table({"path": paths, "v": vectors}), tmp_path / "i.parquet")
    place, drawn = IndexAddress(str(tmp_path / "i.parquet")), np.zeros(30)
    for seed in range(400):
        found = reading.read_index(place, sample=6, seed=seed)
        rows = np.array([int(path) for path in found.paths])
        assert len(set(rows)) == 6
        assert np.allclose(np.arctan2(found.vectors[:, 1], found.vectors[:, 0]), angles[rows])
        drawn[rows] += 1
    assert drawn.min() > 40 and drawn.max() < 125  # 80 each; 9 standard deviations are 72


@pytest.fixture
def photos(tmp_path):
    """The files of twenty pictures, and their vectors by TinyModel."""
    files = list(map(str, draw_pictures(tmp_path / "photos")))
    return files, encode_images(TinyModel(), files).numpy()


@pytest.mark.parametrize("missing", [0, 15])
def test_an_index_of_the_base_names_the_pictures_that_can_be_opened(photos, missing, tmp_path):
    files, vectors = photos
    names = ["gone.png"] * missing + files[missing:]
    pq.write_table(pa.table({"path": names, "v": list(vectors)}), tmp_path / "i.parquet")
    found = read(tmp_path / "i.parquet")
    assert np.allclose(found.vectors, vectors, atol=1e-6)
    assert found.names == [""] * missing + files[missing:]


def test_an_index_of_another_model_is_refused(photos, tmp_path):
    files, _ = photos
    table = pa.table({"path": files, "v": list(unit_rows(len(files)))})
    pq.write_table(table, tmp_path / "i.parquet")
    with pytest.raises(UserError, match=r"from the model's image tower \(median cosine"):
        read(tmp_path / "i.parquet")


def test_our_own_index_is_refused_by_its_image_tower_without_any_picture(photos, tmp_path):
    pytest.importorskip("lancedb")
    files, vectors = photos
    for name, space in (("same", image_space(TinyModel())), ("other", "0" * 16)):
        store = Store(tmp_path / name)
        store.save_facts(IndexFacts(space, EMBED_DIM, "a", "", {"base": "a"}))
        columns = {kind.name: [0] * 20 for kind in schema(EMBED_DIM) if kind.name != "vector"}
        columns |= {"path": files, "vector": list(vectors), "thumbnail": [b""] * 20}
        columns |= {key: [f"{row:x}" for row in range(20)] for key in ("id", "hash", "caption")}
        store.put(pa.table(columns, schema(EMBED_DIM)))
    assert read(tmp_path / "same").names == files
    with pytest.raises(UserError, match="another image tower"):
        read(tmp_path / "other")


def test_a_folder_gives_the_vectors_of_its_pictures(photos, tmp_path):
    files, vectors = photos
    inside = tmp_path / "photos" / "inside"
    inside.mkdir()
    moved = [str(Path(name).rename(inside / Path(name).name)) for name in files[:3]]
    found = read(tmp_path / "photos")
    by_name = dict(zip([*moved, *files[3:]], vectors, strict=True))
    assert found.names == sorted(by_name)
    assert np.allclose(found.vectors, [by_name[name] for name in found.names], atol=1e-6)


def test_a_bank_without_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match="no pictures"):
        read(tmp_path)


def test_a_folder_that_may_not_be_read_is_one_line(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    Path("photos").chmod(0)
    with without_rights(), pytest.raises(UserError, match=r"photos.*: may not be read"):
        read("photos")


def test_the_choice_of_a_column_names_no_option_that_train_lacks(photos, tmp_path):
    table = pa.table({name: list(photos[1]) for name in ("text", "image")})
    pq.write_table(table, tmp_path / "i.parquet")
    with pytest.raises(UserError, match="several columns") as caught:
        read(tmp_path / "i.parquet")
    assert "--column" not in str(caught.value)


def test_without_a_bank_the_pictures_of_the_rows_are_ranked_each_once():
    model, triples = TinyModel(), make_triples()
    features = make_features(triples)
    options = resolved(make_options(ranking=1.0, image_loss_on=("caption",)), "mini")
    rows, _, _ = plan_training(TrainingData(model, triples, features), options)
    shown = set(np.asarray(triples["image_id"].to_pylist())[~features.isnan().all(1).numpy()])
    assert rows.bank is not None
    assert len(rows.bank) == len(shown)


def test_a_step_draws_part_of_a_large_bank_by_its_rows():
    model, triples = TinyModel(), make_triples()
    data = TrainingData(
        model, triples, make_features(triples), bank=vectors_alone(BANK_AT_ONCE + 99)
    )
    options = resolved(make_options(ranking=1.0, image_loss_on=("caption",)), "mini")
    rows, _, _ = plan_training(data, options)
    first, again, other = (
        rows.batch(np.arange(start, start + 8), share).constants[BANK]
        for start, share in ((0, (0, 1)), (0, (1, 2)), (8, (0, 1)))
    )
    assert first.shape == (BANK_AT_ONCE, EMBED_DIM)
    assert torch.equal(first, again)  # in every process
    assert not torch.equal(first, other)


def test_rankings_are_learned_without_any_picture_of_the_rows(tmp_path, index):
    """The job of a user who has an index and nothing else."""
    data = prepare(make_triples(), TinyModel(), Sources(bank=index))
    options = make_options(ranking=3.0, weights=(0.0, 0.0, 0.0), epochs=12)
    train(data, options, tmp_path / "run")
    losses = [step["R"] for step in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_run_is_not_resumed_over_another_bank(tmp_path):
    changes = {"ranking": 2.0, "image_loss_on": ("caption",)}
    tune(tmp_path, epochs=1, **changes)
    triples, bank = make_triples(), vectors_alone(300)
    data = TrainingData(TinyModel(), triples, make_features(triples), bank=bank)
    with pytest.raises(UserError, match="other settings"):
        train(data, make_options(epochs=1, **changes), tmp_path)


def test_rankings_need_pictures_and_a_bank_needs_rankings(tmp_path):
    triples = make_triples()
    options = make_options(ranking=1.0, weights=(0.0, 1.0, 1.0))
    with pytest.raises(UserError, match="--bank"):
        train(TrainingData(TinyModel(), triples, None), options, tmp_path / "run")
    single = TrainingData(TinyModel(), triples, None, bank=vectors_alone(1))
    with pytest.raises(UserError, match="two pictures"):
        train(single, options, tmp_path / "run")
    with pytest.raises(UserError, match="--ranking"):
        TrainConfig(triples="starter", bank="index.npy", recipe="consistent")
    wide = TrainingData(TinyModel(), triples, None, bank=vectors_alone(5, 9))
    with pytest.raises(UserError, match="9 numbers"):
        train(wide, options, tmp_path / "run")

"""Teachers of R: whose rankings a run learns, over which vectors, and how sharp they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from training_rows import (
    Stop,
    Told,
    Tuned,
    assert_same_outcome,
    before_step,
    make_options,
    told_texts,
)

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.models.features import encode_images, encode_texts
from paraclip.training import bank as bank_module
from paraclip.training import targets
from paraclip.training.bank import Bank, Teacher, load_teachers, read_bank
from paraclip.training.data import TrainingData
from paraclip.training.losses import ALL_TEXTS, BANK, TEACHERS, TEACHERS_BANK
from paraclip.training.prepare import prepare
from paraclip.training.sources import BASE, Sources
from paraclip.training.train import plan_training, train
from tiny import EMBED_DIM, OTHER_DIM, OtherModel, TinyModel, make_triples

RANKED = {"ranking": 1.0, "weights": (0.0, 0.0, 0.0), "recipe": "consistent"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of different colours, and a file that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        colour = (20 * number, 255 - 20 * number, 90 * (number % 3))
        Image.new("RGB", (6, 6), colour).save(folder / f"{number:02}.png")
    return folder


def bank_of(folder: Path, model: TinyModel) -> Bank:
    names = sorted(map(str, folder.glob("*.png")))
    return Bank(encode_images(model, names), names)


def data_with(folder: Path, *teachers: Teacher) -> TrainingData:
    model = TinyModel()
    return TrainingData(model, make_triples(), None, bank=bank_of(folder, model), teachers=teachers)


def test_a_teacher_ranks_the_same_pictures_by_vectors_of_its_own(pictures):
    other = OtherModel()
    data = data_with(pictures, Teacher("other", other))
    rows, objective, _ = plan_training(data, make_options(**RANKED))
    [ranker] = objective.rankers
    assert (ranker.share, ranker.width) == (1.0, OTHER_DIM)
    found = rows.batch(np.arange(8)).constants
    names = data.bank.names
    own = {tuple(row.tolist()): name for row, name in zip(data.bank.vectors, names, strict=True)}
    drawn = [own[tuple(row.tolist())] for row in found[BANK]]
    torch.testing.assert_close(found[TEACHERS_BANK], encode_images(other, drawn))
    texts = [encode_texts(other, data.triples[name].to_pylist()[:8]) for name in ALL_TEXTS]
    wanted = torch.nn.functional.normalize(sum(texts), dim=1)
    torch.testing.assert_close(found[TEACHERS], wanted)


def test_shares_add_up_and_the_base_keeps_its_temperature(pictures):
    teachers = Teacher(BASE, TinyModel(), 1.0), Teacher("other", OtherModel(), 3.0)
    rows, objective, _ = plan_training(data_with(pictures, *teachers), make_options(**RANKED))
    base, other = objective.rankers
    assert (base.share, other.share) == (0.25, 0.75)
    assert base.scale == objective.ranking_scale == pytest.approx(np.exp(2.0))
    found = rows.batch(np.arange(5)).constants
    assert found[TEACHERS].shape == (5, EMBED_DIM + OTHER_DIM)
    assert torch.equal(found[TEACHERS_BANK][:, :EMBED_DIM], found[BANK])


def entropy(scale, texts, pictures):
    chances = torch.softmax(scale * texts @ pictures.T, dim=1)
    return float(torch.distributions.Categorical(probs=chances).entropy().mean())


def test_a_teacher_is_as_sharp_as_the_base(pictures):
    base, other = TinyModel(), OtherModel()
    captions = make_triples()["caption"].to_pylist()
    bank, names = bank_of(pictures, base), sorted(map(str, pictures.glob("*.png")))
    seen = encode_images(other, names)
    scale = targets._matching_scale(other, seen, base, bank.vectors, captions)
    wanted = entropy(np.exp(2.0), encode_texts(base, captions), bank.vectors)
    assert entropy(scale, encode_texts(other, captions), seen) == pytest.approx(wanted, abs=1e-4)
    itself = targets._matching_scale(base, bank.vectors, base, bank.vectors, captions)
    assert itself == pytest.approx(np.exp(2.0), rel=1e-3)


def test_pictures_that_cannot_be_opened_leave_every_ranking(pictures, capsys):
    data = data_with(pictures, Teacher("other", OtherModel()))
    (pictures / "03.png").write_bytes(b"not a picture")
    rows, _, _ = plan_training(data, make_options(**RANKED))
    assert len(rows.bank) == len(rows.teachers_bank[0]) == 11
    assert "1 pictures of the bank" in capsys.readouterr().err


def test_vectors_alone_are_refused_unless_the_base_teaches(pictures):
    data = data_with(pictures, Teacher("other", OtherModel()))
    alone = replace(data, bank=Bank(data.bank.vectors, None))
    with pytest.raises(UserError, match="vectors alone"):
        plan_training(alone, make_options(**RANKED))
    plan_training(replace(alone, teachers=()), make_options(**RANKED))


def test_the_pictures_of_an_index_from_another_machine_are_found_by_their_names(pictures):
    names = sorted(map(str, pictures.glob("*.png")))
    vectors = encode_images(TinyModel(), names)
    elsewhere = [f"/usr/src/app/upload/{Path(name).name}" for name in names]
    columns = {"path": elsewhere, "vector": vectors.tolist()}
    types = pa.schema([("path", pa.string()), ("vector", pa.list_(pa.float32()))])
    index = pictures.parent / "index.parquet"
    pq.write_table(pa.table(columns, types), index)
    bank = read_bank(str(index), TinyModel(), Problems(), pictures=str(pictures))
    assert bank.names == names
    assert read_bank(str(index), TinyModel(), Problems()).names is None


def test_without_a_bank_a_teacher_ranks_the_pictures_of_the_rows(pictures):
    triples = make_triples(12)
    names = sorted(map(str, pictures.glob("*.png")))
    triples = triples.drop_columns("image").append_column("image", [names])
    options = make_options(**RANKED)
    data = prepare(triples, TinyModel())
    teachers = (Teacher("other", OtherModel()),)
    rows, _, _ = plan_training(replace(data, teachers=teachers), options)
    assert rows.teachers_bank[0].shape == (len(rows.bank), OTHER_DIM)
    assert torch.isfinite(rows.teachers_bank[0]).all()


def test_a_run_learns_what_its_teacher_ranks_and_resumes_over_it_alone(tmp_path, pictures):
    teacher = Teacher("other", OtherModel())
    options = make_options(**RANKED | {"epochs": 12})

    def run(name, save_seconds=300.0):
        data = data_with(pictures, teacher)
        path = train(data, options, tmp_path / name, save_seconds=save_seconds)
        return Tuned(data.model, tmp_path / name, path)

    with before_step(4), pytest.raises(Stop):
        run("stopped", 0.0)
    whole = run("whole")
    assert_same_outcome(run("stopped"), whole)
    for others in ((), (Teacher(BASE, TinyModel()), teacher), (Teacher("other", TinyModel(5)),)):
        with pytest.raises(UserError, match="other settings"):
            train(data_with(pictures, *others), options, tmp_path / "whole")
    data = data_with(pictures, teacher)
    assert loss_of(whole.model, data, teacher) < loss_of(TinyModel(), data, teacher)


def loss_of(model, data, teacher):
    """The mean cross-entropy of the model's rankings of captions with the teacher's."""
    names = data.bank.names
    seen, own = encode_images(teacher.model, names), encode_images(TinyModel(), names)
    texts = data.triples["caption"].to_pylist()
    wanted = (7.0 * encode_texts(teacher.model, texts) @ seen.T).softmax(1)
    found = (np.exp(2.0) * encode_texts(model, texts) @ own.T).log_softmax(1)
    return -float((wanted * found).sum(1).mean())


def test_names_and_shares(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        bank_module, "load_model", lambda name, _: loaded.append(name) or OtherModel()
    )
    base = TinyModel()
    found = load_teachers(["base=0.5", "ViT-B-32:openai", "runs/a=b.safetensors=2e3"], base)
    assert [one.share for one in found] == [0.5, 1.0, 2000.0]
    assert found[0].model is base
    assert loaded == ["ViT-B-32:openai", "runs/a=b.safetensors"]


@pytest.mark.parametrize("share", ["0", "0.0", "-1", "nan", "inf", "9" * 400])
def test_a_share_of_nothing_or_without_a_limit_is_refused(share):
    with pytest.raises(UserError, match="the share of 'other' is"):
        load_teachers([f"other={share}"], TinyModel())


def test_a_text_encoder_cannot_rank_pictures(monkeypatch):
    sentences = TinyModel()
    sentences.architecture = replace(sentences.architecture, kind="sentence")
    monkeypatch.setattr(bank_module, "load_model", lambda *_: sentences)
    with pytest.raises(UserError, match="no image encoder"):
        load_teachers(["minilm"], TinyModel())


def test_texts_without_pictures_are_rows_of_which_rankings_are_learned(tmp_path, pictures):
    (tmp_path / "queries.txt").write_text("red boat\n\nlamp\n", "utf-8")
    (tmp_path / "more.csv").write_text("caption\na green tree\n", "utf-8")
    sources = [str(tmp_path / name) for name in ("queries.txt", "more.csv")]
    model = Told(tmp_path / "told")
    data = prepare(make_triples(), model, Sources(texts=sources, bank=pictures))
    assert data.triples["caption"].to_pylist()[-3:] == ["red boat", "lamp", "a green tree"]
    assert data.triples.slice(len(data.triples) - 3)["image"].null_count == 3
    assert data.triples["image_id"].to_pylist()[-3:] == ["text 1", "text 2", "text 3"]
    rows, _, _ = plan_training(data, make_options(**RANKED | {"weights": (0.0, 1.0, 1.0)}))
    [ids] = model.tokenize(["red boat"]).ids.tolist()
    told = [line.replace(", 0", "") for line in told_texts(model.told)]
    assert told.count(str(ids)) == 1, "it stands for three texts and is encoded once"
    batch = rows.batch(np.arange(len(rows)))
    last = set(range(len(rows) - 3, len(rows)))
    assert not last & set(batch.rows.reworded_1.tolist())  # L2 and L3 skip them
    wanted = encode_texts(TinyModel(), ["red boat", "lamp", "a green tree"])
    torch.testing.assert_close(batch.constants[TEACHERS][-3:], wanted)
    assert data.facts["texts"] == {"data": sources, "count": 3}

"""Teachers of R: whose rankings a run learns, over which bank, and how sharp they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from run_processes import start
from torch.nn.functional import normalize
from training_rows import (
    Stop,
    Told,
    assert_same_outcome,
    before_step,
    make_features,
    planned,
    stopped,
    told_texts,
    tune,
)

from forked import SERVER, peak_memory
from paraclip.data.captions import Problems
from paraclip.data.triples import WORDINGS, with_column
from paraclip.errors import UserError
from paraclip.indexes import read_index
from paraclip.models import features
from paraclip.models.features import encode_images, encode_texts, image_space, stored_texts
from paraclip.starter import TEXTS
from paraclip.store import IndexFacts, Store, schema
from paraclip.systems import columns, files
from paraclip.systems.system import IndexAddress
from paraclip.training import ranking, sentences
from paraclip.training.config import RunOptions
from paraclip.training.data import Bank, Teacher, TrainingData
from paraclip.training.prepare import prepare
from paraclip.training.ranking import (
    BANK,
    BANK_AT_ONCE,
    TEACHERS,
    TEACHERS_BANK,
    load_teachers,
    read_bank,
)
from paraclip.training.sentences import MEANINGS
from paraclip.training.sources import BASE
from tiny import (
    EMBED_DIM,
    OTHER_DIM,
    OtherModel,
    TinyModel,
    draw_pictures,
    make_triples,
    without_rights,
)

RANKED = {"recipe": "taught", "loss_weights": {"R": 1.0, "S": 0.0}}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "TEXTS_AT_ONCE", 4)
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
    rows, objective, _ = planned(data, **RANKED)
    [ranker] = objective.losses["R"].rankers
    assert (ranker.share, ranker.width) == (1.0, OTHER_DIM)
    found = rows.batch(np.arange(8)).constants
    names = data.bank.names
    own = {tuple(row.tolist()): name for row, name in zip(data.bank.vectors, names, strict=True)}
    drawn = [own[tuple(row.tolist())] for row in found[BANK]]
    torch.testing.assert_close(found[TEACHERS_BANK], encode_images(other, drawn))
    texts = [encode_texts(other, data.triples[name].to_pylist()[:8]) for name in TEXTS]
    wanted = torch.nn.functional.normalize(sum(texts), dim=1)
    torch.testing.assert_close(found[TEACHERS], wanted)


def test_shares_add_up_and_the_base_keeps_its_temperature(pictures):
    teachers = Teacher(BASE, TinyModel(), 1.0), Teacher("other", OtherModel(), 3.0)
    rows, objective, _ = planned(data_with(pictures, *teachers), **RANKED)
    ranking = objective.losses["R"]
    base, other = ranking.rankers
    assert (base.share, other.share) == (0.25, 0.75)
    assert base.scale == ranking.scale == pytest.approx(np.exp(2.0))
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
    scale = ranking._matching_scale(other, seen, base, bank.vectors, captions)
    wanted = entropy(np.exp(2.0), encode_texts(base, captions), bank.vectors)
    assert entropy(scale, encode_texts(other, captions), seen) == pytest.approx(wanted, abs=1e-4)
    itself = ranking._matching_scale(base, bank.vectors, base, bank.vectors, captions)
    assert itself == pytest.approx(np.exp(2.0), rel=1e-3)


def test_pictures_that_cannot_be_opened_leave_every_ranking(pictures):
    data = data_with(pictures, Teacher("other", OtherModel()))
    (pictures / "03.png").write_bytes(b"not a picture")
    _, objective, _ = planned(data, **RANKED)
    ranking = objective.losses["R"]
    assert len(ranking.bank) == len(ranking.rankers[0].pictures) == 11
    assert "03.png" in data.problems.summary()


def test_vectors_alone_are_refused_unless_the_base_teaches(pictures):
    data = data_with(pictures, Teacher("other", OtherModel()))
    alone = replace(data, bank=Bank(data.bank.vectors, None))
    with pytest.raises(UserError, match="vectors alone"):
        planned(alone, **RANKED)
    planned(replace(alone, teachers=()), **RANKED)


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
    data = prepare(triples, TinyModel())
    teachers = (Teacher("other", OtherModel()),)
    _, objective, _ = planned(replace(data, teachers=teachers), **RANKED)
    [ranker] = objective.losses["R"].rankers
    assert ranker.pictures.shape == (len(objective.losses["R"].bank), OTHER_DIM)
    assert torch.isfinite(ranker.pictures).all()


@pytest.mark.slow
def test_a_run_learns_what_its_teacher_ranks_and_resumes_over_it_alone(tmp_path, pictures):
    teacher = Teacher("other", OtherModel())
    options = RANKED | {"epochs": 12}

    def run(name):
        return tune(tmp_path / name, data=data_with(pictures, teacher), **options)

    with before_step(4), pytest.raises(Stop):
        run("stopped")
    whole = run("whole")
    assert_same_outcome(run("stopped"), whole)
    for others in ((), (Teacher(BASE, TinyModel()), teacher), (Teacher("other", TinyModel(5)),)):
        with pytest.raises(UserError, match="other settings"):
            tune(tmp_path / "whole", data=data_with(pictures, *others), **options)
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
    monkeypatch.setattr(ranking, "load_model", lambda name, _: loaded.append(name) or OtherModel())
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
    monkeypatch.setattr(ranking, "load_model", lambda *_: sentences)
    with pytest.raises(UserError, match="no image encoder"):
        load_teachers(["minilm"], TinyModel())


def test_texts_without_pictures_are_rows_of_which_rankings_are_learned(tmp_path, pictures):
    (tmp_path / "queries.txt").write_text("red boat\n\nlamp\n", "utf-8")
    (tmp_path / "more.csv").write_text("caption\na green tree\n", "utf-8")
    sources = tuple(str(tmp_path / name) for name in ("queries.txt", "more.csv"))
    model = Told(tmp_path / "told")
    data = prepare(make_triples(), model, RunOptions(texts=sources, bank=str(pictures)))
    assert data.triples["caption"].to_pylist()[-3:] == ["red boat", "lamp", "a green tree"]
    assert data.triples.slice(len(data.triples) - 3)["image"].null_count == 3
    assert data.triples["image_id"].to_pylist()[-3:] == ["text 1", "text 2", "text 3"]
    rows, _, _ = planned(data, loss_weights={"L1": 0.0, "R": 1.0})
    [ids] = model.tokenize(["red boat"]).ids.tolist()
    told = [line.replace(", 0", "") for line in told_texts(model.told)]
    assert told.count(str(ids)) == 1, "it stands for three texts and is encoded once"
    batch = rows.batch(np.arange(len(rows)))
    last = set(range(len(rows) - 3, len(rows)))
    assert not last & set(batch.rows.reworded["paraphrase_1"].tolist())  # L2 and L3 skip them
    wanted = encode_texts(TinyModel(), ["red boat", "lamp", "a green tree"])
    torch.testing.assert_close(batch.constants[TEACHERS][-3:], wanted)
    assert data.facts["texts"] == {"data": [*sources], "count": 3}


# --- the bank: where its vectors come from, and what a run learns from them ---


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
        assert len(read_index(IndexAddress(str(index)), sample).vectors) == sample
        peak = peak_memory(read_index, IndexAddress(str(index)), sample)
        assert peak < share * rows * 4


def test_each_row_of_a_large_index_is_as_likely_and_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROWS_AT_ONCE", 7)
    angles = np.arange(1, 31) / 20
    vectors = pa.array(np.stack([np.cos(angles), np.sin(angles)], 1).tolist())
    paths = [str(row) for row in range(30)]
    pq.write_table(pa.table({"path": paths, "v": vectors}), tmp_path / "i.parquet")
    place, drawn = IndexAddress(str(tmp_path / "i.parquet")), np.zeros(30)
    for seed in range(400):
        found = read_index(place, sample=6, seed=seed)
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
    with pytest.raises(UserError, match=r"from the model's image encoder \(median cosine"):
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
    with pytest.raises(UserError, match="another image encoder"):
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
    data = TrainingData(model, triples, features)
    _, objective, _ = planned(data, loss_weights={"R": 1.0}, image_loss_on=("caption",))
    shown = set(np.asarray(triples["image_id"].to_pylist())[~features.isnan().all(1).numpy()])
    assert len(objective.losses["R"].bank) == len(shown)


def test_a_step_draws_part_of_a_large_bank_by_its_rows():
    model, triples = TinyModel(), make_triples()
    data = TrainingData(
        model, triples, make_features(triples), bank=vectors_alone(BANK_AT_ONCE + 99)
    )
    rows, _, _ = planned(data, loss_weights={"R": 1.0}, image_loss_on=("caption",))
    first, again, other = (
        rows.batch(np.arange(start, start + 8), share).constants[BANK]
        for start, share in ((0, (0, 1)), (0, (1, 2)), (8, (0, 1)))
    )
    assert first.shape == (BANK_AT_ONCE, EMBED_DIM)
    assert torch.equal(first, again)  # in every process
    assert not torch.equal(first, other)


def test_rankings_are_learned_without_any_picture_of_the_rows(tmp_path, index):
    """The job of a user who has an index and nothing else."""
    data = prepare(make_triples(), TinyModel(), RunOptions(bank=str(index)))
    run = tune(tmp_path / "run", data=data, **RANKED, epochs=12)
    losses = [step["R"] for step in run.steps]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_run_is_not_resumed_over_another_bank(tmp_path):
    changes = {"loss_weights": {"R": 2.0}, "image_loss_on": ("caption",)}
    tune(tmp_path, epochs=1, **changes)
    triples, bank = make_triples(), vectors_alone(300)
    data = TrainingData(TinyModel(), triples, make_features(triples), bank=bank)
    with pytest.raises(UserError, match="other settings"):
        tune(tmp_path, data=data, epochs=1, **changes)


def test_rankings_need_pictures_and_a_bank_needs_rankings():
    triples = make_triples()
    options = {"loss_weights": {"L1": 0.0, "R": 1.0}}
    for bank, said in (
        (None, "--bank"),
        (vectors_alone(1), "two pictures"),
        (vectors_alone(5, 9), "9 numbers"),
    ):
        with pytest.raises(UserError, match=said):
            planned(TrainingData(TinyModel(), triples, None, bank=bank), **options)
    with pytest.raises(UserError, match="--loss-weight R=3"):
        RunOptions(teacher=("other",), recipe="consistent")


# --- vectors of frozen teachers: to the bit those in memory, encoded once for all runs ---

TAUGHT = {"loss_weights": {"R": 2.0, "S": 1.0}, "image_loss_on": ("caption",)}
SAID = [
    "a boat", "tree", "a boat", "a", "b", "lamps on a tree", "kite", "ab", "red kite", "tree", "é",
    "two\nlines", "fish, fish", "drum", "shoe", "tree",
]  # fmt: skip
DIFFERENT = 13


def encode(folder: Path, together) -> None:
    """Encode `SAID` slowly into the cache in a folder, in a separate process."""
    features.TEXTS_AT_ONCE = 4
    model = Told(folder / "told", slow=0.2)
    together.wait(60)
    stored_texts(model, SAID, folder, "texts")


def assert_as_in_memory(cache: Path, told: Path) -> None:
    """Assert that the stored vectors of `SAID` have the bits of those that are not cached."""
    found = stored_texts(Told(told), SAID, cache, "texts")
    assert torch.equal(found[:], encode_texts(TinyModel(), SAID, batch_size=4))


def test_texts_have_the_vectors_of_memory_and_are_encoded_once(tmp_path):
    assert_as_in_memory(tmp_path, tmp_path / "first")
    assert len(told_texts(tmp_path / "first")) == DIFFERENT
    assert_as_in_memory(tmp_path, tmp_path / "second")
    assert not told_texts(tmp_path / "second")


def test_only_changed_texts_are_encoded_and_other_weights_have_vectors_of_their_own(tmp_path):
    assert stored_texts(TinyModel(), [], tmp_path, "texts").shape == (0, 8)
    assert_as_in_memory(tmp_path, tmp_path / "first")
    changed = ["a boat in the sun", *SAID[::-1]]
    found = stored_texts(Told(tmp_path / "second"), changed, tmp_path, "texts")
    assert len(told_texts(tmp_path / "second")) == 1
    assert torch.allclose(found[:], encode_texts(TinyModel(), changed))
    other = stored_texts(TinyModel(seed=1), SAID, tmp_path, "texts")
    assert torch.equal(other[:], encode_texts(TinyModel(seed=1), SAID, batch_size=4))


def test_of_two_runs_at_once_one_encodes(tmp_path):
    together = SERVER.Barrier(2)
    processes = [SERVER.Process(target=encode, args=(tmp_path, together)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(told_texts(tmp_path / "told")) == DIFFERENT
    assert_as_in_memory(tmp_path, tmp_path / "again")
    assert not told_texts(tmp_path / "again")


@pytest.mark.parametrize("languages", [("en",), ("en", "de")])
def test_batches_have_the_vectors_of_the_whole_table(monkeypatch, languages):
    monkeypatch.setattr(sentences, "load_model", lambda *_: TinyModel(seed=7))
    table = with_column(make_triples(40), "paraphrase_2", ["one", "two"] * 20)
    further = [[(f"en {row}", "en")] * (row % 3) + [("de", "de")] * (row % 2) for row in range(40)]
    wordings = [[{"text": text, "lang": lang} for text, lang in of_row] for of_row in further]
    table = table.append_column(WORDINGS, pa.array(wordings, WORDINGS.type))
    bank = normalize(torch.randn(9, 8), dim=1)
    data = TrainingData(TinyModel(), table, None, bank=Bank(bank, None), languages=languages)
    examples = planned(data, **TAUGHT)[0]

    english = [(row, text) for row, found in enumerate(further) for text, lang in found
               if lang == "en"]  # fmt: skip
    spoken = {}
    for name, model in ((TEACHERS, TinyModel()), (MEANINGS, TinyModel(seed=7))):
        lists = [*(table[text].to_pylist() for text in TEXTS), [text for _, text in english]]
        spoken[name] = [encode_texts(model, texts, batch_size=4) for texts in lists]
    *triple, others = spoken[TEACHERS]
    total = torch.stack(triple).sum(0)
    total.index_add_(0, torch.tensor([row for row, _ in english]), others)
    teacher = normalize(total, dim=-1)
    *triple, others = spoken[MEANINGS]
    meanings = torch.stack([*triple, triple[0], triple[0], triple[0]], dim=1)
    count = np.zeros(40, dtype=int)
    for (row, _), vector in zip(english, others, strict=True):
        meanings[row, 3 + count[row]] = vector
        count[row] += 1

    for size in (1, 3, 40):
        rows = np.random.default_rng(size).permutation(40)[:size]
        found = examples.batch(rows).constants
        assert torch.equal(found[TEACHERS], teacher[torch.from_numpy(rows)])
        places = torch.from_numpy(examples.draw_wordings(rows).T)
        wanted = meanings[torch.from_numpy(rows)].take_along_dim(places[..., None], dim=1)
        assert torch.equal(found[MEANINGS], wanted)


@pytest.mark.slow
def test_a_resumed_run_encodes_nothing_for_its_teachers(tmp_path, monkeypatch):
    told = {name: tmp_path / name for name in ("base", "sentences")}
    monkeypatch.setattr(sentences, "load_model", lambda *_: Told(told["sentences"], seed=7))
    stopped(tmp_path / "stopped", 4, **TAUGHT)
    first = told_texts(told["sentences"])
    assert first
    resumed = tune(tmp_path / "stopped", **TAUGHT)
    assert told_texts(told["sentences"]) == first
    triples = make_triples()
    data = TrainingData(Told(told["base"]), triples, make_features(triples))
    planned(data, **TAUGHT)
    assert not told_texts(told["base"])
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "empty"))
    assert_same_outcome(resumed, tune(tmp_path / "whole", **TAUGHT))


@pytest.mark.slow
def test_of_several_processes_the_first_encodes(tmp_path):
    assert [code for code, _, _ in start(2, tmp_path, "taught")] == [0, 0]
    assert told_texts(tmp_path / "told-0") and not told_texts(tmp_path / "told-1")

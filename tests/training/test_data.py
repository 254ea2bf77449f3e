"""Rows of a run: read, prepared, tokenized, held out and batched."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_rows import make_features, planned

from paraclip.data.captions import Problems
from paraclip.data.triples import (
    WORDINGS,
    choose_wordings,
    read_triples,
    scene_table,
    with_column,
    with_schema,
)
from paraclip.errors import UserError
from paraclip.models.features import encode_texts
from paraclip.starter import TEXTS, TRIPLES
from paraclip.starter.scenes import GRAMMAR
from paraclip.training import data as data_module
from paraclip.training import sentences
from paraclip.training.config import LoopOptions, RunOptions
from paraclip.training.data import Bank, Examples, TrainingData, make_examples
from paraclip.training.prepare import prepare
from paraclip.training.ranking import TEACHERS
from paraclip.training.sentences import MEANINGS
from paraclip.training.sources import read_run_rows
from tiny import EMBED_DIM, TinyModel, draw, make_triples, tiny_clip

NAN, INF = float("nan"), float("inf")
SHORT = st.text("abc ", min_size=1, max_size=14)


def pictures(folder: Path) -> list[str | None]:
    """A picture, no picture, a broken one, the first one again, and one that is missing."""
    (folder / "broken.png").write_bytes(b"no picture")
    good = draw(folder / "good.png")
    return [good, None, str(folder / "broken.png"), good, str(folder / "missing.png")]


def triples(images: list[str | None]) -> pa.Table:
    """A triple per image."""
    return with_schema([
        {"id": f"{row}", "image_id": f"{row}", "image": image,
         **{name: f"{name} {row}" for name in TEXTS}}
        for row, image in enumerate(images)
    ])  # fmt: skip


def with_features(features) -> TrainingData:
    return TrainingData(TinyModel(), pa.table({"row": range(len(features))}), features)


@pytest.mark.parametrize("count", [1, 16_384, 40_000])
def test_rows_of_nan_have_no_picture_in_any_part(count):
    has_image = torch.rand(count) < 0.5
    features = torch.where(has_image[:, None], torch.tensor([1.0, 2.0]), NAN)
    assert np.array_equal(with_features(features).has_image(), has_image)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("row", [0, 16_384, 39_999])
def test_a_row_that_is_not_finite_is_named_in_any_part(value, row):
    features = torch.ones(40_000, 3)
    features[row, 1] = value
    with pytest.raises(UserError, match=rf"image features: row {row + 1}: a value is NaN or inf"):
        with_features(features).has_image()


def test_features_of_no_numbers_or_none_are_no_pictures():
    assert with_features(torch.zeros(3, 0)).has_image().tolist() == [False] * 3
    assert TrainingData(TinyModel(), make_triples(2), None).has_image().tolist() == [False] * 2


def test_broken_pictures_are_a_share_of_the_pictures_not_of_the_rows(tmp_path):
    names = pictures(tmp_path)
    rows = triples([*names[:3], *[names[0]] * 99, *[None] * 99])
    with pytest.raises(UserError, match="1 of 2 rows are broken"):
        prepare(rows, tiny_clip(), cache=tmp_path / "cache", problems=Problems(0.01))


@pytest.mark.parametrize("source", ["starter", TRIPLES, os.path.relpath(TRIPLES)])
def test_the_starter_set_is_not_added_to_itself(source):
    with pytest.raises(UserError, match="--starter: adds the triples that are trained on"):
        prepare(source, TinyModel(), RunOptions(starter=True))


def test_a_model_without_an_image_encoder_needs_a_bank():
    model = TinyModel()
    model.architecture = replace(model.architecture, kind="sentence")
    with pytest.raises(UserError, match="--bank"):
        prepare(make_triples(), model)


def test_an_empty_image_name_is_no_picture(tmp_path):
    images = ["", None, draw(tmp_path / "a.png"), ""]
    data = prepare(triples(images), tiny_clip(), cache=tmp_path / "cache")
    assert data.triples["image"].to_pylist() == [None, None, images[2], None]
    assert data.has_image().sum() == 1 and data.triples.schema.equals(triples(images).schema)


@pytest.fixture
def without_ids(tmp_path) -> pa.Table:
    """Triples of 12 pictures with two captions each, read from a file without `image_id`."""
    table = make_triples(24).drop_columns(["image_id", "image"])
    images = [str(tmp_path / f"{index % 12}.png") for index in range(24)]
    images[13] = f"{tmp_path}/./1.png"  # the same file
    path = tmp_path / "triples.parquet"
    pq.write_table(table.append_column("image", pa.array(images)), path)
    return read_triples(path)


def test_without_image_ids_captions_of_one_picture_are_no_negatives(without_ids):
    data = TrainingData(TinyModel(), without_ids, make_features(without_ids))
    examples, _, _ = planned(data)
    mask = examples.batch(np.array([1, 2, 13])).rows.false_negatives.dense()
    assert mask.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_pictures_are_the_same_by_id_or_by_file():
    ids = ["a", "b", "a", "c", "d", "e"]
    images = ["1.png", "2.png", "2.png", None, "3.png", None]
    table = pa.table({"image_id": ids, "image": pa.array(images, pa.string())})
    first, second, third, fourth, fifth, sixth = data_module._picture_keys(table)
    assert first == second == third
    assert len({first, fourth, fifth, sixth}) == 4
    assert data_module._picture_keys(table.drop_columns(["image"])) == ids
    none = table.set_column(1, "image", pa.nulls(6, pa.string()))
    assert data_module._picture_keys(none) == ids
    empty = table.set_column(1, "image", pa.array(["", "", "", "1.png", "", ""]))
    assert data_module._picture_keys(empty) == ids, "an empty name is no picture"


def examples_of(texts: dict[str, list[str]], image_ids=None, features=None, **options) -> Examples:
    """Examples of the texts under all names that are given."""
    ids = image_ids or [str(index) for index in range(len(texts["caption"]))]
    table = pa.table({"image_id": pa.array(ids, pa.string()), **texts})
    options = LoopOptions(**options)
    return make_examples(TrainingData(TinyModel(), table, features), tuple(texts), options)


def alike(*captions: str, **others: list[str]) -> Examples:
    texts = {"caption": list(captions)}
    for name in TEXTS[1:]:
        texts[name] = others.get(name) or [f"{name} {index}" for index in range(len(captions))]
    return examples_of(texts, others.get("image_ids"))


@given(st.lists(SHORT, min_size=2, max_size=12, unique=True), st.integers(1, 5))
def test_chunked_vectors_are_those_of_one_pass(captions, chunk):
    if len({" ".join(text.split()) for text in captions}) < 2:
        return
    model = TinyModel()
    texts = {"caption": captions, "paraphrase_1": captions[::-1], "paraphrase_2": captions}
    rows = np.arange(len(captions))[::-1].copy()
    batch = examples_of(texts, micro_batch=chunk).batch(rows)
    vectors = torch.cat([model.encode_tokens(ids) for ids in batch.chunks])
    found = vectors[batch.restore].view(3, len(rows), -1)
    for vectors, name in zip(found, TEXTS, strict=True):
        expected = model.encode_tokens(model.tokenize(texts[name]).ids)[torch.from_numpy(rows)]
        torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-6)


def test_a_text_goes_through_the_tower_once_a_batch_however_often_it_occurs():
    examples = examples_of({
        "caption": ["a", "b", "c", "a"], "paraphrase_1": ["a", "b b", "c", "a a"],
        "paraphrase_2": ["a", "b b", "c c", "a"],
    })  # fmt: skip
    whole, part = examples.batch(np.arange(4)), examples.batch(np.array([3, 0]))
    assert sum(map(len, whole.chunks)) == 6  # a, b, c, b b, c c, a a
    assert sum(map(len, part.chunks)) == 2
    assert whole.restore.shape == (12,) and part.restore.shape == (6,)


def test_equal_text_on_either_side_or_equal_picture_is_not_a_negative():
    examples = alike(
        "a cat", "A  Cat", "dog", "boat", "tree",
        paraphrase_1=["p", "q", "r", "s", "t"],
        paraphrase_2=["x", "y", "boat", "z", "w"],
        image_ids=["0", "1", "2", "3", "0"],
    )  # fmt: skip
    mask = examples.batch(np.arange(5)).rows.false_negatives.dense().numpy()
    assert {tuple(pair) for pair in np.argwhere(np.triu(mask))} == {(0, 1), (2, 3), (0, 4)}
    assert np.array_equal(mask, mask.T) and not mask.diagonal().any()
    assert examples.batch(np.array([0, 2])).rows.false_negatives is None


def test_a_text_that_no_loss_uses_masks_nothing():
    texts = {"caption": ["one", "two"], "paraphrase_1": ["same", "same"]}
    used, unused = examples_of(texts), examples_of({"caption": texts["caption"]})
    assert used.batch(np.arange(2)).rows.false_negatives is not None
    assert unused.batch(np.arange(2)).rows.false_negatives is None


def test_a_row_that_was_not_reworded_leaves_that_loss():
    same = ["one", "2", "three"]
    examples = alike("one", "two", "three", paraphrase_1=same, paraphrase_2=["one", "2", "drei"])
    rows = examples.batch(np.arange(3)).rows
    found = {name: places.tolist() for name, places in rows.reworded.items()}
    assert found == {"paraphrase_1": [1], "paraphrase_2": [2]}


def test_rows_without_a_picture_bring_no_feature():
    triples = make_triples(6)
    features = make_features(triples, missing=(1, 4))
    texts = {name: triples[name].to_pylist() for name in TEXTS}
    batch = examples_of(texts, features=features).batch(np.array([5, 4, 1, 0]))
    assert batch.rows.with_image.tolist() == [0, 3]
    assert torch.equal(batch.features, features[[5, 0]])


@given(st.integers(4, 15), st.integers(1, 4), st.integers(1, 4))
def test_the_processes_parts_are_the_batch_however_it_divides(size, processes, chunk):
    triples = make_triples(24)
    texts = {name: triples[name].to_pylist() for name in TEXTS}
    examples = examples_of(texts, features=make_features(triples), micro_batch=chunk)
    rows = np.random.default_rng(size).permutation(24)[:size]
    parts = [examples.batch(rows, (rank, processes)) for rank in range(processes)]
    assert [len(part.restore) // 3 for part in parts] == parts[0].text_sizes
    assert [len(part.features) for part in parts] == parts[0].image_sizes
    together = torch.cat([part.features for part in parts])
    assert torch.equal(together, examples.batch(rows).features)
    assert all(torch.equal(part.rows.with_image, parts[0].rows.with_image) for part in parts)


def batches_of(rows: int, start: int = 0, **options) -> list[np.ndarray]:
    """The rows of each step after `start`."""
    examples = examples_of({"caption": [str(row) for row in range(rows)]}, **options)
    return list(examples.rows_from(start))


@given(st.integers(2, 200), st.integers(2, 60), st.integers(0, 9))
def test_an_epoch_holds_every_row_once_in_even_batches(rows, size, seed):
    batches = batches_of(rows, batch_size=size, seed=seed, epochs=1)
    assert sorted(np.concatenate(batches)) == list(range(rows))
    lengths = [len(batch) for batch in batches]
    assert max(lengths) <= size and max(lengths) - min(lengths) <= 1


def test_order_depends_on_seed_and_epoch_and_any_step_can_be_the_first():
    whole, later = (batches_of(30, start, batch_size=8, seed=1, epochs=3) for start in (0, 5))
    assert len(whole) == 12
    assert all(np.array_equal(a, b) for a, b in zip(whole[5:], later, strict=True))
    assert not np.array_equal(whole[0], whole[4])
    assert not np.array_equal(whole[0], batches_of(30, batch_size=8, seed=2)[0])


@pytest.mark.parametrize(
    ("texts", "image_ids", "complaint"),
    [
        ([], [], "0 row"),
        (["one"], ["0"], "1 row"),
        (["A cat", "a  cat "], ["0", "1"], "the same caption"),
        (["one", "two"], ["0", "0"], "the same picture"),
    ],
)
def test_rows_with_no_negatives_are_refused(texts, image_ids, complaint):
    with pytest.raises(UserError, match=complaint):
        examples_of({"caption": texts}, image_ids)


@pytest.mark.parametrize(
    ("features", "complaint"),
    [
        (torch.ones(3, 12), r"shape \[3, 12\] for 2 rows"),
        (torch.ones(2, 5), "width 5 does not fit tiny"),
        (torch.full((2, 12), torch.inf), "infinite"),
    ],
)
def test_features_of_another_run_are_refused(features, complaint):
    with pytest.raises(UserError, match=complaint):
        examples_of({"caption": ["one", "two"]}, features=features)


# --- further wordings: which texts a batch shows, and what the teachers see ---


@pytest.fixture(autouse=True)
def sentence_encoder(monkeypatch):
    """A tiny model in place of MiniLM."""
    monkeypatch.setattr(sentences, "load_model", lambda *_: TinyModel(seed=7))


def with_wordings(languages):
    """Examples of 6 rows; the first three have further wordings, one of them a picture."""
    table = make_triples(6)
    wordings = [
        [{"text": f"{row} {name}", "kind": None, "lang": lang} for name, lang in of_row]
        for row, of_row in enumerate([
            [("en 1", None), ("en 2", "en"), ("de", "de")], [("en", None)], [("de", "de")],
            [], [], [],
        ])
    ]  # fmt: skip
    table = table.append_column(WORDINGS, pa.array(wordings, WORDINGS.type))
    features = make_features(table, missing=(0, 2, 3, 4, 5))
    data = TrainingData(TinyModel(), table, features, languages=languages)
    bank = torch.nn.functional.normalize(torch.randn(9, EMBED_DIM), dim=1)
    return planned(replace(data, bank=Bank(bank, None)), loss_weights={"R": 1.0, "S": 1.0})[0]


def constants_of(examples, name):
    """A constant of all rows: the teacher's vectors, or the meanings of all wordings."""
    places = np.tile(np.arange(len(examples.text_rows))[:, None], len(examples))
    [found] = [
        made[name]
        for make in examples.constants
        if name in (made := make(np.arange(len(examples)), places))
    ]
    return found


def drawn_texts(examples):
    """The texts that each row shows in many batches, as keys."""
    shown = [set() for _ in range(len(examples))]
    for seed in range(60):
        rows = np.random.default_rng(seed).permutation(len(examples))
        for row, keys in zip(
            rows, examples.text_keys[examples.draw_wordings(rows), rows].T, strict=True
        ):
            assert len(set(keys)) == 3, "three different wordings"
            shown[row] |= set(keys)
    return [len(keys) for keys in shown]


def test_rows_show_all_their_wordings_in_the_chosen_languages():
    assert drawn_texts(with_wordings(("en",))) == [5, 4, 3, 3, 3, 3]
    assert drawn_texts(with_wordings(("en", "de"))) == [6, 4, 4, 3, 3, 3]
    assert drawn_texts(with_wordings(("fr",))) == [3] * 6


def test_equal_texts_of_a_row_are_drawn_after_all_others():
    table = make_triples(6)
    for name in ("paraphrase_1", "paraphrase_2"):
        table = with_column(table, name, table["caption"])
    wordings = [[{"text": f"{row} {one}", "lang": one} for one in ("de", "fr")] for row in range(6)]
    table = table.append_column(WORDINGS, pa.array(wordings, WORDINGS.type))
    bank = torch.nn.functional.normalize(torch.randn(9, EMBED_DIM), dim=1)
    data = TrainingData(
        TinyModel(), table, None, bank=Bank(bank, None), languages=("en", "de", "fr")
    )
    examples = planned(data, recipe="ranked")[0]
    assert drawn_texts(examples) == [3] * 6
    caption = encode_texts(TinyModel(), table["caption"].to_pylist())
    torch.testing.assert_close(constants_of(examples, TEACHERS), caption)
    meanings = constants_of(examples, MEANINGS)
    assert (meanings == meanings[:, :1]).all()


def test_further_wordings_that_repeat_a_text_are_drawn_after_all_others():
    table = make_triples(6)
    wordings = [
        [{"text": text} for text in (caption.upper(), f"{caption} again", f"{caption} again")]
        for caption in table["caption"].to_pylist()
    ]
    table = table.append_column(WORDINGS, pa.array(wordings, WORDINGS.type))
    data = TrainingData(TinyModel(), table, None)
    assert drawn_texts(planned(data, recipe="consistent")[0]) == [4] * 6


def test_the_caption_of_a_row_with_a_picture_is_always_drawn_first():
    examples, firsts = with_wordings(("en", "de")), set()
    for shift in range(6):
        rows = np.roll(np.arange(6), shift)
        first = examples.draw_wordings(rows)[0]
        assert first[rows == 1] == [0]
        firsts |= set(first)
    assert len(firsts) > 1, "other rows draw theirs"


def test_texts_that_a_tokenizer_cannot_represent_are_told(capsys):
    table, model = make_triples(4), TinyModel()
    wordings = [[{"text": text, "lang": "th"}] for text in ("???", "a???", "ab??", "abc?")]
    table = table.append_column(WORDINGS, pa.array(wordings, WORDINGS.type))
    data = TrainingData(model, table, None, languages=("en", "th"))
    planned(data, loss_weights={"L1": 0.0}, recipe="consistent")
    assert "paraclip:" not in capsys.readouterr().err, "a tokenizer without an unknown token"
    model.unknown_id = int(model.tokenize(["?"]).ids[0, 1])
    planned(data, loss_weights={"L1": 0.0}, recipe="consistent")
    assert "paraclip: 2 texts" in capsys.readouterr().err


def test_a_language_that_no_row_has_is_named():
    with pytest.raises(UserError, match="fr"):
        prepare(make_triples(), TinyModel(), RunOptions(languages="en,fr"))


def test_with_a_bank_pictures_that_only_l1_would_read_are_not_opened(tmp_path):
    draw(tmp_path / "library" / "a.png")
    rows = make_triples(24, tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    options = RunOptions(bank=str(tmp_path / "library"))
    assert not prepare(rows, TinyModel(), options).has_image().any()
    with pytest.raises(UserError, match="broken"):
        prepare(rows, TinyModel(), replace(options, recipe="ranked"))


def test_images_that_only_the_bank_needs_match_no_row(tmp_path):
    draw(tmp_path / "a.png")
    folder = str(tmp_path)
    given = read_run_rows(make_triples(), RunOptions(bank=folder, images=folder), Problems())
    assert given.table["image"].null_count == 24
    with pytest.raises(UserError, match="contains no picture of any triple"):
        read_run_rows(make_triples(), RunOptions(images=folder), Problems())


@pytest.mark.slow
def test_the_name_scenes_stands_for_everyday_scenes_unless_there_is_such_a_file(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("paraclip.training.sources.DRAWN", 12)

    def read(**sources):
        return read_run_rows("scenes", RunOptions(**sources), Problems())

    found = read(seed=3)
    drawn = found.table.slice(0, 12)["wordings"].to_pylist()
    assert drawn == scene_table(12, 3)["wordings"].to_pylist()
    written = found.table["id"].to_pylist()[12:]
    assert written == read_triples("starter")["id"].to_pylist(), "of the starter set"
    assert found.facts["triples"]["seed"] == 3 and "starter" in found.facts
    assert found.facts["triples"]["licence"] == "Apache-2.0"
    draw(tmp_path / "library" / "a.png")
    assert read(seed=3, bank="library", images="library").table.equals(found.table), "for the bank"
    with pytest.raises(UserError, match="--starter"):
        read(starter=True)
    others = sorted({path.stem for path in GRAMMAR.glob("??.toml")} - {"en"})
    spoken = read(languages=",".join(["en", *others])).table
    drawn = 12 * (1 + len(others))
    assert len(spoken) == drawn + len(written), "as many for each language"
    for one in others:
        wordings = choose_wordings(spoken.slice(0, drawn), (one,))
        assert len(wordings) == drawn and all(wordings), one
    with pytest.raises(UserError, match="xx"):
        read(languages="xx")
    row = {"id": "1", "caption": "a dog", "paraphrase_1": "one dog", "paraphrase_2": "the dog"}
    (tmp_path / "scenes").write_text(json.dumps(row))
    with pytest.raises(UserError, match="scenes"):
        read()  # a file without an ending is none of triples

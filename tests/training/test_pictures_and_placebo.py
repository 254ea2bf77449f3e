"""No held-out picture is trained on; the placebo uses paraphrases of other captions."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples

from paraclip.cli import parse
from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.training.examples import split_rows
from paraclip.training.prepare import TrainingData
from paraclip.training.recipes import check_options
from paraclip.training.task import picture_keys, shuffled_paraphrases, task_of

pytestmark = pytest.mark.slow

NAMES = ("caption", "paraphrase_1", "paraphrase_2")


@pytest.fixture
def without_ids(tmp_path) -> pa.Table:
    """Triples of 12 pictures with two captions each, read from a file without `image_id`."""
    table = make_triples(24).drop_columns(["image_id", "image"])
    images = [str(tmp_path / f"{index % 12}.png") for index in range(24)]
    images[13] = f"{tmp_path}/./1.png"  # the same file
    path = tmp_path / "triples.parquet"
    pq.write_table(table.append_column("image", pa.array(images)), path)
    return read_triples(path)


def test_without_image_ids_no_held_out_picture_is_trained_on(without_ids):
    examples = task_of(
        TrainingData(TinyModel(), without_ids, make_features(without_ids)), make_config()
    ).examples
    learn, held_out = split_rows(examples.image_keys, 0.3, 0)
    pictures = np.arange(24) % 12
    assert len(held_out) == 6, "two captions of each of three pictures"
    assert not set(pictures[learn]) & set(pictures[held_out])


def test_without_image_ids_captions_of_one_picture_are_not_negatives(without_ids):
    examples = task_of(
        TrainingData(TinyModel(), without_ids, make_features(without_ids)), make_config()
    ).examples
    mask = examples.batch(np.array([1, 2, 13])).rows.false_negatives.dense()
    assert mask.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_pictures_are_the_same_by_id_or_by_file():
    ids = ["a", "b", "a", "c", "d", "e"]
    images = ["1.png", "2.png", "2.png", None, "3.png", None]
    table = pa.table({"image_id": ids, "image": pa.array(images, pa.string())})
    first, second, third, fourth, fifth, sixth = picture_keys(table)
    assert first == second == third
    assert len({first, fourth, fifth, sixth}) == 4
    assert picture_keys(table.drop_columns(["image"])) == ids
    none = table.set_column(1, "image", pa.nulls(6, pa.string()))
    assert picture_keys(none) == ids
    empty = table.set_column(1, "image", pa.array(["", "", "", "1.png", "", ""]))
    assert picture_keys(empty) == ids, "an empty name is no picture"


def test_the_placebo_has_the_same_texts_and_none_of_its_own():
    texts = {name: [f"{name} {row}" for row in range(20)] for name in NAMES}
    texts = {name: [*of_rows, "of one text"] for name, of_rows in texts.items()}
    found = shuffled_paraphrases(texts, 3)
    assert found["caption"] == texts["caption"]
    for name in NAMES[1:]:
        assert sorted(found[name]) == sorted(texts[name]) and found[name][20] == "of one text"
    numbers = np.array([[int(text.split()[1]) for text in found[name][:20]] for name in NAMES])
    assert all(len(set(row)) == 3 for row in numbers.T), "three rows' texts beside each other"
    assert shuffled_paraphrases(texts, 3) == found != shuffled_paraphrases(texts, 4)


def test_the_placebo_is_trained_on_shuffled_paraphrases():
    triples, ids = make_triples(), []
    for shuffled in (False, True):
        config = make_config(shuffle_paraphrases=shuffled, weights=(0, 1, 1))
        examples = task_of(TrainingData(TinyModel(), triples, None), config).examples
        ids.append([examples.tokens.padded(places).tolist() for places in examples.text_rows])
    plain, placebo = ids
    assert placebo[0] == plain[0], "captions stay"
    for column in (1, 2):
        assert sorted(placebo[column]) == sorted(plain[column])
        assert not [row for row in range(24) if placebo[column][row] == plain[column][row]]


def test_the_placebo_on_the_command_line():
    assert parse(["train", "t.parquet", "--placebo"]).shuffle_paraphrases
    assert parse(["train", "t.parquet", "--shuffle-paraphrases"]).shuffle_paraphrases
    assert not parse(["train", "t.parquet"]).shuffle_paraphrases
    with pytest.raises(UserError, match="--placebo: is not for the control"):
        check_options(make_config(shuffle_paraphrases=True, control=True))

"""Rows with further wordings: which texts a batch shows, and what the teachers see."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from training_rows import make_features, make_options

from paraclip.data.problems import Problems
from paraclip.data.triples import WORDINGS, choose_wordings, scene_table, with_column
from paraclip.errors import UserError
from paraclip.models.features import encode_texts
from paraclip.starter.concepts import GRAMMAR
from paraclip.training import targets
from paraclip.training.bank import Bank
from paraclip.training.config import resolved
from paraclip.training.data import TrainingData
from paraclip.training.losses import MEANINGS, TEACHERS
from paraclip.training.prepare import prepare
from paraclip.training.sources import Sources, read_rows
from paraclip.training.train import plan_training
from tiny import EMBED_DIM, TinyModel, make_triples


@pytest.fixture(autouse=True)
def sentence_encoder(monkeypatch):
    """A tiny model in place of MiniLM."""
    monkeypatch.setattr(targets, "load_model", lambda *_: TinyModel(seed=7))


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
    options = resolved(make_options(ranking=1.0, sentence_teacher=1.0), "mini")
    return plan_training(replace(data, bank=Bank(bank, None)), options)[0]


def constants_of(examples, name):
    """A constant of all rows: the teacher's vectors, or the meanings of all wordings."""
    places = np.tile(np.arange(len(examples.text_rows))[:, None], len(examples))
    return examples.constants[name](np.arange(len(examples)), places)


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
    examples = plan_training(data, resolved(make_options(recipe="ranked"), "mini"))[0]
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
    options = resolved(make_options(recipe="consistent"), "mini")
    assert drawn_texts(plan_training(TrainingData(TinyModel(), table, None), options)[0]) == [4] * 6


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
    options = resolved(make_options(weights=(0.0, 1.0, 1.0), recipe="consistent"), "mini")
    plan_training(TrainingData(model, table, None, languages=("en", "th")), options)
    assert "paraclip:" not in capsys.readouterr().err, "a tokenizer without an unknown token"
    model.unknown_id = int(model.tokenize(["?"]).ids[0, 1])
    plan_training(TrainingData(model, table, None, languages=("en", "th")), options)
    assert "paraclip: 2 texts" in capsys.readouterr().err


def test_a_language_that_no_row_has_is_named():
    with pytest.raises(UserError, match="fr"):
        prepare(make_triples(), TinyModel(), Sources(languages=("en", "fr")))


def test_the_name_scenes_stands_for_everyday_scenes_unless_there_is_such_a_file(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("paraclip.training.sources.DRAWN", 12)

    def read(**sources):
        return read_rows("scenes", Sources(**sources), Problems())

    found = read(seed=3)
    assert found.table.equals(scene_table(12, 3)) and found.facts["triples"]["seed"] == 3
    assert found.facts["triples"]["licence"] == "Apache-2.0"
    others = sorted({path.stem for path in GRAMMAR.glob("??.toml")} - {"en"})
    spoken = read(languages=("en", *others)).table
    for one in others:
        wordings = choose_wordings(spoken, (one,))
        assert len(wordings) == 12 and all(wordings), one
    with pytest.raises(UserError, match="xx"):
        read(languages=("xx",))
    row = {"id": "1", "caption": "a dog", "paraphrase_1": "one dog", "paraphrase_2": "the dog"}
    (tmp_path / "scenes").write_text(json.dumps(row))
    with pytest.raises(UserError, match="scenes"):
        read()  # a file without an ending is none of triples

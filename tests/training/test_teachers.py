"""Vectors of frozen teachers: to the last bit those in memory, and encoded once for all runs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from faults import apart
from run_processes import start
from torch.nn.functional import normalize
from training_rows import (
    Told,
    assert_same_outcome,
    make_features,
    make_options,
    stopped,
    told_texts,
    tune,
)

from forked import SERVER
from paraclip.data.triples import WORDINGS, with_column
from paraclip.errors import UserError
from paraclip.models import features
from paraclip.models.features import encode_texts, stored_texts
from paraclip.training import targets
from paraclip.training.bank import Bank
from paraclip.training.config import resolved
from paraclip.training.data import TrainingData
from paraclip.training.losses import ALL_TEXTS, MEANINGS, TEACHERS
from paraclip.training.train import plan_training
from tiny import TinyModel, make_triples

TAUGHT = {"ranking": 2.0, "sentence_teacher": 1.0, "image_loss_on": ("caption",)}
TEXTS = [
    "a boat", "tree", "a boat", "a", "b", "lamps on a tree", "kite", "ab", "red kite", "tree", "é",
    "two\nlines", "fish, fish", "drum", "shoe", "tree",
]  # fmt: skip
DIFFERENT = 13


def encode(folder: Path, slow: float = 0.0, last: int = 0, together=None) -> None:
    """Encode `TEXTS` into the cache in a folder, in a separate process."""
    features.TEXTS_AT_ONCE = 4
    model = Told(folder / "told", slow=slow, last=last)
    if together is not None:
        together.wait(60)
    stored_texts(model, TEXTS, folder, "texts")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "TEXTS_AT_ONCE", 4)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))


def assert_as_in_memory(cache: Path, told: Path) -> None:
    """Assert that the stored vectors of `TEXTS` have the bits of those that are not cached."""
    found = stored_texts(Told(told), TEXTS, cache, "texts")
    assert torch.equal(found[:], encode_texts(TinyModel(), TEXTS, batch_size=4))


def test_texts_have_the_vectors_of_memory_and_are_encoded_once(tmp_path):
    assert_as_in_memory(tmp_path, tmp_path / "first")
    assert len(told_texts(tmp_path / "first")) == DIFFERENT
    assert_as_in_memory(tmp_path, tmp_path / "second")
    assert not told_texts(tmp_path / "second")


def test_only_changed_texts_are_encoded_and_other_weights_have_vectors_of_their_own(tmp_path):
    assert stored_texts(TinyModel(), [], tmp_path, "texts").shape == (0, 8)
    assert_as_in_memory(tmp_path, tmp_path / "first")
    changed = ["a boat in the sun", *TEXTS[::-1]]
    found = stored_texts(Told(tmp_path / "second"), changed, tmp_path, "texts")
    assert len(told_texts(tmp_path / "second")) == 1
    assert torch.allclose(found[:], encode_texts(TinyModel(), changed))
    other = stored_texts(TinyModel(seed=1), TEXTS, tmp_path, "texts")
    assert torch.equal(other[:], encode_texts(TinyModel(seed=1), TEXTS, batch_size=4))


def test_a_killed_run_resumes_and_encodes_no_text_twice(tmp_path):
    assert apart(encode, tmp_path, 0.0, 4) == -9
    before = told_texts(tmp_path / "told")
    assert 0 < len(before) < DIFFERENT
    assert_as_in_memory(tmp_path, tmp_path / "told")
    assert told_texts(tmp_path / "told")[: len(before)] == before
    assert len(told_texts(tmp_path / "told")) == DIFFERENT


def test_of_two_runs_at_once_one_encodes(tmp_path):
    together = SERVER.Barrier(2)
    processes = [SERVER.Process(target=encode, args=(tmp_path, 0.2, 0, together)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(told_texts(tmp_path / "told")) == DIFFERENT
    assert_as_in_memory(tmp_path, tmp_path / "again")
    assert not told_texts(tmp_path / "again")


def test_a_file_in_the_way_is_an_error_of_the_user(tmp_path):
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(UserError, match="in the way"):
        stored_texts(TinyModel(), TEXTS, tmp_path / "cache", "texts")


@pytest.mark.parametrize("languages", [("en",), ("en", "de")])
def test_batches_have_the_vectors_of_the_whole_table(monkeypatch, languages):
    monkeypatch.setattr(targets, "load_model", lambda *_: TinyModel(seed=7))
    table = with_column(make_triples(40), "paraphrase_2", ["one", "two"] * 20)
    further = [[(f"en {row}", "en")] * (row % 3) + [("de", "de")] * (row % 2) for row in range(40)]
    wordings = [[{"text": text, "lang": lang} for text, lang in of_row] for of_row in further]
    table = table.append_column(WORDINGS, pa.array(wordings, WORDINGS.type))
    bank = normalize(torch.randn(9, 8), dim=1)
    data = TrainingData(TinyModel(), table, None, bank=Bank(bank, None), languages=languages)
    examples = plan_training(data, resolved(make_options(**TAUGHT), "mini"))[0]

    english = [(row, text) for row, found in enumerate(further) for text, lang in found
               if lang == "en"]  # fmt: skip
    spoken = {}
    for name, model in ((TEACHERS, TinyModel()), (MEANINGS, TinyModel(seed=7))):
        lists = [*(table[text].to_pylist() for text in ALL_TEXTS), [text for _, text in english]]
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


def test_a_resumed_run_encodes_nothing_for_its_teachers(tmp_path, monkeypatch):
    told = {name: tmp_path / name for name in ("base", "sentences")}
    monkeypatch.setattr(targets, "load_model", lambda *_: Told(told["sentences"], seed=7))
    stopped(tmp_path / "stopped", 4, **TAUGHT)
    first = told_texts(told["sentences"])
    assert first
    resumed = tune(tmp_path / "stopped", **TAUGHT)
    assert told_texts(told["sentences"]) == first
    triples = make_triples()
    data = TrainingData(Told(told["base"]), triples, make_features(triples))
    plan_training(data, resolved(make_options(**TAUGHT), "mini"))
    assert not told_texts(told["base"])
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "empty"))
    assert_same_outcome(resumed, tune(tmp_path / "whole", **TAUGHT))


@pytest.mark.slow
def test_of_several_processes_the_first_encodes(tmp_path):
    assert [code for code, _, _ in start(2, tmp_path, "taught")] == [0, 0]
    assert told_texts(tmp_path / "told-0") and not told_texts(tmp_path / "told-1")

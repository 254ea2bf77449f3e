"""MiniLM and the checker in onnxruntime give what they give in torch; vectors are cached."""

import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_encoder import BagEncoder
from safetensors import safe_open

from paraclip.arrays import Float
from paraclip.models.mini import SentenceModel
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters import judge as judging_module
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.filters.minilm import CHECKER, GRAPH, Checker, SentenceEncoder
from recipes.filters.torch_checker import Adapted, TorchChecker

TEXTS = [
    "a", "", "Two dogs run.", "A YOUNG Child's café, naïve", "日本の猫 🐈",
    "3 red cars, 2 blue; 1/2", "a kid holding a box of pizza in front of a shop",
    "two dogs and a cat " * 40,
]  # fmt: skip
GOOD = [
    ("Woman in overalls shoveling manure", "A lady in dungarees is shovelling dung."),
    ("a corgi on a skateboard", "A corgi stands on a skateboard."),
    ("two kids build a sandcastle", "A pair of children make a castle of sand."),
]
BAD = [
    ("Woman in overalls shoveling manure", "A woman in overalls is eating manure."),
    ("a corgi on a skateboard in the rain", "A corgi stands on a skateboard."),
    ("two kids build a sandcastle", "Two kids build a sandcastle next to a red car."),
]
weights = pytest.mark.weights


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker()


@weights
def test_sentences_have_the_vectors_of_torch() -> None:
    model = SentenceModel.from_wheel()
    vectors = SentenceEncoder().encode(TEXTS)
    with torch.inference_mode():
        expected = model.encode_tokens(model.tokenize(TEXTS[:-1]).ids)
    assert np.allclose(vectors[:-1], expected, atol=1e-5)
    assert np.linalg.norm(vectors[-1]) == pytest.approx(1)  # a text that is truncated


@weights
def test_the_checker_gives_what_it_gives_in_torch(checker: Checker) -> None:
    pairs = [*GOOD, *BAD, ("", "a"), ("a dog " * 60, "a cat " * 90)]
    with torch.inference_mode():
        expected = TorchChecker.trained()(pairs).sigmoid()
    assert np.allclose(checker.faults(pairs), expected, atol=1e-5)


@weights
def test_faults_get_a_higher_probability_whatever_the_batch(checker: Checker) -> None:
    good, bad = checker.faults(GOOD), checker.faults(BAD)
    assert 0 <= min(good) <= max(good) < min(bad) <= max(bad) <= 1
    assert checker.faults(GOOD[:1] + BAD * 20)[0] == pytest.approx(good[0], abs=1e-5)
    assert checker.faults([]) == []


@weights
def test_the_file_has_what_training_changes() -> None:
    with safe_open(CHECKER, "pt") as file:
        names, made = set(file.keys()), json.loads(file.metadata()["paraclip"])
    assert names == set(TorchChecker(2).adapters()) and made["licence"] == "Apache-2.0"


def test_an_adapter_starts_as_nothing_and_leaves_the_map_alone() -> None:
    below = torch.nn.Linear(6, 4)
    adapted, rows = Adapted(below, 2), torch.randn(3, 6)
    assert torch.equal(adapted(rows), below(rows))
    adapted(rows).sum().backward()
    assert below.weight.grad is None and adapted.up.grad is not None


def test_the_recipe_writes_the_included_graph() -> None:
    from recipes.filters.graph import graph

    assert graph().SerializeToString() == GRAPH.read_bytes()


class Counting(SentenceEncoder):
    """Records what it reads, and gives each text a different vector."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    def encode_batch(self, texts: list[str]) -> list[Float]:
        self.batches.append(list(texts))
        return [np.array([float(text)]) for text in texts]


def read(encoder: SentenceEncoder, numbers: Iterable[int]) -> list[float]:
    return [float(one[0]) for one in encoder.encode([str(number) for number in numbers])]


@weights
def test_no_text_is_read_twice_and_batches_are_of_like_length() -> None:
    counting, numbers = Counting(), [1000, *range(90, 110), 1000]
    assert read(counting, numbers) == numbers
    lengths = [[len(text) for text in batch] for batch in counting.batches]
    assert lengths == [[2] * 10 + [3] * 6, [3] * 4 + [4]]


@weights
def test_the_vectors_used_last_are_kept() -> None:
    counting = Counting()
    for numbers in (range(1000), [0], range(1000, 2000)):
        assert read(counting, numbers) == list(numbers)
    counting.batches.clear()
    assert read(counting, [0, 1, 1999]) == [0, 1, 1999] and counting.batches == [["1"]]


def test_pairs_are_checked_only_if_they_passed_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    class Suspicious:
        def faults(self, pairs):
            asked.extend(pairs)
            return [float("beach" in answer) for _, answer in pairs]

    monkeypatch.setattr(judging_module, "Checker", Suspicious)
    source = "A dog runs on the sand."
    answers = ["On the sand a dog is running.", source, "A dog is running on the sand of a beach."]
    limits = Limits(similarity=-1, fault=0.5)
    verdicts = Judge(limits, BagEncoder()).judge([Question(source, one) for one in answers])
    assert [one.reason for one in verdicts] == [None, "copy", "meaning"]
    assert asked == [(source, answers[0]), (source, answers[2])]
    Judge(replace(limits, fault=1.0), BagEncoder()).judge([Question(source, answers[0])])
    assert len(asked) == 2

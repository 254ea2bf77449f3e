"""The checker reads source and answer together; its weights ship with the package."""

import json

import pytest
import torch
from fake_encoder import BagEncoder
from safetensors import safe_open

from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters import together
from paraclip.paraphrase.filters.checker import WEIGHTS, Adapted, Checker
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge

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


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker.shipped()


@pytest.mark.weights
def test_faults_get_a_higher_probability(checker: Checker) -> None:
    good, bad = checker.faults(GOOD), checker.faults(BAD)
    assert all(0 <= one <= 1 for one in good + bad)
    assert max(good) < min(bad)


@pytest.mark.weights
def test_the_order_and_the_company_of_pairs_do_not_matter(checker: Checker) -> None:
    together = checker.faults(GOOD + BAD)
    alone = [checker.faults([pair])[0] for pair in GOOD + BAD]
    assert together == pytest.approx(alone, abs=1e-4)
    assert checker.faults([]) == []


@pytest.mark.weights
def test_what_is_shipped_is_what_training_changes(checker: Checker) -> None:
    with safe_open(WEIGHTS, "pt") as file:
        names, made = set(file.keys()), json.loads(file.metadata()["paraclip"])
    fresh = Checker(2)
    assert names == set(fresh.adapters()) and "bert.embeddings" not in " ".join(names)
    assert made["licence"] == "Apache-2.0" and WEIGHTS.stat().st_size < 3e6


def test_an_adapter_starts_as_nothing_and_leaves_the_map_alone() -> None:
    below = torch.nn.Linear(6, 4)
    adapted, rows = Adapted(below, 2), torch.randn(3, 6)
    assert torch.equal(adapted(rows), below(rows))
    adapted(rows).sum().backward()
    assert below.weight.grad is None and adapted.up.grad is not None


def test_the_judge_asks_only_for_what_passed_so_far(monkeypatch) -> None:
    asked: list[tuple[str, str]] = []

    def suspicious(limits: Limits) -> together.PairCheck:
        def fails(pairs):
            asked.extend(pairs)
            return ["beach" in answer for _, answer in pairs]

        return fails

    monkeypatch.setattr(together, "by_checker", suspicious)
    source = "A dog runs on the sand."
    answers = ["On the sand a dog is running.", source, "A dog is running on the sand of a beach."]
    limits = Limits(fault=0.5, skipped=("new content", "lost content", "drift"))
    verdicts = Judge(limits, BagEncoder()).judge([Question(source, one) for one in answers])
    assert [one.reason for one in verdicts] == [None, "copy", "meaning"]
    assert asked == [(source, answers[0]), (source, answers[2])]


def test_checks_that_are_skipped_or_not_asked_for_load_nothing() -> None:
    assert together.pair_checks(Limits()) == {}
    assert together.pair_checks(Limits(fault=0.5, skipped=("meaning",))) == {}

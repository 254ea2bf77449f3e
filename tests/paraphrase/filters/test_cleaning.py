"""Answers are stripped of quotes, labels and other wrapping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.paraphrase.filters.judge import clean

WRAPPED = [
    "A cat naps.",
    '"A cat naps."',
    "“A cat naps.”",
    "1. A cat naps.",
    "2) 'A cat naps.'",
    "- A cat naps.",
    "Here is a paraphrase: A cat naps.",
    'Here\'s the rewritten caption:\n\n"A cat naps."',
    "Sure! Here is a concise paraphrase of the caption:\n1. A cat naps.\n2. A feline sleeps.",
    "Paraphrase: A cat naps.",
    "Paraphrased caption: **A cat naps.**",
    "  A   cat\tnaps.  \n",
    "A cat\0 naps.",
    "\u00a0\n\u2003\nA cat naps.",
    "Answer: A cat naps.",
    "```\nA cat naps.\n```",
    "```text\n\n“A cat naps”.\n```",
    "**Paraphrase:** A cat naps.",
    "**Paraphrase**: **A cat naps.**",
    "### Paraphrase\nA cat naps.",
    "Here’s a paraphrase: A cat naps.",
    "OK, here’s one way to say it: A cat naps.",
    "Sure here is the caption:\nA cat naps.",
    "Great question! A cat naps.",
    "Sure, I can help with that: A cat naps.",
    "This is a reworded caption: A cat naps.",
    '"A cat naps".',
]


@pytest.mark.parametrize("answer", WRAPPED)
def test_wrapping_is_taken_off(answer: str) -> None:
    assert clean(answer) == "A cat naps."


@pytest.mark.parametrize(
    "answer",
    [
        'A sign that says "stop".',
        '"Stop" and "Go" are on the signs.',
        "2 dogs run.",
        "12 inch lamp.",
        "A man's hat",
        "Here are two dogs.",
        "Surely a fine day",
        "Step by step a man climbs",
        "Great white shark swims, its mouth open.",
        "Sure-footed goats climb a cliff, one behind the other.",
        "OK sign lit in red, above a door.",
        "This is a clock that shows 12:30 on a tower.",
        "Here is a train that leaves at 10:45.",
        "This is a sign that says: Keep out.",
        "This is a sign with the words: Keep out.",
        '"Stop" and "Go".',
    ],
)
def test_what_belongs_to_the_answer_stays(answer: str) -> None:
    assert clean(answer) == answer


def test_nothing_but_wrapping_is_empty() -> None:
    assert clean('""') == "" and clean("  \n ") == "" and clean("Here is a paraphrase:") == ""


FRAGMENTS = ['"', "'", "“", "”", "1. ", "2) ", "- ", "Here is: ", "Paraphrase: ", "Sure! ", "\n",
             " ", "a cat", "naps", "*", "`", ":", "7"]  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS)).map("".join)))
def test_cleaning_twice_is_cleaning_once(answer: str) -> None:
    once = clean(answer)
    assert clean(once) == once
    assert "\n" not in once and once == once.strip()


@given(st.lists(st.sampled_from(["a", "cat", "naps", "near", "the", "stove"]), min_size=1))
def test_plain_words_are_left_alone(words: list[str]) -> None:
    assert clean(" ".join(words)) == " ".join(words)

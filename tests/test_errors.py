"""Messages are printable: one line, no control sequences, no lone surrogates."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.problems import Problems
from paraclip.errors import UserError, printable

HOSTILE = "pictures/\x1b]0;title\x07\x9b31m\u202egpj.exe\udcff"


@given(st.text(st.characters(exclude_categories=())))
def test_anything_becomes_one_printable_line_that_can_be_encoded(text: str) -> None:
    for line in (printable(text), str(UserError(text, text, text))):
        assert not any(letter < " " or "\x7f" <= letter < "\xa0" for letter in line)
        assert len(line.splitlines()) <= 1 and "\u202e" not in line
        line.encode()


@pytest.mark.parametrize(
    "text", ["Zoë's café, naïve – 東京", "👩‍👩‍👧", "a\xa0b", "10.00\u202fAM 犬\u3000猫"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert printable(text) == text


def test_problems_are_listed_without_control_sequences() -> None:
    problems = Problems()
    problems.add(HOSTILE, "\x1b[2J")
    assert r"\x1b]0;title\x07\x9b31m\u202egpj.exe\udcff: \x1b[2J" in problems.summary()


def test_a_user_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UserError("a.csv:3", "is empty", "Fill it.")))  # noqa: S301
    assert (error.where, error.what, error.hint) == ("a.csv:3", "is empty", "Fill it.")

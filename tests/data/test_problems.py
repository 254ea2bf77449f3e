"""Errors are printable lines; broken rows: accepted shares, lists and messages."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.captions import Problems
from paraclip.errors import UserError, printable


def noted(count: int, share: float = 0.01) -> Problems:
    """Problems with `count` rows noted."""
    problems = Problems(share)
    for row in range(count):
        problems.add(f"captions.csv:{row + 2}", "the caption is empty")
    return problems


@pytest.mark.parametrize(
    ("count", "share", "total", "passes"),
    [(1, 0.01, 100, True), (2, 0.01, 100, False), (0, 0.0, 0, True), (1, 0.0, 10**6, False)],
)
def test_up_to_the_share_is_accepted(count: int, share: float, total: int, passes: bool) -> None:
    problems = noted(count, share)
    if passes:
        problems.check(total)
        return
    with pytest.raises(UserError, match=rf"^captions.csv:2: the caption is empty \({count} of"):
        problems.check(total)


def test_all_are_counted_and_the_first_thousand_listed_and_written(tmp_path: Path) -> None:
    problems = noted(1_000)
    problems.write(tmp_path / "all.txt")
    assert len((tmp_path / "all.txt").read_text().splitlines()) == 1_000
    problems.add("a.csv:3", "a quote is not closed", rows=40)
    assert problems.count == 1_000 + 40 and len(problems.listed) == 1_000
    problems.write(tmp_path / "deep" / "first.txt")
    *rows, last = (tmp_path / "deep" / "first.txt").read_text().splitlines()
    assert len(rows) == 1_000 and last.startswith("...\t1,040 rows were skipped")


def test_summary_shows_twenty_rows_and_no_control_sequences() -> None:
    assert noted(0).summary() == ""
    assert len(noted(1).summary().splitlines()) == 2
    lines = noted(1_020).summary().splitlines()
    assert "1,020" in lines[0] and len(lines) == 22 and "1,000 more" in lines[-1]
    one, other = Problems(), Problems()
    one.add("a:1", "broken")
    other.add("pictures/\x1b]0;title\x07\x9b31m\u202egpj.exe\udcff", "\x1b[2J", rows=3)
    one.take(other)
    assert one.count == 4 and len(one.listed) == 2
    assert r"\x1b]0;title\x07\x9b31m\u202egpj.exe\udcff: \x1b[2J" in one.summary()


def test_only_a_list_of_problems_is_replaced(tmp_path: Path) -> None:
    path, problems = tmp_path / "notes.txt", noted(1)
    problems.add("bad\udcff.png", "is broken")
    for _ in range(2):
        problems.write(path)
    text = path.read_text(encoding="utf-8")
    assert text == "captions.csv:2\tthe caption is empty\nbad\\udcff.png\tis broken\n"
    for content in ("my notes", text + "my notes"):
        path.write_text(content)
        with pytest.raises(UserError, match="was not written by ParaCLIP"):
            problems.write(path)
        assert path.read_text() == content


@given(st.text(st.characters(exclude_categories=())))
def test_anything_becomes_one_printable_line_that_can_be_encoded(text: str) -> None:
    ordinary = "Zoë's café, naïve – 東京 👩‍👩‍👧 a\xa0b 10.00\u202fAM 犬\u3000猫"
    assert printable(ordinary) == ordinary
    for line in (printable(text), str(UserError(text, text, text))):
        assert not any(letter < " " or "\x7f" <= letter < "\xa0" for letter in line)
        assert len(line.splitlines()) <= 1 and "\u202e" not in line
        line.encode()


def test_a_user_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UserError("a.csv:3", "is empty", "Fill it.")))  # noqa: S301
    assert (error.where, error.what, error.hint) == ("a.csv:3", "is empty", "Fill it.")

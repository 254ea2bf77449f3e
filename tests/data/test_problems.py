"""Broken rows: accepted shares, lists and messages."""

import pytest

from paraclip.data.problems import MOST_LISTED, Problems
from paraclip.errors import UserError


def noted(count: int, share: float = 0.01) -> Problems:
    """Problems with `count` rows noted."""
    problems = Problems(share)
    for row in range(count):
        problems.add(f"captions.csv:{row + 2}", "the caption is empty")
    return problems


def test_a_share_up_to_the_limit_passes() -> None:
    noted(1).check(100)
    noted(0, share=0.0).check(0)


def test_more_than_the_limit_names_the_first_row_and_the_option() -> None:
    with pytest.raises(UserError) as caught:
        noted(2).check(100)
    assert str(caught.value).startswith("captions.csv:2: the caption is empty (2 of 100 rows")
    assert "--max-broken" in caught.value.hint


def test_no_broken_row_passes_at_a_limit_of_none() -> None:
    with pytest.raises(UserError):
        noted(1, share=0.0).check(1_000_000)


def test_everything_is_counted_and_the_first_thousand_listed() -> None:
    problems = noted(MOST_LISTED + 5)
    assert problems.count == MOST_LISTED + 5
    assert len(problems.listed) == MOST_LISTED
    assert problems.listed[0] == ("captions.csv:2", "the caption is empty")


def test_a_full_list_ends_with_the_number_of_rows(tmp_path) -> None:
    noted(MOST_LISTED).write(tmp_path / "all.txt")
    assert len((tmp_path / "all.txt").read_text().splitlines()) == MOST_LISTED + 1
    noted(MOST_LISTED + 5).write(tmp_path / "first.txt")
    *rows, last, signature = (tmp_path / "first.txt").read_text().splitlines()
    assert len(rows) == MOST_LISTED
    assert last == "...\t1,005 rows were skipped, the first 1,000 are listed"
    assert signature.startswith("# ")


def test_one_entry_may_stand_for_many_rows() -> None:
    problems = Problems()
    problems.add("a.csv:3", "a quote is not closed", rows=40)
    assert problems.count == 40 and len(problems.listed) == 1


def test_summary_shows_five_rows() -> None:
    assert noted(0).summary() == ""
    assert noted(1).summary().splitlines()[0] == "1 broken row was skipped:"
    lines = noted(7).summary().splitlines()
    assert lines[0] == "7 broken rows were skipped:" and len(lines) == 7 and lines[-1] == "  ..."


def test_the_list_is_written_even_with_undecodable_names(tmp_path) -> None:
    problems = noted(1)
    problems.add("bad\udcff.png", "is broken")
    problems.write(tmp_path / "deep" / "problems.tsv")
    text = (tmp_path / "deep" / "problems.tsv").read_text(encoding="utf-8")
    first = "captions.csv:2\tthe caption is empty\nbad\\udcff.png\tis broken\n# written by"
    assert text.startswith(first)


def test_only_a_list_of_problems_is_replaced(tmp_path) -> None:
    path = tmp_path / "notes.txt"
    for _ in range(2):
        noted(1).write(path)
    for content in ("my notes", path.read_text() + "my notes"):
        path.write_text(content)
        with pytest.raises(UserError, match="was not written by ParaCLIP"):
            noted(1).write(path)
        assert path.read_text() == content


@pytest.mark.parametrize("share", [-3, 7, 1.01, float("nan")])
def test_a_limit_that_is_not_a_share_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"--max-broken: .* is not a share of the rows"):
        Problems(share)


def test_problems_of_another_object_are_added() -> None:
    one, other = Problems(), Problems()
    one.add("a:1", "broken")
    other.add("b:2", "gone", rows=3)
    one.take(other)
    assert one.count == 4 and one.listed == [("a:1", "broken"), ("b:2", "gone")]

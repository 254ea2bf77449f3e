"""The recommended model, and the table behind the recommendation."""

import pytest

from paraclip.evaluation.report import Line, Report, Section
from paraclip.evaluation.statistics import Interval
from paraclip.quickstart import results
from paraclip.quickstart.results import plot, recommend, table, table_rows

LABELS = ("base", "control", "tuned", "merged")


def line(name: str, **gains: float) -> Line:
    """A score of 50 for base and control plus the gains of the others; intervals of 1 point."""
    values = {label: Interval(50 + gains.get(label, 0.0), 0, 100) for label in LABELS}
    differences = {
        f"{one} - {other}": Interval(gain := gains.get(one, 0.0), gain - 1, gain + 1)
        for one in LABELS
        for other in ("base", "control")
        if one != other
    }
    return Line(name, True, 150, values, differences)


def report(*lines: Line) -> Report:
    section = Section("wordings", "150 captions", {}, list(lines))
    return Report({label: {} for label in LABELS}, [section], {})


def test_the_highest_consistency_is_recommended_with_both_differences() -> None:
    overlap = line("AO@10", tuned=4, merged=6)
    overlap.differences["merged - control"] = Interval(-0.5, -1.5, 0.5)
    label, text = recommend(report(overlap, line("R@10 plain caption", merged=-0.5)))
    assert label == "merged"
    assert "AO@10 +6.0 [+5.0, +7.0] over base and -0.5 [-1.5, +0.5] over control" in text
    assert "R@10 of the caption -0.5 [-1.5, +0.5] over base and -0.5" in text


@pytest.mark.parametrize(
    ("gain", "lost", "recommended"),
    [(6, -0.9, "tuned"), (6, -1.1, "merged"), (6, -6, "merged"), (3, -0.5, "merged")],
)
def test_a_model_that_may_lose_more_than_two_points_of_retrieval_is_left_out(
    gain: float, lost: float, recommended: str
) -> None:
    lines = line("AO@10", tuned=gain, merged=4), line("R@10 plain caption", tuned=lost)
    assert recommend(report(*lines))[0] == recommended


@pytest.mark.parametrize(("gain", "found", "recommended"), [(0.5, 1.5, "tuned"), (-0.5, 9, None)])
def test_more_right_pictures_are_enough_if_it_agrees_as_much(
    gain: float, found: float, recommended: str | None
) -> None:
    lines = line("AO@10", tuned=gain, merged=-1), line("R@10 plain caption", tuned=found)
    assert recommend(report(*lines))[0] == recommended


@pytest.mark.parametrize(("gain", "lost"), [(0.9, 0), (-4, 0), (6, -1.5)])
def test_without_such_a_model_it_says_what_to_do_next(gain: float, lost: float) -> None:
    gains, losses = (dict.fromkeys(("tuned", "merged"), value) for value in (gain, lost))
    label, text = recommend(report(line("AO@10", **gains), line("R@10 plain caption", **losses)))
    assert label is None and text.startswith("Keep base") and "Next:" in text


@pytest.mark.parametrize("figure", ["R@10 plain caption", "R@10", "R@10 both ways"])
def test_a_model_that_finds_fewer_right_pictures_than_control_is_left_out(figure: str) -> None:
    captions, right = line("R@10 plain caption", tuned=1, merged=1), line(figure, tuned=1, merged=1)
    right.differences["tuned - control"] = Interval(-8.7, -15.3, -3.3)
    lines = [line("AO@10", tuned=6, merged=4), captions, right]
    label, text = recommend(report(*lines))
    assert label == "merged"
    assert "Not tuned" in text and "-8.7 [-15.3, -3.3] against control" in text
    right.differences["merged - control"] = Interval(-5.0, -9.0, -1.0)
    label, text = recommend(report(*lines))
    assert label is None and "Not tuned" in text and "Not merged" in text


def test_the_plot_has_the_figures_of_the_table_in_its_words_and_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [f"R@{k}{kind}" for kind in ("", " plain caption") for k in (1, 5, 10)]
    agreement = ["AO@10 margin", "JS@10", "AO@10"]
    refused = ["picture discrimination", "text discrimination"]
    names = [*refused, "R@10 both ways", *found, *agreement, "not shown"]
    pool = "150 captions of wordings.jsonl in 450 rewordings, over 150 pictures of pool.txt"
    lines = [line(name) for name in names]
    section = Section("variations", pool, {}, lines, ["a blind guess gets R@10 6.67%"])
    stamps = Report({label: {} for label in LABELS}, [section], {})
    drawn: list[str] = []

    def drawing(labels: list[str], lines: list[tuple[str, Line]], notes: list[str]) -> bytes:
        drawn.extend(title for title, _ in lines)
        drawn.extend(notes)
        return b""

    monkeypatch.setattr(results, "plot_lines", drawing)
    plot(stamps)
    titles = [row[0] for row in table_rows(stamps)[1:]]
    assert drawn[: len(titles)] == titles and "R@10 of another wording" in titles
    for note in drawn[len(titles) :]:
        assert note in table(stamps)
        assert "wordings.jsonl" not in note and "pool.txt" not in note
    assert "blind guess" in drawn[-1]

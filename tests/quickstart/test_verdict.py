"""The recommended model, and the table behind the recommendation."""

import pytest

from paraclip.evaluation.reporting.report import Line, Report, Section
from paraclip.evaluation.scoring.bootstrap import Interval
from paraclip.quickstart.results import OF_STAMPS, table
from paraclip.quickstart.verdict import verdict

LABELS = ("base", "control", "live", "tuned", "merged")


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


@pytest.mark.parametrize("guard", ["T2I R@10", "R@10 plain caption"])
def test_tuned_is_recommended_if_it_gains_and_loses_nothing(guard: str) -> None:
    text = verdict(report(line("AO@10", tuned=6, merged=4), line(guard, tuned=-0.5)))
    assert text.startswith("Use tuned: AO@10 +6.0 [+5.0, +7.0] over base and +6.0")
    assert text.endswith(f"over control, {guard} -0.5 [-1.5, +0.5].")


def test_merged_is_recommended_if_tuned_costs_retrieval() -> None:
    lines = line("AO@10", tuned=6, merged=4), line("T2I R@10", tuned=-3, merged=-0.5)
    assert verdict(report(*lines)).startswith("Use merged: AO@10 +4.0 [+3.0, +5.0] over base")


@pytest.mark.parametrize("gain", [0.0, 0.9, -4.0])
def test_no_gain_beyond_chance_is_reported(gain: float) -> None:
    lines = line("AO@10", tuned=gain, merged=gain), line("T2I R@10")
    assert verdict(report(*lines)).startswith("Keep base: neither tuned nor merged is better")


def test_a_gain_over_base_alone_is_not_enough() -> None:
    both = line("AO@10", tuned=6, merged=6)
    for label in ("tuned", "merged"):
        both.differences[f"{label} - control"] = Interval(0.2, -1, 1)
    assert verdict(report(both, line("T2I R@10"))).startswith("Keep base")


def test_the_table_shows_every_model_and_the_differences_of_tuned() -> None:
    lines = [line(name, tuned=2) for name in reversed(OF_STAMPS)]
    rows = table(report(*lines, line("I2T R@1"))).splitlines()
    assert rows[0].split() == [*LABELS, "tuned", "-", "base", "tuned", "-", "control"]
    assert [row.split("  ")[0] for row in rows[1:11]] == list(OF_STAMPS.values())
    assert rows[1].split()[1:6] == ["50.0", "50.0", "50.0", "52.0", "50.0"]
    assert "+2.0 [+1.0, +3.0]" in rows[1] and not any("I2T" in row for row in rows)

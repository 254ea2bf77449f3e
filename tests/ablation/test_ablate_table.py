"""The table against values computed by hand: means, differences, marks, Holm, and formatting."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from paraclip.ablation.plan import GridRow
from paraclip.ablation.results import (
    Change,
    Results,
    TableEntry,
    TableFigure,
    assemble_results,
    corrected,
    figures_of,
)
from paraclip.ablation.table import as_report, entry_as_dict, entry_cell, results_table
from paraclip.errors import UserError
from paraclip.evaluation.compare import Stored
from paraclip.evaluation.report import Line, Report, Section
from paraclip.evaluation.statistics import Interval
from paraclip.training.config import TrainConfig

RUN = TrainConfig(triples="t.parquet")
BASE = GridRow("base", "base", RUN)
CONTROL = GridRow("control", "control", RUN, base="base")
GOOD = GridRow("good", "tuned", RUN, base="base", control="control")
BAD = GridRow("bad|er", "merged", RUN, merge=0.5, base="base", control="control")
ROWS = (BASE, CONTROL, GOOD, BAD)
STEPS = np.linspace(-2, 2, 1000)  # draws of the items, the same for every cell


@dataclass
class Known:
    """Known draws: a cell's value, with the same spread around it in every cell."""

    values: dict[Path, float]
    seed: int = 0

    def of(self, stored, label, figure):
        value = self.values[stored.path] + (100 if figure.name == "other" else 0)
        return value, value + STEPS


def stored(name: str) -> Stored:
    return Stored(Path(name), Report({}, [], {}), {})


def scored(**values):
    """Reports of cells by row and seed, and their draws; values by ROW_SEED."""
    found, known = {}, {}
    for name, value in values.items():
        row, _, seed = name.partition("_")
        row = {"bad": "bad|er"}.get(row, row)
        found.setdefault(row, {})[int(seed) if seed else None] = stored(name)
        known[Path(name)] = value
    return found, Known(known)


def figure(name="AO@10"):
    return TableFigure("paraphrased-retrieval", Line(name, True, 9, {}, {}, "mean"))


VALUES = {
    "base": 50.0, "control_0": 48.0, "control_1": 49.0,
    "good_0": 55.0, "good_1": 56.0, "bad_0": 48.0, "bad_1": 47.0,
}  # fmt: skip


def made(values=VALUES, name="AO@10") -> Results:
    found, draws = scored(**values)
    return assemble_results(ROWS, found, [figure(name)], draws)


def test_means_and_paired_differences_by_hand():
    found = made()
    entries = {row.name: found.entries[row.name, 0] for row in ROWS}
    assert [entries[row.name].value.value for row in ROWS] == [50, 48.5, 55.5, 47.5]
    # base moves by up to 2 with its items: percentiles of evenly spaced draws
    assert entries["base"].value.low == pytest.approx(50 - 1.9, abs=0.01)
    assert entries["base"].base is None and entries["base"].control is None
    assert entries["control"].control is None
    assert entries["good"].base.difference.value == 5.5
    assert entries["good"].control.difference.value == 7
    # the items cancel out; seeds alone spread: 55 - 48 and 56 - 49 are both 7
    assert entries["good"].control.difference == Interval(7, 7, 7)
    # runs 5 and 6 above base: drawn means 5, 5.5 or 6, deviations times sqrt(2)
    low, high = (5.5 + sign * 0.5 * 2**0.5 for sign in (-1, 1))
    spread = entries["good"].base.difference
    assert (spread.low, spread.high) == pytest.approx((low, high))
    # 0 above the control on one seed and 2 below on the other: does not count
    assert entries["bad|er"].control.difference.value == -1
    assert found.seeds == {"base": (), "control": (0, 1), "good": (0, 1), "bad|er": (0, 1)}


def test_a_row_is_compared_with_the_reference_as_well():
    placebo = GridRow("placebo", "tuned", RUN, base="base", control="control")
    rows = (BASE, CONTROL, placebo, replace(GOOD, reference="placebo"))
    values = {"base": 50.0, "control_0": 48.0, "placebo_0": 52.0, "good_0": 55.0}
    found, draws = scored(**values)
    results = assemble_results(rows, found, [figure()], draws)
    entry = results.entries["good", 0]
    assert [change.against for change in entry.changes] == ["base", "control", "placebo"]
    assert entry.reference.difference == Interval(3, 3, 3)
    assert results.entries["placebo", 0].reference is None
    assert entry_cell(entry).endswith("▲↑△")
    worse = replace(entry.reference, difference=Interval(-3, -3, -3))
    assert entry_cell(replace(entry, reference=worse)).endswith("▲↑▽")
    assert "△ ▽: better or worse than placebo." in results_table(results, 1000)
    assert sum(x.adjusted > x.p for x in results.changes) > 0, "Holm counts all of them"


def test_marks_by_hand():
    found = made()
    verdicts = {
        row.name: [change.verdict for change in found.entries[row.name, 0].changes] for row in ROWS
    }
    assert verdicts == {"base": [], "control": [-1], "good": [1, 1], "bad|er": [-1, 0]}
    lower = made(name="first result changes")
    assert lower.entries["good", 0].base.verdict == -1, "of these fewer is better"


def test_holm_is_over_the_whole_table():
    def change(p):
        return Change("base", Interval(1, 0.5, 1.5), p)

    entries = {("a", 0): TableEntry(Interval(1, 1, 1), change(0.01), change(0.02)),
               ("b", 0): TableEntry(Interval(1, 1, 1), change(0.03), None)}  # fmt: skip
    found = corrected(entries)
    # sorted 0.01 * 3, 0.02 * 2, 0.03 * 1 and never falling
    assert found["a", 0].base.adjusted == pytest.approx(0.03)
    assert found["a", 0].control.adjusted == pytest.approx(0.04)
    assert found["b", 0].base.adjusted == pytest.approx(0.04)
    assert all(one.verdict == 1 for entry in found.values() for one in entry.changes)
    assert replace(change(0.2), adjusted=float("nan")).verdict == 0


def test_seeds_that_only_one_of_two_has_are_not_compared():
    values = {name: value for name, value in VALUES.items() if name != "control_1"}
    entry = made(values).entries["good", 0]
    assert entry.value.value == 55.5 and entry.control.difference.value == 7
    assert entry.base.difference.value == 5.5
    alone = {name: value for name, value in VALUES.items() if not name.startswith("control")}
    assert made(alone).entries["good", 0].control is None
    crossed = {"base": 50.0, "control_0": 48.0, "good_1": 56.0}
    assert made(crossed).entries["good", 0].control is None


def test_the_table_in_markdown():
    lines = results_table(made(), resamples=1000).splitlines()
    assert lines[0] == "|  | AO@10 | seeds |"
    assert lines[2] == "| base | 50.0 [48.1, 51.9] | - |"
    assert lines[3].startswith("| control | 48.5 [") and lines[3].endswith("] ↓ | 2 |")
    assert lines[4].startswith("| good | 55.5 [") and lines[4].endswith("] ▲↑ | 2 |")
    assert lines[5].startswith(r"| bad\|er | 47.5 [") and lines[5].endswith("] ↓ | 2 |")
    assert "Holm's correction" in lines[7]
    assert "few" not in results_table(made(), 1000)
    assert "100 resamples are too few for 5 comparisons" in results_table(made(), 100)


def test_one_seed_and_another_control_are_reported():
    other = replace(GOOD, control="control of good", base="base of good")
    found = replace(made({"base": 50.0, "good_0": 55.0}), rows=(BASE, other))
    shown = results_table(found, 1000)
    assert "good is compared with control of good and base of good." in shown
    assert "With one seed" in shown


def test_a_row_without_a_control_is_reported():
    found = replace(made(), rows=(BASE, CONTROL, replace(GOOD, control=None)))
    shown = results_table(found, 1000)
    assert "good has no control: its triples have no picture." in shown
    assert "has no control" not in results_table(made(), 1000)


def test_two_benchmarks_with_a_figure_of_the_same_name():
    values, draws = scored(base=50.0, good_0=55.0)
    beside = replace(figure(), benchmark="variations")
    found = assemble_results(ROWS, values, [figure(), beside], draws)
    head = results_table(found, 1000).splitlines()[0]
    assert head == "|  | AO@10, paraphrased-retrieval | AO@10, variations | seeds |"


def test_an_entry_for_programs():
    test = Change("base", Interval(1, 0.5, 1.5), float("nan"), float("nan"))
    kept = entry_as_dict(TableEntry(Interval(50, 49, float("nan")), test))
    assert json.loads(json.dumps(kept, allow_nan=False)) == {
        "value": {"value": 50, "low": 49, "high": None},
        "against": [{
            "row": "base", "difference": {"value": 1, "low": 0.5, "high": 1.5},
            "p": None, "adjusted": None, "verdict": 0,
        }],
    }  # fmt: skip


def test_a_cell_without_a_mark():
    assert entry_cell(TableEntry(Interval(50, 49, 51))) == "50.0 [49.0, 51.0]"


def test_the_plots_are_made_of_the_same_figures():
    sections = [Section("paraphrased-retrieval", "9 pairs", {}, []), Section("sts", "7", {}, [])]
    report = as_report(made(), sections)
    assert list(report.models) == [row.name for row in ROWS]
    (section,) = report.sections
    (line,) = section.lines
    assert line.values["good"].value == 55.5
    assert line.differences["good - base"].value == 5.5


def test_the_columns_that_a_grid_wants():
    def line(name, headline=True):
        return Line(name, headline, 9, {}, {}, "mean")

    lines = [line("AO@10"), line("JS@10"), line("micro", headline=False)]
    report = Report({}, [Section("pairs", "9", {}, lines)], {})
    kept = Stored(Path("x"), report, {})
    assert [one.name for one in figures_of(kept, ())] == ["AO@10", "JS@10"]
    assert [one.name for one in figures_of(kept, ("micro", "AO@10"))] == ["micro", "AO@10"]
    with pytest.raises(UserError, match=r"figures: AO@5.*Did you mean AO@10"):
        figures_of(kept, ("AO@5",))
    some = figures_of(kept, ("JS@10", "TOT"), missing=True)
    assert [one.name for one in some] == ["JS@10"]
    assert len(figures_of(kept, ("TOT",), missing=True)) == 2, "none is left: the headlines"

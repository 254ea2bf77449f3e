"""Table, JSON and plot of a sweep made by hand: labels, marks, undefined values, files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paraclip.evaluation.statistics import Interval
from paraclip.merging.knee import Figure, knee
from paraclip.merging.sweep import Sweep
from paraclip.merging.sweep_report import (
    RULE,
    alpha_label,
    alpha_row,
    figure_cell,
    markdown,
    sweep_json,
    write_sweep,
)

NAN = float("nan")
STILL = Interval(0, 0, 0)


def figure(name: str, role: str, *changes: Interval) -> Figure:
    """A figure of 50 % at base with these changes."""
    values = [Interval(50 + x.value, 50 + x.low, 50 + x.high) for x in (STILL, *changes)]
    return Figure(f"{name}-task", name, role, tuple(values), (STILL, *changes))  # type: ignore[arg-type]


GAIN = (Interval(2, 1, 3), Interval(4, 3, 5))
COST = (Interval(-0.2, -1, 0.6), Interval(-3, -4, -2))
FIGURES = (figure("AO@10", "robust", *GAIN), figure("R@10", "standard", *COST))
POOLS = {one.benchmark: {"pool": f"40 pictures for {one.name}"} for one in FIGURES}
SWEEP = Sweep(
    (0.0, 0.25, 1.0), FIGURES, (STILL, *GAIN), (STILL, *COST), knee(FIGURES), POOLS, ("sts: short",)
)


def cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table."""
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_base_tuned_and_the_knee_are_named() -> None:
    for index in range(3):
        result, labels = replace(SWEEP, knee_index=index), ["0 (base)", "0.25", "1 (tuned)"]
        labels[index] = ["0 (base, knee)", "0.25 (knee)", "1 (tuned, knee)"][index]
        assert [alpha_label(result, position) for position in range(3)] == labels
        assert json.loads(sweep_json(result, {}))["knee"] == result.alphas[index]


def test_notes_and_pools_are_escaped() -> None:
    pools = {name: {"pool": "<i>\x1b[2J"} for name in POOLS}
    page = markdown(replace(SWEEP, benchmarks=pools, notes=("sts: \x1b]0;a",)))
    assert "\x1b" not in page and "<i>" not in page and r"sts: \x1b]0;a" in page


def test_a_share_with_a_significant_cost_is_marked() -> None:
    assert [alpha_row(SWEEP, index)[1] for index in range(3)] == ["0.00", "0.50", "1.00 (costs)"]
    points = json.loads(sweep_json(SWEEP, {}))["points"]
    assert [point["admissible"] for point in points] == [True, True, False]
    assert alpha_row(SWEEP, 1)[2:4] == ["+2.0 [+1.0, +3.0]", "-0.2 [-1.0, +0.6]"]


@given(st.floats(-50, 50), st.floats(0, 20), st.floats(0, 20))
def test_a_star_marks_a_change_whose_interval_excludes_zero(
    value: float, below: float, above: float
) -> None:
    change = Interval(value, value - below, value + above)
    text = figure_cell(figure("AO@10", "robust", change), 1)
    assert text.endswith("*") == (not change.low <= 0 <= change.high)
    assert float(text.rstrip("*")) == pytest.approx(50 + value, abs=0.051)


def test_every_row_has_a_cell_for_every_column_and_notes_follow() -> None:
    odd = replace(FIGURES[0], name="a|b\n<i>")
    lines = markdown(replace(SWEEP, figures=(odd, FIGURES[1]))).split("\n\n")[0].splitlines()
    assert [len(cells(line)) for line in lines] == [6] * 5
    assert cells(lines[0])[4:] == [r"a\|b &lt;i&gt; (AO@10-task)", "R@10 (R@10-task)"]
    assert cells(lines[4])[4:] == ["54.0*", "47.0*"]
    pools = [f"{name}-task: 40 pictures for {name}" for name in ("AO@10", "R@10")]
    assert markdown(SWEEP).strip().split("\n\n")[2:] == [RULE, *pools, "sts: short"]


def test_an_undefined_value_is_a_dash_and_null() -> None:
    undefined = figure("STS", "robust", Interval(NAN, NAN, NAN), Interval(4, 3, 5))
    result = replace(SWEEP, figures=(*FIGURES, undefined))
    assert figure_cell(undefined, 1) == "-"
    point = json.loads(sweep_json(result, {}))["points"][1]
    assert point["figures"][2]["value"] == {"value": None, "low": None, "high": None}
    assert point["score"] == json.loads(sweep_json(SWEEP, {}))["points"][1]["score"]


def test_the_files_agree_and_are_the_same_when_written_again(tmp_path: Path) -> None:
    facts = {"command": "paraclip merge Grüße 日本"}
    write_sweep(SWEEP, tmp_path / "deep" / "folder", facts)
    folder = tmp_path / "deep" / "folder"
    before = {name: (folder / name).read_bytes() for name in ("sweep.json", "sweep.md")}
    write_sweep(SWEEP, folder, facts)
    assert {path.name for path in folder.iterdir()} == {*before, "sweep.png"}
    assert all((folder / name).read_bytes() == content for name, content in before.items())
    assert before["sweep.md"].decode().endswith(markdown(SWEEP))
    assert json.loads(before["sweep.json"])["provenance"] == facts
    assert "日本" in before["sweep.json"].decode()
    with Image.open(folder / "sweep.png") as plot:
        assert plot.format == "PNG" and plot.convert("RGB").getcolors(100_000)

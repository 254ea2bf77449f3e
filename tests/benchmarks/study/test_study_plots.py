"""The trade-off curve, drawn from the published figures of the study's main table."""

import json
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import RESULTS
from benchmarks.study import curves as study_curves
from benchmarks.study import plots as study_plots
from benchmarks.study import run as study
from paraclip.ablation.grid import read_grid
from paraclip.evaluation.plots import new_figure
from paraclip.evaluation.statistics import Interval

SHARES = ["base", "merged", "consistent"]


@pytest.fixture
def record() -> dict[str, Any]:
    return json.loads((RESULTS / "study_a_main.json").read_text())


def test_the_curve_joins_the_shares_in_order(record: dict[str, Any]) -> None:
    panel = new_figure(4, 4).subplots()
    values = study_plots.values_of(record["figures"])
    study_plots.draw_curve(panel, values, SHARES, study_plots.ACROSS[0])
    curve = panel.get_lines()[0]
    published = {
        (one["row"], one["figure"]): one["value"]["value"]
        for one in record["figures"]
        if one["benchmark"] in ("pairs-sugar-crepe-pp", "image-text-retrieval")
    }
    assert list(curve.get_xdata()) == [published[name, "T2I R@10"] for name in SHARES]
    assert list(curve.get_ydata()) == [published[name, "AO@10"] for name in SHARES]
    names = [text.get_text() for text in panel.texts]
    assert sorted(names) == sorted({one["row"] for one in record["figures"]})


def test_names_of_close_points_do_not_overlap() -> None:
    drawing = new_figure(5, 4)
    panel = drawing.subplots()
    at = {"one name": (0.5, 0.5), "another name": (0.52, 0.5), "third": (0.5, 0.53), "far": (0, 1)}
    for name, point in at.items():
        panel.plot(*point, "o")
        panel.annotate(name, point, xytext=(6, 5), textcoords="offset points", fontsize=8)
    drawing.draw_without_rendering()
    study_plots.place_names(panel)
    boxes = [name.get_window_extent() for name in panel.texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert panel.texts[-1].xyann == (6, 5), "a name that is clear does not move"


def test_only_shares_of_tuned_are_joined(record: dict[str, Any]) -> None:
    variants = record["settings"]["variants"]
    rows = [one["row"] for one in record["figures"]]
    assert study_plots.shares_of(variants, rows) == SHARES
    assert study_plots.shares_of(variants, ["base", "consistent"]) == ["base", "consistent"]
    grid = read_grid(study.GRIDS / "report" / "shares.toml")
    names = ["base", "25 %", "50 %", "75 %", "100 %"]
    assert study_plots.shares_of(grid.variants, list(grid.variants)) == names


def test_the_command_draws_from_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study_plots.py", "study_a_main", "study_a_losses", "--images", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    study_plots.main()
    assert [path.name for path in tmp_path.iterdir()] == ["study_a_main_trade_off.png"]
    assert (tmp_path / "study_a_main_trade_off.png").read_bytes()[:4] == b"\x89PNG"
    assert "study_a_losses: no row is a share" in capsys.readouterr().out


def test_a_record_without_an_axis_has_no_curve(record: dict[str, Any], tmp_path: Path) -> None:
    record["figures"] = [one for one in record["figures"] if one["benchmark"] != "sts"]
    assert not study_plots.trade_off(record, tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


def test_curves_take_the_variants_that_differ_in_one_option() -> None:
    grids = {
        name: read_grid(study.GRIDS / "report" / f"{name}.toml")
        for name in ("temperatures", "weights", "losses")
    }
    records = {
        name: {
            "settings": {"variants": grid.variants},
            "figures": [{"row": row} for row in grid.variants if row != "0.4"],
        }
        for name, grid in grids.items()
    }
    found = {
        label: study_curves.points_of([records[grid] for grid in grids_of], place)
        for grids_of, curves in study_curves.CURVES.values()
        for label, place in curves.items()
    }
    assert found == {
        "L2 and L3": {0.05: "0.05", 0.1: "0.1", 0.2: "0.2", 1.0: "1"},
        "L2 (L3 at 0.2)": {0.05: "L2 at 0.05, L3 at 0.2", 0.2: "0.2", 1.0: "L2 at 1, L3 at 0.2"},
        "L3 (L2 at 0.2)": {0.05: "L2 at 0.2, L3 at 0.05", 0.2: "0.2", 1.0: "L2 at 0.2, L3 at 1"},
        "L2 (L3 at 1)": {0.0: "L1 + L3", 0.5: "L2 at 0.5", 1.0: "1, 1, 1", 2.0: "L2 at 2"},
        "L3 (L2 at 1)": {0.0: "L1 + L2", 0.5: "L3 at 0.5", 1.0: "1, 1, 1", 2.0: "L3 at 2"},
    }


def test_curves_are_drawn_of_the_grids_that_have_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = RESULTS / "study_a_temperatures.json"
    (tmp_path / published.name).write_text(published.read_text())
    words = ["study_curves.py", "--results", str(tmp_path), "--images", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    study_curves.main()
    drawn = tmp_path / "study_a_temperatures_curves.png"
    assert capsys.readouterr().out == f"{drawn}\n" and drawn.stat().st_size > 10_000


def test_a_curve_shows_the_values_and_their_intervals() -> None:
    panel = new_figure(4, 4).subplots()
    curve = {0.5: Interval(10.0, 8.0, 13.0), 1.0: Interval(20.0, 19.0, 22.0)}
    study_curves.draw_curve(panel, "L2", curve, 1, is_log=False)
    line, _, (bars,) = panel.containers[0]
    assert line.get_xdata().tolist() == [0.5, 1.0] and line.get_ydata().tolist() == [10.0, 20.0]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[8.0, 13.0], [19.0, 22.0]]

"""The trade-off curve, drawn from the published figures of the study's main table."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import study
import study_plots
from machine import RESULTS
from paraclip.ablation.grid import read_grid
from paraclip.evaluation.reporting.plots import new_figure
from paraclip.evaluation.scoring.bootstrap import Interval

SHARES = {"base": 0.0, "merged": 0.5, "consistent": 1.0}


@pytest.fixture
def results() -> SimpleNamespace:
    """The figures of `study_a_main.json` in the form of `Results`."""
    found = json.loads((RESULTS / "study_a_main.json").read_text())["figures"]
    keys = list(dict.fromkeys((one["benchmark"], one["figure"]) for one in found))
    names = list(dict.fromkeys(one["row"] for one in found))
    return SimpleNamespace(
        rows=[SimpleNamespace(name=name) for name in names],
        figures=[SimpleNamespace(benchmark=benchmark, name=name) for benchmark, name in keys],
        entries={
            (one["row"], keys.index((one["benchmark"], one["figure"]))): SimpleNamespace(
                value=Interval(**one["value"])
            )
            for one in found
        },
    )


def test_the_curve_joins_the_shares_in_order(results: SimpleNamespace) -> None:
    panel = new_figure(4, 4).subplots()
    study_plots.draw_curve(panel, results, ["base", "merged", "consistent"], study_plots.ACROSS[0])
    curve = panel.get_lines()[0]
    published = {
        (row.name, figure.name): results.entries[row.name, place].value.value
        for row in results.rows
        for place, figure in enumerate(results.figures)
        if figure.benchmark in ("pairs-sugar-crepe-pp", "image-text-retrieval")
    }
    assert list(curve.get_xdata()) == [published[name, "T2I R@10"] for name in SHARES]
    assert list(curve.get_ydata()) == [published[name, "AO@10"] for name in SHARES]
    names = {text.get_text() for text in panel.texts}
    assert names == {row.name for row in results.rows}


def test_the_plot_is_a_png(results: SimpleNamespace, tmp_path: Path) -> None:
    assert study_plots.is_plottable(results)
    study_plots.trade_off(results, SHARES, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    results.figures = results.figures[:1]
    assert not study_plots.is_plottable(results)


def test_the_grid_of_shares_names_its_shares() -> None:
    grid = read_grid(study.GRIDS / "report" / "shares.toml")
    shares = {"base": 0.0, "25 %": 0.25, "50 %": 0.5, "75 %": 0.75, "100 %": 1.0}
    assert study.shares_of(grid) == shares

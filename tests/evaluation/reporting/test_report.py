"""A whole evaluation: files read back, differences, plots, and the files of its folder."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from text_sets import write_sts, write_sugar_crepe_pp

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.evaluation import plots, run
from paraclip.evaluation.benchmark import Arithmetic, Scores
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.sts import SemanticSimilarity, read_tasks
from paraclip.evaluation.benchmarks.sugar_crepe import SugarCrepePlusPlus, read_subsets
from paraclip.evaluation.compare import compare
from paraclip.evaluation.pairs import Pairs
from paraclip.evaluation.pictures import read_pool
from paraclip.evaluation.plots import plot_scores
from paraclip.evaluation.report import (
    Line,
    Report,
    Section,
    figure,
    read_report,
    report_json,
    report_page,
)
from paraclip.evaluation.run import evaluate
from paraclip.evaluation.statistics import Interval, Metric, interval, resample
from paraclip.models.sources import TEXT_ONLY
from paraclip.output_folder import RECORD
from tiny import COLOURS, ColourEncoder, draw_pictures

OURS = {RECORD, ".lock"}  # beside the files of a report
MODELS = {"control": 1.5, "base": 1.0, "tuned": 0.1}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """All four benchmarks on drawn pictures and texts of our own."""
    folder = tmp_path_factory.mktemp("evaluated")
    paths = draw_pictures(folder / "pictures")
    texts = [(f"a {name} thing {n}", f"some {name} stuff") for name in COLOURS for n in range(3)]
    first, second = zip(*texts, strict=True)
    pairs = Pairs("made | here", tuple(map(str, range(12))), first, second, "0")
    captions = [Caption(p.stem, p.stem.replace("_", " "), p.name, str(p), "made:1") for p in paths]
    benchmarks = [
        ParaphrasedRetrieval(pairs, read_pool(folder / "pictures"), 5),
        ImageTextRetrieval(gallery(captions, "made here")),
        SugarCrepePlusPlus(read_subsets(write_sugar_crepe_pp(folder / "scpp"))),
        SemanticSimilarity(read_tasks(write_sts(folder / "sts"), ["STS-B", "SICK-R"])),
    ]
    models = {label: ColourEncoder(noise) for label, noise in MODELS.items()}
    report = evaluate(
        models, benchmarks, folder / "out",
        seed=3, resamples=50, cache=folder / "cache", recorded={"pairs": Path("made")},
    )  # fmt: skip
    return report, folder / "out"


def test_the_json_reads_back_as_the_report(evaluated: tuple[Report, Path]) -> None:
    report, out = evaluated
    again = read_report(out / "report.json")
    assert again.models == report.models
    assert [section.pool for section in again.sections] == [s.pool for s in report.sections]
    for section, other in zip(report.sections, again.sections, strict=True):
        for line, read in zip(section.lines, other.lines, strict=True):
            assert (line.name, line.headline, line.items) == (read.name, read.headline, read.items)
            for label, found in line.values.items():
                assert read.values[label].value == pytest.approx(found.value, abs=1e-4)
            assert set(line.differences) == set(read.differences)


def test_items_are_kept_and_give_the_figures_again(evaluated: tuple[Report, Path]) -> None:
    report, out = evaluated
    with np.load(out / "items.npz", allow_pickle=False) as items:
        tuned = items["paraphrased-retrieval/tuned/AO@5"]
        base = items["paraphrased-retrieval/base/AO@5"]
        assert items["paraphrased-retrieval/base/caption_ranking"].shape == (12, 5)
        assert items["sts/base/STS-B"].shape == (5, 2)
    line = report.line("AO@5")
    assert line is not None
    assert line.values["tuned"].value == pytest.approx(100 * tuned.mean())
    drawn = [resample(Metric("m", found), 50, 3) for found in (tuned, base)]
    again = interval(0.0, 100 * (drawn[0] - drawn[1]))
    assert line.differences["tuned - base"].low == pytest.approx(again.low)


def test_the_markdown_begins_with_the_headlines_and_folds_the_rest_away(
    evaluated: tuple[Report, Path],
) -> None:
    report, out = evaluated
    text = (out / "report.md").read_text()
    for section in report.sections:
        assert f"## {section.name}" in text
        assert all(f"| {line.name} |" in text for line in section.lines)
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert shown == ["scores.png", "contact_sheet.png"]
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (4, 5) for line in tables)
    assert "made | here" in text
    first, *_ = text.split("\n## ")
    assert "| sts: STS mean of 2 |" in first and "TOT micro" not in first
    assert "In brackets: difference from base; * its 95 % interval excludes 0; ≥ not inf" in first
    page = text.partition("## sugar-crepe-pp\n")[2].partition("\n## ")[0]
    unfolded, folded = page.split("<details><summary>5 further figures</summary>\n\n|")
    assert "| TOT |" in unfolded and "| TOT micro |" not in unfolded
    assert "| TOT micro |" in folded.partition("</details>")[0]


class Broken:
    """A benchmark that cannot be scored."""

    name, pool, data, pictures, how = "broken", "1 item", {}, (), Arithmetic()

    def score(self, model: ColourEncoder, cache: Path | None) -> Scores:
        raise UserError("a.png", "is broken", "Fix it.")


class Unread(Broken):
    """Another one, for another reason."""

    name = "unread"

    def score(self, model: ColourEncoder, cache: Path | None) -> Scores:
        raise UserError("model", "reads no pictures", "Name a CLIP.")


def test_a_benchmark_that_cannot_be_scored_is_passed_over_if_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = {"base": ColourEncoder()}
    tasks = SemanticSimilarity(read_tasks(write_sts(tmp_path / "sts"), ["STS-B"]))
    report = evaluate(
        models, [Broken(), tasks], tmp_path / "out",
        resamples=5, pass_over=True, left_out={"gone": "why"},
    )  # fmt: skip
    assert [section.name for section in report.sections] == ["sts"]
    assert report.provenance["left_out"] == {"gone": "why", "broken": "a.png: is broken. Fix it."}
    assert "paraclip: broken left out: a.png: is broken. Fix it." in capsys.readouterr().err
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Left out\n\n- gone: why\n- broken: a.png: is broken. Fix it.\n" in text
    for benchmarks, pass_over in (([Broken(), tasks], False), ([Broken()], True)):
        with pytest.raises(UserError, match=r"a\.png: is broken"):
            evaluate(models, benchmarks, tmp_path / "none", pass_over=pass_over)
    with pytest.raises(UserError, match=r"a\.png: is broken.*reads no pictures"):
        evaluate(models, [Broken(), Unread()], tmp_path / "none", pass_over=True)
    assert not (tmp_path / "none" / "report.json").exists()


class Blind(ColourEncoder):
    """Reads texts alone."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.architecture = replace(self.architecture, kind=TEXT_ONLY)

    def preprocess(self, image):
        raise UserError("blind", "reads no pictures", "Take another.")


def test_a_model_of_text_alone_is_listed_with_dashes(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "pictures")
    pairs = Pairs("made", ("0", "1"), ("a red", "a blue"), ("some red", "some blue"), "0")
    tasks = SemanticSimilarity(read_tasks(write_sts(tmp_path / "sts"), ["STS-B"]))
    benchmarks = [ParaphrasedRetrieval(pairs, read_pool(tmp_path / "pictures"), 5), tasks]
    models = {"base": ColourEncoder(), "text": Blind(noise=0.7)}
    report = evaluate(models, benchmarks, tmp_path / "out", resamples=9)
    retrieval, sts = report.sections
    assert "text reads no pictures" in retrieval.notes and list(retrieval.made) == ["base"]
    assert np.isnan(retrieval.lines[0].values["text"].value)
    assert np.isfinite(retrieval.lines[0].values["base"].value)
    assert np.isfinite(sts.lines[0].values["text"].value)
    assert re.search(r"AO@5 +\d+\.\d +- \(-", report.table())
    (found,) = compare(tmp_path / "out", models=("base", "text"), resamples=20)
    assert {row.benchmark for row in found.rows} == {"sts"}
    assert any("paraphrased-retrieval is left out" in warning for warning in found.warnings)
    with pytest.raises(UserError, match="blind: reads no pictures"):
        evaluate({"text": Blind(noise=0.7)}, benchmarks, tmp_path / "none")


def test_the_table_shows_headlines_with_differences(evaluated: tuple[Report, Path]) -> None:
    table = evaluated[0].table()
    assert table.splitlines()[0].split() == ["control", "base", "tuned"]
    value, mark = r" +\d+\.\d", r" \([+-]\d+\.\d[*≥ ]{2}\)"
    assert re.search(rf"(?m)^  AO@5{value}{mark}{value}{value}{mark}$", table)
    assert "  TOT micro" not in table and "20 pictures" in table


@pytest.mark.parametrize("name", ["scores.png", "contact_sheet.png"])
def test_pictures_are_drawn(evaluated: tuple[Report, Path], name: str) -> None:
    path = evaluated[1] / name
    assert 5_000 < path.stat().st_size < 1_500_000
    with Image.open(path) as image:
        assert min(image.size) > 300 and len(image.convert("RGB").getcolors(2**24) or ()) > 20


def small_report(*values: float, labels: tuple[str, ...] = ("base",)) -> Report:
    found = {
        label: Interval(value, value - 1, value + 1)
        for label, value in zip(labels, values, strict=True)
    }
    section = Section("sts", "5 pairs", {}, [Line("STS mean", True, 5, found, {})])
    return Report({label: {"weights": "0"} for label in labels}, [section], {"seed": 0})


def test_one_model_is_enough_and_an_undefined_figure_is_a_dash(tmp_path: Path) -> None:
    report = small_report(float("nan"))
    assert "  STS mean     -" in report.table()
    assert "| STS mean | - [-, -] |" in report_page(report, [])
    (tmp_path / "report.json").write_text(report_json(report))
    (line,) = read_report(tmp_path / "report.json").sections[0].lines
    assert np.isnan(line.values["base"].value)
    assert "NaN" not in (tmp_path / "report.json").read_text()
    assert plot_scores(report)
    assert plot_scores(small_report(1.0, labels=("a $x^$ b",)))  # a label is no formula


@pytest.mark.parametrize(
    ("low", "high", "items", "marks"),
    [(-3, 2, 100, "  "), (-0.5, 2, 100, "≥ "), (0.5, 2, 100, "*≥"), (-0.8, -0.2, 100, "*≥"),
     (-2, -1.2, 100, "* "), (-0.5, 2, 99, "  "), (0, 0, 100, "  ")],
)  # fmt: skip
def test_marks_tell_significant_from_not_inferior(
    low: float, high: float, items: int, marks: str
) -> None:
    value = Interval(50.0, 49.0, 51.0)
    line = Line("m", True, items, {"base": value, "tuned": value}, {
        "tuned - base": Interval(0.04, low, high)
    })  # fmt: skip
    report = Report({"base": {}, "tuned": {}}, [Section("x", "9", {}, [line])], {})
    assert f"50.0 (+0.0{marks})" in report.table()
    assert ("≥ |" in report_page(report, []).partition("## x")[2]) == ("≥" in marks)


def test_figures_have_one_decimal_and_no_minus_zero() -> None:
    assert [figure(-0.04), figure(-0.04, True), figure(2.25, True)] == ["0.0", "+0.0", "+2.2"]


def test_names_from_the_data_are_not_html_in_the_report() -> None:
    report = small_report(50.0)
    report.sections[0].notes.append("<script>alert(1)</script>")
    section = replace(report.sections[0], pool="a folder <img src=x>")
    shown = report_page(replace(report, sections=[section]), [])
    assert "<script" not in shown and "<img" not in shown and "&lt;img src=x&gt;" in shown


FEW = 5  # resamples
FIRST = tuple(f"a {name} thing" for name in COLOURS)
SECOND = tuple(f"some {name} stuff" for name in COLOURS)
COLOUR_PAIRS = Pairs("made here", tuple(COLOURS), FIRST, SECOND, "0")


class Constant:
    """A benchmark with fixed items."""

    pool, data, pictures, how = "2 items", {}, (), Arithmetic()

    def __init__(self, name: str, value: float = 1.0, headline: bool = True) -> None:
        self.name, self.value, self.headline = name, value, headline

    def score(self, model: ColourEncoder, cache: Path | None) -> Scores:
        return Scores([Metric("m", np.full(2, self.value), headline=self.headline)])


@pytest.mark.parametrize("installed", [True, False])
def test_a_report_without_a_headline_or_matplotlib_has_no_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    installed: bool,
) -> None:  # fmt: skip
    # Without a headline: as ARO's attributes if no pair of them has 25 cases.
    if not installed:
        monkeypatch.setattr(run, "find_spec", lambda name: None)
    constant, out = Constant("x", headline=not installed), tmp_path / "out"
    report = evaluate({"only": ColourEncoder()}, [constant], out, resamples=FEW)
    assert report.sections[0].lines[0].values["only"].value == 100
    names = {path.name for path in out.iterdir()}
    assert names == {*OURS, "items.npz", "report.json", "report.md"}
    assert "scores.png" not in (out / "report.md").read_text()
    assert ("matplotlib is missing" in capsys.readouterr().err) != installed


def test_nothing_to_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model is given"):
        evaluate({}, [Constant("x")], tmp_path, resamples=FEW)
    with pytest.raises(UserError, match="no benchmark is given"):
        evaluate({"only": ColourEncoder()}, [], tmp_path, resamples=FEW)


def test_pictures_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "pictures")
    retrieval = ParaphrasedRetrieval(COLOUR_PAIRS, read_pool(tmp_path / "pictures"), 3)
    models, out = {"base": ColourEncoder(2), "tuned": ColourEncoder(0.1)}, tmp_path / "out"
    evaluate(models, [retrieval], out, resamples=FEW)
    assert (out / "contact_sheet.png").exists()
    (out / "mine.txt").write_text("stays")
    evaluate({"other": ColourEncoder()}, [Constant("x")], out, resamples=FEW)
    names = {path.name for path in out.iterdir()} - OURS
    assert names == {"items.npz", "mine.txt", "report.json", "report.md", "scores.png"}


def test_benchmarks_with_blanks_in_their_names_are_numbered(tmp_path: Path) -> None:
    benchmarks = [
        Constant("my set", 0.0),
        Constant("my set", 1.0),
        Constant("my", 0.5),
        Constant("my set 2"),
    ]
    report = evaluate({"only": ColourEncoder()}, benchmarks, tmp_path, resamples=FEW)
    names = [section.name for section in report.sections]
    assert names == ["my set", "my set 2", "my", "my set 2 2"]
    with np.load(tmp_path / "items.npz", allow_pickle=False) as items:
        assert items["my set/only/m"].tolist() == [0, 0]
        assert items["my set 2/only/m"].tolist() == [1, 1]


def test_names_from_the_data_cannot_control_a_terminal(tmp_path: Path) -> None:
    hostile, models = Constant("x"), {"base": ColourEncoder(), "tuned": ColourEncoder()}
    for number in range(2):
        hostile.pool = f"{number} items of \x1b[2J\u202e"
        report = evaluate(models, [hostile], tmp_path / str(number), resamples=FEW)
        assert rf"x: {number} items of \x1b[2J\u202e" in report.table()
        assert r" items of \x1b[2J\u202e" in (tmp_path / str(number) / "report.md").read_text()
    found, _ = compare(tmp_path / "0", tmp_path / "1", resamples=10)
    shown = found.table()
    assert r"\x1b[2J" in shown and "\x1b" not in shown


def test_an_error_without_pictures_is_not_taken_for_a_lack_of_an_image_tower(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "pool.npy", np.eye(8, dtype=np.float32))
    retrieval = ParaphrasedRetrieval(COLOUR_PAIRS, read_pool(tmp_path / "pool.npy"), 3)
    models = {"base": ColourEncoder(), "text": Blind(width=12)}
    with pytest.raises(UserError, match="vectors are 8 wide and this model's are 12"):
        evaluate(models, [retrieval], tmp_path / "out", resamples=FEW)
    damaged = Blind()
    damaged.text_tower.weight.data[:] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        evaluate({"base": ColourEncoder(), "text": damaged}, [retrieval], tmp_path, resamples=FEW)


def test_a_role_looks_the_same_whatever_is_next_to_it() -> None:
    usual = plots._appearances(["base", "control", "tuned", "merged"])
    crowded = plots._appearances(["base", "control", "live", "tuned", "merged"])
    assert len(set(crowded.values())) == 5
    assert {label: crowded[label] for label in usual} == usual
    assert plots._appearances(["tuned"])["tuned"] == usual["tuned"]

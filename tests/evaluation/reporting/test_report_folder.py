"""The files of a report's folder: none is left of another report, and names are unique."""

from pathlib import Path

import numpy as np
import pytest
from colour_encoder import COLOURS, ColourEncoder, draw_pictures

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Scores
from paraclip.evaluation.benchmarks.image_text_retrieval import Gallery, ImageTextRetrieval
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.compare import compare
from paraclip.evaluation.pairs import Pairs
from paraclip.evaluation.pictures import read_pool
from paraclip.evaluation.run import OUTPUTS, evaluate
from paraclip.evaluation.statistics import Metric
from paraclip.evaluation.vectors import Arithmetic

SETTINGS = {"resamples": 5}
FIRST = tuple(f"a {name} thing" for name in COLOURS)
SECOND = tuple(f"some {name} stuff" for name in COLOURS)
PAIRS = Pairs("made here", tuple(COLOURS), FIRST, SECOND, "0")


class Fixed:
    """A benchmark with fixed items."""

    pool, data, pictures, how = "2 items", {}, (), Arithmetic()

    def __init__(self, name: str, value: float = 1.0, headline: bool = True) -> None:
        self.name, self.value, self.headline = name, value, headline

    def score(self, model: ColourEncoder, cache: Path | None) -> Scores:
        return Scores([Metric("m", np.full(2, self.value), headline=self.headline)])


def test_a_report_without_a_headline_has_no_plot(tmp_path: Path) -> None:
    # As ARO's attributes if no pair of them has 25 cases.
    report = evaluate(
        {"only": ColourEncoder()}, [Fixed("x", headline=False)], tmp_path / "out", SETTINGS
    )
    assert report.sections[0].lines[0].values["only"].value == 100
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"items.npz", "report.json", "report.md"}
    assert "scores.png" not in (tmp_path / "out" / "report.md").read_text()


def test_pictures_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "pictures")
    retrieval = ParaphrasedRetrieval(PAIRS, read_pool(tmp_path / "pictures"), 3)
    models, out = {"base": ColourEncoder(2), "tuned": ColourEncoder(0.1)}, tmp_path / "out"
    evaluate(models, [retrieval], out, SETTINGS)
    assert (out / "contact_sheet.png").exists() and (out / "browser.html").exists()
    (out / "mine.txt").write_text("stays")
    evaluate({"other": ColourEncoder()}, [Fixed("x")], out, SETTINGS)
    names = {path.name for path in out.iterdir()}
    assert names == {"items.npz", "mine.txt", "report.json", "report.md", "scores.png"}


def test_a_file_that_is_not_ours_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    class Never(Fixed):
        def score(self, model: ColourEncoder, cache: Path | None) -> Scores:
            raise AssertionError("scored")

    for name in OUTPUTS:
        mine = tmp_path / name / name
        mine.parent.mkdir()
        mine.write_text('{"mine": "report"}')
        with pytest.raises(UserError, match=f"{name}: exists and was not written by ParaCLIP"):
            evaluate({"only": ColourEncoder()}, [Never("x")], mine.parent, SETTINGS)
        assert mine.read_text() == '{"mine": "report"}'


def test_an_edited_page_is_refused_and_an_own_report_replaced(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "pictures")
    retrieval = ParaphrasedRetrieval(PAIRS, read_pool(tmp_path / "pictures"), 3)
    retrieval_too = ImageTextRetrieval(
        Gallery("made", retrieval.pictures, tuple(map(str, retrieval.pictures)), (*range(20),))
    )
    models, out = {"base": ColourEncoder(2), "tuned": ColourEncoder(0.1)}, tmp_path / "out"
    for _ in range(2):
        evaluate(models, [retrieval, retrieval_too], out, SETTINGS)
        assert {path.name for path in out.iterdir()} == set(OUTPUTS)
    (out / "report.md").write_text((out / "report.md").read_text() + "My remarks.\n")
    with pytest.raises(UserError, match=r"report\.md: exists and was not written by ParaCLIP"):
        evaluate(models, [retrieval], out, SETTINGS)


def test_benchmarks_with_blanks_in_their_names_are_numbered(tmp_path: Path) -> None:
    benchmarks = [Fixed("my set", 0.0), Fixed("my set", 1.0), Fixed("my", 0.5), Fixed("my set 2")]
    report = evaluate({"only": ColourEncoder()}, benchmarks, tmp_path, SETTINGS)
    names = [section.name for section in report.sections]
    assert names == ["my set", "my set 2", "my", "my set 2 2"]
    with np.load(tmp_path / "items.npz", allow_pickle=False) as items:
        assert items["my set/only/m"].tolist() == [0, 0]
        assert items["my set 2/only/m"].tolist() == [1, 1]


def test_names_from_the_data_cannot_control_a_terminal(tmp_path: Path) -> None:
    hostile, models = Fixed("x"), {"base": ColourEncoder(), "tuned": ColourEncoder()}
    for number in range(2):
        hostile.pool = f"{number} items of \x1b[2J\u202e"
        report = evaluate(models, [hostile], tmp_path / str(number), SETTINGS)
        assert rf"x: {number} items of \x1b[2J\u202e" in report.table()
        assert r" items of \x1b[2J\u202e" in (tmp_path / str(number) / "report.md").read_text()
    found, _ = compare(tmp_path / "0", tmp_path / "1", resamples=10)
    shown = found.table()
    assert r"\x1b[2J" in shown and "\x1b" not in shown


class Blind(ColourEncoder):
    """Reads texts alone."""

    def preprocess(self, image):
        raise UserError("blind", "reads no pictures", "Take another.")


def test_an_error_without_pictures_is_not_taken_for_a_lack_of_an_image_tower(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "pool.npy", np.eye(8, dtype=np.float32))
    retrieval = ParaphrasedRetrieval(PAIRS, read_pool(tmp_path / "pool.npy"), 3)
    models = {"base": ColourEncoder(), "text": Blind(width=12)}
    with pytest.raises(UserError, match="vectors are 8 wide and this model's are 12"):
        evaluate(models, [retrieval], tmp_path / "out", SETTINGS)
    damaged = Blind()
    damaged.text_tower.weight.data[:] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        evaluate({"base": ColourEncoder(), "text": damaged}, [retrieval], tmp_path, SETTINGS)

"""The trade-off plot for many models and many standard tasks."""

from pathlib import Path

from PIL import Image

from paraclip.evaluation.plots import (
    appearances,
    plot_trade_off,
    robust_line,
    standard_lines,
)
from paraclip.evaluation.report import Line, Report, Section
from paraclip.evaluation.statistics import Interval


def report(models: int, tasks: dict[str, str], move: float = 1.0) -> Report:
    """Models of which the n-th gains n points of AO@10 and loses n of every task."""
    labels = ["base", *(f"model_{number}" for number in range(1, models))]

    def line(name: str, sign: float) -> Line:
        values = {label: Interval(50.0, 49.0, 51.0) for label in labels}
        differences = {
            f"{label} - base": Interval(sign * n, sign * n - 0.5, sign * n + 0.5)
            for n, label in enumerate(labels[1:], start=1)
        }
        return Line(name, True, 100, values, differences, "mean")

    sections = [Section("paraphrased-retrieval", "9 pairs", {}, [line("AO@10", 1.0)])]
    sections += [
        Section(name, "9", {}, [line("I2T R@1", 0), line(figure, -move), line("beside", 0)])
        for name, figure in tasks.items()
    ]
    return Report({label: {} for label in labels}, sections, {})


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_a_panel_for_each_standard_task(tmp_path: Path) -> None:
    tasks = {"flickr": "T2I R@10", "imagenet": "top-1", "sts": "STS mean"}
    found = report(3, tasks)
    assert [(name, line.name) for name, line in standard_lines(found)] == [
        ("flickr", "T2I R@10"), ("imagenet", "top-1"),
    ]  # fmt: skip
    assert plot_trade_off(found, "base", tmp_path / "two.png")
    assert plot_trade_off(report(3, {"flickr": "T2I R@10"}), "base", tmp_path / "one.png")
    assert size(tmp_path / "two.png")[0] > 1.5 * size(tmp_path / "one.png")[0]


def test_what_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "none.png"
    assert not plot_trade_off(report(2, {}), "base", path)
    assert not plot_trade_off(report(1, {"flickr": "T2I R@10"}), "base", path)
    without = report(2, {"flickr": "T2I R@10"})
    assert not plot_trade_off(Report(without.models, without.sections[1:], {}), "base", path)
    assert not path.exists()


def test_robustness_is_that_of_paraphrased_retrieval_wherever_it_is() -> None:
    found = report(2, {"scenes": "AO@5", "flickr": "T2I R@10"})
    turned = Report(found.models, found.sections[::-1], {})
    for one in (found, turned):
        name, line = robust_line(one)
        assert (name, line.name) == ("paraphrased-retrieval", "AO@10")
    name, line = robust_line(Report(found.models, found.sections[1:], {}))
    assert (name, line.name) == ("scenes", "AO@5")


def test_a_role_looks_the_same_whatever_is_next_to_it() -> None:
    usual = appearances(["base", "control", "tuned", "merged"])
    crowded = appearances(["base", "control", "live", "tuned", "merged"])
    assert len(set(crowded.values())) == 5
    assert {label: crowded[label] for label in usual} == usual
    assert appearances(["tuned"])["tuned"] == usual["tuned"]

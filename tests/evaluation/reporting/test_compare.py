"""`paraclip evaluate --compare` on reports of tiny models."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from paraclip.commands.evaluate import EvaluateConfig, evaluate_command
from paraclip.errors import UserError
from paraclip.evaluation import run
from paraclip.evaluation.benchmark import Arithmetic, Scores
from paraclip.evaluation.compare import compare, read_stored
from paraclip.evaluation.report import Comparison, Difference
from paraclip.evaluation.run import evaluate
from paraclip.evaluation.statistics import Interval, Metric, interval, resample
from tiny import ColourEncoder

ITEMS = 120
Write = Callable[..., str]


class Made:
    """A benchmark whose items are the model's noise times `gain`."""

    def __init__(
        self, name: str, gain: float = 1.0, data: str = "same", items: int = ITEMS,
        precision: str = "fp32",
    ) -> None:  # fmt: skip
        self.name, self.pool, self.data = name, f"{items} items", {"hash": data}
        self.pictures, self.how = (), Arithmetic(precision)
        self.gain, self.items, self.notes = gain, items, []

    def score(self, model: ColourEncoder, cache: Path | None) -> Scores:
        random = np.random.default_rng(0)
        noise = float(model.text_tower.weight[20].norm().detach())
        plain = random.uniform(0.2, 0.6, self.items)
        plain += self.gain * noise * random.uniform(0.5, 1.0, self.items)
        gold = random.normal(size=self.items)
        found = [
            Metric("mean of it", plain, clusters=np.arange(self.items) // 2),
            Metric("by group", plain, groups=np.arange(self.items) % 3),
            Metric("ranks", np.stack([plain, gold], 1), "spearman"),
            Metric("aside", plain, headline=False),
        ]
        return Scores(found, notes=self.notes)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a report, without plots, of models with these noises and returns its path."""
    monkeypatch.setattr(run, "find_spec", lambda name: None)

    def made(name: str, noises: dict[str, float], benchmarks=None) -> str:
        models = {label: ColourEncoder(noise) for label, noise in noises.items()}
        chosen = benchmarks or [Made("first"), Made("none", 0.0)]
        evaluate(models, chosen, tmp_path / name, resamples=20)
        return str(tmp_path / name / "report.json")

    return made


def print_comparison(*reports: str, resamples: int = 600, **options) -> None:
    evaluate_command(EvaluateConfig(compare=reports, resamples=resamples, **options))


def test_two_models_of_one_report(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_comparison(write("a", {"base": 0.1, "tuned": 0.2}))
    shown = capsys.readouterr().out
    assert "warning" not in shown
    assert "first:  base (a/report.json)" in shown and "second: tuned (a/report.json)" in shown
    assert "better: first mean of it +7." in shown
    assert "worse: nothing that counts" in shown
    assert "no change that counts: 4 of 6 figures" in shown and "not inferior: 2 of 6" in shown
    assert "aside" not in shown
    (comparison,) = compare(write("b", {"base": 0.1, "tuned": 0.2}), resamples=600)
    assert not capsys.readouterr().out
    assert comparison.table().replace("b/report", "a/report") + "\n" == shown
    print_comparison(str(tmp_path / "a" / "report.json"), json=True)
    content = json.loads(capsys.readouterr().out)
    assert len(content["comparisons"][0]["figures"]) == len(comparison.rows)


def test_the_row_is_the_paired_bootstrap_of_the_items(write: Write) -> None:
    path = write("a", {"base": 0.1, "tuned": 0.2})
    (found,) = compare(path, resamples=300, seed=5)
    stored = read_stored(path)
    for row in found.rows:
        line = next(x for x in stored.section(row.benchmark).lines if x.name == row.metric)
        one, two = (stored.metric(row.benchmark, line, label) for label in ("base", "tuned"))
        drawn = 100 * (resample(two, 300, 5) - resample(one, 300, 5))
        assert row.paired and row.items == ITEMS and row.adjusted >= row.p
        again = interval(100 * (two.value() - one.value()), drawn)
        assert vars(row.difference) == pytest.approx(vars(again))
        assert row.p == min(1.0, 2 * (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / 301)


def test_two_reports_compare_models_of_one_label(write: Write) -> None:
    one = write("a", {"base": 0.1, "tuned": 0.2})
    two = write("b", {"base": 0.1, "tuned": 0.4, "other": 0.5})
    same, changed = compare(one, two, resamples=100)
    assert [found.first.split()[0] for found in (same, changed)] == ["base", "tuned"]
    assert all(row.difference.value == 0 and row.p == 1 for row in same.rows)
    assert changed.rows[0].difference.value > 10
    # Holm's correction is over both comparisons: 12 figures
    assert changed.rows[0].adjusted == pytest.approx(min(1, 12 * 2 / 101))


def test_several_reports_are_seeds(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [write(f"s{n}", {"base": 0.1, "tuned": 0.2 + 0.1 * n}) for n in range(3)]
    (seeds,) = compare(*paths, resamples=400)
    assert seeds.seeds == (3, 3) and seeds.second.startswith("tuned")
    (single,) = compare(paths[1], resamples=400)
    wide, narrow = (found.rows[0].difference for found in (seeds, single))
    assert wide.value == pytest.approx(narrow.value, abs=0.2)  # noises 0.2, 0.3, 0.4
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    print_comparison(*paths[:2], models=("base", "tuned"))
    shown = capsys.readouterr().out
    assert "runs (seeds): 2 of the first, 2 of the second" in shown
    assert "base (s0/report.json and 1 more)" in shown


def test_other_data_pool_or_precision_is_reported_by_name(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write("a", {"m": 0.1}, [Made("first"), Made("only here")])
    other = write("b", {"m": 0.2}, [Made("first", data="other", items=50, precision="bf16")])
    print_comparison(one, other)
    shown = capsys.readouterr().out
    warnings = [line for line in shown.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 3
    assert "other data (pool in words 120 items and 50 items, hash same and other)" in warnings[0]
    assert "nothing is paired" in warnings[0] and "a/report.json" in warnings[0]
    assert "other precision (fp32 and bf16)" in warnings[1]
    assert "only here is left out: " in warnings[2]
    assert "mean of it unpaired" in shown


def test_too_few_resamples_for_so_many_figures_are_reported(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("a", {"base": 0.1, "tuned": 0.2})
    print_comparison(path, resamples=200)  # 6 figures x 2 / 201 > 0.05
    assert "nothing can count: 200 resamples are too few for 6 figures" in capsys.readouterr().out


def test_the_json_and_all_metrics(write: Write, tmp_path: Path) -> None:
    path = write("a", {"base": 0.1, "tuned": 0.2})
    print_comparison(path, out=str(tmp_path / "c.json"))
    content = json.loads((tmp_path / "c.json").read_text())
    (found,) = content["comparisons"]
    assert content["format"] == "paraclip-comparison-1" and found["seeds"] == [1, 1]
    names = ["mean of it", "by group", "ranks"]
    assert [figure["metric"] for figure in found["figures"]] == [*names, *names]
    (every,) = compare(path, all_metrics=True, resamples=50)
    assert [row.metric for row in every.rows][:4] == [*names, "aside"]
    assert found["figures"][0]["counts"] is found["figures"][0]["not_inferior"] is True
    assert {"value", "low", "high"} == set(found["figures"][0]["difference"])
    assert content["provenance"]["settings"]["resamples"] == 600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ("base", "none")}, "has no model 'none'. It has base, tuned"),
        ({"models": ("a", "b", "c")}, "3 models are named"),
        ({"models": ("base",)}, "no model to compare with base"),
        ({"compare": ("nowhere.json",)}, "there is no such file"),
    ],
)
def test_what_cannot_be_compared_is_reported(write: Write, options: dict, message: str) -> None:
    path = write("a", {"base": 0.1, "tuned": 0.2})
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        evaluate_command(EvaluateConfig(**{"compare": (path,), **options}))


def test_reports_without_a_common_model_or_figure_are_reported(write: Write) -> None:
    one = write("a", {"base": 0.1, "tuned": 0.2})
    two = write("b", {"x": 0.1, "y": 0.2}, [Made("other")])
    with pytest.raises(UserError, match="no model of the same label"):
        print_comparison(one, two)
    other = write("c", {"base": 0.1}, [Made("other")])
    with pytest.raises(UserError, match="has no figure in common with base"):
        print_comparison(one, other)


def test_items_that_are_gone_broken_or_older_are_reported(write: Write) -> None:
    path = Path(write("a", {"base": 0.1, "tuned": 0.2}))
    content = json.loads(path.read_text())
    del content["benchmarks"][0]["metrics"][0]["statistic"]
    path.write_text(json.dumps(content))
    items = path.with_name("items.npz")
    for damage, message in (
        (lambda: None, "does not say how mean of it of first is made"),
        (lambda: items.write_bytes(b"PK"), r"items\.npz: cannot be read"),
        (items.unlink, "is not beside its report"),
        (lambda: path.write_text("{"), r"report\.json: is not JSON"),
    ):
        damage()
        with pytest.raises(UserError, match=message):
            compare(path)


def paths_in(value: object, path: tuple = ()) -> Iterator[tuple]:
    """The path to every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield (*path, key)
        yield from paths_in(inner, (*path, key))


@pytest.mark.slow
def test_a_report_with_any_value_of_another_type_is_refused_or_compared(write: Write) -> None:
    path = Path(write("a", {"base": 0.1, "tuned": 0.2}, [Made("only")]))
    sound = path.read_text()
    refused = 0
    wrong = (None, [], {}, "x", -1, 1e308, [[0]], {"a": {"b": []}})
    places = list(paths_in(json.loads(sound)))
    for number, keys in enumerate(places):
        content = json.loads(sound)
        owner = reduce(lambda value, key: value[key], keys[:-1], content)
        owner[keys[-1]] = wrong[number % len(wrong)]
        path.write_text(json.dumps(content))
        try:
            compare(path, resamples=5)
        except UserError:
            refused += 1
    assert 20 < refused < len(places)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("first/base/mean of it", np.zeros((ITEMS, 2))),
        ("first/base/mean of it", np.array(0.5)),
        ("first/base/mean of it", np.full(ITEMS, "0.5")),
        ("first/base/ranks", np.zeros(ITEMS)),
        ("first/base/by group:groups", np.zeros(ITEMS - 1, int)),
        ("first/base/by group:groups", np.zeros((ITEMS, 3), int)),
        ("first/base/mean of it:clusters", np.zeros(ITEMS)),
        ("first/base/mean of it:clusters", np.zeros((ITEMS, 2), int)),
    ],
)
def test_items_that_do_not_fit_together_are_refused(
    write: Write, name: str, array: np.ndarray
) -> None:
    path = Path(write("a", {"base": 0.1, "tuned": 0.2}))
    change_items(path, {name: array})
    with pytest.raises(UserError, match=r"arrays of .* do not fit together"):
        compare(path, all_metrics=True, resamples=50)


def change_items(report: Path, arrays: dict[str, np.ndarray]) -> None:
    """Exchange arrays of a report of an earlier version, which has no hash of them."""
    content = json.loads(report.read_text())
    del content["items"]
    report.write_text(json.dumps(content))
    with np.load(report.with_name("items.npz")) as stored:
        known = dict(stored)
    assert arrays.keys() <= known.keys()
    np.savez(report.with_name("items.npz"), **{**known, **arrays})


def test_fewer_items_than_the_report_has_are_refused(write: Write) -> None:
    path = Path(write("a", {"base": 0.1, "tuned": 0.2}, [Made("only")]))
    with np.load(path.with_name("items.npz")) as stored:
        change_items(path, {name: stored[name][: ITEMS // 2] for name in stored})
    with pytest.raises(UserError, match=r"has 60 items of mean of it of only, and .* 120"):
        compare(path, resamples=50)


def test_the_items_of_another_run_are_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a", {"base": 0.1, "tuned": 0.2})
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(run, "report_page", stop)
        with pytest.raises(KeyboardInterrupt):
            write("a", {"base": 0.4, "tuned": 0.2})
    with pytest.raises(UserError, match="items of another run"):
        compare(path)
    write("a", {"base": 0.4, "tuned": 0.2})
    compare(path, resamples=50)


def test_fewer_changes_and_less_overlap_with_another_meaning_are_better() -> None:
    rows = [
        Difference("b", name, 100, True, 40.0, 30.0, Interval(-10.0, -12.0, -8.0), 0.001, 0.002)
        for name in ("first result changes", "AO@10 negative", "R@5 contrast", "AO@10", "AO@10 far")
    ]
    better, worse, *_ = Comparison("one", "two", (1, 1), tuple(rows), ()).verdict()
    assert better == (
        "better: b first result changes -10.0, b AO@10 negative -10.0, b R@5 contrast -10.0"
    )
    assert worse == "worse: b AO@10 -10.0, b AO@10 far -10.0"
    assert [row.not_inferior for row in rows] == [True, True, True, False, False]


def test_figures_that_not_all_runs_have_are_reported(write: Write) -> None:
    class Other(Made):
        def score(self, model: ColourEncoder, cache: Path | None) -> Scores:
            scores = super().score(model, cache)
            return Scores([replace(scores.metrics[0], name="another"), *scores.metrics[1:]])

    one = write("a", {"base": 0.1}, [Made("first"), Made("second")])
    two = write("b", {"base": 0.2}, [Other("first"), Made("second")])
    (found,) = compare(one, two, resamples=300)
    assert len(found.rows) == 5
    assert set(found.warnings) == {
        f"first: another left out: {one} has none of base",
        f"first: mean of it left out: {two} has none of base",
    }


def test_a_report_is_not_overwritten_by_its_comparison(write: Write) -> None:
    report = Path(write("a", {"base": 0.1, "tuned": 0.2}))
    for named in (str(report), str(report.parent)):
        for out in (report, report.with_name("items.npz")):
            before = out.read_bytes()
            with pytest.raises(UserError, match=r"is the input .* would be overwritten"):
                print_comparison(named, out=str(out))
            assert out.read_bytes() == before


@pytest.mark.parametrize(("other", "pairs"), [("a", True), ("b", False)])
def test_reports_that_skipped_different_pictures_are_not_paired(
    write: Write, other: str, pairs: bool
) -> None:
    paths = []
    for name in ("a", other):
        noted = Made("first")
        noted.notes = [f"1 of 60 pictures left out: {name}.png: is damaged", f"a remark on {name}"]
        paths.append(write(f"report-{len(paths)}", {"base": 0.1}, [noted]))
    (found,) = compare(*paths, resamples=50)
    assert all(row.paired == pairs for row in found.rows)
    assert any("have left out other items" in warning for warning in found.warnings) != pairs

"""The alpha sweep: its rule by hand, figures against plain evaluation, cached scores, files."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from colour_encoder import write_flickr8k
from text_sets import write_sts, write_sugar_crepe_pp
from tiny_model import TinyModel
from tiny_models import tiny_clip

from paraclip.cli import main
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Scores
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval
from paraclip.evaluation.benchmarks.zero_shot import ZeroShot
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.kept_scores import Kept, keep_scores, read_kept, write_kept
from paraclip.evaluation.registry import BENCHMARKS, choose_benchmarks
from paraclip.evaluation.statistics import Interval, Metric
from paraclip.evaluation.vectors import Arithmetic
from paraclip.merging.command import merge_command, standard_names
from paraclip.merging.config import MergeConfig
from paraclip.merging.knee import Figure, admissible, knee, robustness
from paraclip.merging.merge import merge
from paraclip.merging.sweep import SweepOptions, rising, sweep
from paraclip.models.checkpoint import read_header, save_model
from paraclip.models.loading import load_model

pytestmark = pytest.mark.slow


def curve(benchmark, name, role, changes, slack=0.5):
    """A figure that starts at 50 and changes by these amounts, each known to within the slack."""
    spans = [Interval(x, x - slack, x + slack) if x else Interval(0, 0, 0) for x in changes]
    values = [Interval(50 + x, 49 + x, 51 + x) for x in changes]
    return Figure(benchmark, name, role, tuple(values), tuple(spans))


HAND = [
    curve("paraphrased-retrieval", "AO@10", "robust", (0, 4, 8)),  # shares of the largest: 0, .5, 1
    curve("paraphrased-retrieval", "JS@10", "robust", (0, 1, 10)),  # 0, .1, 1
    curve("sugar-crepe-pp", "TOT", "robust", (0, 3, 2)),  # 0, 1, 2/3
    curve("image-text-retrieval", "T2I R@10", "standard", (0, -0.2, -1)),
]


def test_the_rule_by_hand():
    # means within the benchmarks: 0, .3, 1 and 0, 1, 2/3; means of both: 0, .65, 5/6
    assert robustness(HAND) == pytest.approx([0, 0.65, 5 / 6])
    # at alpha 1 R@10 falls by 1.0 [0.5, 1.5]: beyond chance; at 0.5 by 0.2 [-0.3, 0.7]: not
    assert [admissible(HAND, index) for index in range(3)] == [True, True, False]
    assert knee(HAND) == 1


def test_without_a_cost_the_knee_is_the_most_robust_and_the_smallest_of_a_tie():
    free = [*HAND[:3], curve("image-text-retrieval", "T2I R@10", "standard", (0, 0.1, -0.4))]
    assert knee(free) == 2
    flat = [curve("a", "x", "robust", (0, 2, 2)), curve("b", "y", "standard", (0, 0, 0))]
    assert knee(flat) == 1


def test_the_knee_is_base_where_every_gain_costs():
    costly = [HAND[0], curve("imagenet", "top-1", "standard", (0, -2, -3))]
    assert knee(costly) == 0


def test_an_undefined_figure_is_ignored():
    broken = curve("sts", "STS", "robust", (0, float("nan"), 9))
    assert robustness([*HAND, broken]) == robustness(HAND)


class Made:
    """A benchmark whose two figures are made from the text weights alone.

    "gain" rises with the first weight of the token vectors; "price" falls with it.
    """

    pool, pictures, how = "40 made items", (), Arithmetic()

    def __init__(self, name, slope, data=None):
        self.name, self.slope, self.data = name, slope, data or {"made": True}
        self.scored = 0

    def score(self, model, cache):
        self.scored += 1
        shift = self.slope * float(model.text_tower.norm.bias[0].detach())
        items = 0.5 + shift + 0.1 * np.sin(np.arange(40.0))
        return Scores([Metric("figure", items)], {"more": items}, ["made by hand"])


def pair(gap=1.0):
    base, tuned = TinyModel(), TinyModel()
    with torch.no_grad():
        tuned.text_tower.norm.bias.add_(gap)
    return base, tuned


def made_sweep(tmp_path, alphas=(0.5,), benchmarks=None, **changes):
    benchmarks = benchmarks or [Made("paraphrases", 0.2), Made("image-text-retrieval", -0.001)]
    settings = {"standard": ("image-text-retrieval",), "folder": tmp_path, "resamples": 50}
    return sweep(*pair(), alphas, benchmarks, SweepOptions(**(settings | changes)))


def test_changes_are_those_of_the_mixtures_and_exactly_paired(tmp_path):
    found = made_sweep(tmp_path, (0.25, 0.5))
    assert found.alphas == (0.0, 0.25, 0.5, 1.0)
    assert [x.value for x in found.robust] == pytest.approx([0, 5, 10, 20], abs=1e-5)
    # every item moves alike, so that the paired interval has no width though the figure's has
    assert found.robust[2].low == pytest.approx(10, abs=1e-5)
    assert found.figures[0].values[2].high - found.figures[0].values[2].low > 1
    assert found.alpha == 0.0, "the fall of 0.025 points is certain, so every share costs"


def test_each_share_is_scored_once_also_after_a_kill(tmp_path):
    benchmarks = [Made("paraphrases", 0.2), Made("image-text-retrieval", 0.0)]
    first = made_sweep(tmp_path, (0.5,), benchmarks)
    assert [x.scored for x in benchmarks] == [3, 3] and first.alpha == 1.0
    (tmp_path / sorted(path.name for path in tmp_path.iterdir())[0]).write_bytes(b"cut")
    again = made_sweep(tmp_path, (0.5, 0.75), benchmarks)
    assert sum(x.scored for x in benchmarks) == 6 + 2 + 1, "two new ones, one damaged"
    assert again.robust[1] == first.robust[1]
    assert made_sweep(tmp_path, (0.5, 0.75), benchmarks) == again
    assert sum(x.scored for x in benchmarks) == 9


def test_other_data_does_not_use_stored_scores(tmp_path):
    model = TinyModel()
    for data in ({"made": 1}, {"made": 2}):
        benchmark = Made("paraphrases", 0.2, data)
        assert keep_scores(benchmark, model, tmp_path).scores.notes == ["made by hand"]
        assert benchmark.scored == 1


def test_stored_scores_load_unchanged(tmp_path):
    items = np.array([[0.1, 3.0], [0.2, 1.0], [0.4, 2.0]])
    groups, clusters = np.array([0, 0, 1]), np.array([5, 6, 6])
    kept = [Metric("a", items, "spearman", groups, headline=False),
            Metric("b", items[:, 0], clusters=clusters)]  # fmt: skip
    write_kept(Kept(Scores(kept, {}, ["a note"])), tmp_path / "x.npz")
    found = read_kept(tmp_path / "x.npz")
    assert found is not None and found.scores.notes == ["a note"]
    for one, other in zip(kept, found.scores.metrics, strict=True):
        assert (one.name, one.statistic, one.headline) == (
            other.name, other.statistic, other.headline)  # fmt: skip
        for name in ("items", "groups", "clusters"):
            np.testing.assert_equal(getattr(one, name), getattr(other, name))
    assert read_kept(tmp_path / "nothing.npz") is None


def test_shares_out_of_range_are_refused_and_the_ends_added():
    assert rising((0.5, 0.25, 0.5)) == (0.0, 0.25, 0.5, 1.0)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="--sweep"):
            rising((0.5, wrong))


def test_a_sweep_needs_standard_and_other_benchmarks(tmp_path):
    with pytest.raises(UserError, match="no share could cost anything"):
        made_sweep(tmp_path, benchmarks=[Made("paraphrases", 0.2)])
    with pytest.raises(UserError, match="nothing could gain"):
        made_sweep(tmp_path, benchmarks=[Made("image-text-retrieval", 0.2)])


def test_a_benchmark_named_by_standard_must_be_scored():
    benchmarks = [SimpleNamespace(name="sts", role="robust"), *of_retrieval()]
    with pytest.raises(UserError, match="--standard"):
        standard_names("sts, scenes", benchmarks)
    assert standard_names("sts", benchmarks) == ("sts",)


def of_retrieval() -> list[SimpleNamespace]:
    """Every retrieval and classification benchmark of the registry, by its class's role."""
    groups = {"retrieval": ImageTextRetrieval, "classification": ZeroShot}
    return [
        SimpleNamespace(name=name, role=groups[entry.group].role)
        for name, entry in BENCHMARKS.items()
        if entry.group in groups
    ]


def test_every_benchmark_of_retrieval_and_classification_must_not_fall():
    names = standard_names(None, [SimpleNamespace(name="sts", role="robust"), *of_retrieval()])
    assert "flickr8k-retrieval" in names and "imagenet" in names and "sts" not in names


@pytest.fixture
def config(tmp_path: Path) -> MergeConfig:
    """Base and tuned tiny models on disk, and a data folder for three benchmarks."""
    base, tuned = tiny_clip(), tiny_clip()
    with torch.no_grad():
        tuned.text_tower.text_projection.add_(0.3 * torch.randn(32, 16))
    data = tmp_path / "data"
    write_sts(data / "sts")
    write_sugar_crepe_pp(data / "sugar_crepe_pp")
    write_flickr8k(data / "flickr8k", shades=3)
    return MergeConfig(
        base=str(save_model(base, tmp_path / "base.safetensors")),
        tuned=str(save_model(tuned, tmp_path / "tuned.safetensors")),
        out=str(tmp_path / "mixed.safetensors"), sweep=(0.3,), data=str(data), k=(5,),
        benchmarks="paraphrased-retrieval,sugar-crepe-pp,image-text-retrieval",
        report=str(tmp_path / "report"), resamples=30, cache=str(tmp_path / "cache"),
    )  # fmt: skip


def test_the_command_writes_table_plot_json_and_the_knee(config, capsys):
    merge_command(config)
    printed = capsys.readouterr().out
    folder = Path(config.report)
    found = json.loads((folder / "sweep.json").read_text())
    assert [point["alpha"] for point in found["points"]] == [0.0, 0.3, 1.0]
    assert found["points"][0]["score"] == 0 and found["points"][0]["admissible"]
    names = {figure["name"] for figure in found["points"][1]["figures"]}
    assert {"AO@5", "JS@5", "TOT", "T2I R@1"} <= names
    table = (folder / "sweep.md").read_text()
    assert table in f"# Alpha sweep\n\n![sweep](sweep.png)\n\n{printed}"
    assert "0 (base" in table and "1 (tuned" in table and "knee" in table
    pool = f"over {found['benchmarks']['paraphrased-retrieval']['pool_size']} pictures of"
    assert pool in table, "a pool is named with its size"
    assert (folder / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    mixed = load_model(config.out, "cpu")
    expected = merge(load_model(config.base, "cpu"), load_model(config.tuned, "cpu"), found["knee"])
    theirs = expected.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mixed.state_dict().items())
    assert read_header(config.out)["merged"]["alpha"] == found["knee"]
    check_ends(config, found["points"])


def check_ends(config, points):
    """The ends of a sweep equal the evaluation of base and tuned."""
    (benchmark,) = choose_benchmarks(EvaluateConfig((), "sugar-crepe-pp", config.data))[0]
    for name, point in ((config.base, points[0]), (config.tuned, points[-1])):
        value = benchmark.score(load_model(name, "cpu"), None).metrics[0].value()
        (kept,) = [x for x in point["figures"] if x["name"] == "TOT"]
        assert kept["value"]["value"] == pytest.approx(100 * value, abs=1e-4)


def test_a_trained_image_tower_is_merged_only_on_request(config, capsys):
    tuned = load_model(config.tuned, "cpu")
    with torch.no_grad():
        next(tuned.image_tower.parameters()).add_(1.0)
    save_model(tuned, Path(config.tuned))
    words = ["merge", config.base, config.tuned, "--out", config.out]
    assert main(words) == 2
    assert "add --image-tower" in capsys.readouterr().err and not Path(config.out).exists()
    assert main([*words, "--image-tower"]) == 0
    parts = [next(load_model(x, "cpu").image_tower.parameters())
             for x in (config.base, config.tuned, config.out)]  # fmt: skip
    torch.testing.assert_close(parts[2], (parts[0] + parts[1]) / 2)
    merge_command(replace(config, image_tower=True))
    knee = json.loads((Path(config.report) / "sweep.json").read_text())["knee"]
    mixed = next(load_model(config.out, "cpu").image_tower.parameters())
    torch.testing.assert_close(mixed, parts[0] + knee * (parts[1] - parts[0]))


def test_a_wrong_share_is_an_error_before_anything_is_loaded(config):
    with pytest.raises(UserError, match="--sweep: 2"):
        merge_command(replace(config, base="nowhere.safetensors", sweep=(2.0,)))


def test_a_mixture_overwrites_no_model_and_needs_the_suffix(config):
    with pytest.raises(UserError, match="would be overwritten"):
        merge_command(replace(config, out=config.tuned))
    with pytest.raises(UserError, match="would be overwritten"):
        merge_command(replace(config, out=config.tuned, tuned=f"ViT-B-32:{config.tuned}"))
    for name in (str(Path(config.tuned).parent), f"local-dir:{Path(config.tuned).parent}"):
        with pytest.raises(UserError, match="would be overwritten"):
            merge_command(replace(config, out=config.tuned, tuned="mini", base=name))
    with pytest.raises(UserError, match="is not the name of a safetensors file"):
        merge_command(replace(config, out="mixed.pt"))


def test_a_wrong_number_of_draws_is_an_error_before_anything_is_loaded(config):
    with pytest.raises(UserError, match="--resamples"):
        merge_command(replace(config, base="nowhere.safetensors", resamples=0))

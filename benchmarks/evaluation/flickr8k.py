"""Gain from tuning on paraphrases: base, control, tuned and merged `mini-flickr8k`.

    PARACLIP_DATA=folder python -m benchmarks.evaluation.flickr8k

Makes everything from the data and prints the table: image features, the base (`mini-flickr8k`
aligned on the training set), then for each seed the control (the same number of steps on the
original captions), the tuned and the merged model, then the figures with their intervals. Tuned
uses the default recipe of `paraclip train`. `--setup` selects other settings:

- negatives: L1 on all three texts, and a hard negative for each triple, made by rule
  (`recipes/filters/edits.py`). The setups below build on it.
- new_heads: the base starts from new heads, not from the included ones.
- replay: control and tuned also learn from as many other captions of the training set as there are
  triples, with L1 only, which has weight two because it has twice the rows.
- low_rate: the base starts from new heads, with one low rate for all parts; tuned is trained for
  longer, with replay, and merged with MiniLM as in its wheel instead of base.

A completed stage is not repeated. Takes about an hour on 2 cores.
"""

import argparse
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import pyarrow as pa
import torch

from benchmarks.machine import RESULTS, keep, markdown, parse_with_data
from paraclip.data.captions import Caption
from paraclip.data.reading import read_captions
from paraclip.data.triples import TEXTS, read_triples
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.sts import SemanticSimilarity, read_tasks
from paraclip.evaluation.benchmarks.sugar_crepe import SugarCrepePlusPlus, read_subsets
from paraclip.evaluation.pairs import read_pairs
from paraclip.evaluation.pictures import read_names, read_pool
from paraclip.evaluation.plots import plot_scores
from paraclip.evaluation.report import Report, read_report
from paraclip.evaluation.run import evaluate
from paraclip.evaluation.vectors import Arithmetic
from paraclip.files import cache_folder
from paraclip.merging.merge import merge
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from paraclip.models.mini import FLICKR8K_HEADS, Mini
from paraclip.paraphrase.language.tagger import SpacyTagger
from paraclip.training.config import AlignOptions, RunSettings, TrainOptions
from paraclip.training.loop import align, train
from paraclip.training.prepare import prepare, prepare_captions
from recipes.filters.edits import hard_negatives

BASE = AlignOptions(
    feature_dropout=0.0,  # as when the tables were made
    epochs=3, batch_size=256, learning_rate=1e-4, head_learning_rate=5e-4,
    dropout=0.0, held_out=0.0,
)  # fmt: skip
TUNED = TrainOptions(
    epochs=4, batch_size=256, learning_rate=5e-5, dropout=0.1,
    held_out=0.0,
)  # fmt: skip
NEGATIVES = replace(
    TUNED, image_loss_on=("caption", "paraphrase_1", "paraphrase_2"), negatives="negative"
)


@dataclass(frozen=True)
class Setup:
    """How the models of one table are made.

    Args:
        name: name of the results.
        folder: folder of the models; setups with the same base share it.
        heads: heads from which the base is aligned; None for new ones.
        base: how the base is aligned.
        tuned: how it is tuned.
        replay: whether it also learns from captions in addition to the triples.
        alpha: share of tuned in merged.
        merged_with: the other part of merged: base, or tuned with its text tower as before any
            alignment.
    """

    name: str
    folder: str
    heads: Path | None = FLICKR8K_HEADS
    base: AlignOptions = BASE
    tuned: TrainOptions = TUNED
    replay: bool = False
    alpha: float = 0.5
    merged_with: Literal["base", "wheel"] = "base"


SETUPS = {
    "consistent": Setup("flickr8k", "flickr8k"),
    "negatives": Setup("flickr8k_negatives", "flickr8k", tuned=NEGATIVES),
    "replay": Setup(
        "flickr8k_replay", "flickr8k",
        tuned=replace(NEGATIVES, batch_size=512, weights=(2.0, 1.0, 1.0)), replay=True,
    ),
    "new_heads": Setup(
        "flickr8k_new_heads", "flickr8k_new_heads", heads=None, tuned=NEGATIVES
    ),
    "low_rate": Setup(
        "flickr8k_low_rate", "flickr8k_low_rate", heads=None,
        base=replace(BASE, learning_rate=5e-5, head_learning_rate=5e-5),
        tuned=replace(
            NEGATIVES, epochs=6, batch_size=448, learning_rate=1e-4, text_temperature=0.12,
            weights=(1.75, 1.0, 1.0), replay_per_triple=0.75,
        ),
        replay=True, alpha=0.92, merged_with="wheel",
    ),
}  # fmt: skip
HOW = Arithmetic("bf16")
FIGURES = {
    "AO@10": "AO@10", "JS@10": "JS@10", "TOT": "TOT", "STS": "STS mean of 7", "R@10": "T2I R@10",
}  # fmt: skip


def main() -> None:
    """Run all stages in order."""
    options = parse_with_data(parser())
    torch.manual_seed(0)
    setup, data = SETUPS[options.setup], Path(options.data)
    out = Path(options.out or f"runs/{setup.folder}")
    kind = setup.name.removeprefix(setup.folder)  # setups that share a base share its folder
    base = options.base or make_base(data, out / "base", setup)
    reports = {}
    for seed in options.seeds:
        tuned = replace(setup.tuned, seed=seed)
        control = replace(tuned, control=True, negatives=None)
        models = {"base": load_model(str(base))}
        for name, training in (("control", control), ("tuned", tuned)):
            folder = out / f"{name}{kind}-{seed}"
            models[name] = make_tuned(data, base, folder, training, setup.replay)
        models["merged"] = make_merged(models["base"], models["tuned"], setup)
        reports[seed] = score(models, data, out / f"scores{kind}-{seed}", seed)
    write_results(reports, setup, Path(options.results))
    plot_scores(reports[options.seeds[0]], options.plot or f"docs/images/{setup.name}.png")


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", help="folder of models and reports")
    parser.add_argument("--base", type=Path, help="checkpoint of this setup's base, made before")
    parser.add_argument("--results", default=RESULTS, help="folder of table and JSON")
    parser.add_argument("--plot", help="picture to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--setup", choices=SETUPS, default="consistent", help="as listed above")
    return parser


def feature_cache() -> Path:
    """Folder in which all stages cache image features."""
    return cache_folder() / "image_features"


def make_base(data: Path, out: Path, setup: Setup) -> Path:
    """Align `mini-flickr8k` on the training captions of Flickr8k."""
    torch.manual_seed(0)  # new heads are random
    model = Mini.with_linear_heads(setup.heads)
    rows = prepare_captions(training_captions(data), model, cache=feature_cache())
    return align(rows, setup.base, out, RunSettings())


def training_captions(data: Path) -> list[Caption]:
    """Captions whose picture is in the training split."""
    wanted = set(read_names(data / "flickr8k" / "train_images.txt"))
    every: Iterable[Caption] = read_captions(str(data / "flickr8k" / "captions.csv"))
    return [row for row in every if Path(row.image or "").name in wanted]


def make_tuned(
    data: Path, base: Path, out: Path, options: TrainOptions, replay: bool
) -> DualEncoder:
    """Tune the base on the triples, or train the control on their captions."""
    triples = read_triples(data / "paraphrases" / "flickr8k_train.jsonl")
    if options.negatives:
        triples = triples.append_column(options.negatives, negatives_of(triples))
    rows = prepare(
        triples, load_model(str(base)), options, images=data / "flickr8k" / "images",
        replay=training_captions(data) if replay else None, cache=feature_cache(),
    )  # fmt: skip
    return load_model(str(train(rows, options, out)))


def make_merged(base: DualEncoder, tuned: DualEncoder, setup: Setup) -> DualEncoder:
    """Tuned averaged with base, or with itself except for the text tower, which is the wheel's."""
    if setup.merged_with == "base":
        return merge(base, tuned, setup.alpha)
    untaught = deepcopy(tuned)
    wheel = Mini.from_wheels().text_tower.transformer
    untaught.text_tower.transformer.load_state_dict(wheel.state_dict())
    return merge(untaught, tuned, setup.alpha)


def negatives_of(triples: pa.Table) -> pa.Array:
    """A hard negative for each triple, equal for all seeds."""
    found = hard_negatives(triples.select(TEXTS).to_pylist(), SpacyTagger())
    return pa.array([one and one.text for one in found], pa.string())


def benchmarks(data: Path) -> list[Benchmark]:
    """The four benchmarks, and the pairs of Flickr8k's own test captions."""
    pool = read_pool(data / "flickr8k" / "images")
    own = read_pairs(data / "paraphrases" / "flickr8k_test.jsonl")
    split = read_names(data / "flickr8k" / "test_images.txt")
    captions = read_captions(str(data / "flickr8k" / "captions.csv"))
    return [
        ParaphrasedRetrieval(read_pairs(data / "sugar_crepe_pp"), pool, how=HOW),
        SugarCrepePlusPlus(read_subsets(data / "sugar_crepe_pp"), HOW),
        SemanticSimilarity(read_tasks(data / "sts"), HOW),
        ImageTextRetrieval(gallery(captions, "Flickr8k test", split), how=HOW),
        ParaphrasedRetrieval(own, pool, how=HOW),
    ]


def score(models: dict[str, DualEncoder], data: Path, out: Path, seed: int) -> Report:
    """Evaluate all models of a seed; earlier scores are read from the cache."""
    settings = {"seed": seed, "cache": feature_cache(), "results": cache_folder() / "results"}
    evaluate(models, benchmarks(data), out, settings)
    return read_report(out / "report.json")


def write_results(reports: dict[int, Report], setup: Setup, folder: Path) -> None:
    """Write the figures of all seeds; print tables."""
    print(next(iter(reports.values())).table())
    table = {short: over_seeds(list(reports.values()), line) for short, line in FIGURES.items()}
    settings = {name: value for name, value in asdict(setup).items() if name != "heads"}
    settings["heads"] = setup.heads and setup.heads.name
    seeds = {seed: figures(report) for seed, report in reports.items()}
    keep(setup.name, folder, in_markdown(table), over_seeds=table, seeds=seeds, settings=settings)


def over_seeds(reports: list[Report], name: str) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of one figure over the seeds, by model."""
    found: dict[str, dict[str, float]] = {}
    for label in reports[0].models:
        values = [line.values[label].value for report in reports if (line := report.line(name))]
        spread = stdev(values) if len(values) > 1 else 0.0
        found[label] = {"mean": round(mean(values), 2), "deviation": round(spread, 2)}
    return found


def figures(report: Report) -> list[dict[str, Any]]:
    """Every figure of a report with its intervals, section by section."""
    return [
        {"benchmark": section.name, "pool": section.pool, **asdict(line)}
        for section in report.sections
        for line in section.lines
    ]


GAINS = (("tuned", "base"), ("tuned", "control"), ("merged", "base"), ("merged", "control"))


def in_markdown(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """The table of the README: one model per row, mean over the seeds; then the differences."""
    rows = [
        [label, *(f"{by_label[label]['mean']:.1f}" for by_label in table.values())]
        for label in next(iter(table.values()))
    ]
    for one, other in GAINS:
        gains = [by[one]["mean"] - by[other]["mean"] for by in table.values()]
        rows.append([f"{one} − {other}", *(f"{gain:+.1f}" for gain in gains)])
    return markdown(["", *table], rows)


if __name__ == "__main__":
    main()

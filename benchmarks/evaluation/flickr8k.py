"""Gain from tuning on paraphrases: base, control, tuned and merged `mini-flickr8k`.

    PARACLIP_DATA=folder python -m benchmarks.evaluation.flickr8k

Makes everything from the data and prints the table: image features, the base (`mini-flickr8k`
aligned on the training set), then for each seed the control (the same number of steps on the
original captions), the tuned and the merged model, then the figures with their intervals. Tuned
uses the default recipe of `paraclip train`. A completed stage is not repeated. Takes about an hour
on 2 cores.
"""

import argparse
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.machine import keep, parse_with_data
from paraclip.data.captions import Caption
from paraclip.data.reading import read_captions
from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.sts import SemanticSimilarity, read_tasks
from paraclip.evaluation.benchmarks.sugar_crepe import SugarCrepePlusPlus, read_subsets
from paraclip.evaluation.pairs import read_pairs
from paraclip.evaluation.pictures import read_names, read_pool
from paraclip.evaluation.plots import plot_scores
from paraclip.evaluation.report import Report, read_report
from paraclip.evaluation.run import evaluate
from paraclip.files import cache_folder
from paraclip.merging import merge
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from paraclip.tables import markdown
from paraclip.training.config import RunOptions, TrainOptions
from paraclip.training.prepare import prepare
from paraclip.training.train import train
from recipes.alignment import AlignOptions, align, heads_of, prepare_captions
from recipes.mini.flickr8k import mini_flickr8k

RESULTS = Path(__file__).parents[2] / "study" / "results"
BASE = AlignOptions(
    epochs=3, batch_size=256, learning_rate=1e-4, head_learning_rate=5e-4,
    dropout=0.0,
)  # fmt: skip
TUNED = TrainOptions(
    recipe="consistent", epochs=4, batch_size=256, learning_rate=5e-5, dropout=0.1,
)  # fmt: skip
HOW = Arithmetic("bf16")
FIGURES = {
    "AO@10": "AO@10", "JS@10": "JS@10", "TOT": "TOT", "STS": "STS mean of 7", "R@10": "T2I R@10",
}  # fmt: skip


def main() -> None:
    """Run all stages in order."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--out", type=Path, default=Path("runs/flickr8k"), help="folder of models")
    made.add_argument("--base", type=Path, help="checkpoint of the base, made before")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of table and JSON")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parse_with_data(made)
    torch.manual_seed(0)
    data, out = Path(options.data), options.out
    base = options.base or make_base(data, out / "base")
    reports = {}
    for seed in options.seeds:
        tuned = replace(TUNED, seed=seed)
        models = {"base": load_model(str(base))}
        for name, training in (("control", replace(tuned, control=True)), ("tuned", tuned)):
            models[name] = make_tuned(data, base, out / f"{name}-{seed}", training)
        models["merged"] = merge(models["base"], models["tuned"], 0.5)
        reports[seed] = score(models, data, out / f"scores-{seed}", seed)
    write_results(reports, options.results)
    if plot := plot_scores(reports[options.seeds[0]]):
        images = options.results.parent / "images"
        images.mkdir(parents=True, exist_ok=True)
        (images / "flickr8k.png").write_bytes(plot)


def feature_cache() -> Path:
    """Folder in which all stages cache image features."""
    return cache_folder() / "image_features"


def make_base(data: Path, out: Path) -> Path:
    """Align `mini-flickr8k` on the training captions of Flickr8k."""
    torch.manual_seed(0)
    model = mini_flickr8k()
    rows = prepare_captions(training_captions(data), model, cache=feature_cache())
    return align(rows, heads_of(model), BASE, out)


def training_captions(data: Path) -> list[Caption]:
    """Captions whose picture is in the training split."""
    wanted = set(read_names(data / "flickr8k" / "train_images.txt"))
    every: Iterable[Caption] = read_captions(str(data / "flickr8k" / "captions.csv"))
    return [row for row in every if Path(row.image or "").name in wanted]


def make_tuned(data: Path, base: Path, out: Path, options: TrainOptions) -> DualEncoder:
    """Tune the base on the triples, or train the control on their captions."""
    triples = data / "paraphrases" / "flickr8k_train.jsonl"
    rows = prepare(
        triples, load_model(str(base)), RunOptions(images=str(data / "flickr8k" / "images")),
        cache=feature_cache(),
    )  # fmt: skip
    return load_model(str(train(rows, options, out)))


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
    """Evaluate all models of a seed."""
    evaluate(models, benchmarks(data), out, seed=seed, cache=feature_cache())
    return read_report(out / "report.json")


def write_results(reports: dict[int, Report], folder: Path) -> None:
    """Write the figures of all seeds; print tables."""
    print(next(iter(reports.values())).table())
    table = {short: over_seeds(list(reports.values()), line) for short, line in FIGURES.items()}
    settings = {"base": asdict(BASE), "tuned": asdict(TUNED)}
    seeds = {seed: figures(report) for seed, report in reports.items()}
    keep("flickr8k", folder, in_markdown, over_seeds=table, seeds=seeds, settings=settings)


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


def in_markdown(record: dict[str, Any]) -> str:
    """One model per row, mean over the seeds; then the differences."""
    table = record["over_seeds"]
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

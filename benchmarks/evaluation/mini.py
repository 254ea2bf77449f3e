"""The built-in model as included, `mini-flickr8k`, and the model aligned to Flickr8k.

    PARACLIP_DATA=folder python -m benchmarks.evaluation.mini

Aligns `mini` on the training captions of Flickr8k (its heads and text tower; the classifier and the
class head are not trained), merges the result with `mini`, and prints retrieval on Flickr8k's test
split and on the captioned stamps of `recipes/demo`, and STS. Takes about 20 minutes on 2 cores.
The settings were chosen on Flickr8k's development split, the training stamps and the development
set of STS-B.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from benchmarks.evaluation.flickr8k import feature_cache, training_captions
from benchmarks.machine import RESULTS, keep, parse_with_data
from paraclip.data.captions import Caption
from paraclip.data.reading import read_captions
from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.sts import SemanticSimilarity, read_tasks
from paraclip.evaluation.pictures import read_names
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import evaluate
from paraclip.merging import merge
from paraclip.models.checkpoint import save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from paraclip.models.mini import Mini
from paraclip.provenance import provenance
from paraclip.tables import markdown
from recipes.alignment import AlignOptions, align, drop_features, heads_of, prepare_captions
from recipes.demo.stamps import STAMPS, read_texts, stamps_folder
from recipes.mini.flickr8k import mini_flickr8k

OPTIONS = AlignOptions(
    epochs=2, batch_size=256, learning_rate=3e-5, head_learning_rate=1e-3,
    dropout=0.0,
)  # fmt: skip
SHARE = 0.7
"""Share of the fitted model in a merge with `mini`."""
HOW = Arithmetic("bf16")
SETS = ("Flickr8k test", "stamps")
ALIGNED = "mini, aligned to Flickr8k"


def main() -> None:
    """Align, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/mini"), help="models and report")
    parser.add_argument("--results", default=RESULTS, help="folder of table and JSON")
    options = parse_with_data(parser)
    data = Path(options.data)
    models: dict[str, DualEncoder] = {"mini": load_model("mini"), "mini-flickr8k": mini_flickr8k()}
    models[ALIGNED] = load_model(str(aligned(data, options.out / "aligned")))
    report = evaluate(models, benchmarks(data), options.out / "scores", cache=feature_cache())
    figures = {label: figures_of(report, label) for label in models}
    made = {"options": asdict(OPTIONS), "share": SHARE}
    keep("mini", Path(options.results), table, figures=figures, **made)


def aligned(data: Path, out: Path) -> Path:
    """The aligned model: `mini` fitted to Flickr8k, merged with `mini` itself.

    A merged file that is there is kept: its bytes identify the cells of the study.
    """
    model = cast(Mini, load_model("mini"))
    rows = prepare_captions(training_captions(data), model, cache=feature_cache())
    drop_features(model)
    fit = align(rows, heads_of(model), OPTIONS, out)  # refuses a folder with other options
    path = out / f"merged-{100 * SHARE:g}.safetensors"
    if path.exists() and path.stat().st_mtime >= fit.stat().st_mtime:
        return path
    merged = merge(load_model("mini"), load_model(str(fit)), SHARE, image_tower=True)
    return save_model(merged, path, provenance(merged={"share": SHARE}))


def benchmarks(data: Path) -> list[Benchmark]:
    """Retrieval on both sets of pictures, and STS."""
    split = read_names(data / "flickr8k" / "test_images.txt")
    captions = read_captions(str(data / "flickr8k" / "captions.csv"))
    return [
        ImageTextRetrieval(gallery(captions, SETS[0], split), how=HOW, name=SETS[0]),
        ImageTextRetrieval(gallery(stamp_captions(), SETS[1]), how=HOW, name=SETS[1]),
        SemanticSimilarity(read_tasks(data / "sts"), HOW),
    ]


def stamp_captions() -> list[Caption]:
    """The captions of the stamps."""
    folder = stamps_folder()
    return [
        Caption(row["image"], row["caption"], row["image"], str(folder / row["image"]), "stamps")
        for row in read_texts(STAMPS)
    ]


def figures_of(report: Report, label: str) -> dict[str, float]:
    """Every headline figure of a model, by benchmark and name."""
    return {
        f"{section.name}: {line.name}": round(line.values[label].value, 2)
        for section in report.sections
        for line in section.lines
        if line.headline and not line.name.startswith("I2T")
    }


def table(record: dict[str, Any]) -> str:
    """One model per row."""
    rows = []
    for label, found in record["figures"].items():
        recalls = [
            " / ".join(f"{found[f'{name}: T2I R@{k}']:.1f}" for k in (1, 5, 10)) for name in SETS
        ]
        rows.append([label, *recalls, f"{found['sts: STS mean of 7']:.1f}"])
    return markdown(["", *(f"{name}, R@1/5/10" for name in SETS), "STS"], rows)


if __name__ == "__main__":
    main()

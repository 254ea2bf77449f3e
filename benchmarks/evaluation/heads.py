"""Dropout of the heads of `mini`: the training recipe with several rates, side by side.

    PARACLIP_DATA=folder python -m benchmarks.evaluation.heads

Runs `recipes/mini/train_heads.py` once for each rate and reports how often the correct picture is
found among 1,000. Features of pictures and captions are computed once (a few minutes), and each
training takes one to three minutes. The settings are chosen on the development pictures.
"""

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.machine import RESULTS, facts_of, keep, markdown, parse_with_data, say

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "mini"))

from train_heads import Pairs, Settings, load_pairs, read_flickr, recall, train

from paraclip.models.mini import FLICKR8K_DIM, Mini

SPLITS = {"dev": "development", "test": "test"}


def main() -> None:
    """Run every rate on the same features."""
    options = parse_with_data(parser())
    splits = features(Path(options.data) / "flickr8k", Path(options.work))
    rows, found = [], []
    for dropout in options.dropout:
        settings = replace(Settings(), dropout=dropout)
        heads, _ = train(splits["train"], settings, FLICKR8K_DIM)
        figures = {split: recall(heads, splits[split]) for split in SPLITS}
        found.append({"settings": asdict(settings), "figures": figures})
        rows.append([label_of(dropout), *(in_words(figures[split]) for split in SPLITS)])
        say(" ".join(rows[-1]))
    columns = ["dropout", *(f"{words}, R@1/5/10" for words in SPLITS.values())]
    table = f"{markdown(columns, rows)}\n\n{facts_of()}"
    keep("heads", RESULTS, table, unit="percent, text to image, 1,000 pictures", rows=found)


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default="runs/heads", help="folder of the kept features")
    parser.add_argument("--dropout", type=float, nargs="+", default=[0.1, 0.3, 0.4, 0.5])
    return parser


def features(folder: Path, work: Path) -> dict[str, Pairs]:
    """Features of the three splits, from both towers without heads."""
    model = Mini.with_linear_heads(heads=None)
    return {
        split: load_pairs(model, folder, captions, work)
        for split, captions in read_flickr(folder).items()
    }


def label_of(dropout: float) -> str:
    """The dropout, marked if it is that of the included heads."""
    return f"{dropout:g} (shipped)" if dropout == Settings().dropout else f"{dropout:g}"


def in_words(figures: dict[str, float]) -> str:
    """Recalls in the format of the documents."""
    return " / ".join(f"{value:.1f}" for value in figures.values())


if __name__ == "__main__":
    main()

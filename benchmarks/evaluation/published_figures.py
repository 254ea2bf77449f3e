"""Our STS figures of all-MiniLM-L6-v2, compared with those that MTEB publishes.

    PARACLIP_DATA=folder python -m benchmarks.evaluation.published_figures    # a minute on 2 cores

Equal figures mean that reading, protocol and vectors agree. SICK-R is not included: MTEB uses all
9,927 pairs, SentEval and ParaCLIP the 4,927 of the test set.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import RESULTS, keep, parse_with_data
from paraclip.evaluation.benchmarks.sts import SemanticSimilarity, read_tasks
from paraclip.models.loading import load_model
from paraclip.tables import markdown

# Spearman's correlation times 100: Muennighoff et al. 2023 (MTEB), table of STS, all-MiniLM-L6-v2.
PUBLISHED = {
    "STS12": 72.37, "STS13": 80.60, "STS14": 75.59, "STS15": 85.39, "STS16": 78.99,
    "STS-B": 82.03,
}  # fmt: skip


def as_table(record: dict[str, Any]) -> str:
    """Both figures in Markdown, one task per row."""
    rows = [
        [name, f"{published:.2f}", f"{record['here'][name]:.2f}"]
        for name, published in record["published"].items()
    ]
    return markdown(("task", "published", "here"), rows)


def main() -> None:
    """Score, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parse_with_data(parser)
    torch.set_num_threads(chosen.threads)
    tasks = read_tasks(Path(chosen.data) / "sts", list(PUBLISHED))
    scores = SemanticSimilarity(tasks).score(load_model("minilm", "cpu"), None)
    values = {metric.name: 100 * metric.value() for metric in scores.metrics}
    found = {name: values[name] for name in PUBLISHED}
    keep("published_figures", chosen.out, as_table, published=PUBLISHED, here=found)


if __name__ == "__main__":
    main()

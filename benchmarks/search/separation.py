"""Would another measure of closeness tell present things from absent ones?

    python -m benchmarks.search.separation mini=mini 'base a=FOLDER' 'base b=FILE' --data FOLDER

The things and pictures are those of `nothing_close`. For each measure, the cut-off is where 5 % of
the present things have no close result; reported is how many absent things have one there.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, facts_of, keep, parse_with_data
from benchmarks.search.nothing_close import ABSENT, PRESENT, read_pictures, things
from paraclip.arrays import Float
from paraclip.files import cache_folder
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.loading import load_model
from paraclip.starter import unrelated_texts
from paraclip.tables import markdown

MISSED = 0.05
"""Share of the present things that have no close result at the cut-off."""


def best_by_measure(model: str, pictures: list[str]) -> Mapping[str, tuple[Float, Float]]:
    """The best result's closeness for each present and each absent thing, by measure."""
    opened = load_model(model, "cpu")
    pool = encode_images(opened, pictures, cache_folder() / "image_features").numpy()
    present, absent, unrelated = (
        encode_texts(opened, texts).numpy() @ pool.T
        for texts in (things(PRESENT), things(ABSENT), unrelated_texts())
    )  # [texts, pictures] each
    usual = unrelated.mean(axis=0)
    measures = {
        "similarity, as in use": lambda found: found,
        "less the query's mean": lambda found: found - found.mean(axis=1, keepdims=True),
        "less the picture's mean over unrelated texts": lambda found: found - usual,
        "less both": lambda found: found - usual - (found - usual).mean(axis=1, keepdims=True),
    }
    return {
        name: (measure(present).max(axis=1), measure(absent).max(axis=1))
        for name, measure in measures.items()
    }


def measure(models: Mapping[str, str], pictures: list[str]) -> list[dict[str, Any]]:
    """For each measure, the share of absent things with a close result, by model."""
    rows: dict[str, dict[str, float]] = {}
    for label, model in models.items():
        for name, (present, absent) in best_by_measure(model, pictures).items():
            shown = float((absent > np.quantile(present, MISSED)).mean())
            rows.setdefault(name, {})[label] = shown
    return [{"measure": name, "shown": shown} for name, shown in rows.items()]


def as_table(record: dict[str, Any]) -> str:
    """The shares as a table, with what they are."""
    labels = [*record["rows"][0]["shown"]]
    rows = [
        [row["measure"], *(f"{100 * row['shown'][label]:.0f} %" for label in labels)]
        for row in record["rows"]
    ]
    below = (
        f"Absent things with a close result, where {100 * MISSED:.0f} % of the present ones have"
        f" none. {record['pictures']:,} pictures, {len(things(PRESENT))} things of each kind."
        f" {record['machine_facts']}"
    )
    return f"{markdown(['measure of closeness', *labels], rows)}\n\n{below}"


def main() -> None:
    """Measure the models of the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("models", nargs="+", metavar="NAME=MODEL")
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = parse_with_data(options)
    models = dict(one.split("=", 1) for one in chosen.models)
    pictures = read_pictures(Path(chosen.data))
    found = measure(models, pictures)
    keep(
        "separation", chosen.out, as_table, rows=found, pictures=len(pictures),
        machine_facts=facts_of(),
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Two facts beside the second report: which pairs gain agreement, and which contrasts are taken.

    PARACLIP_DATA=folder python -m study.beside    # a minute, from the items that are kept

Agreement may be gained on pairs of which base finds the picture by both wordings, by one, or by
neither. A contrast is meant to match no picture; one that shares most of its words with a caption
of another picture in the pool may match that.
"""

import argparse
import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep, markdown, parse_with_data
from study.items import ITEMS, read_items
from study.tables import RESULTS
from study.wordings import second_wordings

SETS = {
    "wordings-flickr8k": "Flickr8k wordings (LLM)", "wordings-coco": "COCO wordings (LLM)",
    "pairs-people-test": "pairs of Flickr8k test (people)",
}  # fmt: skip
ROWS = ("ranked", "starter ranked")
ARTICLES = {"a", "an", "the"}
LEAST = 0.6
"""Share of the words of two texts that both have, from which one nearly copies the other."""


def main() -> None:
    """Compute, write and print."""
    options = parse_with_data(argparse.ArgumentParser(description=str(__doc__).splitlines()[0]))
    missed = [one for path in sorted(ITEMS.glob("*.npz")) for one in missed_pairs(path)]
    taken = taken_contrasts(Path(options.data))
    keep("study_second_beside", RESULTS, table, missed=missed, least=LEAST, **taken)


def missed_pairs(path: Path) -> Iterator[dict[str, Any]]:
    """By set: the share of pairs whose picture base finds by neither wording, and of the gain.

    Args:
        path: the kept items of a main table.
    """
    _, scored = read_items(path)
    base = scored["base"][None]
    for one in SETS:
        of_people = one.startswith("pairs")
        rewording = base[one, "R@10 rewording" if of_people else "R@10"].items
        caption = base[one, "R@10 caption" if of_people else "R@10 plain caption"].items
        caption = np.repeat(caption, len(rewording) // len(caption))
        neither = (caption == 0) & (rewording == 0)
        shares = {}
        for row in ROWS:
            seeds = [found[one, "AO@10"].items for found in scored[row].values()]
            gain = np.mean(seeds, axis=0) - base[one, "AO@10"].items
            shares[row] = 100 * float(gain[neither].sum() / gain.sum())
        pairs = 100 * float(neither.mean())
        yield {"base": path.stem[0], "set": one, "pairs": pairs, "gain": shares}


def taken_contrasts(data: Path) -> dict[str, int]:
    """How many of Flickr8k's contrasts nearly copy a caption of another picture."""
    with (data / "flickr8k" / "captions.csv").open(encoding="utf-8", newline="") as lines:
        captions = [(row["image"], words(row["caption"])) for row in csv.DictReader(lines)]
    items = second_wordings(data)["flickr8k"].items
    taken = 0
    for one in items:
        own = words(one.contrast)
        shared = (len(own & other) / len(own | other) for name, other in captions
                  if name != Path(one.image).name)  # fmt: skip
        taken += max(shared) >= LEAST
    return {"contrasts": len(items), "taken": taken}


def words(text: str) -> set[str]:
    """The words of a text, without articles."""
    return {*re.findall(r"[a-z0-9']+", text.lower())} - ARTICLES


def table(record: Mapping[str, Any]) -> str:
    """A row for each base and set."""
    heads = ["base, set", "pairs", *(f"share of the gain of *{row}*" for row in ROWS)]
    rows = [
        [f"*{one['base']}*, {SETS[one['set']]}", f"{one['pairs']:.1f}",
         *(f"{one['gain'][row]:.1f}" for row in ROWS)]
        for one in record["missed"]
    ]  # fmt: skip
    share = 100 * record["taken"] / record["contrasts"]
    note = (
        "Pairs whose picture base finds by neither wording, and their share of the gain in AO@10,"
        f" in percent. Of the {record['contrasts']} contrasts of Flickr8k, {record['taken']}"
        f" ({share:.0f} %) share at least {100 * record['least']:.0f} % of their words, without"
        " articles, with a caption of another picture in the pool."
    )
    return f"{markdown(heads, rows)}\n\n{note}"


if __name__ == "__main__":
    main()

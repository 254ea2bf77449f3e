"""Facts beside the second report: which pairs gain, which words, and which contrasts are taken.

    PARACLIP_DATA=folder python -m study.beside    # a minute, from the items that are kept

Agreement may be gained on pairs of which base finds the picture by both wordings, by one, or by
neither. Right pictures may be gained on rewordings with a word that base *a* never saw, because the
30,000 captions of its pre-training lack it, or on others. A contrast is meant to match no picture;
one that shares most of its words with a caption of another picture in the pool may match that.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep, markdown, parse_with_data
from study.items import ITEMS, read_items
from study.tables import RESULTS
from study.wordings import SECOND, known_words, read_new_wordings, words

SETS = {
    "wordings-flickr8k": "Flickr8k wordings (LLM)", "wordings-coco": "COCO wordings (LLM)",
    "pairs-people-test": "pairs of Flickr8k test (people)",
}  # fmt: skip
ROWS = ("ranked", "starter ranked")
WORD_ROWS = ("consistent", "ranked", "starter ranked")
LEAST = 0.6
"""Share of the words of two texts that both have, from which one nearly copies the other."""


def main() -> None:
    """Compute, write and print."""
    options = parse_with_data(argparse.ArgumentParser(description=str(__doc__).splitlines()[0]))
    missed = [one for path in sorted(ITEMS.glob("*.npz")) for one in missed_pairs(path)]
    taken = taken_contrasts(Path(options.data))
    words_of_base = list(gains_by_words(ITEMS / "a_second_main.npz", Path(options.data)))
    keep(
        "study_second_beside", RESULTS, table, missed=missed, words=words_of_base, least=LEAST,
        **taken,
    )  # fmt: skip


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


def gains_by_words(path: Path, data: Path) -> Iterator[dict[str, Any]]:
    """By set and kind: gains in R@10 on rewordings with and without a word that base *a* never saw.

    Args:
        path: the kept items of its main table.
        data: the research data.
    """
    _, scored = read_items(path)
    known = known_words(data)
    for name, wordings in read_new_wordings(SECOND, data).items():
        one = f"wordings-{name}"
        base = scored["base"][None][one, "R@10"].items
        texts = [text for item in wordings.items for text in item.rewordings]
        new = np.array([not words(text) <= known for _, text in texts])
        kinds = np.array([kind for kind, _ in texts])
        for kind in ("all", *wordings.kinds):
            of_kind = np.ones(len(texts), bool) if kind == "all" else kinds == kind
            gains: dict[str, list[float]] = {}
            for row in WORD_ROWS:
                seeds = [found[one, "R@10"].items for found in scored[row].values()]
                gain = 100 * (np.mean(seeds, axis=0) - base)
                gains[row] = [float(gain[of_kind & group].mean()) for group in (new, ~new)]
            share = 100 * float(new[of_kind].mean())
            yield {"set": one, "kind": kind, "new": share, "gain": gains}


def taken_contrasts(data: Path) -> dict[str, int]:
    """How many of Flickr8k's contrasts nearly copy a caption of another picture."""
    with (data / "flickr8k" / "captions.csv").open(encoding="utf-8", newline="") as lines:
        captions = [(row["image"], words(row["caption"])) for row in csv.DictReader(lines)]
    items = read_new_wordings(SECOND, data)["flickr8k"].items
    taken = 0
    for one in items:
        own = words(one.contrast)
        shared = (len(own & other) / len(own | other) for name, other in captions
                  if name != Path(one.image).name)  # fmt: skip
        taken += max(shared) >= LEAST
    return {"contrasts": len(items), "taken": taken}


def table(record: Mapping[str, Any]) -> str:
    """A row for each base and set."""
    heads = ["base, set", "pairs", *(f"share of the gain of *{row}*" for row in ROWS)]
    rows = [
        [f"*{one['base']}*, {SETS[one['set']]}", f"{one['pairs']:.1f}",
         *(f"{one['gain'][row]:.1f}" for row in ROWS)]
        for one in record["missed"]
    ]  # fmt: skip
    word_heads = [
        "base *a*, set, kind", "with a new word",
        *(f"*{row}*, with / without" for row in WORD_ROWS),
    ]  # fmt: skip
    word_rows = [
        [f"{SETS[one['set']]}, {one['kind']}", f"{one['new']:.0f}",
         *(f"{one['gain'][row][0]:+.1f} / {one['gain'][row][1]:+.1f}" for row in WORD_ROWS)]
        for one in record["words"]
    ]  # fmt: skip
    share = 100 * record["taken"] / record["contrasts"]
    note = (
        "Pairs whose picture base finds by neither wording, and their share of the gain in AO@10,"
        f" in percent. Of the {record['contrasts']} contrasts of Flickr8k, {record['taken']}"
        f" ({share:.0f} %) share at least {100 * record['least']:.0f} % of their words, without"
        " articles, with a caption of another picture in the pool."
    )
    word_note = (
        "Gains in R@10 of rewordings, in points, with and without a word that none of the 30,000 "
        "captions of base *a*'s pre-training has, and the share of rewordings with one, in percent."
    )
    tables = markdown(heads, rows), note, markdown(word_heads, word_rows), word_note
    return "\n\n".join(tables)


if __name__ == "__main__":
    main()

"""The picture on the front page: what typed queries find before and after the README's command.

python -m study.front docs/images/gains.png    # from the fourth report's items
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.evaluation.plots import COLOURS, as_png, new_figure
from study.items import read_items
from study.tables import FRONT_BASES, FRONT_GRIDS, FRONT_ROWS
from study.third.queries import FOURTH as QUERIES
from study.third.queries import read_rows

ITEMS = Path(__file__).parent / "fourth" / "items"
TYPED, BOTH = "typed-unseen", "hit@10 both"
FIELDS = (
    (True, True, "#555555", "right before and after"), (False, True, COLOURS[2], "gained"),
    (True, False, COLOURS[5], "lost"), (False, False, "#AAAAAA", "neither"),
)  # fmt: skip
"""Whether both texts find a right picture before, and after; colour and name."""
WIDE, TALL = 22, 5
"""Dots in a row of a field, and rows of an upper field."""


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("file", type=Path, help="the picture")
    parser.parse_args().file.write_bytes(draw_typed_pairs(FRONT_GRIDS))


def draw_typed_pairs(names: Sequence[str]) -> bytes:
    """PNG of a dot for each pair of typed queries, by whether both find a right picture.

    Args:
        names: of the grids with items, a panel each; a pair counts as right after training if it is
            in most of the seeds.
    """
    drawing = new_figure(9.6, 3.6)
    panels = drawing.subplots(1, len(names), squeeze=False)[0]
    texts = [row for row in read_rows(QUERIES) if row["pool"] == "flickr8k"]
    for panel, name in zip(panels, names, strict=True):
        _, scored = read_items(ITEMS / f"{name.removeprefix('study_')}.npz")
        seeds = scored[FRONT_ROWS[-1]].values()
        before = scored["base"][None][TYPED, BOTH].items > 0
        after = np.mean([one[TYPED, BOTH].items for one in seeds], axis=0) > 0.5
        alike = np.mean([one[TYPED, "AO@10"].items for one in seeds], axis=0)
        change = 100 * (alike - scored["base"][None][TYPED, "AO@10"].items)
        draw_fields(panel, before, after)
        gained, lost = np.flatnonzero(after & ~before), np.flatnonzero(before & ~after)
        shown = [*gained[np.argsort(-change[gained])][:2], *lost[np.argsort(change[lost])][:1]]
        said = "\n".join(
            f"{'gained' if after[one] else 'lost'}, alike {change[one]:+.0f}: "
            f"\u201c{texts[one]['query']}\u201d, \u201c{texts[one]['wording']}\u201d"
            for one in shown
        )
        panel.text(0, -0.04, said, transform=panel.transAxes, va="top", fontsize=8)
        base = FRONT_BASES[name.split("_")[1]].strip("*")
        panel.set_title(f"{base}: {len(before)} pairs of typed queries", fontsize=10)
    return as_png(drawing)


def draw_fields(panel: Any, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> None:
    """Four fields of dots, one for each pair, with their number.

    Args:
        before: whether both texts of a pair found a right picture before training [pairs].
        after: the same after it [pairs].
    """
    height = 0
    for right, up, colour, said in FIELDS:
        count = int(((before == right) & (after == up)).sum())
        place = np.arange(count)
        across = place % WIDE + (WIDE + 3) * right
        down = place // WIDE + (TALL + 4) * (not up)
        panel.scatter(across, down, s=13, color=colour)
        panel.text((WIDE + 3) * right - 0.5, (TALL + 4) * (not up) - 1.1, f"{said}: {count}",
                   fontsize=9, color=colour, weight="bold")  # fmt: skip
        height = max(height, int(down.max(initial=0)))
    panel.set_ylim(height + 1, -2.6)
    panel.set_xlim(-1, 2 * WIDE + 3)
    panel.set_axis_off()


if __name__ == "__main__":
    main()

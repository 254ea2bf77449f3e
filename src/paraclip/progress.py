"""Progress bars with the time left, on standard error."""

import os
from collections.abc import Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")


def bar(label: str, total: int | None, unit: str = "it", done: int = 0) -> Any:
    """A `tqdm` bar to be moved by hand; `PARACLIP_QUIET=1` silences it.

    Args:
        label: what is being done, in two or three words.
        total: how many units in all, or None where nobody knows.
        unit: what one unit is ("caption", "image", "step").
        done: units that an earlier run has already done.
    """
    from tqdm import tqdm

    quiet = os.environ.get("PARACLIP_QUIET") == "1"
    return tqdm(
        desc=label, total=total, unit=unit, initial=done, disable=quiet, dynamic_ncols=True,
        mininterval=0.5, smoothing=0.1,
    )  # fmt: skip


def track(items: Iterable[Item], label: str, total: int | None, unit: str = "it") -> Iterable[Item]:
    """Yield the items and move a bar along."""
    with bar(label, total, unit) as moving:
        for item in items:
            yield item
            moving.update()

"""Progress bars with the remaining time, on standard error."""

import os
from collections.abc import Iterable
from typing import Any, TypeVar

_Item = TypeVar("_Item")


def bar(label: str, total: int | None, unit: str = "it", done: int = 0) -> Any:
    """Create a `tqdm` bar that the caller updates; `PARACLIP_QUIET=1` disables it."""
    from tqdm import tqdm

    quiet = os.environ.get("PARACLIP_QUIET") == "1"
    return tqdm(
        desc=label, total=total, unit=unit, initial=done, disable=quiet, dynamic_ncols=True,
        mininterval=0.5, smoothing=0.1,
    )  # fmt: skip


def track(
    items: Iterable[_Item], label: str, total: int | None, unit: str = "it"
) -> Iterable[_Item]:
    """Yield the items and update a progress bar."""
    with bar(label, total, unit) as moving:
        for item in items:
            yield item
            moving.update()

"""Progress bars with the remaining time, and the next command, on standard error."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from paraclip.errors import printable

_Item = TypeVar("_Item")
LOGGED_SECONDS = 30.0  # between two lines in a log


class _Log:
    """Standard error that is no terminal: whole lines instead of a bar that redraws itself."""

    def write(self, text: str) -> None:
        """Write what follows a carriage return as a line."""
        if line := text.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()


def is_quiet() -> bool:
    """Whether `--quiet` or `PARACLIP_QUIET=1` asks for results only."""
    return os.environ.get("PARACLIP_QUIET") == "1"


def bar(label: str, total: int | None, unit: str = "it", done: int = 0) -> Any:
    """Create a `tqdm` bar that the caller updates; in a log, it is a line every half a minute."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __del__(self) -> None:
            with suppress(AttributeError):  # a signal came while the bar was made
                super().__del__()

    # None in a process that was started with a closed standard error.
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return Bar(
        desc=label, total=total, unit=unit, initial=done, disable=is_quiet() or sys.stderr is None,
        dynamic_ncols=terminal, mininterval=0.5 if terminal else LOGGED_SECONDS, smoothing=0.1,
        # Without a position, a bar inside another moves the cursor, which a log shows.
        file=None if terminal else _Log(), position=None if terminal else 0,
    )  # fmt: skip


def track(
    items: Iterable[_Item], label: str, total: int | None, unit: str = "it"
) -> Iterable[_Item]:
    """Yield the items and update a progress bar."""
    with bar(label, total, unit) as moving:
        for item in items:
            yield item
            moving.update()


@contextmanager
def steps(label: str, *names: str) -> Iterator[Callable[[], None]]:
    """Show a bar over named steps; each call of the function begins the next one."""
    with bar(label, len(names), "step") as moving:
        remaining = iter(names)

        def begin_next() -> None:
            moving.update()
            moving.set_postfix_str(next(remaining))

        yield begin_next


def suggest(*words: object) -> None:
    """Print the next command, quoted for a shell; nothing if only results are asked for."""
    if not is_quiet():
        line = shlex.join(["paraclip", *map(str, words)])
        print(printable(f"Next: {line}"), file=sys.stderr)

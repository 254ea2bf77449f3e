"""Progress of a run: a live panel in a terminal, or else occasional plain lines."""

import os
import sys
import time
from types import TracebackType
from typing import Any

from paraclip.paraphrase.money import Meter, dollars
from paraclip.paraphrase.outputs import Summary

SECONDS_OF_LINES = 30.0  # seconds between plain lines
PER_SECOND = 4  # refreshes of the panel
MOST_REASONS = 6


class Panel:
    """A context manager that shows progress; `PARACLIP_QUIET=1` disables it.

    Args:
        summary: counts, updated by the run.
        meter: tokens, updated by the run.
        total: number of captions in the source, or None if unknown.
    """

    def __init__(self, summary: Summary, meter: Meter, total: int | None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.summary, self.meter, self.total = summary, meter, total
        self._began = self._said = time.monotonic()
        self._quiet = os.environ.get("PARACLIP_QUIET") == "1"
        console = Console(stderr=True)
        show = console.is_terminal and not self._quiet
        self._live = (
            Live(console=console, refresh_per_second=PER_SECOND, get_renderable=self.table)
            if show
            else None
        )

    def __enter__(self) -> "Panel":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif not self._quiet and kind is None:
            print(self.line(), file=sys.stderr, flush=True)

    def update(self) -> None:
        """Refresh after the counts have changed."""
        now = time.monotonic()
        if self._live is None and not self._quiet and now - self._said >= SECONDS_OF_LINES:
            self._said = now
            print(self.line(), file=sys.stderr, flush=True)

    def facts(self) -> list[tuple[str, str]]:
        """Names and values to show."""
        summary, prices = self.summary, self.meter.prices
        of = f" of {self.total:,}" if self.total else ""
        rows = [("captions", f"{summary.captions:,}{of}"), ("kept", f"{summary.kept:,}")]
        rejected = summary.rejected.most_common(MOST_REASONS)
        rows += [(f"rejected, {reason}", f"{count:,}") for reason, count in rejected]
        rows += [("failed", f"{summary.failed:,}")]
        rows += [("waiting for answers", f"{summary.waiting:,}")] if summary.waiting else []
        tokens = self.meter.tokens
        rows += [("tokens", f"{tokens[0]:,} in prompts, {tokens[1]:,} in answers")]
        share = summary.captions / self.total if self.total and summary.captions else None
        rows += [] if self.meter.local else [("cost so far", dollars(self.meter.cost))]
        if share and prices is not None:
            rows += [("cost projected", dollars(prices.cost(self.meter.used) / share))]
        if share:
            seconds = (time.monotonic() - self._began) * (1 / share - 1)
            rows += [("time left", duration(seconds))]
        return rows

    def line(self) -> str:
        """The facts on one plain line."""
        return "; ".join(f"{name}: {value}" for name, value in self.facts())

    def table(self) -> Any:
        """The facts as a table for rich."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title="paraphrasing", show_header=False)
        for name, value in self.facts():
            table.add_row(Text(name), Text(value, justify="right"))
        return table


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s"

"""Broken rows: skipped, counted and listed while they are few; an error when they are many."""

from pathlib import Path

from paraclip.errors import UserError, printable
from paraclip.files import write_text

MOST_LISTED = 1_000


class Problems:
    """What was wrong with rows that were skipped.

    Args:
        max_share: largest share of broken rows that is accepted, 0 to 1.

    Raises:
        UserError: it is no share.

    Attributes:
        count: how many rows were broken.
        listed: (where, what) of the first 1,000.
    """

    def __init__(self, max_share: float = 0.01) -> None:
        if not 0 <= max_share <= 1:
            what = f"{max_share} is no share of the rows"
            raise UserError("--max-broken", what, "Give one from 0 to 1.")
        self.max_share = max_share
        self.count = 0
        self.listed: list[tuple[str, str]] = []

    def add(self, where: object, what: str, rows: int = 1) -> None:
        """Note a broken row.

        Args:
            where: file and row (`captions.csv:12`).
            what: what is wrong there, as a plain clause.
            rows: how many rows were lost by it.
        """
        self.count += rows
        if len(self.listed) < MOST_LISTED:
            self.listed.append((str(where), what))

    def take(self, other: "Problems") -> None:
        """Note what was noted elsewhere, too."""
        self.count += other.count
        self.listed += other.listed[: MOST_LISTED - len(self.listed)]

    def check(self, total: int) -> None:
        """Stop when too many rows are broken.

        Args:
            total: rows in all, the broken ones included.

        Raises:
            UserError: more than `max_share` of them are broken; it names the first one.
        """
        if self.count <= self.max_share * total:
            return
        where, what = self.listed[0]
        share = f"{self.count:,} of {total:,} rows are broken, this is the first"
        allow = f"more than {self.max_share:.2%} is an error, --max-broken allows more"
        raise UserError(where, f"{what} ({share})", f"Fix the rows ({allow}).")

    def summary(self) -> str:
        """How many rows were skipped and the first five of them; empty when there are none."""
        if not self.count:
            return ""
        rows = "row was" if self.count == 1 else "rows were"
        lines = [f"{self.count:,} broken {rows} skipped:"]
        lines += [printable(f"  {where}: {what}") for where, what in self.listed[:5]]
        return "\n".join(lines + (["  ..."] if len(self.listed) > 5 else []))

    def write(self, path: Path | str) -> None:
        """Write the list, one row a line: where, tab, what.

        Raises:
            UserError: the place may not be written.
        """
        lines = [f"{printable(where)}\t{printable(what)}\n" for where, what in self.listed]
        write_text(path, "".join(lines))

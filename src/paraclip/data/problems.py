"""Broken rows: skipped, counted and listed; too many of them are an error."""

from pathlib import Path

from paraclip.errors import UserError, printable, without_password
from paraclip.output_folder import OutputFolder

_MOST_LISTED = 1_000  # a broken file of millions would fill memory and disk


class Problems:
    """The skipped rows, with reasons.

    Args:
        max_share: largest accepted share of broken rows, 0 to 1.

    Attributes:
        count: number of broken rows.
        listed: (where, what) of the first 1,000.
    """

    def __init__(self, max_share: float = 0.01) -> None:
        self.max_share = max_share
        self.count = 0
        self.listed: list[tuple[str, str]] = []

    def add(self, where: object, what: str, rows: int = 1) -> None:
        """Count and list a broken row."""
        self.count += rows
        if len(self.listed) < _MOST_LISTED:
            # The URL of a picture may contain one.
            self.listed.append((without_password(where), without_password(what)))

    def take(self, other: "Problems", total: int | None = None) -> None:
        """Add the rows of another instance, if they are not too many of a total of its own."""
        if total is not None:
            other.check(total)
        self.count += other.count
        self.listed += other.listed[: _MOST_LISTED - len(self.listed)]

    def check(self, total: int) -> None:
        """Raise UserError if more than `max_share` of `total` rows are broken."""
        if self.count <= self.max_share * total:  # no division: there may be no rows
            return
        where, what = self.listed[0]
        share = f"{self.count:,} of {total:,} rows are broken, this is the first"
        hint = f"Fix the rows: more than {self.max_share:.2%} of them is an error."
        raise UserError(where, f"{what} ({share})", hint)

    def summary(self) -> str:
        """Number of skipped rows and the first five; empty if none were skipped."""
        if not self.count:
            return ""
        rows = "row was" if self.count == 1 else "rows were"
        lines = [f"{self.count:,} broken {rows} skipped:"]
        lines += [printable(f"  {where}: {what}") for where, what in self.listed[:5]]
        return "\n".join(lines + (["  ..."] if len(self.listed) > 5 else []))

    def write(self, path: Path, kind: str = "problems") -> None:
        """Write one row per line: where, tab, what; raises the errors of `OutputFolder`.

        If the list is full, a line says how many rows were skipped. `kind` is that of the folder.
        """
        folder = OutputFolder(path.parent, kind)
        folder.refuse_foreign(path)
        lines = [f"{printable(where)}\t{printable(what)}\n" for where, what in self.listed]
        if len(lines) == _MOST_LISTED < self.count:
            skipped = f"{self.count:,} rows were skipped, the first {_MOST_LISTED:,} are listed"
            lines.append(f"...\t{skipped}\n")
        folder.write(path, "".join(lines))

"""The protocol of a store, and how a store is opened by its address."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self

import pyarrow as pa

from paraclip.errors import UserError
from paraclip.search.exact import Float, Nearest
from paraclip.search.records import IndexFacts

POSTGRES = ("postgresql://", "postgres://")
ROWS_AT_ONCE = 4096


class StoreUnavailable(UserError):
    """The store does not exist any more or does not respond; it may become available again."""


class Store(Protocol):
    """One table of pictures. Every method raises `StoreUnavailable` if the store is unavailable.

    Attributes:
        where: address for messages, without a password.
    """

    where: str

    def facts(self) -> IndexFacts | None:
        """The facts of the index; None if there is none yet."""

    def version(self) -> str:
        """A text that changes with every change of the table."""

    def save_facts(self, facts: IndexFacts) -> None:
        """Create the table if there is none, and save the facts.

        Raises:
            ValueError: the facts are those of another index, which `staged` may replace.
        """

    def staged(self) -> Self:
        """The place next to the index where one that will replace it is built."""

    def publish(self) -> None:
        """Replace the index by the staged one, in one step."""

    def discard_staged(self) -> None:
        """Remove a staged index, and what replaced ones left."""

    def writing(self) -> AbstractContextManager[None]:
        """Hold the store for writing; raises UserError if another process is writing."""

    def count(self) -> int:
        """Number of pictures."""

    def state(self) -> pa.Table:
        """The columns `records.STATE` of all rows."""

    def put(self, rows: pa.Table) -> None:
        """Write rows of `records.schema` in one transaction; a row replaces the one with its id."""

    def remove(self, ids: Sequence[str]) -> None:
        """Remove rows; unknown ids are ignored."""

    def rows(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by id, all columns by default, in any order; unknown ids are ignored."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows, a few thousand at a time."""

    def finish(self, exact_below: int) -> None:
        """Compact the table; from `exact_below` rows, also build an approximate index."""

    def close(self) -> None:
        """Close connections; the next use opens them again."""

    def nearest(self, queries: Float, k: int, exact: bool = False) -> tuple[list[list[str]], Float]:
        """Ids and scores [queries, k] of the nearest pictures, best first.

        Args:
            queries: unit vectors [queries, width].
            k: number of results per query; fewer if the table is smaller.
            exact: do not use an approximate index.
        """


def open_store(address: str) -> Store:
    """Open the store of an address: `postgresql://...`, or else a folder for LanceDB.

    Raises:
        UserError: the optional package is not installed.
    """
    if address.startswith(POSTGRES):
        from paraclip.search.stores.postgres import PostgresStore

        return PostgresStore(address)
    from paraclip.search.stores.lance import LanceStore

    return LanceStore(Path(address))


def existing_facts(store: Store) -> IndexFacts:
    """The facts of an index that must exist.

    Raises:
        UserError: the index does not exist.
    """
    facts = store.facts()
    if facts is None:
        hint = "Make it with `paraclip index FOLDER`, or name it with --store."
        raise UserError(store.where, "there is no index", hint)
    return facts


__all__ = ["Float", "Nearest", "Store", "StoreUnavailable", "existing_facts", "open_store"]

"""An index as a LanceDB table in a folder; `index.json` next to it contains the facts.

A table is named after the creation in its facts, so replacing `index.json` switches from one index
to another in one step. LanceDB is imported at the first use of the table, because the import takes
longer than a search.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Self

import numpy as np
import pyarrow as pa

from paraclip.arrays import Float
from paraclip.errors import UserError, optional_import
from paraclip.files import (
    DISK_ERRORS,
    check_room,
    disk_errors,
    locked,
    read_bounded,
    text_hash,
)
from paraclip.output_folder import OutputFolder
from paraclip.stores import (
    ROWS_AT_ONCE,
    IndexFacts,
    Store,
    StoreUnavailable,
    schema,
)

FACTS, STAGED_FACTS = "index.json", "index.staged.json"
_OS_ERROR = re.compile(r"os error (\d+)")  # LanceDB states errno only in its messages
_PANICS = (("pyo3_async_runtimes", "RustPanic"), ("pyo3_runtime", "PanicException"))
PROBES, EFFORT = 20, 200  # partitions and least candidates that an approximate search examines


class LanceStore(Store):
    """A store in a folder; the facts of a staged index are in another file of the folder."""

    def __init__(self, folder: Path, facts_file: str = FACTS) -> None:
        self.folder, self.facts_file = folder, facts_file
        self.where = str(folder)
        self.output = OutputFolder(folder, "index")
        self.opened: Any = None

    def check(self, size: float = 0) -> None:
        """Import LanceDB, and look at the folder's disk."""
        optional_import("lancedb", "search")
        check_room(self.folder, size)

    def facts(self) -> IndexFacts | None:
        """The facts of the index, from `index.json`."""
        path = self.folder / self.facts_file
        try:
            return IndexFacts.from_json(read_bounded(path), path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            hint = "Check the folder, or index the pictures again into another one."
            raise UserError(path, what, hint) from error

    def version(self) -> str:
        """The table's creation and version, and a hash of the facts, read without LanceDB."""
        facts = self.facts()
        if facts is None:
            raise self.gone()
        versions, names = self.folder / f"{_table_of(facts)}.lance" / "_versions", list[str]()
        with self.errors(), suppress(FileNotFoundError, NotADirectoryError):
            names = os.listdir(versions)
        # Lance names them by 2^64 - 1 less the version, so that the newest comes first. Not all
        # files: Finder adds .DS_Store, which would be the newest version for ever.
        newest = min((name for name in names if name.endswith(".manifest")), default=None)
        if newest is None:
            raise self.gone()
        return f"{facts.created}-{newest}-{text_hash(facts.to_json())}"

    def save_facts(self, facts: IndexFacts) -> None:
        """Write `index.json`, and create the table if it does not exist."""
        known = self.facts()
        if known is None:  # the table first: `index.json` never names one that does not exist
            with self.errors():
                self.opened = _database(self.folder).create_table(
                    _table_of(facts), schema=schema(facts.width)
                )
        elif known.created != facts.created:
            raise ValueError("facts of another index")
        self.output.write(self.folder / self.facts_file, facts.to_json() + "\n")

    def staged(self) -> Self:
        """A table in the same folder; raises UserError if a file of the user has a name of ours."""
        self.output.refuse_foreign(self.folder / FACTS, self.folder / STAGED_FACTS)
        return type(self)(self.folder, STAGED_FACTS)

    def publish(self) -> None:
        """Rename the file of the facts, then remove the table that it no longer names."""
        self.output.record({self.folder / FACTS: self.folder / STAGED_FACTS})  # before it appears
        with disk_errors(self.folder / FACTS):
            (self.folder / STAGED_FACTS).replace(self.folder / FACTS)
        self.opened = None  # it is the table that was replaced
        self.discard_staged()

    def discard_staged(self) -> None:
        """Remove the staged facts, and all tables that `index.json` does not name."""
        (self.folder / STAGED_FACTS).unlink(missing_ok=True)
        try:
            facts = self.facts()
        except UserError:  # damaged: which table it names is unknown
            return
        for path in self.folder.glob("pictures-*.lance"):
            is_table = re.fullmatch("pictures-[0-9a-f]{32}", path.stem)
            if is_table and (facts is None or path.stem != _table_of(facts)):
                shutil.rmtree(path, ignore_errors=True)

    def writing(self) -> AbstractContextManager[None]:
        """Lock a file in the folder."""
        return locked(self.folder)

    @property
    def table(self) -> Any:
        """LanceDB's table at its newest version."""
        facts = self.facts()
        with self.errors():
            if facts is None or not (self.folder / f"{_table_of(facts)}.lance").is_dir():
                raise self.gone()
            table = self.opened  # which another thread may set to None
            if table is None or table.name != _table_of(facts):
                table = self.opened = _database(self.folder).open_table(_table_of(facts))
            else:
                table.checkout_latest()  # an open table stays at its version
            return table

    def count(self) -> int:
        return int(self.table.count_rows())

    def put(self, rows: pa.Table) -> None:
        with self.errors():
            merge = self.table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove rows, a few thousand per transaction."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            with self.errors():
                self.table.delete(_among(ids[start : start + ROWS_AT_ONCE]))

    def rows(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        names = list(columns or self.table.schema.names)
        with self.errors():
            query = self.table.search().where(_among(ids)).select(names).limit(max(len(ids), 1))
            return query.to_arrow().select(names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows in the order of the table."""
        with self.errors():
            query = self.table.search().select(list(columns))
            for batch in query.to_batches(batch_size=ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch]).select(list(columns))

    def finish(self) -> None:
        """Compact the fragments, drop old versions, and index the vectors of a large table."""
        table = self.table
        self.discard_staged()
        with self.errors():
            indexed = any("vector" in one.columns for one in table.list_indices())
            if table.count_rows() >= self.EXACT_BELOW and not indexed:
                from lancedb.index import HnswSq

                table.create_index("vector", config=HnswSq(distance_type="dot"))
            # Not at once: a search or a server may still be reading an earlier version.
            table.optimize(cleanup_older_than=timedelta(hours=1))

    def nearest(self, queries: Float, k: int, exact: bool = False) -> tuple[list[list[str]], Float]:
        """From LanceDB's flat search or its index."""
        table, ids, scores = self.table, [], []
        with self.errors():
            for query in queries:
                search = table.search(query, vector_column_name="vector").metric("dot")
                if exact:
                    search = search.bypass_vector_index()
                else:
                    search = search.nprobes(PROBES).ef(max(EFFORT, k))
                hits = search.limit(k).select(["id", "_distance"]).to_arrow()
                ids.append(hits["id"].to_pylist())
                scores.append(1 - hits["_distance"].to_numpy())  # its distance is 1 - dot
        return ids, np.array(scores, np.float32).reshape(len(queries), -1 if ids else 0)

    def close(self) -> None:
        """Release the table; the next use opens it again."""
        self.opened = None

    def gone(self) -> StoreUnavailable:
        """The error for a folder without an index."""
        return StoreUnavailable(self.where, "is gone", "Bring it back, or index again.")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise errors of LanceDB and of the disk as `UserError`."""
        try:
            with without_panics():
                yield
        except (OSError, RuntimeError, ValueError, pa.ArrowInvalid) as error:
            match = _OS_ERROR.search(str(error))
            number = int(match[1]) if match else getattr(error, "errno", None)
            if number in (errno.EACCES, errno.EPERM):  # which of both, LanceDB does not say
                what = "may not be read or written"
                raise UserError(self.where, what, "Check the rights of its files.") from error
            for numbers, what, hint in DISK_ERRORS:
                if number in numbers:
                    raise UserError(self.where, what, hint) from error
            self.opened = None  # when the folder is back, it may be another table
            what = f"cannot be read or written ({' '.join(str(error).split())[:200]})"
            raise StoreUnavailable(self.where, what, "Check it.") from error


@contextmanager
def without_panics() -> Iterator[None]:
    """Raise a panic of LanceDB's Rust code, on damaged files, as RuntimeError.

    Its types cannot be imported, and one is no Exception. Rust has printed its own lines by then.
    """
    try:
        yield
    except BaseException as error:
        if (type(error).__module__, type(error).__name__) not in _PANICS:
            raise
        raise RuntimeError("LanceDB stopped at damaged data") from error


def _table_of(facts: IndexFacts) -> str:
    """The name of an index's table."""
    return f"pictures-{facts.created}"


def _database(folder: Path) -> Any:
    """LanceDB's connection to a folder."""
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns about every new table
    os.environ["TMPDIR"] = gettempdir()  # Rust, unlike Python, takes one that does not exist
    return optional_import("lancedb", "search").connect(folder)


def _among(ids: Sequence[str]) -> str:
    """A condition for rows with these ids; raises ValueError if one could be SQL."""
    if not all(re.fullmatch(r"[0-9a-f]{1,64}", one) for one in ids):
        raise ValueError("an id is not hexadecimal")
    return f"id IN ({', '.join(repr(one) for one in ids)})" if ids else "false"

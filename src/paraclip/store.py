"""The table of an index, in LanceDB in a folder; `index.json` next to it contains its facts.

A table is named after the creation in its facts, so replacing `index.json` switches from one index
to another in one step. LanceDB is imported at the first use of the table, because the import takes
longer than a search.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from paraclip.arrays import Float
from paraclip.errors import UserError, optional_import
from paraclip.files import DISK_ERRORS, check_room, disk_errors, locked, read_bounded, text_hash
from paraclip.output_folder import OutputFolder

FACTS, STAGED_FACTS = "index.json", "index.staged.json"
_OS_ERROR = re.compile(r"os error (\d+)")  # LanceDB states errno only in its messages
_PANICS = (("pyo3_async_runtimes", "RustPanic"), ("pyo3_runtime", "PanicException"))
PROBES, EFFORT = 20, 200  # partitions and least candidates that an approximate search examines
STATE = ("id", "path", "size", "modified", "hash", "caption")
"""Columns that show whether a picture or its caption has changed."""
SHOWN = ("id", "path", "caption", "vector")
"""Columns that a search needs in memory."""
ROWS_AT_ONCE = 4096  # 8 MiB of vectors that are 512 wide, and about 40 MB of thumbnails


def schema(width: int) -> pa.Schema:
    """Columns of the table for vectors of this width.

    `id` is a hash of `path`, which is relative to the indexed folder (or a URL); `modified` is the
    modification time in nanoseconds; `hash` is the SHA-256 of the file; `time` is the time of
    writing the row, in UTC.
    """
    kinds = {
        "id": pa.string(),
        "path": pa.string(),
        "size": pa.int64(),
        "modified": pa.int64(),
        "hash": pa.string(),
        "caption": pa.string(),
        "thumbnail": pa.binary(),
        "time": pa.timestamp("us", tz="UTC"),
        "vector": pa.list_(pa.float32(), width),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def vectors_of(rows: pa.Table) -> Float:
    """The column of vectors, float32 [rows, width]."""
    # `flatten` has the numbers of these rows; `values` has those of the array they are a slice of.
    flat = np.asarray(rows["vector"].combine_chunks().flatten(), np.float32)
    return flat.reshape(-1, rows.schema.field("vector").type.list_size)


def picture_id(path: str) -> str:
    """The id of a picture, 24 hex digits, from its path in the index."""
    return sha256(path.encode()).hexdigest()[:24]  # 96 bits: no two paths share them


def full_path(root: str, path: str) -> str:
    """The path of a picture as programs can open it: under the root, or a URL."""
    return path if "://" in path or not root else f"{root}/{path}"


@dataclass(frozen=True)
class IndexFacts:
    """Facts about an index, stored with its table."""

    image_space: str  # hash of the image tower that made the vectors (`models.image_space`)
    width: Annotated[int, Field(gt=0, le=2**14)]  # of the vectors
    source: str  # absolute path of the folder, captions file or shards
    root: str  # absolute folder that the paths are relative to, or "" if they are URLs
    # names by label, such as {"base": "mini"}; the first made the index
    models: Annotated[dict[str, str], Field(min_length=1)]
    precision: str = "fp32"  # or bf16
    # similarity that close results exceed, by stamp of the model (see `evaluation.metrics`)
    cutoffs: dict[str, FiniteFloat] = field(default_factory=dict)
    # distinguishes the index from others at the same address; names a folder of the cache
    created: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] = field(
        default_factory=lambda: uuid4().hex
    )
    format: Literal["paraclip-index-2"] = "paraclip-index-2"  # of the table
    __pydantic_config__ = ConfigDict(extra="forbid")  # saving would lose facts of a later version

    def to_json(self) -> str:
        """The facts as a JSON object."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, where: object) -> "IndexFacts":
        """Read facts from an untrusted source; raises UserError if they are not those of an index
        of this format."""
        try:
            return _FACTS.validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = ": ".join([*map(str, first["loc"]), first["msg"]])
            raise not_an_index(where, f"({reason})") from error


_FACTS = TypeAdapter(IndexFacts)


def not_an_index(where: object, why: str) -> UserError:
    """The error for facts that cannot be used."""
    hint = "Make the index again with `paraclip index --rebuild`, or name another --index."
    return UserError(where, f"is not an index of this version {why}", hint)


class StoreUnavailable(UserError):
    """The table is gone or cannot be read; it may become available again."""


class Store:
    """The table of an index; the facts of a staged one are in another file of the folder.

    Every method raises `StoreUnavailable` if the table is unavailable.
    """

    # number of pictures from which an index is searched with an approximate one, and no longer in
    # memory
    EXACT_BELOW: ClassVar[int] = 1_000_000

    def __init__(self, folder: Path | str, facts_file: str = FACTS) -> None:
        self.folder, self.facts_file = Path(folder), facts_file
        self.where = str(folder)
        self.output = OutputFolder(self.folder, "index")
        self.opened: Any = None

    def check(self, size: float = 0) -> None:
        """Raise UserError, before long work, without LanceDB, or if the folder could not be written
        or has no room for a number of bytes."""
        optional_import("lancedb", "search")
        check_room(self.folder, size)

    def facts(self) -> IndexFacts | None:
        """The facts of the index; None if there is none yet."""
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
        """A text that changes with every change of the table or its facts, read without LanceDB."""
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
        """Create the table if there is none, and write `index.json`; raises ValueError for the
        facts of another index, which `staged` may replace."""
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
        """The place, in the same folder, where an index that will replace this one is built; raises
        UserError if a file of the user has a name of ours."""
        self.output.refuse_foreign(self.folder / FACTS, self.folder / STAGED_FACTS)
        return type(self)(self.folder, STAGED_FACTS)

    def publish(self) -> None:
        """Replace the index by the staged one in one step, and remove its table."""
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
        """Hold the folder for writing; raises UserError if another process is writing."""
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
        """Number of pictures."""
        return int(self.table.count_rows())

    def state(self) -> pa.Table:
        """The columns `STATE` of all rows."""
        parts = list(self.batches(STATE))  # none of an empty table, which pyarrow does not join
        return pa.concat_tables(parts) if parts else schema(1).empty_table().select(list(STATE))

    def put(self, rows: pa.Table) -> None:
        """Write rows of `schema` in one transaction; a row replaces the one with its id."""
        with self.errors():
            merge = self.table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove rows, a few thousand per transaction; unknown ids are ignored."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            with self.errors():
                self.table.delete(_among(ids[start : start + ROWS_AT_ONCE]))

    def rows(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by id, all columns by default, in any order; unknown ids are ignored."""
        names = list(columns or self.table.schema.names)
        with self.errors():
            query = self.table.search().where(_among(ids)).select(names).limit(max(len(ids), 1))
            return query.to_arrow().select(names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows in the order of the table, a few thousand at a time."""
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
        """Ids and scores [queries, k] of the pictures nearest to unit vectors [queries, width],
        best first; fewer if the table is smaller. `exact` uses no approximate index."""
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


def existing_facts(store: Store) -> IndexFacts:
    """The facts of an index; raises UserError if there is none."""
    facts = store.facts()
    if facts is None:
        hint = "Make it with `paraclip index FOLDER`, or name it with --index."
        raise UserError(store.where, "there is no index", hint)
    return facts


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

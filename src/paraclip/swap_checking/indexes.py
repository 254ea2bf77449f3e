"""Indexes of other systems and of ParaCLIP in one form: vectors and paths of pictures."""

import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.arrays import BAD_HEADER, Float
from paraclip.errors import UserError, nearest, optional_import
from paraclip.files import check_input, read_bounded, readable, text_lines
from paraclip.image_search.stores import (
    POSTGRES,
    ROWS_AT_ONCE,
    existing_facts,
    full_path,
    open_store,
    vectors_of,
)
from paraclip.image_search.stores.lance import without_panics
from paraclip.provenance import without_secrets

_Parts = Generator[tuple[Sequence[str | None] | None, Float], None, None]
"""A few thousand rows at a time: paths, if the store has any, and vectors [rows, width]."""
_MOST_ROWS = 5_000_000
_PATH_COLUMNS = (
    *("image_path", "filepath", "file_path", "path", "file", "image", "url", "originalPath"),
    *("image_id", "id"),
)
"""Names of columns that may contain a picture's path, most likely first."""
_FIX = "Read another index, or remove the row."
_SQLITE = b"SQLite format 3\0"
_EMBEDDINGS = "img_emb"  # clip-retrieval's folder of vectors
_OWN_FACTS = "index.json"  # of ParaCLIP's own index in a folder
METADATA, IMAGE_PATH = "metadata", "image_path"  # clip-retrieval's folder and column of paths
_PARQUET_ERRORS = (pa.ArrowException, OSError, KeyError)
_BUFFER = 2**20  # bytes of a column
_SECONDS = 10  # timeout of database connections
_VECTOR_COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c
WHERE c.udt_name IN ('vector', 'halfvec') ORDER BY 1, 2, 3
"""
_PATHS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = %s AND table_name = %s AND data_type <> 'bytea'
"""
_ASSETS = ("asset", "assets")  # immich renamed its table in version 1.137
_LONGEST_ROW = 2**20  # bytes; checked by SQLite before it allocates them
_STEPS = 100_000  # of SQLite's virtual machine, between two looks for signals
_REAL_TABLE = (
    "SELECT 1 FROM sqlite_master WHERE name = 'images' AND type = 'table' AND rootpage > 0"
)
_IMAGES = "SELECT filepath, vector FROM images WHERE deleted IS NULL ORDER BY id"


@dataclass(frozen=True)
class Index:
    """Vectors of pictures."""

    vectors: Float  # unit vectors, float32 [rows, width]
    paths: list[str] | None  # of each row's picture; None if the store contains none
    kind: str  # of the store


@dataclass(frozen=True)
class IndexAddress:
    """Where an index is."""

    address: str  # file, folder or `postgresql://...`
    paths: str | None = None  # text file with the path of each row's picture, for `.npy` only
    table: str | None = None  # its name, if there are several
    column: str | None = None  # name of the column of vectors, if there are several
    selectable: bool = True  # whether the command has --table and --column

    @property
    def where(self) -> str:
        """The address for messages, without a password."""
        return without_secrets(self.address)


def read_index(
    place: IndexAddress,
    store: str | None = None,
    sample: int | None = None,
    seed: int | Sequence[int] = 0,
) -> Index:
    """The vectors of an index, and the paths of their pictures; only these rows are in memory.

    The kind `store`, a key of `_STORES`, is recognised if it is not given. Of an index with more
    rows than `sample`, this many are drawn at random, as `seed` determines; all are checked.

    Raises:
        UserError: the index is missing, unreadable, broken or empty, its kind is not clear, there
            is a file of paths for another kind than .npy, or there is no `sample` and more than
            five million rows.

    Source: Vitter, "Random sampling with a reservoir", 1985, algorithm R.
    """
    if not place.address:
        raise UserError("index", "has an empty name", "Name a file, a folder or an address.")
    if not place.address.startswith(POSTGRES):
        check_input(place.address)
    with readable(place.address):
        store = store or _store_of(place)
        if place.paths is not None and store != "npy":
            what = f"gives the paths of a .npy file, and this is an index of {store}"
            hint = "Leave it out; without paths in the index, save its vectors as .npy."
            raise UserError("--paths", what, hint)
        most, rng, rows = sample or _MOST_ROWS, np.random.default_rng(seed), 0
        vectors, paths = np.empty((0, 0), np.float32), list[str]()
        with closing(_STORES[store](place)) as parts:
            for names, part in _unit_parts(parts, place.where):
                numbers = np.arange(rows, rows + len(part))
                rows += len(part)
                if rows > most and sample is None:
                    what, hint = f"holds more than {most:,} rows", "Check a part of it."
                    raise UserError(place.where, what, hint)
                if len(vectors) < min(rows, most):  # in place, unlike a concatenation
                    size = min(most, max(rows, len(vectors) * 9 // 8))
                    vectors.resize((size, part.shape[1]), refcheck=False)
                    paths += [""] * (size - len(paths)) if names else []
                places = np.where(numbers < most, numbers, rng.integers(0, numbers + 1))
                kept = np.flatnonzero(places < most)
                vectors[places[kept]] = part[kept]  # of several rows for a place, the last one
                if names:
                    for row in kept.tolist():
                        name = names[row]
                        paths[places[row]] = "" if name is None else str(name)
        if not rows:
            raise UserError(place.where, "holds no rows of vectors", _FIX)
        size = min(rows, most)
        vectors.resize((size, vectors.shape[1]), refcheck=False)
        return Index(vectors, paths[:size] if names else None, store)


def is_index(address: str) -> bool:
    """Whether a folder, file or address is an index that can be recognised."""
    try:
        return bool(_store_of(IndexAddress(address)))
    except UserError:
        return False


def _store_of(place: IndexAddress) -> str:
    """The kind of an index, by its name and content; raises UserError if it is not clear."""
    path = Path(place.address)
    if place.address.startswith(POSTGRES):
        return _store_of_database(place)
    if path.is_dir():
        if (path / _EMBEDDINGS).is_dir():
            return "clip-retrieval"
        if any(path.glob("*.lance")):
            return "paraclip" if (path / _OWN_FACTS).is_file() else "lancedb"
        if any(path.glob("*.parquet")):
            return "parquet"
    elif not path.is_file():
        raise UserError(place.where, "there is no such file or folder", "Check the path.")
    elif path.suffix in (".npy", ".parquet"):
        return path.suffix[1:]
    else:
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                return "rclip"
    hint = f"Name it with --store: {', '.join(_STORES)}."
    raise UserError(path, "is not an index that can be recognised", hint)


def _unit_parts(parts: _Parts, where: str) -> _Parts:
    """The parts with vectors of unit length; raises UserError for rows that are none."""
    rows, named, width = 0, 0, None
    for names, part in parts:
        width = width or part.shape[1]
        if part.shape[1] != width:
            what = f"has vectors of {width} and of {part.shape[1]} numbers"
            raise UserError(where, what, "Name the files, the table or the column of one model.")
        lengths = np.linalg.norm(part, axis=1)
        broken = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(broken):
            what = "its vector is zero or not finite"
            raise UserError(f"{where}: row {rows + int(broken[0]) + 1}", what, _FIX)
        rows, named = rows + len(part), named + len(names or ())
        if named not in (0, rows):
            what = f"{rows} vectors have {named} paths"
            raise UserError(where, what, "Give one path for each row.")
        yield names, part / lengths[:, None]


def _choose_one(found: list[str], place: IndexAddress, what: Literal["table", "column"]) -> str:
    """The name given by the user, or the only one; raises UserError if it is not clear."""
    named = place.table if what == "table" else place.column
    if named is not None:
        if named not in found:
            where = f"{place.where} has no {what} {named}"
            raise UserError(f"--{what}", where, nearest(named, found))
        return named
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(place.where, f"has no {what} of vectors", _FIX)
    hint = f"Save those of {found[0]}, or ..., as .npy or .parquet, and name that file."
    if place.selectable:
        hint = f"Add --{what} {found[0]}, or ..."
    raise UserError(place.where, f"has several {what}s of vectors", hint)


@contextmanager
def _read_as(kind: str, where: object, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise a library's errors for damaged files of a kind as `UserError`."""
    try:
        yield
    except errors as error:
        reason = str(error).partition("\n")[0][:200]
        raise UserError(where, f"cannot be read as {kind} ({reason})", _FIX) from error


def _read_npy(place: IndexAddress) -> _Parts:
    """A matrix [rows, width]; the paths of the rows come from a text file."""
    vectors, names = _open_array(Path(place.address)), None
    if place.paths is not None:
        try:
            names = text_lines(read_bounded(place.paths).decode("utf-8-sig", "surrogateescape"))
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            raise UserError(place.paths, what, "Give --paths a text file.") from error
        if len(names) != len(vectors):
            what = f"{len(vectors)} vectors have {len(names)} paths"
            raise UserError(place.where, what, "Give one path for each row.")
    yield from _rows_of(vectors, names)


def _rows_of(vectors: Float, names: Sequence[str | None] | None) -> _Parts:
    """The parts of a mapped matrix."""
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        yield names and names[part], np.asarray(vectors[part], np.float32)


def _read_clip_retrieval(place: IndexAddress) -> _Parts:
    """`img_emb/img_emb_*.npy` with `metadata/metadata_*.parquet`.

    Source: clip-retrieval 2.45.0, `clip_inference/writer.py`.
    """
    folder = Path(place.address)
    files = sorted((folder / _EMBEDDINGS).glob("*.npy"))
    if not files:
        hint = "Give the output folder of `clip-retrieval inference`."
        raise UserError(folder, f"has no {_EMBEDDINGS}/*.npy", hint)

    for file in files:
        vectors, names = _open_array(file), None
        path = folder / METADATA / f"metadata_{file.stem.rpartition('_')[2]}.parquet"
        if path.is_file():
            with _read_as("Parquet", path, _PARQUET_ERRORS):
                names = pq.read_table(path, columns=[IMAGE_PATH])[IMAGE_PATH].to_pylist()
            if len(names) != len(vectors):
                what = f"has {len(names)} rows for the {len(vectors)} vectors of {file.name}"
                raise UserError(path, what, "Run `clip-retrieval inference` again.")
        yield from _rows_of(vectors, names)


def _open_array(path: Path) -> Float:
    """A mapped float matrix of a file; nothing is unpickled."""
    check_input(path)
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except BAD_HEADER as error:
        raise UserError(path, "is not a readable .npy file of numbers", _FIX) from error
    if values.ndim != 2 or values.dtype.kind != "f":
        what = f"is not a matrix of floats ({values.dtype}, shape {list(values.shape)})"
        raise UserError(path, what, _FIX)
    return cast(Float, values)


def _read_parquet(place: IndexAddress) -> _Parts:
    """A Parquet file or a folder of them."""
    folder, files = Path(place.address), [place.address]
    if folder.is_dir():  # which may hold other files
        found = (path for path in folder.rglob("*.parquet") if path.is_file())
        files = sorted(str(path) for path in found if not path.name.startswith((".", "_")))
    with _read_as("Parquet", place.address, _PARQUET_ERRORS):
        for name in files:
            # The default, like a dataset, would read whole row groups.
            file = pq.ParquetFile(name, buffer_size=_BUFFER, pre_buffer=False)
            column, path = _columns_of(file.schema_arrow, place)
            columns = [column, path] if path else [column]
            batches = file.iter_batches(ROWS_AT_ONCE, columns=columns, use_threads=False)
            yield from _arrow_parts(batches, column, path, place)


def _read_lancedb(place: IndexAddress) -> _Parts:
    """A table of a LanceDB folder."""
    lancedb = optional_import("lancedb", "search")
    if not Path(place.address).is_dir():  # LanceDB would create it
        raise UserError(place.address, "is not a folder", _FIX)
    names = sorted(path.stem for path in Path(place.address).glob("*.lance"))
    name = _choose_one(names, place, "table")
    with _read_as("LanceDB", place.address, (ValueError, RuntimeError, OSError)), without_panics():
        table = lancedb.connect(place.address).open_table(name)
        column, path = _columns_of(table.schema, place)
        query = table.search().select([column, path] if path else [column])
        yield from _arrow_parts(query.to_batches(batch_size=ROWS_AT_ONCE), column, path, place)


def _columns_of(schema: pa.Schema, place: IndexAddress) -> tuple[str, str | None]:
    """The columns of the vectors and of the paths, if there is one."""
    vectors = [field.name for field in schema if _is_vector(field.type)]
    # A picture itself, as bytes or in a struct, is not its path.
    tests = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)
    named = {field.name for field in schema if not any(test(field.type) for test in tests)}
    path = next((name for name in _PATH_COLUMNS if name in named), None)
    return _choose_one(vectors, place, "column"), path


def _arrow_parts(
    batches: Iterable[pa.RecordBatch], column: str, path: str | None, place: IndexAddress
) -> _Parts:
    for batch in batches:
        if batch.num_rows:
            names = batch.column(path).to_pylist() if path else None
            yield names, _vectors_of_column(batch.column(column), place.where)


def _is_vector(kind: Any) -> bool:
    """Whether an Arrow type is a list of floats."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and pa.types.is_floating(kind.value_type)


def _vectors_of_column(column: Any, where: object) -> Float:
    """A column of lists as [rows, width]; raises UserError for missing rows or unequal widths."""
    if column.null_count:
        raise UserError(where, "has rows without a vector", _FIX)
    values = column.flatten().to_numpy(zero_copy_only=False)
    width, rest = divmod(len(values), len(column))
    fixed = pa.types.is_fixed_size_list(column.type)
    if rest or not width or not (fixed or (np.diff(column.offsets.to_numpy()) == width).all()):
        raise UserError(where, "has vectors of different widths", _FIX)
    return np.asarray(values, np.float32).reshape(len(column), width)


def _store_of_database(place: IndexAddress) -> str:
    """The kind of an index in PostgreSQL, by the names of its tables."""
    with _connected(place) as connection:
        if place.table is None and _exists(connection, "paraclip_index"):
            return "paraclip"
        immich = place.table in (None, "smart_search") and _exists(connection, "smart_search")
        return "immich" if immich else "pgvector"


def _read_pgvector(place: IndexAddress) -> _Parts:
    """A table with a column of pgvector's type `vector` or `halfvec`."""
    with _connected(place) as connection:
        from psycopg.sql import SQL, Identifier

        found = [(f"{a}.{b}", c) for a, b, c in connection.execute(_VECTOR_COLUMNS).fetchall()]
        tables = sorted({table for table, _ in found})
        named = place.table
        if named is not None and "." not in named:
            same = [table for table in tables if table.partition(".")[2] == named]
            named = same[0] if len(same) == 1 else f"public.{named}"
        table = _choose_one(tables, replace(place, table=named), "table")
        columns = [column for name, column in found if name == table]
        column = _choose_one(columns, place, "column")
        schema, _, name = table.partition(".")
        names = {row[0] for row in connection.execute(_PATHS, (schema, name)).fetchall()}
        path = next((one for one in _PATH_COLUMNS if one in names), None)
        # The names come from the database itself.
        source = SQL(".").join(map(Identifier, (schema, name))).as_string(connection)
        shown = Identifier(path).as_string(connection) if path else None
        quoted = Identifier(column).as_string(connection)
        yield from _read_table(connection, source, quoted, shown, place)


def _read_immich(place: IndexAddress) -> _Parts:
    """immich's table `smart_search`, with the paths of its assets.

    Source: immich-app/immich, `server/src/schema/tables/smart-search.table.ts` (`assetId`,
    `embedding`) and `asset.table.ts` (`originalPath`).
    """
    with _connected(place) as connection:
        assets = next((name for name in _ASSETS if _exists(connection, name)), None)
        source, path = "smart_search", None
        if assets is not None:
            source += f' JOIN {assets} ON {assets}.id = smart_search."assetId"'
            path = f'{assets}."originalPath"'
        yield from _read_table(connection, source, "smart_search.embedding", path, place)


def _read_table(
    connection: Any, source: str, column: str, path: str | None, place: IndexAddress
) -> _Parts:
    """The rows of a table; `source`, `column` and `path` are quoted for SQL."""
    statement = (
        f"SELECT {path or 'NULL'}, {column}::real[] FROM {source} WHERE {column} IS NOT NULL"
    )
    with connection.cursor(name="paraclip") as cursor:
        cursor.execute(statement)
        while batch := cursor.fetchmany(ROWS_AT_ONCE):
            try:
                vectors = np.asarray([vector for _, vector in batch], np.float32)
            except ValueError as error:
                raise UserError(place.where, "has rows of different widths", _FIX) from error
            yield [name for name, _ in batch] if path else None, vectors


def _exists(connection: Any, table: str) -> bool:
    """Whether a table exists on the search path."""
    return connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()[0] is not None


@contextmanager
def _connected(place: IndexAddress) -> Iterator[Any]:
    """A read-only connection to a PostgreSQL server, whose errors show no password."""
    psycopg = optional_import("psycopg", "postgres")
    try:
        with psycopg.connect(place.address, connect_timeout=_SECONDS) as connection:
            connection.read_only = True
            # Large tables are otherwise read from a place of the server's choice, and training
            # that resumes would see another bank.
            connection.execute("SET synchronize_seqscans = off")
            yield connection
    except psycopg.Error as error:
        reason = without_secrets(str(error)).strip().partition("\n")[0][:200]
        what = f"the database cannot be read ({reason})"
        raise UserError(place.where, what, "Check the address, the name and the rights.") from error


def _read_rclip(place: IndexAddress) -> _Parts:
    """rclip's db.sqlite3, without deleted pictures.

    Source: rclip 3.3.0 and 4.0.8, `rclip/db.py`: table `images`, `vector` in float32.
    """
    path = Path(place.address)
    if not path.is_file():
        raise UserError(path, "there is no such file", "Check the path.")

    address = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_ROW)
            connection.set_progress_handler(_let_signals_in, _STEPS)
            if not connection.execute(_REAL_TABLE).fetchone():  # a view may never end
                raise sqlite3.OperationalError("no table images")
            cursor = connection.execute(_IMAGES)
            while batch := cursor.fetchmany(ROWS_AT_ONCE):
                blobs = [blob if isinstance(blob, bytes) else b"" for _, blob in batch]
                width, rest = divmod(len(blobs[0]), 4)  # float32
                if rest or not width or {*map(len, blobs)} != {len(blobs[0])}:
                    raise UserError(path, "has vectors of different widths", _FIX)
                vectors = np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), width)
                yield [name for name, _ in batch], vectors
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error  # raised in `_let_signals_in`
        raise UserError(path, f"is not an index of rclip ({error})", _FIX) from error


def _let_signals_in() -> int:
    """Called by SQLite during a query, since Ctrl-C reaches Python's code only; 0 to continue."""
    return 0


def _read_paraclip(place: IndexAddress) -> _Parts:
    """The index of `paraclip index`, with paths under the folder that was indexed."""
    with closing(open_store(place.address)) as store:
        facts = existing_facts(store)
        for part in store.batches(("path", "vector")):
            yield (
                [full_path(facts.root, path) for path in part["path"].to_pylist()],
                vectors_of(part),
            )


_STORES: dict[str, Callable[[IndexAddress], _Parts]] = {
    "npy": _read_npy,
    "parquet": _read_parquet,
    "clip-retrieval": _read_clip_retrieval,
    "lancedb": _read_lancedb,
    "pgvector": _read_pgvector,
    "immich": _read_immich,
    "rclip": _read_rclip,
    "paraclip": _read_paraclip,
}
"""Readers by kind. `_store_of` recognises the kinds."""

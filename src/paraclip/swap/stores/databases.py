"""PostgreSQL with pgvector, immich's table in PostgreSQL, and rclip's SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.errors import UserError
from paraclip.provenance import without_secrets
from paraclip.swap.config import SwapCheckConfig
from paraclip.swap.stores.index import FIX, PATH_COLUMNS, Index, Vectors, gathered, stacked
from paraclip.swap.stores.tables import only_one

ROWS_AT_ONCE = 4096
NUMBER_BYTES = 4  # rclip stores float32
LONGEST_ROW = 2**20  # bytes; checked by SQLite before it allocates them
STEPS = 100_000  # of SQLite's virtual machine, between two looks for signals
REAL_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'images' AND type = 'table' AND rootpage > 0"
SECONDS = 10  # timeout of database connections
VECTOR_COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c
WHERE c.udt_name IN ('vector', 'halfvec') ORDER BY 1, 2, 3
"""
ASSETS = ("asset", "assets")  # immich renamed its table in version 1.137


def read_pgvector(config: SwapCheckConfig) -> Index:
    """A table with a column of pgvector's type `vector` or `halfvec`."""
    with connected(config.index) as connection:
        vector_columns = [
            (f"{a}.{b}", c) for a, b, c in connection.execute(VECTOR_COLUMNS).fetchall()
        ]
        named = config.table if config.table is None or "." in config.table else None
        tables = sorted({table for table, _ in vector_columns})
        if config.table is not None and named is None:
            same = [table for table in tables if table.partition(".")[2] == config.table]
            named = same[0] if len(same) == 1 else f"public.{config.table}"
        where = without_secrets(config.index)
        table = only_one(tables, named, where, "table")
        columns = [column for name, column in vector_columns if name == table]
        column = only_one(columns, config.column, where, "column")
        path = path_column(connection, table)
        return selected(connection, table, column, path, config, "pgvector")


def read_immich(config: SwapCheckConfig) -> Index:
    """immich's table `smart_search`, with the paths of its assets.

    Source: immich-app/immich, `server/src/schema/tables/smart-search.table.ts` (`assetId`,
    `embedding`) and `asset.table.ts` (`originalPath`).
    """
    with connected(config.index) as connection:
        assets = next((name for name in ASSETS if exists(connection, name)), None)
        joined = f'smart_search JOIN {assets} ON {assets}.id = smart_search."assetId"'
        source = joined if assets else "smart_search"
        path = f'{assets}."originalPath"' if assets else None
        return rows_of(connection, source, "smart_search.embedding", path or "''", config, "immich")


def selected(
    connection: Any, table: str, column: str, path: str | None, config: SwapCheckConfig, kind: str
) -> Index:
    """The rows of a table; its name comes from the database itself."""
    from psycopg.sql import SQL, Identifier

    quoted = SQL(".").join(map(Identifier, table.split(".", 1))).as_string(connection)
    name = Identifier(column).as_string(connection)
    shown = Identifier(path).as_string(connection) if path else "''"
    index = rows_of(connection, quoted, name, shown, config, kind)
    return index if path else replace(index, paths=None)


def rows_of(
    connection: Any, source: str, column: str, path: str, config: SwapCheckConfig, kind: str
) -> Index:
    """Paths and vectors of a table, read a few thousand rows at a time.

    Args:
        connection: an open connection.
        source, column, path: quoted for SQL.
        config: gives the maximum number of rows.
        kind: kind of the store.
    """
    where = without_secrets(config.index)
    statement = f"SELECT {path}, {column}::real[] FROM {source} WHERE {column} IS NOT NULL"

    def rows() -> Iterator[tuple[list[str], Vectors]]:
        with connection.cursor(name="paraclip") as cursor:
            cursor.execute(statement)
            while batch := cursor.fetchmany(ROWS_AT_ONCE):
                names = ["" if name is None else str(name) for name, _ in batch]
                yield names, stacked([vector for _, vector in batch], where)

    index = gathered(rows(), config.most_rows, where)
    if index is None:
        raise UserError(where, f"has no vectors in {source.split()[0]}", FIX)
    return replace(index, kind=kind)


def path_column(connection: Any, table: str) -> str | None:
    """The column that may contain a picture's path."""
    schema, _, name = table.partition(".")
    query = (
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s AND data_type <> 'bytea'"
    )
    names = {row[0] for row in connection.execute(query, (schema, name)).fetchall()}
    return next((column for column in PATH_COLUMNS if column in names), None)


def exists(connection: Any, table: str) -> bool:
    """Whether a table exists on the search path."""
    return connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()[0] is not None


def store_of_database(address: str, table: str | None) -> str:
    """The kind of an index in PostgreSQL, by the names of its tables."""
    with connected(address) as connection:
        if table is None and exists(connection, "paraclip_index"):
            return "paraclip"
        immich = table in (None, "smart_search") and exists(connection, "smart_search")
        return "immich" if immich else "pgvector"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A read-only connection to a PostgreSQL server.

    Raises:
        UserError: psycopg is not installed, the server does not respond, or a statement fails; the
            password is not shown.
    """
    try:
        import psycopg
    except ImportError as error:
        hint = "pip install '.[postgres]'"
        raise UserError("psycopg", "this package is not installed", hint) from error
    where = without_secrets(address)
    try:
        with psycopg.connect(address, connect_timeout=SECONDS) as connection:
            connection.read_only = True
            yield connection
    except psycopg.Error as error:
        reason = without_secrets(str(error)).strip().partition("\n")[0][:200]
        what = f"the database cannot be read ({reason})"
        raise UserError(where, what, "Check the address, the name and the rights.") from error


def read_rclip(config: SwapCheckConfig) -> Index:
    """rclip's db.sqlite3, without deleted pictures.

    Source: rclip 3.3.0 and 4.0.8, `rclip/db.py`: table `images`, `vector` in float32.
    """
    path = Path(config.index)
    if not path.is_file():
        raise UserError(path, "there is no such file", "Check the path.")
    statement = "SELECT filepath, vector FROM images WHERE deleted IS NULL ORDER BY id"

    def rows() -> Iterator[tuple[list[str], Vectors]]:
        address = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_ROW)
            connection.set_progress_handler(let_signals_in, STEPS)
            if not connection.execute(REAL_TABLE).fetchone():  # a view may never end
                raise sqlite3.OperationalError("no table images")
            cursor = connection.execute(statement)
            while batch := cursor.fetchmany(ROWS_AT_ONCE):
                yield [str(name) for name, _ in batch], blobs([blob for _, blob in batch], path)

    try:
        index = gathered(rows(), config.most_rows, path)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error  # raised in the handler
        raise UserError(path, f"is not an index of rclip ({error})", FIX) from error
    if index is None:
        raise UserError(path, "contains no pictures", "Run rclip in a folder of pictures first.")
    return replace(index, kind="rclip")


def let_signals_in() -> int:
    """Called by SQLite during a query, since Ctrl-C reaches Python's code only; 0 to continue."""
    return 0


def blobs(stored: list[Any], where: Path) -> Vectors:
    """Blobs of float32 as [rows, width]; raises UserError for unequal or odd lengths."""
    lengths = {len(blob) if isinstance(blob, bytes) else -1 for blob in stored}
    length = lengths.pop()
    if lengths or length <= 0 or length % NUMBER_BYTES:
        raise UserError(where, "has vectors of different widths", FIX)
    return np.frombuffer(b"".join(stored), "<f4").reshape(len(stored), -1)

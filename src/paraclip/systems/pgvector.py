"""Vectors in PostgreSQL: any table with a column of pgvector's type `vector` or `halfvec`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from paraclip.errors import UserError, optional_import
from paraclip.systems.system import FIX, PATH_COLUMNS, ROWS_AT_ONCE, IndexAddress, Parts, System

POSTGRES = ("postgresql://", "postgres://")
_SECONDS = 10  # timeout of connections
STATEMENT_SECONDS = 60
"""Limit of a statement: another program may lock a table, and a view may compute."""
_TABLES = {"immich": "smart_search", "librephotos": "api_photo"}  # by program
_VECTOR_COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c
WHERE c.udt_name IN ('vector', 'halfvec') ORDER BY 1, 2, 3
"""
_PATHS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = %s AND table_name = %s AND data_type <> 'bytea'
"""


def kind_in_database(place: IndexAddress) -> str:
    """The kind of an index in PostgreSQL, by the names of its tables."""
    with connected(place) as connection:
        for kind, table in _TABLES.items():
            if place.table in (None, table) and exists(connection, table):
                return kind
        return "pgvector"


@contextmanager
def connected(place: IndexAddress) -> Iterator[Any]:
    """A read-only connection to a PostgreSQL server, whose errors show no password."""
    psycopg = optional_import("psycopg", "postgres")
    try:
        psycopg.conninfo.conninfo_to_dict(place.address)
    except psycopg.ProgrammingError:  # its text may contain the password
        hint = "In a password, write % as %25, @ as %40, / as %2F, : as %3A and a space as %20."
        server = place.where.rpartition("@")[2]  # what is before it may be left of a password
        raise UserError(server, "is not a valid address", hint) from None
    try:
        with psycopg.connect(place.address, connect_timeout=_SECONDS) as connection:
            connection.read_only = True
            # Large tables are otherwise read from a place of the server's choice, and training
            # that resumes would see another bank.
            connection.execute("SET synchronize_seqscans = off")
            connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
            yield connection
    except psycopg.errors.QueryCanceled as error:
        what = f"has not answered within {STATEMENT_SECONDS} seconds"
        hint = "Look for a lock on its tables, or for a view that takes long."
        raise UserError(place.where, what, hint) from error
    except psycopg.Error as error:
        from paraclip.provenance import without_secrets

        reason = without_secrets(str(error)).strip().partition("\n")[0][:200]
        what = f"the database cannot be read ({reason})"
        raise UserError(place.where, what, "Check the address, the name and the rights.") from error


def exists(connection: Any, table: str) -> bool:
    """Whether a table exists on the search path."""
    return connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()[0] is not None


def read_table(
    connection: Any, source: str, column: str, path: str | None, place: IndexAddress
) -> Parts:
    """The rows of a table; `source`, `column` and `path` are quoted for SQL."""
    import numpy as np

    statement = (
        f"SELECT {path or 'NULL'}, {column}::real[] FROM {source} WHERE {column} IS NOT NULL"
    )
    with connection.cursor(name="paraclip") as cursor:
        cursor.execute(statement)
        while batch := cursor.fetchmany(ROWS_AT_ONCE):
            try:
                vectors = np.asarray([vector for _, vector in batch], np.float32)
            except ValueError as error:
                raise UserError(place.where, "has rows of different widths", FIX) from error
            yield [name for name, _ in batch] if path else None, vectors


def _read(place: IndexAddress) -> Parts:
    """The table and the column that the user names, or the only ones."""
    from paraclip.systems.columns import choose_one

    with connected(place) as connection:
        from psycopg.sql import SQL, Identifier

        found = [(f"{a}.{b}", c) for a, b, c in connection.execute(_VECTOR_COLUMNS).fetchall()]
        tables = sorted({table for table, _ in found})
        named = place.table
        if named is not None and "." not in named:
            same = [table for table in tables if table.partition(".")[2] == named]
            named = same[0] if len(same) == 1 else f"public.{named}"
        table = choose_one(tables, replace(place, table=named), "table")
        columns = [column for name, column in found if name == table]
        column = choose_one(columns, place, "column")
        schema, _, name = table.partition(".")
        names = {row[0] for row in connection.execute(_PATHS, (schema, name)).fetchall()}
        path = next((one for one in PATH_COLUMNS if one in names), None)
        # The names come from the database itself.
        source = SQL(".").join(map(Identifier, (schema, name))).as_string(connection)
        shown = Identifier(path).as_string(connection) if path else None
        quoted = Identifier(column).as_string(connection)
        yield from read_table(connection, source, quoted, shown, place)


PGVECTOR = System("pgvector", read=_read)

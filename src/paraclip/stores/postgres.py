"""The same table in PostgreSQL with pgvector.

The tables `paraclip_pictures` and `paraclip_index` are in the first schema of the search path:
`postgresql://host/db?options=-csearch_path%3Dholidays,public` is one of several in a database. A
password may also come from `PGPASSWORD` or `~/.pgpass`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any, Self

import numpy as np
import pyarrow as pa

from paraclip.arrays import Float
from paraclip.errors import UserError, optional_import
from paraclip.provenance import without_secrets
from paraclip.stores import ROWS_AT_ONCE, IndexFacts, Store, StoreUnavailable, schema

STATEMENT_SECONDS = 60
"""Limit of a statement that reads: another program may lock a table, and a view may compute."""
_MOST_INDEXED = 2000  # maximum vector width of pgvector's HNSW
_EFFORT = 200  # candidates that an approximate search examines
# Numbers of the advisory lock: ours ("para" in ASCII), and one of the schema.
_LOCK = "1885434465, hashtext(coalesce(quote_ident(current_schema()), ''))"
_COLUMNS = """
    id text PRIMARY KEY, path text NOT NULL, size bigint NOT NULL, modified bigint NOT NULL,
    hash text NOT NULL, caption text NOT NULL, thumbnail bytea NOT NULL,
    time timestamptz NOT NULL, vector vector({width}) NOT NULL"""
_NAMES = schema(1).names
_VECTOR_TYPE = "SELECT to_regtype('vector')"  # null if it is not on the search path


class PostgresStore(Store):
    """A store in a database; a staged index has tables with another `suffix`."""

    def __init__(self, address: str, suffix: str = "") -> None:
        self.address, self.where = address, without_secrets(address)
        self.pictures, self.index = f"paraclip_pictures{suffix}", f"paraclip_index{suffix}"
        # by thread, since a transaction must contain the statements of one thread only
        self.connections: dict[int, Any] = {}

    def check(self, size: float = 0) -> None:
        self.index_row()  # connects

    def facts(self) -> IndexFacts | None:
        row = self.index_row()
        return IndexFacts.from_json(row[0], self.where) if row else None

    def index_row(self) -> Any:
        """Facts and version; None without an index."""
        with self.cursor() as cursor:
            # In the first schema of the search path; another index may follow on it.
            limit_statements(cursor)
            own = "SELECT to_regclass(quote_ident(current_schema()) || %s)"
            if cursor.execute(own, (f".{self.index}",)).fetchone()[0] is None:
                return None
            return cursor.execute(f"SELECT facts, version FROM {self.index}").fetchone()

    def version(self) -> str:
        if (row := self.index_row()) is None:
            raise StoreUnavailable(self.where, "is gone", "Index the pictures again.")
        return f"{IndexFacts.from_json(row[0], self.where).created}-{row[1]}"

    def save_facts(self, facts: IndexFacts) -> None:
        known = self.facts()
        if known is not None and known.created != facts.created:
            raise ValueError("facts of another index")
        with self.cursor() as cursor:
            if known is None:
                self.drop(cursor)  # somebody may have dropped only one of them
                columns = _COLUMNS.format(width=facts.width)
                cursor.execute(f"CREATE TABLE {self.pictures} ({columns})")
                cursor.execute(
                    f"CREATE TABLE {self.index} AS SELECT '' AS facts, 0::bigint AS version"
                )
            changed = f"UPDATE {self.index} SET facts = %s, version = version + 1"
            cursor.execute(changed, (facts.to_json(),))

    def drop(self, cursor: Any) -> None:
        """Drop the tables, if they exist, but not those of the same names in another schema."""
        (own,) = cursor.execute("SELECT quote_ident(current_schema())").fetchone()
        cursor.execute(f"DROP TABLE IF EXISTS {own}.{self.pictures}, {own}.{self.index}")

    def staged(self) -> Self:
        """Tables in the same schema, with other names."""
        return type(self)(self.address, "_next")

    def publish(self) -> None:
        """Rename the staged tables in one transaction."""
        staged = self.staged()
        with self.cursor() as cursor:
            self.drop(cursor)
            cursor.execute(f"ALTER TABLE {staged.pictures} RENAME TO {self.pictures}")
            cursor.execute(f"ALTER TABLE {staged.index} RENAME TO {self.index}")

    def discard_staged(self) -> None:
        with self.cursor() as cursor:
            self.staged().drop(cursor)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold an advisory lock of the schema, which ends with the connection."""
        with self.cursor() as cursor:  # the lock is the session's, and outlasts this transaction
            (taken,) = cursor.execute(f"SELECT pg_try_advisory_lock({_LOCK})").fetchone()
        if not taken:
            raise UserError(self.where, "another run is writing here", "Wait for it.")
        try:
            yield
        finally:
            # Closing alone is not enough, because the server notices it with a delay.
            with suppress(StoreUnavailable), self.cursor() as cursor:
                cursor.execute(f"SELECT pg_advisory_unlock({_LOCK})")
            self.close()

    def count(self) -> int:
        with self.cursor() as cursor:
            return int(cursor.execute(f"SELECT count(*) FROM {self.pictures}").fetchone()[0])

    def put(self, rows: pa.Table) -> None:
        columns = [rows[name].to_pylist() for name in _NAMES if name != "vector"]
        columns.append(list(rows["vector"].to_numpy()))  # the last
        changed = ", ".join(f"{name} = excluded.{name}" for name in _NAMES if name != "id")
        statement = (
            f"INSERT INTO {self.pictures} ({', '.join(_NAMES)})"
            f" VALUES ({', '.join(['%s'] * len(_NAMES))}) ON CONFLICT (id) DO UPDATE SET {changed}"
        )
        self._change(statement, list(zip(*columns, strict=True)))

    def remove(self, ids: Sequence[str]) -> None:
        self._change(f"DELETE FROM {self.pictures} WHERE id = ANY(%s)", [(list(ids),)])

    def _change(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Change the pictures, and with them the version."""
        with self.cursor() as cursor:
            cursor.executemany(statement, rows)
            cursor.execute(f"UPDATE {self.index} SET version = version + 1")

    def rows(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        names = list(columns or _NAMES)
        with self.cursor() as cursor:
            statement = f"SELECT {', '.join(names)} FROM {self.pictures} WHERE id = ANY(%s)"
            return _as_table(cursor.execute(statement, (list(ids),)).fetchall(), names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows from one snapshot, through a server-side cursor."""
        statement = f"SELECT {', '.join(columns)} FROM {self.pictures}"
        # A server-side cursor lives in a transaction, which `own` begins.
        with self.cursor() as own, self.connected().cursor(name="paraclip") as cursor:
            # In the same order each time: the rows may be those that a stopped training learns by.
            own.execute("SET LOCAL synchronize_seqscans = off")
            limit_statements(own)
            cursor.execute(statement)
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield _as_table(rows, columns)

    def finish(self) -> None:
        """Gather statistics; from `EXACT_BELOW` rows, build an HNSW index."""
        self.discard_staged()
        facts, large = self.facts(), self.count() >= self.EXACT_BELOW
        if large and facts is not None and facts.width <= _MOST_INDEXED:
            with self.cursor() as cursor:
                where = f"{self.pictures} USING hnsw (vector vector_ip_ops)"
                cursor.execute(f"CREATE INDEX IF NOT EXISTS paraclip_vectors ON {where}")
        with self.errors():  # not in a transaction
            self.connected().execute(f"VACUUM ANALYZE {self.pictures}")

    def nearest(self, queries: Float, k: int, exact: bool = False) -> tuple[list[list[str]], Float]:
        """From a sequential scan or the HNSW index with iterative scans."""
        ids, scores = [], []
        with self.cursor() as cursor:
            # Without it, HNSW returns at most `ef_search` rows, which pgvector limits to 1,000.
            cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            cursor.execute(f"SET LOCAL hnsw.ef_search = {max(_EFFORT, min(k, 1000))}")
            cursor.execute(f"SET LOCAL enable_indexscan = {'off' if exact else 'on'}")
            # <#> is the negative dot product: indexes return the lowest first.
            statement = f"SELECT id, vector <#> %s AS d FROM {self.pictures} ORDER BY d LIMIT %s"
            for query in queries:
                rows = cursor.execute(statement, (query, k)).fetchall()
                ids.append([row[0] for row in rows])
                scores.append([-row[1] for row in rows])
        return ids, np.array(scores, np.float32).reshape(len(queries), -1 if ids else 0)

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor whose statements are one transaction."""
        with self.errors(), self.connected().transaction(), self.connected().cursor() as cursor:
            yield cursor

    def connected(self) -> Any:
        """The connection of this thread, reopened if it was lost."""
        known = self.connections.get(get_ident())
        if known is None or known.closed:
            known = self.connections[get_ident()] = _connect(self.address)
        return known

    def close(self) -> None:
        if (known := self.connections.pop(get_ident(), None)) is not None:
            known.close()

    def __del__(self) -> None:
        """Close the connections of all threads when the store is deleted."""
        with suppress(Exception):  # also during interpreter shutdown
            for connection in self.connections.values():
                connection.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise errors of the server as `UserError`, without the address's password."""
        psycopg = optional_import("psycopg", "postgres")
        try:
            yield
        except psycopg.Error as error:
            # The server's own reason, such as a wrong password or a missing database.
            before, fatal, reason = str(error).partition("FATAL:")
            said = " ".join((reason if fatal else before).split())[:200]
            # These do not pass by waiting, as the loss of a server may.
            if isinstance(error, psycopg.errors.DiskFull | psycopg.errors.InsufficientPrivilege):
                raise UserError(self.where, said, "Change that on the server.") from error
            self.close()
            if isinstance(error, psycopg.errors.QueryCanceled):
                raise StoreUnavailable(self.where, *no_answer()) from error
            lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            what = "cannot be reached" if lost and not fatal else f"refused ({said})"
            raise StoreUnavailable(self.where, what, "Check the server and the address.") from error


def limit_statements(cursor: Any) -> None:
    """Limit each statement of the transaction to `STATEMENT_SECONDS`."""
    cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")


def no_answer() -> tuple[str, str]:
    """What is wrong when a statement was cancelled, and how to fix it."""
    what = f"has not answered within {STATEMENT_SECONDS} seconds"
    return what, "Look for a lock on its tables, or for a view that takes long."


def _connect(address: str) -> Any:
    """Connect, with pgvector's types; raises UserError for a bad address or without pgvector."""
    psycopg, shown = optional_import("psycopg", "postgres"), without_secrets(address)
    register_vector = optional_import("pgvector.psycopg", "postgres").register_vector
    try:
        psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError:  # its text may contain the password
        hint = "In a password, write % as %25, @ as %40, / as %2F and : as %3A."
        raise UserError(shown, "is not a valid address", hint) from None
    # Autocommit: `cursor` begins transactions itself, and VACUUM must run in none.
    connection = psycopg.connect(address, autocommit=True, connect_timeout=5)
    try:
        if connection.execute(_VECTOR_TYPE).fetchone()[0] is None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        if connection.execute(_VECTOR_TYPE).fetchone()[0] is None:  # it exists elsewhere
            hint = "End the address in ?options=-csearch_path%3DNAME,public."
            raise UserError(shown, "has pgvector in a schema outside the search path", hint)
        register_vector(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, psycopg.errors.FeatureNotSupported):
            hint = "Install it there: apt-get install postgresql-17-pgvector"
            raise UserError(shown, "has no pgvector", hint) from error
        raise
    return connection


def _as_table(found: list[Any], names: Sequence[str]) -> pa.Table:
    """Rows of psycopg as an Arrow table."""
    columns, width = {name: [row[place] for row in found] for place, name in enumerate(names)}, 1
    if vectors := columns.get("vector"):
        # Newer versions of pgvector wrap the vectors.
        columns["vector"] = [getattr(one, "to_numpy", lambda one=one: one)() for one in vectors]
        width = len(columns["vector"][0])
    return pa.table(columns, schema=pa.schema([schema(width).field(name) for name in names]))

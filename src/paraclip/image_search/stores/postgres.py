"""The same table in PostgreSQL with pgvector.

The tables `paraclip_pictures` and `paraclip_index` are in the first schema of the search path:
`postgresql://host/db?options=-csearch_path%3Dholidays,public` is one of several in a database.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any, Self

import numpy as np
import pyarrow as pa

from paraclip.arrays import Float
from paraclip.errors import UserError, optional_import
from paraclip.image_search.stores import (
    ROWS_AT_ONCE,
    IndexFacts,
    Store,
    StoreUnavailable,
    schema,
    vectors_of,
)
from paraclip.provenance import without_secrets

_CONNECT_SECONDS = 5
_MOST_INDEXED = 2000  # maximum vector width of pgvector's HNSW
_EFFORT = 200  # candidates that an approximate search examines
_STAGED = "_next"  # end of the names of staged tables
_LOCK = 0x70617261  # number of the advisory lock
_CREATE = """
CREATE TABLE {pictures} (
    id text PRIMARY KEY, path text NOT NULL, size bigint NOT NULL, modified bigint NOT NULL,
    hash text NOT NULL, caption text NOT NULL, thumbnail bytea NOT NULL,
    time timestamptz NOT NULL, vector vector({width}) NOT NULL
)"""
_CREATE_INDEX = """
CREATE TABLE IF NOT EXISTS {index} (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    facts text NOT NULL, version bigint NOT NULL
)"""
_PUT = """
INSERT INTO {pictures} ({names}) VALUES ({places})
ON CONFLICT (id) DO UPDATE SET {updates}"""
_VECTOR_TYPE = "SELECT to_regtype('vector')"
_NEAREST = "SELECT id, (vector <#> %s) * -1 FROM {pictures} ORDER BY vector <#> %s LIMIT %s"


class PostgresStore(Store):
    """A store in a database.

    Args:
        address: `postgresql://user@host/database`; the password may also come from `PGPASSWORD` or
            `~/.pgpass`.
        suffix: end of the tables' names; another one is for a staged index.
    """

    def __init__(self, address: str, suffix: str = "") -> None:
        self.address, self.where = address, without_secrets(address)
        self.pictures, self.index = f"paraclip_pictures{suffix}", f"paraclip_index{suffix}"
        # by thread, since a transaction must contain the statements of one thread only
        self.connections: dict[int, Any] = {}
        self.names = schema(1).names

    def check(self, size: float = 0) -> None:
        """Connect."""
        self.index_row()

    def facts(self) -> IndexFacts | None:
        """The facts of the index; None without tables."""
        row = self.index_row()
        return IndexFacts.from_json(row[0], self.where) if row else None

    def index_row(self) -> Any:
        """Facts and version; None without an index."""
        with self.cursor() as cursor:
            # Not by the search path, on which another index may follow.
            name = f"{self.own_schema(cursor)}.{self.index}"
            if cursor.execute("SELECT to_regclass(%s)", (name,)).fetchone()[0] is None:
                return None
            return cursor.execute(f"SELECT facts, version FROM {self.index}").fetchone()

    def own_schema(self, cursor: Any) -> str:
        """The quoted name of the schema of the tables: the first of the search path that exists."""
        return str(cursor.execute("SELECT quote_ident(current_schema())").fetchone()[0])

    def version(self) -> str:
        """A number that each writing transaction increases."""
        row = self.index_row()
        if row is None:
            raise StoreUnavailable(self.where, "is gone", "Index the pictures again.")
        return f"{IndexFacts.from_json(row[0], self.where).created}-{row[1]}"

    def save_facts(self, facts: IndexFacts) -> None:
        """Save the facts, and create the tables if they do not exist."""
        known = self.facts()
        if known is not None and known.created != facts.created:
            raise ValueError("facts of another index")
        with self.cursor() as cursor, self.connected().transaction():
            if known is None:
                self.drop(cursor)
                cursor.execute(_CREATE.format(pictures=self.pictures, width=facts.width))
                cursor.execute(_CREATE_INDEX.format(index=self.index))
            cursor.execute(
                f"INSERT INTO {self.index} (facts, version) VALUES (%s, 1) ON CONFLICT (single)"
                f" DO UPDATE SET facts = excluded.facts, version = {self.index}.version + 1",
                (facts.to_json(),),
            )

    def drop(self, cursor: Any) -> None:
        """Drop the tables, if they exist, but not those of the same names in another schema."""
        own = self.own_schema(cursor)
        cursor.execute(f"DROP TABLE IF EXISTS {own}.{self.pictures}, {own}.{self.index}")

    def staged(self) -> Self:
        """Tables in the same schema, with other names."""
        return type(self)(self.address, _STAGED)

    def publish(self) -> None:
        """Rename the staged tables in one transaction."""
        staged = self.staged()
        with self.cursor() as cursor, self.connected().transaction():
            self.drop(cursor)
            cursor.execute(f"ALTER TABLE {staged.pictures} RENAME TO {self.pictures}")
            cursor.execute(f"ALTER TABLE {staged.index} RENAME TO {self.index}")

    def discard_staged(self) -> None:
        """Drop the staged tables."""
        with self.cursor() as cursor:
            self.staged().drop(cursor)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold an advisory lock of the schema, which ends with the connection."""
        with self.cursor() as cursor:
            key = (_LOCK, self.own_schema(cursor))
            statement = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
            taken = cursor.execute(statement, key).fetchone()[0]
        if not taken:
            raise UserError(self.where, "another run is writing here", "Wait for it.")
        try:
            yield
        finally:
            # Closing alone is not enough, because the server notices it with a delay.
            with suppress(StoreUnavailable), self.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)
            self.close()

    def count(self) -> int:
        with self.cursor() as cursor:
            return int(cursor.execute(f"SELECT count(*) FROM {self.pictures}").fetchone()[0])

    def put(self, rows: pa.Table) -> None:
        statement = _PUT.format(
            pictures=self.pictures,
            names=", ".join(self.names),
            places=", ".join(["%s"] * len(self.names)),
            updates=", ".join(f"{name} = excluded.{name}" for name in self.names if name != "id"),
        )
        columns: list[list[Any]] = [
            list(vectors_of(rows)) if name == "vector" else rows[name].to_pylist()
            for name in self.names
        ]
        with self.changing() as cursor:
            cursor.executemany(statement, list(zip(*columns, strict=True)))

    def remove(self, ids: Sequence[str]) -> None:
        with self.changing() as cursor:
            cursor.execute(f"DELETE FROM {self.pictures} WHERE id = ANY(%s)", (list(ids),))

    def rows(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        names = list(columns or self.names)
        with self.cursor() as cursor:
            statement = f"SELECT {', '.join(names)} FROM {self.pictures} WHERE id = ANY(%s)"
            return self.arrow(cursor.execute(statement, (list(ids),)).fetchall(), names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows from one snapshot, through a server-side cursor."""
        names = list(columns)
        statement = f"SELECT {', '.join(names)} FROM {self.pictures}"
        with (
            self.errors(),
            self.connected().transaction(),
            self.connected().cursor(name="paraclip") as cursor,
        ):
            # In the same order each time: the rows may be those that a stopped training learns by.
            self.connected().execute("SET LOCAL synchronize_seqscans = off")
            cursor.execute(statement)
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield self.arrow(rows, names)

    def arrow(self, found: list[Any], names: list[str]) -> pa.Table:
        """Rows of psycopg as an Arrow table."""
        width = (
            len(_array_of(found[0][names.index("vector")])) if found and "vector" in names else 1
        )
        kinds = schema(width)
        columns = list(zip(*found, strict=True)) if found else [() for _ in names]
        arrays = []
        for name, values in zip(names, columns, strict=True):
            if name == "vector" and values:
                flat = pa.array(np.concatenate([_array_of(one) for one in values]))
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, width))
            else:
                arrays.append(pa.array(values, kinds.field(name).type))
        return pa.table(arrays, schema=pa.schema([kinds.field(name) for name in names]))

    def finish(self, exact_below: int) -> None:
        """Gather statistics; from `exact_below` rows, build an HNSW index."""
        self.discard_staged()
        facts, large = self.facts(), self.count() >= exact_below
        with self.cursor() as cursor:
            if large and facts is not None and facts.width <= _MOST_INDEXED:
                cursor.execute(
                    f"CREATE INDEX IF NOT EXISTS paraclip_vectors ON {self.pictures}"
                    " USING hnsw (vector vector_ip_ops)"
                )
            cursor.execute(f"VACUUM ANALYZE {self.pictures}")

    def nearest(self, queries: Float, k: int, exact: bool = False) -> tuple[list[list[str]], Float]:
        """From a sequential scan or the HNSW index with iterative scans."""
        ids, scores = [], []
        with self.errors(), self.connected().transaction(), self.connected().cursor() as cursor:
            cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            cursor.execute(f"SET LOCAL hnsw.ef_search = {max(_EFFORT, min(k, 1000))}")
            cursor.execute(f"SET LOCAL enable_indexscan = {'off' if exact else 'on'}")
            nearest = _NEAREST.format(pictures=self.pictures)
            for query in queries:
                rows = cursor.execute(nearest, (query, query, k)).fetchall()
                ids.append([row[0] for row in rows])
                scores.append([row[1] for row in rows])
        return ids, np.array(scores, np.float32).reshape(len(queries), -1 if ids else 0)

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor; each statement is a separate transaction."""
        with self.errors(), self.connected().cursor() as cursor:
            yield cursor

    @contextmanager
    def changing(self) -> Iterator[Any]:
        """A cursor in one transaction, which also increases the version of the index."""
        with self.errors(), self.connected().transaction(), self.connected().cursor() as cursor:
            yield cursor
            cursor.execute(f"UPDATE {self.index} SET version = version + 1")

    def connected(self) -> Any:
        """The connection of this thread, reopened if it was lost."""
        known = self.connections.get(get_ident())
        if known is None or known.closed:
            known = self.connections[get_ident()] = _connect(self.address)
        return known

    def close(self) -> None:
        """Close the connection of this thread; the next use opens a new one."""
        known = self.connections.pop(get_ident(), None)
        if known is not None:
            known.close()

    def __del__(self) -> None:
        """Close the connections of all threads when the store is deleted."""
        with suppress(Exception):  # also during interpreter shutdown
            for connection in self.connections.values():
                connection.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise errors of the server as `UserError`, without the address's password."""
        import psycopg

        try:
            yield
        except (psycopg.errors.DiskFull, psycopg.errors.InsufficientPrivilege) as error:
            what = _shortened(str(error))
            raise UserError(self.where, what, "Change that on the server.") from error
        except psycopg.Error as error:
            self.close()
            # The server's own reason, such as a wrong password or a missing database.
            _, fatal, reason = str(error).partition("FATAL:")
            lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            what = f"refused ({_shortened(reason if fatal else str(error))})"
            what = "cannot be reached" if lost and not fatal else what
            hint = "Start the server, or check the address."
            raise StoreUnavailable(self.where, what, hint) from error


def _connect(address: str) -> Any:
    """Connect, with pgvector's types; raises UserError for a bad address or without pgvector."""
    psycopg: Any = optional_import("psycopg", "postgres")
    register_vector = optional_import("pgvector.psycopg", "postgres").register_vector
    try:
        psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError:  # its text may contain the password
        hint = "In a password, write % as %25, @ as %40, / as %2F and : as %3A."
        raise UserError(without_secrets(address), "is not a valid address", hint) from None
    connection = psycopg.connect(address, autocommit=True, connect_timeout=_CONNECT_SECONDS)
    try:
        if connection.execute(_VECTOR_TYPE).fetchone()[0] is None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        if connection.execute(_VECTOR_TYPE).fetchone()[0] is None:
            connection.close()
            what = "has pgvector in a schema outside the search path"
            hint = "End the address in ?options=-csearch_path%3DNAME,public."
            raise UserError(without_secrets(address), what, hint)
        register_vector(connection)
    except psycopg.errors.FeatureNotSupported as error:
        connection.close()
        hint = "Install it there: apt-get install postgresql-17-pgvector"
        raise UserError(without_secrets(address), "has no pgvector", hint) from error
    return connection


def _shortened(text: str) -> str:
    """A message of the server on one line of 200 characters at most."""
    return " ".join(text.split())[:200]


def _array_of(vector: Any) -> Float:
    """A vector from psycopg, which newer versions of pgvector wrap."""
    plain = vector.to_numpy() if hasattr(vector, "to_numpy") else vector
    return np.asarray(plain, np.float32)

"""A PostgreSQL server with pgvector, started by the tests on loopback as an unprivileged user."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import pytest

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
EXTENSION = "/usr/share/postgresql/{}/extension/vector.control"
USER = "paraclip"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
}


def programs() -> Path | None:
    """Folder of the newest server that has pgvector; None without one."""
    usable = [path for path in PROGRAMS if Path(EXTENSION.format(path.parts[-2])).exists()]
    return usable[-1] if usable else None


class PostgresServer:
    """A server in a temporary folder: `with PostgresServer() as server: server.url`."""

    def __init__(self) -> None:
        found = programs()
        if found is None:
            pytest.skip("no PostgreSQL with pgvector (apt: postgresql-17-pgvector)")
        self.programs = found
        self.folder = Path(tempfile.mkdtemp(prefix="paraclip-postgres-"))
        self.owner = unprivileged()
        if self.owner:
            shutil.chown(self.folder, self.owner)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @property
    def url(self) -> str:
        """Address of the database `postgres`."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement; returns its rows."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def __enter__(self) -> Self:
        data = self.folder / "data"
        self.run("initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8")
        with (data / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
            settings.write(f"port = {self.port}\nunix_socket_directories = '{self.folder}'\n")
        log = self.folder / "log"
        self.run("pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "start")
        self.query("CREATE EXTENSION vector")
        return self

    def __exit__(self, *raised: object) -> None:
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program: str, *words: object) -> None:
        """Run one of the server's programs as its owner."""
        command = [str(self.programs / program), *map(str, words)]
        # pg_ctl leaves the server running, which would hold a pipe open.
        with tempfile.TemporaryFile() as shown:
            done = subprocess.run(
                command, user=self.owner, stdout=shown, stderr=shown, check=False,
                cwd=self.folder, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, timeout=120,
            )  # fmt: skip
            shown.seek(0)
            assert done.returncode == 0, shown.read().decode()


def unprivileged() -> str | None:
    """A user for the server, which refuses to run as root; None if this process is not root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def wait_until(condition: Any, seconds: float = 120.0) -> None:
    """Wait until a condition is true; fails the test after a long timeout."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)

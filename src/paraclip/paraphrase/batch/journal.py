"""State of every batch on disk, so that a restarted run finds what was submitted.

An append-only file of JSON lines, flushed to the disk at each step. The first line names the
server.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError
from paraclip.files import disk_errors, read_bounded
from paraclip.paraphrase.batch.requests import RequestFile, remove_unfinished

JOURNAL = "journal.jsonl"
FORMAT = 1
HEAD = b'{"batches": 1'
AWAY = "Move the folder away; the batches in it are then not collected."
FILE = re.compile(r"(requests|results)-[\w-]+\.jsonl")


@dataclass
class Batch:
    """A file of requests and its state on the server.

    Args:
        name: name of the file.
        requests: number of lines.
        endpoint: endpoint of all requests.
        nonce: random value in the batch's metadata on the server, by which a batch is found again
            if a killed run did not receive its id.
        file_id: id of the uploaded file.
        begun: whether submission was started.
        batch_id: id on the server.
        status: final status; empty before.
        results: names of the downloaded files.
    """

    name: str
    requests: int
    endpoint: str
    nonce: str = field(default_factory=lambda: uuid4().hex)
    file_id: str = ""
    begun: bool = False
    batch_id: str = ""
    status: str = ""
    results: list[str] = field(default_factory=list)


class Journal:
    """The batches of an output folder.

    Args:
        folder: folder of the journal, the requests and the results.
        server: the server's address without secrets.

    Attributes:
        batches: batches that are not yet in the log of answers, by file name.

    Raises:
        UserError: the journal is damaged, or its batches are on another server.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.folder, self.path = folder, folder / JOURNAL
        self.batches: dict[str, Batch] = {}
        self.last = 0  # number of the last file of requests
        self._read(server)
        remove_unfinished(folder)
        self._remove_unlisted()

    def _read(self, server: str) -> None:
        try:
            lines = read_bounded(self.path).splitlines(keepends=True)
        except FileNotFoundError:
            self._append({"batches": FORMAT, "server": server})
            return
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            raise UserError(self.path, what, AWAY) from error
        head = lines[0] if lines else HEAD
        if not (head.startswith(HEAD) or HEAD.startswith(head)):
            raise UserError(self.path, "is not a journal of batches", AWAY)
        if lines and not lines[-1].endswith(b"\n"):  # the run was killed while writing
            with disk_errors(self.path):
                os.truncate(self.path, sum(map(len, lines[:-1])))
            lines.pop()
        if not lines:
            self._append({"batches": FORMAT, "server": server})
            return
        try:
            entries = [parse_json_object(line) for line in lines]
            for entry in entries[1:]:
                self._apply(entry)
        except (BadJson, KeyError, TypeError, ValueError) as error:
            raise UserError(self.path, "is a damaged journal of batches", AWAY) from error
        known = entries[0].get("server")
        if known != server and self.batches:
            what = f"has open batches on {known!r}, and the server is {server!r}"
            raise UserError(self.path, what, "Give that server's address with --base-url.")
        if known != server:
            self.path.unlink()
            self._append({"batches": FORMAT, "server": server})

    def _apply(self, entry: dict[str, Any]) -> None:
        """Update the state from one line."""
        if "written" in entry:
            for name in entry["logged"]:
                self.batches.pop(name, None)
            new = [Batch(**batch) for batch in entry["written"]]
            self.batches |= {batch.name: batch for batch in new}
            self.last = int(entry["last"])
            return
        batch = self.batches[entry["name"]]
        for name, value in entry["changes"].items():
            if type(value) is not type(getattr(batch, name)):
                raise TypeError(name)
            setattr(batch, name, value)
        if not all(map(FILE.fullmatch, (batch.name, *batch.results))):
            raise ValueError(batch.name)

    def _append(self, entry: dict[str, Any]) -> None:
        with disk_errors(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def note(self, batch: Batch, **changes: Any) -> None:
        """Change attributes of a batch, first on disk."""
        self._append({"name": batch.name, "changes": changes})
        for name, value in changes.items():
            setattr(batch, name, value)

    def end_round(self, written: Sequence[RequestFile]) -> None:
        """Record in a single line that all results are logged and new requests are written."""
        logged = list(self.batches)
        new = [Batch(file.name, file.requests, file.endpoint) for file in written]
        self.last += len(new)
        self._append({"logged": logged, "written": list(map(asdict, new)), "last": self.last})
        self.batches = {batch.name: batch for batch in new}
        self._remove_unlisted()

    def _remove_unlisted(self) -> None:
        """Delete requests and results that no open batch needs."""
        kept = {name for batch in self.batches.values() for name in (batch.name, *batch.results)}
        for path in (*self.folder.glob("requests-*.jsonl"), *self.folder.glob("results-*.jsonl")):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    @property
    def open(self) -> list[Batch]:
        """Batches that have not ended."""
        return [batch for batch in self.batches.values() if not batch.status]

    @property
    def results(self) -> list[Path]:
        """Downloaded files that are not yet in the log."""
        names = [name for batch in self.batches.values() for name in batch.results]
        return [self.folder / name for name in names]

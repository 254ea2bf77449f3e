"""The output folder of a distributed run, on disk or in an object store, and what Ray transfers.

Its subfolder `ray/` contains everything that Ray reads and writes: `captions/`, `outcomes/`,
`checkpoint/` and, on disk, `answers/` with one log per block, and a file that askers lock. Captions
and their outcomes are rows of Parquet. A caption that got no answer is a row too, because an
exception would end Ray's job.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from paraclip.data.captions import Caption
from paraclip.data.triples import FURTHER_SCHEMA, SCHEMA
from paraclip.errors import UserError, without_password
from paraclip.paraphrase.filters.judge import Verdict
from paraclip.paraphrase.log import object_of, sorted_pair
from paraclip.paraphrase.steps import Failed, KeptTriple, Outcome, Rejected
from paraclip.provenance import unfolded, without_secrets

CAPTIONS, OUTCOMES, CHECKPOINT, ANSWERS = "captions", "outcomes", "checkpoint", "answers"
SETTINGS, ERROR, ASKERS = "settings.json", "error.json", "askers.lock"
_LARGEST_JSON = 2**20  # bytes
_SHARED = "Every machine must reach it: give a shared folder, or the URL of an object store."
_ROWS_OF_FILE = 50_000  # captions; Ray reads several files at the same time
KEY = "key"  # id column of the checkpoint: 64-bit numbers need a tenth of the memory of texts
_CAPTION = pa.schema(
    [
        pa.field(KEY, pa.int64(), nullable=False),
        *(SCHEMA.field(name) for name in ("id", "caption", "image_id", "image")),
    ]
)
KEPT, REJECTED, FAILED, UNJUDGED = "kept", "rejected", "failed", "unjudged"
OUTCOME = pa.schema(
    [
        pa.field(KEY, pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        *(field.with_nullable(True) for field in FURTHER_SCHEMA),
        pa.field("step", pa.int8()),
        # Reason of a rejection, or the problem of a failure: also of a kept triple's wording.
        pa.field("reason", pa.string()),
        # JSON: text, reason, similarity, overlap of each; of a kept triple, the missing wordings.
        pa.field("candidates", pa.string()),
        # Totals of the whole block, on its first row.
        pa.field("prompt_tokens", pa.int64()),
        pa.field("answer_tokens", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Place:
    """An output folder."""

    address: str  # absolute path, or URL
    files: fs.FileSystem  # that contains it
    path: str  # in that file system

    @property
    def local(self) -> Path | None:
        """The folder as a path; None for a URL."""
        return None if "://" in self.address else Path(self.address)

    def address_of(self, part: str) -> str:
        """Address of a folder below `ray/`, for Ray."""
        return f"{self.address}/ray/{part}"

    def path_of(self, part: str) -> str:
        """Path of a file or folder below `ray/`."""
        return f"{self.path}/ray/{part}"

    def clear(self, part: str) -> None:
        """Delete a file or folder below `ray/`, if it exists."""
        kind = self.files.get_file_info(self.path_of(part)).type
        if kind == fs.FileType.Directory:
            self.files.delete_dir(self.path_of(part))
        elif kind == fs.FileType.File:
            self.files.delete_file(self.path_of(part))

    def create(self, part: str) -> str:
        """Create a folder below `ray/`; returns its path."""
        self.files.create_dir(self.path_of(part), recursive=True)
        return self.path_of(part)

    def tables(self, part: str) -> list[str]:
        """Paths of the committed Parquet files in a folder below `ray/`."""
        chosen = fs.FileSelector(self.path_of(part), recursive=True, allow_not_found=True)
        paths = (one.path for one in self.files.get_file_info(chosen))
        tables = sorted(path for path in paths if path.endswith(".parquet"))
        return [path for path in tables if not path.endswith(".pending.parquet")]

    def columns(self, part: str, names: list[str]) -> Iterator[pa.Table]:
        """Some columns of each Parquet file of a folder below `ray/`."""
        for path in self.tables(part):
            yield pq.read_table(path, columns=names, filesystem=self.files, partitioning=None)

    def read_json(self, part: str) -> dict[str, Any] | None:
        """A JSON object below `ray/`, or None if it does not exist."""
        return object_of(self.read(f"ray/{part}"))

    def write_json(self, part: str, content: dict[str, Any]) -> None:
        """Write a JSON object below `ray/`; readers see the old or the new one, never a part."""
        self.create("")
        temporary = self.path_of(f"{part}.{uuid4().hex}")
        with self.files.open_output_stream(temporary) as stream:
            stream.write(json.dumps(content, indent=1).encode())
        self.files.move(temporary, self.path_of(part))

    def read(self, name: str) -> bytes:
        """The first MiB of a file of the output folder; empty if it does not exist."""
        try:
            with self.files.open_input_stream(f"{self.path}/{name}") as stream:
                return bytes(stream.read(_LARGEST_JSON))
        except OSError:
            return b""

    def take(self, folder: Path, outdated: Iterable[str] = ()) -> None:
        """Copy the files of a local folder here, and delete the outdated ones that it lacks."""
        self.files.create_dir(self.path, recursive=True)
        for name in outdated:
            old = f"{self.path}/{name}"
            is_file = self.files.get_file_info(old).type == fs.FileType.File
            if is_file and not (folder / name).exists():
                self.files.delete_file(old)
        for path in folder.iterdir():
            fs.copy_files(
                str(path), f"{self.path}/{path.name}", source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self.files,
            )  # fmt: skip


def place_of(out: Path) -> Place:
    """The place that --out names; raises UserError for an object store that pyarrow lacks."""
    address = unfolded(out)
    try:
        files, path = fs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError) as error:
        what = without_secrets(f"{address} cannot be opened ({error})")
        raise UserError("--out", what, _SHARED) from error
    return Place(address, files, path.rstrip("/"))


def _key_of(caption: Caption, attempt: int) -> int:
    """A signed 64-bit number that identifies the caption and everything asked about it.

    It changes with every failure (`attempt`), because Ray considers keys in its checkpoint as done.
    """
    content = [caption.id, caption.caption, caption.image_id, caption.image, attempt]
    digest = sha256(json.dumps(content).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _caption_row(caption: Caption, key: int) -> dict[str, Any]:
    """A row of CAPTION."""
    return {
        KEY: key, "id": caption.id, "caption": caption.caption, "image_id": caption.image_id,
        "image": caption.image and without_password(caption.image),
    }  # fmt: skip


def caption_of(row: dict[str, Any]) -> Caption:
    """The caption in a row of CAPTION or OUTCOME."""
    return Caption(row["id"], row["caption"], row["image_id"], row["image"], "")


def outcome_row(key: int, outcome: Outcome) -> dict[str, Any]:
    """A row of OUTCOME, without tokens."""
    if isinstance(outcome, KeptTriple):
        missing = [outcome_row(key, one) for one in outcome.missing]
        problem = next((one["reason"] for one in missing if one["outcome"] != REJECTED), None)
        listed = {"reason": problem, "candidates": json.dumps(missing)}
        return {KEY: key, "outcome": KEPT, **outcome.row, **listed}
    row = _caption_row(outcome.caption, key) | {"step": outcome.step, "kind": outcome.kind}
    if isinstance(outcome, Failed):
        name = UNJUDGED if outcome.unjudged else FAILED
        return row | {"outcome": name, "reason": outcome.problem}
    candidates = [
        [one.text, one.reason, float(one.similarity), float(one.overlap)]
        for one in outcome.verdicts
    ]
    return row | {
        "outcome": REJECTED, "reason": outcome.reason, "candidates": json.dumps(candidates),
    }  # fmt: skip


def _outcome_of(row: dict[str, Any]) -> Outcome:
    """The outcome in a row of OUTCOME."""
    if row["outcome"] == KEPT:
        missing = tuple(map(_unkept_of, json.loads(row["candidates"] or "[]")))
        return KeptTriple({name: row.get(name) for name in FURTHER_SCHEMA.names}, missing)
    return _unkept_of(row)


def _unkept_of(row: dict[str, Any]) -> Rejected | Failed:
    """The outcome in a row of OUTCOME, or of the missing wordings in one."""
    kind = row.get("kind", "")  # not a column: only those of kept triples have one
    if row["outcome"] in (FAILED, UNJUDGED):
        unjudged = row["outcome"] == UNJUDGED
        return Failed(caption_of(row), row["step"], row["reason"], kind=kind, unjudged=unjudged)
    verdicts = [Verdict(*candidate) for candidate in json.loads(row["candidates"])]
    return Rejected(caption_of(row), row["step"], row["reason"], verdicts, kind)


def write_captions(captions: Iterable[Caption], place: Place, failed: set[int]) -> np.ndarray:
    """Replace the captions for Ray; returns their keys in order, int64 [captions].

    Captions whose key has `failed` are asked about again under another key.
    """
    place.clear(CAPTIONS)
    folder = place.create(CAPTIONS)

    def row(caption: Caption) -> dict[str, Any]:
        attempt = 0
        while failed and _key_of(caption, attempt) in failed:
            attempt += 1
        return _caption_row(caption, _key_of(caption, attempt))

    rows = map(row, captions)
    keys: list[np.ndarray] = []
    while part := list(islice(rows, _ROWS_OF_FILE)):
        table = pa.Table.from_pylist(part, schema=_CAPTION)
        name = f"{folder}/part-{len(keys):06}.parquet"
        pq.write_table(table, name, filesystem=place.files, compression="zstd")
        keys.append(table[KEY].to_numpy())
    return np.concatenate([np.zeros(0, np.int64), *keys])


def failed_keys(place: Place) -> set[int]:
    """Keys of the captions that failed, or one of whose further wordings did."""
    failed: set[int] = set()
    for table in place.columns(OUTCOMES, [KEY, "outcome", "reason"]):
        rejected = pa.compute.equal(table["outcome"], REJECTED)
        rows = table.filter(pa.compute.and_not(table["reason"].is_valid(), rejected))
        failed.update(rows[KEY].to_pylist())
    return failed


def committed_keys(place: Place) -> np.ndarray:
    """Keys in Ray's checkpoint, int64 [keys]."""
    parts = [table[KEY].to_numpy() for table in place.columns(CHECKPOINT, [KEY])]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def tokens_of_blocks(place: Place) -> list[int]:
    """Numbers of prompt and answer tokens that the committed blocks used."""
    tables = place.columns(OUTCOMES, ["prompt_tokens", "answer_tokens"])
    sums = [[pa.compute.sum(column).as_py() or 0 for column in table] for table in tables]
    return [sum(column) for column in zip(*sums, strict=True)] or [0, 0]


def _row_finder(keys: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Maps keys to their indices in `keys` (both int64); -1 for captions not in the source."""
    known, rows = sorted_pair(keys.view(np.uint64), np.arange(len(keys)))  # type: ignore[arg-type]

    def find(wanted: np.ndarray) -> np.ndarray:
        if not len(known):
            return np.full(len(wanted), -1)
        numbers = wanted.astype(np.int64).view(np.uint64)
        positions = np.searchsorted(known, numbers).clip(max=len(known) - 1)
        return np.where(known[positions] == numbers, rows[positions].astype(np.int64), -1)

    return find


def outcomes_in_order(place: Place, keys: np.ndarray) -> Iterator[Outcome]:
    """The outcomes of all captions, in the order of their keys (int64) in the source.

    A block contains consecutive captions, so few rows wait in memory: files are read in the order
    of their first row, and a row waits only for files that begin before it.
    """

    def read(path: str, columns: list[str] | None = None) -> tuple[pa.Table, np.ndarray]:
        table = pq.read_table(path, columns=columns, filesystem=place.files, partitioning=None)
        return table, find(table[KEY].to_numpy())

    find, firsts = _row_finder(keys), list[tuple[int, str]]()
    for path in place.tables(OUTCOMES):
        _, rows = read(path, [KEY])
        if (rows >= 0).any():
            firsts.append((int(rows[rows >= 0].min()), path))
    firsts.sort()
    waiting, number, expected = list[tuple[int, int, dict[str, Any]]](), 0, 0
    for index, (_, path) in enumerate(firsts):
        table, rows = read(path)
        for row, values in zip(rows.tolist(), table.to_pylist(), strict=True):
            if row >= 0:
                number += 1
                heapq.heappush(waiting, (row, number, values))
        until = firsts[index + 1][0] if index + 1 < len(firsts) else len(keys)
        while waiting and waiting[0][0] < until:
            row, _, values = heapq.heappop(waiting)
            if row == expected:  # otherwise it is a duplicate
                expected += 1
                yield _outcome_of(values)
    assert expected == len(keys), "a row was lost"

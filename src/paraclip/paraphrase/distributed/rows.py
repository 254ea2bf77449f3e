"""Captions and their outcomes as rows of Parquet, the form in which Ray transfers them.

A caption that got no answer is a row too, because an exception would end Ray's whole job.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.captions import Caption
from paraclip.data.triples import SCHEMA
from paraclip.paraphrase.distributed.places import CAPTIONS, CHECKPOINT, OUTCOMES, Place
from paraclip.paraphrase.filters.judge import Verdict
from paraclip.paraphrase.log import sorted_pair
from paraclip.paraphrase.steps import Failed, KeptTriple, Outcome, Rejected

ROWS_OF_FILE = 50_000  # captions; Ray reads several files at the same time
KEY = "key"  # id column of the checkpoint: 64-bit numbers need a tenth of the memory of texts
CAPTION = pa.schema(
    [
        pa.field(KEY, pa.int64(), nullable=False),
        *(SCHEMA.field(name) for name in ("id", "caption", "image_id", "image")),
    ]
)
KEPT, REJECTED, FAILED = "kept", "rejected", "failed"
OUTCOME = pa.schema(
    [
        pa.field(KEY, pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        *(field.with_nullable(True) for field in SCHEMA),
        pa.field("step", pa.int8()),
        pa.field("reason", pa.string()),  # reason of a rejection, or the problem of a failure
        pa.field("candidates", pa.string()),  # JSON: text, reason, similarity, overlap of each
        # Totals of the whole block, on its first row.
        pa.field("prompt_tokens", pa.int64()),
        pa.field("answer_tokens", pa.int64()),
    ]
)


def key_of(caption: Caption, attempt: int) -> int:
    """A signed 64-bit number that identifies the caption and everything asked about it.

    Args:
        caption: the caption; an edited one gets another key.
        attempt: number of earlier failures; Ray considers keys in the checkpoint as done.
    """
    content = [caption.id, caption.caption, caption.image_id, caption.image, attempt]
    digest = sha256(json.dumps(content).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def caption_row(caption: Caption, key: int) -> dict[str, Any]:
    """A row of CAPTION."""
    return {
        KEY: key, "id": caption.id, "caption": caption.caption, "image_id": caption.image_id,
        "image": caption.image,
    }  # fmt: skip


def caption_of(row: dict[str, Any]) -> Caption:
    """The caption in a row of CAPTION or OUTCOME."""
    return Caption(row["id"], row["caption"], row["image_id"], row["image"], "")


def outcome_row(key: int, outcome: Outcome) -> dict[str, Any]:
    """A row of OUTCOME, without tokens."""
    if isinstance(outcome, KeptTriple):
        return {KEY: key, "outcome": KEPT, **outcome.row}
    row = caption_row(outcome.caption, key) | {"step": outcome.step}
    if isinstance(outcome, Failed):
        return row | {"outcome": FAILED, "reason": outcome.problem}
    candidates = [
        [one.text, one.reason, float(one.similarity), float(one.overlap)]
        for one in outcome.verdicts
    ]
    return row | {
        "outcome": REJECTED, "reason": outcome.reason, "candidates": json.dumps(candidates),
    }  # fmt: skip


def outcome_of(row: dict[str, Any]) -> Outcome:
    """The outcome in a row of OUTCOME."""
    if row["outcome"] == KEPT:
        return KeptTriple({name: row[name] for name in SCHEMA.names})
    if row["outcome"] == FAILED:
        return Failed(caption_of(row), row["step"], row["reason"])
    verdicts = [Verdict(*candidate) for candidate in json.loads(row["candidates"])]
    return Rejected(caption_of(row), row["step"], row["reason"], verdicts)


def write_captions(captions: Iterable[Caption], place: Place, failed: set[int]) -> np.ndarray:
    """Write the captions for Ray.

    Args:
        captions: captions of the source.
        place: location of the run; earlier files are replaced.
        failed: keys of earlier failures; their captions are asked about again under another key.

    Returns:
        Their keys in order, int64 [captions].
    """
    place.clear(CAPTIONS)
    folder = place.create(CAPTIONS)

    def row(caption: Caption) -> dict[str, Any]:
        attempt = 0
        while failed and key_of(caption, attempt) in failed:
            attempt += 1
        return caption_row(caption, key_of(caption, attempt))

    rows = map(row, captions)
    keys: list[np.ndarray] = []
    while part := list(islice(rows, ROWS_OF_FILE)):
        table = pa.Table.from_pylist(part, schema=CAPTION)
        name = f"{folder}/part-{len(keys):06}.parquet"
        pq.write_table(table, name, filesystem=place.files, compression="zstd")
        keys.append(table[KEY].to_numpy())
    return np.concatenate([np.zeros(0, np.int64), *keys])


def failed_keys(place: Place) -> set[int]:
    """Keys of the captions that failed."""
    failed: set[int] = set()
    for table in place.columns(OUTCOMES, [KEY, "outcome"]):
        rows = table.filter(pa.compute.equal(table["outcome"], FAILED))
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


@dataclass(frozen=True)
class Rows:
    """Position of each caption in the source.

    Args:
        keys: sorted keys, uint64 [captions].
        rows: row of each key, uint64 [captions].
    """

    keys: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray) -> "Rows":
        """The rows of captions with these keys (int64) in order."""
        numbers = np.arange(len(keys), dtype=np.uint64)
        return cls(*sorted_pair(keys.view(np.uint64), numbers))  # type: ignore[arg-type]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Rows of keys (int64), int64 [keys]; -1 for captions that are no longer in the source."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        wanted = keys.astype(np.int64).view(np.uint64)
        positions = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        return np.where(self.keys[positions] == wanted, self.rows[positions].astype(np.int64), -1)


def outcomes_in_order(place: Place, keys: np.ndarray) -> Iterator[Outcome]:
    """The outcomes of all captions, in the order of the source.

    A block contains consecutive captions, so few rows wait in memory: files are read in the order
    of their first row, and a row waits only for files that begin before it.

    Args:
        place: location of the run.
        keys: keys of the captions, int64 [captions].
    """
    rows = Rows.of(keys)
    waiting: list[tuple[int, int, dict[str, Any]]] = []
    ordered, number, expected = by_first_row(place, rows), 0, 0
    for index, (_, path) in enumerate(ordered):
        table = pq.read_table(path, filesystem=place.files, partitioning=None)
        places = rows.find(table[KEY].to_numpy()).tolist()
        for row, values in zip(places, table.to_pylist(), strict=True):
            if row >= 0:
                number += 1
                heapq.heappush(waiting, (row, number, values))
        until = ordered[index + 1][0] if index + 1 < len(ordered) else len(keys)
        while waiting and waiting[0][0] < until:
            row, _, values = heapq.heappop(waiting)
            if row == expected:  # otherwise it is a duplicate
                expected += 1
                yield outcome_of(values)
    assert expected == len(keys), "a row was lost"


def by_first_row(place: Place, rows: Rows) -> list[tuple[int, str]]:
    """First row and path of the files with outcomes of present captions, in order."""
    firsts: list[tuple[int, str]] = []
    for path in place.tables(OUTCOMES):
        table = pq.read_table(path, columns=[KEY], filesystem=place.files, partitioning=None)
        numbers = rows.find(table[KEY].to_numpy())
        if (numbers >= 0).any():
            firsts.append((int(numbers[numbers >= 0].min()), path))
    return sorted(firsts)

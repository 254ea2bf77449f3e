"""Contents of the files of a distributed run: finished captions, and outcomes in order."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.captions import Caption
from paraclip.paraphrase.distributed.outcomes import (
    CAPTION,
    FAILED,
    KEY,
    caption_row,
    key_of,
    outcome_of,
)
from paraclip.paraphrase.distributed.places import CAPTIONS, CHECKPOINT, OUTCOMES, Place
from paraclip.paraphrase.log import sorted_pair
from paraclip.paraphrase.steps import Outcome

ROWS_OF_FILE = 50_000  # captions; Ray reads several files at the same time


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
    rows = (caption_row(caption, next_key(caption, failed)) for caption in captions)
    keys: list[np.ndarray] = []
    while part := list(islice(rows, ROWS_OF_FILE)):
        table = pa.Table.from_pylist(part, schema=CAPTION)
        name = f"{folder}/part-{len(keys):06}.parquet"
        pq.write_table(table, name, filesystem=place.files, compression="zstd")
        keys.append(table[KEY].to_numpy())
    return np.concatenate([np.zeros(0, np.int64), *keys])


def next_key(caption: Caption, failed: set[int]) -> int:
    """The key of the first attempt of the caption that has not failed."""
    attempt = 0
    while failed and key_of(caption, attempt) in failed:
        attempt += 1
    return key_of(caption, attempt)


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

    def of(self, keys: np.ndarray) -> np.ndarray:
        """Rows of keys (int64), int64 [keys]; -1 for captions that are no longer in the source."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        wanted = keys.astype(np.int64).view(np.uint64)
        positions = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        return np.where(self.keys[positions] == wanted, self.rows[positions].astype(np.int64), -1)


def rows_of(keys: np.ndarray) -> Rows:
    """The rows of captions with these keys (int64) in order."""
    return Rows(*sorted_pair(keys.view(np.uint64), np.arange(len(keys), dtype=np.uint64)))  # type: ignore[arg-type]


def outcomes_in_order(place: Place, keys: np.ndarray) -> Iterator[Outcome]:
    """The outcomes of all captions, in the order of the source.

    A block contains consecutive captions, so few rows wait in memory: files are read in the order
    of their first row, and a row waits only for files that begin before it.

    Args:
        place: location of the run.
        keys: keys of the captions, int64 [captions].
    """
    rows = rows_of(keys)
    waiting: list[tuple[int, int, dict[str, Any]]] = []
    ordered, number, expected = by_first_row(place, rows), 0, 0
    for index, (_, path) in enumerate(ordered):
        table = pq.read_table(path, filesystem=place.files, partitioning=None)
        places = rows.of(table[KEY].to_numpy()).tolist()
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
        numbers = rows.of(table[KEY].to_numpy())
        if (numbers >= 0).any():
            firsts.append((int(numbers[numbers >= 0].min()), path))
    return sorted(firsts)

"""Rows of numbers by key, in files that grow, and that are read where they are needed.

A folder holds `rows.f32`, float32 [n, width], and `keys.bin`: a header of 512 bytes, and for each
row 16 bytes of the hash of its key and its CRC-32. A row is written before its key, so a killed run
leaves no key without a row; rows that it leaves without a key are written over. Only the keys are
read at once; the rows are mapped, and compared with their sums when they are asked for. One that
does not match is named and made again at the end, where the last row of a key counts. One process
at a time makes rows; others wait, and find them.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paraclip.arrays import Integers
from paraclip.errors import UserError
from paraclip.files import check_room, disk_errors, take_lock

ROWS, KEYS = "rows.f32", "keys.bin"
Make = Callable[[Integers], Iterable[tuple[Integers, Tensor]]]
"""Makes the rows of the keys with some numbers [missing], in batches that are kept at once: places
in `missing` [b], and rows float32 [b, width]. A key that it leaves out has a row of NaN."""

_FORMAT, _HEADER = "paraclip-rows-1", 512
_RECORD = np.dtype([("key", "S16"), ("sum", "<u4")])
_WIDEST = 2**16  # numbers in a row; wider ones are a damaged header
_BYTES_AT_ONCE = 1 << 24  # of rows that are compared with their sums


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Rows float32 [N, F] that are read when they are indexed.

    Args:
        stored: all rows of a store [n, F], mapped from its file.
        places: place of each of the N rows among them, int64 [N]; -1 for a row of NaN.
    """

    stored: Tensor
    places: Integers
    dtype = torch.float32

    @property
    def shape(self) -> torch.Size:
        """[N, F]."""
        return torch.Size((len(self.places), self.stored.shape[1]))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, chosen: slice | Integers | Tensor | Sequence[int]) -> Tensor:
        places = self.places[chosen if isinstance(chosen, slice) else np.asarray(chosen)]
        rows = torch.full((len(places), self.stored.shape[1]), torch.nan)
        known = torch.from_numpy(places >= 0)
        rows[known] = self.stored[torch.from_numpy(places)[known]]
        return rows

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def take(self, numbers: Integers) -> "StoredRows":
        """The rows of these numbers, int64 [M]; -1 for a row of NaN."""
        return replace(self, places=np.append(self.places, -1)[numbers])


def stored_rows(folder: Path | None, keys: Sequence[str], width: int, make: Make) -> StoredRows:
    """The rows of N keys; those that are missing are made, and kept for later runs in the folder,
    which is named after what makes its rows (None: they are in memory).

    `width` is the least width of a row, for a look at the disk. Raises UserError for a folder that
    cannot be written, or was made by another model.
    """
    if folder is None:
        return _in_memory(len(keys), width, make)
    # A text may hold half of a surrogate pair, which UTF-8 refuses.
    digests = [sha256(key.encode("utf-8", "surrogatepass")).digest()[:16] for key in keys]
    names = np.array(digests, _RECORD["key"])
    store = _Store(folder)
    places = store.find(names)
    if (places < 0).any():
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # The folder itself is locked, so no file of a lock is left in it.
            descriptor = os.open(folder, os.O_RDONLY)
        try:
            take_lock(descriptor, folder, wait=True)
            store = _Store(folder)  # another run may have made some rows meanwhile
            if len(missing := np.flatnonzero(store.find(names) < 0)):
                if store.damaged:
                    what = f"{store.damaged} do not match their sums and are made again"
                    print(f"paraclip: {folder / ROWS}: {what}", file=sys.stderr)
                check_room(folder, 4 * width * len(missing))
                for numbers, rows in make(missing):
                    store.append(names[missing[numbers]], rows)
        finally:
            os.close(descriptor)
        store = _Store(folder)
        places = store.find(names)
    return StoredRows(store.rows if store.count else torch.empty(0, width), places)


def _in_memory(count: int, width: int, make: Make) -> StoredRows:
    """The rows of `stored_rows` without a folder."""
    made, places = list(make(np.arange(count))) if count else [], np.full(count, -1)
    if not made:
        return StoredRows(torch.empty(0, width), places)
    numbers = np.concatenate([numbers for numbers, _ in made])
    places[numbers] = np.arange(len(numbers))
    return StoredRows(torch.cat([rows for _, rows in made]), places)


class _Store:
    """The two files of a folder as they are now."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.width, self.count = folder, 0, 0  # no width: no usable files
        self.damaged = ""  # which rows `find` came across
        try:
            with (folder / KEYS).open("rb") as file:
                self.width = self._read_width(file.read(_HEADER))
                records = np.fromfile(file, _RECORD) if self.width else np.empty(0, _RECORD)
            whole = os.stat(folder / ROWS).st_size // (4 * self.width) if self.width else 0
        except OSError:  # there are none yet; what may not be written is reported then
            return
        if whole < len(records):
            self.damaged = "the last rows"
        self.records = records[:whole]
        if count := len(self.records):
            self.count, shape = count, (count, self.width)
            # Copied on writing: torch warns of arrays that may not be written.
            self.rows = torch.from_numpy(np.memmap(folder / ROWS, "<f4", "c", shape=shape))

    def _read_width(self, header: bytes) -> int:
        """The width that a header states; 0 if it is damaged."""
        try:
            facts = json.loads(header)
            made_for, width = facts["made_for"], facts["width"]
            if facts["format"] != _FORMAT or not 0 < width <= _WIDEST:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            self.damaged = "all rows"
            return 0
        if made_for != self.folder.name:
            what = f"holds rows of another model ({made_for})"
            raise UserError(self.folder, what, "Move it back, or remove it.")
        return int(width)

    def find(self, names: NDArray[np.bytes_]) -> Integers:
        """Places [names] of rows that match their sum; -1 for keys without one."""
        if not self.count:
            return np.full(len(names), -1)
        keys = self.records["key"]
        order = np.argsort(keys, kind="stable")
        # The last of equal keys: an earlier one is damaged.
        found = np.searchsorted(keys, names, side="right", sorter=order) - 1
        places: Integers = order[np.maximum(found, 0)]
        places[keys[places] != names] = -1
        asked = np.unique(places[places >= 0])
        step, wrong = max(1, _BYTES_AT_ONCE // (4 * self.width)), []
        for start in range(0, len(asked), step):
            part = asked[start : start + step]
            sums = [crc32(row.data) for row in self.rows[torch.from_numpy(part)].numpy()]
            wrong.append(part[self.records["sum"][part] != np.array(sums, np.uint32)])
        if count := sum(map(len, wrong)):
            self.damaged = f"{count:,} rows"
            places[np.isin(places, np.concatenate(wrong))] = -1
        return places

    def append(self, names: NDArray[np.bytes_], rows: Tensor) -> None:
        """Write rows [names, width] and then their keys; only the holder of the lock does."""
        values, records = rows.contiguous().numpy(), np.empty(len(names), _RECORD)
        records["key"], records["sum"] = names, [crc32(row.data) for row in values]
        with disk_errors(self.folder / ROWS):
            if not self.width:
                self.width = values.shape[1]
                for name in (ROWS, KEYS):  # another process may read damaged ones
                    (self.folder / name).unlink(missing_ok=True)
                facts = {"format": _FORMAT, "made_for": self.folder.name, "width": self.width}
                header = json.dumps(facts, ensure_ascii=False).encode()
                _write_end(self.folder / KEYS, 0, header.ljust(_HEADER))
            _write_end(self.folder / ROWS, 4 * self.width * self.count, values.tobytes())
            place = _HEADER + _RECORD.itemsize * self.count
            _write_end(self.folder / KEYS, place, records.tobytes())
        self.count += len(names)


def _write_end(path: Path, place: int, content: bytes) -> None:
    """Write the end of a file, from a place in it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
        file.seek(place)
        file.write(content)
        file.truncate()

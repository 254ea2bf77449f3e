"""Image features on disk: shards that are written whole, so a killed run loses one at most.

A shard is a safetensors file with the tensor `features` float32 [rows, width] and, in its
metadata, the identity of each row, a checksum of the features, and the name of the folder, which
says which weights, preprocessing and precision made them. A file of mapped rows ends in a checksum.
Whatever does not agree with its checksum is computed again. `prune` removes what was not used.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4
from zlib import crc32

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from paraclip.errors import UserError
from paraclip.files import atomic_path, text_hash
from paraclip.models.tensors import save_tensors

ROWS_A_SHARD = 1024
ROWS_AT_ONCE = 16_384
BYTES_AT_ONCE = 1 << 24
CHECKSUM_BYTES = 4


def identity(reference: str) -> str:
    """What a picture's file is: path, size and time of change, as 32 hex digits.

    A picture inside a tar file is known by the tar file and its name in it; another URL by
    itself alone.
    """
    place = reference
    if reference.startswith("tar://") and "::" in reference:
        place = reference.split("::", 1)[1]
    facts = reference
    if "://" not in place:
        try:
            stat = os.stat(place)
        except OSError:
            facts = f"missing {reference}"
        else:
            whole = reference.replace(place, os.path.abspath(place))
            facts = f"{whole} {stat.st_size} {stat.st_mtime_ns}"
    return sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class FeatureCache:
    """Feature rows by the identity of their picture, in memory or in a folder of shards.

    Entered as a context it writes what is pending on the way out, whatever ended the block.

    Args:
        folder: where the shards are, or None to keep the rows in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.shards: list[Path | Tensor] = []
        self.places: dict[str, tuple[int, int]] = {}  # identity: shard, row
        self.pending: list[tuple[list[str], Tensor]] = []
        for path in sorted(folder.glob("*.safetensors")) if folder and folder.is_dir() else []:
            self.read_shard(path)

    def __contains__(self, key: str) -> bool:
        return key in self.places

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(self, *raised: object) -> None:
        self.flush()

    def read_shard(self, path: Path) -> None:
        """Note where the rows of a shard are; a broken shard is passed over and computed again.

        Raises:
            UserError: another model, preprocessing or precision made it.
        """
        try:
            with safe_open(path, "pt") as shard:
                facts = shard.metadata()
                keys, made_for = json.loads(facts["identities"]), facts.get("made_for", self.name)
                whole = is_whole(shard.get_tensor("features"), len(keys), facts["checksum"])
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError):
            return
        if made_for != self.name:
            what = f"holds image features of another model ({made_for})"
            raise UserError(path, what, f"Move it back, or remove {path.parent}.")
        if whole:
            mark_used(path)
            self.note(keys, path)

    @property
    def name(self) -> str:
        """What the features were made with."""
        return "" if self.folder is None else self.folder.name

    def note(self, keys: Sequence[str], shard: Path | Tensor) -> None:
        """The rows of `shard` belong to these identities."""
        self.places |= {key: (len(self.shards), row) for row, key in enumerate(keys)}
        self.shards.append(shard)

    def add(self, keys: list[str], features: Tensor) -> None:
        """Take rows [keys, width]; a full shard goes to disk."""
        self.pending.append((keys, features))
        if sum(len(part) for part, _ in self.pending) >= ROWS_A_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard.

        Raises:
            UserError: the disk is full or the place may not be written.
        """
        if not self.pending:
            return
        keys = [key for part, _ in self.pending for key in part]
        features = torch.cat([rows for _, rows in self.pending])
        self.pending = []
        if self.folder is None:
            self.note(keys, features)
            return
        path = self.folder / f"{uuid4().hex}.safetensors"
        facts = {
            "identities": json.dumps(keys),
            "made_for": self.name,
            "checksum": checksum(features),
        }
        save_tensors({"features": features}, path, facts)
        self.note(keys, path)

    def rows(self, keys: Sequence[str]) -> Tensor | None:
        """Rows [keys, width], NaN for unknown identities; None when all are unknown."""
        wanted: dict[int, list[tuple[int, int]]] = {}  # shard: (place in the answer, row)
        for place, key in enumerate(keys):
            if key in self.places:
                shard, row = self.places[key]
                wanted.setdefault(shard, []).append((place, row))
        answer: Tensor | None = None
        for shard, pairs in wanted.items():
            features = self.load(shard)
            if answer is None:
                answer = torch.full((len(keys), features.shape[1]), torch.nan)
            answer[[place for place, _ in pairs]] = features[[row for _, row in pairs]]
        return answer

    def mapped(self, keys: Sequence[str], width: int) -> Tensor:
        """Rows [keys, width] as `rows` has them, from one file that takes no memory.

        The file is kept: the next run on the same pictures, and other processes, map it too.

        Raises:
            UserError: the disk is full or the place may not be written.
        """
        if self.folder is None:
            raise ValueError("rows that are held in memory cannot be mapped")
        known = text_hash("\n".join(key if key in self else "" for key in keys))
        path = self.folder / f"rows-{known}.npy"
        if rows_are_whole(path, len(keys), width):
            mark_used(path)
        else:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                write_rows(file, self.parts(keys, width), len(keys), width)
        return torch.from_numpy(np.load(path, mmap_mode="c"))

    def parts(self, keys: Sequence[str], width: int) -> Iterator[Tensor]:
        """Rows as `rows` has them, some at once."""
        for start in range(0, len(keys), ROWS_AT_ONCE):
            part = keys[start : start + ROWS_AT_ONCE]
            found = self.rows(part)
            yield torch.full((len(part), width), torch.nan) if found is None else found

    def load(self, shard: int) -> Tensor:
        """Features [rows, width] of a shard."""
        held = self.shards[shard]
        if isinstance(held, Tensor):
            return held
        with safe_open(held, "pt") as stored:
            features: Tensor = stored.get_tensor("features")
        return features


def checksum(features: Tensor) -> str:
    """CRC-32 of the bytes of features: found faster than they are read from a disk."""
    return f"{crc32(features.contiguous().numpy().data):08x}"


def is_whole(features: Tensor, rows: int, expected: str) -> bool:
    """Whether a shard's features have the right shape and are the ones that were written."""
    fits = features.ndim == 2 and len(features) == rows and features.dtype == torch.float32
    return fits and checksum(features) == expected


def write_rows(file: BinaryIO, parts: Iterator[Tensor], rows: int, width: int) -> None:
    """Write float32 rows [rows, width] as .npy, and a checksum behind them, which numpy ignores."""
    shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(file, shape)
    found = 0
    for part in parts:
        content = part.contiguous().numpy().data
        found = crc32(content, found)
        file.write(content)
    file.write(found.to_bytes(CHECKSUM_BYTES, "big"))


def rows_are_whole(path: Path, rows: int, width: int) -> bool:
    """Whether a file of mapped rows has this shape and agrees with its checksum."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0(file)
            left = path.stat().st_size - file.tell() - CHECKSUM_BYTES
            if header != ((rows, width), False, np.dtype("<f4")) or left != 4 * rows * width:
                return False
            found = 0
            while left:
                content = file.read(min(left, BYTES_AT_ONCE))
                if not content:  # cut off meanwhile
                    return False
                found, left = crc32(content, found), left - len(content)
            return file.read() == found.to_bytes(CHECKSUM_BYTES, "big")
    except (OSError, ValueError, SyntaxError):
        return False


def mark_used(path: Path) -> None:
    """Let the time of change say when a file was last used; `prune` goes by it."""
    with suppress(OSError):
        os.utime(path)


DAY = 86_400.0
# A run that is at work reads its shards again and again: what was just used stays.
IN_USE = 3_600.0
FOLDER = re.compile(r"[\w.-]+-[0-9a-f]{16}-(fp32|bf16)")
FILE = re.compile(r"[0-9a-f]{32}\.safetensors|rows-[0-9a-f]{16}\.npy|\..*\.part")


@dataclass(frozen=True)
class Pruned:
    """What `prune` did.

    Args:
        files: how many files it removed.
        removed: their bytes.
        kept: bytes of the features that are left.
    """

    files: int
    removed: int
    kept: int


def prune(cache: Path, days: float | None = None, most_bytes: int | None = None) -> Pruned:
    """Remove image features that were not used for long, then the longest unused until all fit.

    Only files that `FeatureCache` writes are touched, and none that was used within the hour.

    Args:
        cache: folder of image features, as given to `image_features`.
        days: most days since the last use, or None for any.
        most_bytes: most bytes of all files together, or None for any.
    """
    now = time.time()
    found = sorted(cached_files(cache), key=lambda path: path.stat().st_mtime)
    left = sum(path.stat().st_size for path in found)
    count = removed = 0
    for path in found:
        unused, size = now - path.stat().st_mtime, path.stat().st_size
        old = days is not None and unused > days * DAY
        if unused > IN_USE and (old or (most_bytes is not None and left > most_bytes)):
            path.unlink(missing_ok=True)
            count, removed, left = count + 1, removed + size, left - size
    for folder in {path.parent for path in found}:
        with suppress(OSError):  # not empty
            folder.rmdir()
    return Pruned(count, removed, left)


def cached_files(cache: Path) -> list[Path]:
    """Files of features in a cache; links and whatever else lies there are left out."""
    return [
        path
        for folder in (cache.iterdir() if cache.is_dir() else ())
        if FOLDER.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
        for path in folder.iterdir()
        if FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]

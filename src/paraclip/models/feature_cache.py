"""On-disk cache of image features in shards; a killed run loses at most one shard.

A shard is a safetensors file with the tensor `features` float32 [rows, width]. Its metadata
contains the key of each row, a checksum, and the name of the folder, which identifies weights,
preprocessing and precision. A file of mapped rows ends in a checksum. Features that do not match
their checksum are computed again. `prune` removes unused files.
"""

import json
import os
import re
import stat
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

from paraclip.data.lines import is_remote, local_path
from paraclip.data.shards import split_reference
from paraclip.errors import UserError
from paraclip.files import atomic_path, text_hash
from paraclip.models.tensors import save_tensors

ROWS_A_SHARD = 1024
ROWS_AT_ONCE = 16_384
BYTES_AT_ONCE = 1 << 24
CHECKSUM_BYTES = 4
DAY = 86_400.0  # seconds
IN_USE = 3_600.0  # seconds; a run reads its shards repeatedly
FOLDER = re.compile(r"[\w.-]+-[0-9a-f]{16}-(fp32|bf16)")
FILE = re.compile(r"[0-9a-f]{32}\.safetensors|rows-[0-9a-f]{16}\.npy|\..*\.part")


def identity(reference: str) -> str:
    """Key of a picture, 32 hex digits: a hash of the file's path, size and modification time.

    For a picture in a tar file, those of the tar file and its name there; for other URLs, the URL.
    """
    in_shard = split_reference(reference)
    path = local_path(in_shard[0] if in_shard else reference)
    facts = reference
    if not is_remote(path):
        try:
            state = os.stat(path)
        except OSError:
            facts = f"missing {reference}"
        else:
            absolute = reference.replace(path, os.path.abspath(path))
            facts = f"{absolute} {state.st_size} {state.st_mtime_ns}"
    return sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class FeatureCache:
    """Feature rows by the key of their picture, in memory or in a folder of shards.

    As a context manager, it writes pending rows on exit, also after an error.

    Args:
        folder: folder of the shards, or None to keep the rows in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.shards: list[Path | Tensor] = []
        self.index: dict[str, tuple[int, int]] = {}  # key: shard, row
        self.pending: list[tuple[list[str], Tensor]] = []
        for path in sorted(folder.glob("*.safetensors")) if folder and folder.is_dir() else []:
            self.read_shard(path)

    def __contains__(self, key: str) -> bool:
        return key in self.index

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(self, *raised: object) -> None:
        self.flush()

    def read_shard(self, path: Path) -> None:
        """Index the rows of a shard; a broken or removed one is ignored and computed again."""
        try:
            with safe_open(path, "pt") as shard:
                facts = shard.metadata()
                keys, made_for = json.loads(facts["identities"]), facts.get("made_for", self.name)
                valid = is_valid(shard.get_tensor("features"), len(keys), facts["checksum"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError):
            return
        if made_for != self.name:
            what = f"holds image features of another model ({made_for})"
            raise UserError(path, what, f"Move it back, or remove {path.parent}.")
        if valid:
            mark_used(path)
            self.add_shard(keys, path)

    @property
    def name(self) -> str:
        """Name of the folder, which identifies model, preprocessing and precision."""
        return "" if self.folder is None else self.folder.name

    def add_shard(self, keys: Sequence[str], shard: Path | Tensor) -> None:
        """Index the rows of a shard by their keys."""
        self.index |= {key: (len(self.shards), row) for row, key in enumerate(keys)}
        self.shards.append(shard)

    def add(self, keys: list[str], features: Tensor) -> None:
        """Add rows [keys, width]; full shards are written."""
        self.pending.append((keys, features))
        if sum(len(part) for part, _ in self.pending) >= ROWS_A_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write pending rows as one shard."""
        if not self.pending:
            return
        keys = [key for part, _ in self.pending for key in part]
        features = torch.cat([rows for _, rows in self.pending])
        self.pending = []
        if self.folder is None:
            self.add_shard(keys, features)
            return
        path = self.folder / f"{uuid4().hex}.safetensors"
        facts = {
            "identities": json.dumps(keys),
            "made_for": self.name,
            "checksum": checksum(features),
        }
        save_tensors({"features": features}, path, facts)
        self.add_shard(keys, path)

    def rows(self, keys: Sequence[str]) -> Tensor | None:
        """Rows [keys, width], NaN for unknown keys; None if all are unknown."""
        by_shard: dict[int, list[tuple[int, int]]] = {}  # shard: (output row, row)
        for output_row, key in enumerate(keys):
            if key in self.index:
                shard, row = self.index[key]
                by_shard.setdefault(shard, []).append((output_row, row))
        output: Tensor | None = None
        for shard, pairs in by_shard.items():
            features = self.features_of(shard)
            if output is None:
                output = torch.full((len(keys), features.shape[1]), torch.nan)
            output[[target for target, _ in pairs]] = features[[row for _, row in pairs]]
        return output

    def mapped(self, keys: Sequence[str], width: int) -> Tensor:
        """Rows [keys, width] as from `rows`, memory-mapped from one file.

        The file is kept in the cache for later runs on the same pictures and for other processes.
        """
        if self.folder is None:
            raise ValueError("a cache in memory has no file to map")
        known = text_hash("\n".join(key if key in self else "" for key in keys))
        path = self.folder / f"rows-{known}.npy"
        if rows_are_valid(path, len(keys), width):
            mark_used(path)
        else:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                write_rows(file, self.parts(keys, width), len(keys), width)
        return torch.from_numpy(np.load(path, mmap_mode="c"))

    def parts(self, keys: Sequence[str], width: int) -> Iterator[Tensor]:
        """Rows as from `rows`, in parts."""
        for start in range(0, len(keys), ROWS_AT_ONCE):
            part = keys[start : start + ROWS_AT_ONCE]
            rows = self.rows(part)
            yield torch.full((len(part), width), torch.nan) if rows is None else rows

    def features_of(self, shard: int) -> Tensor:
        """Features [rows, width] of a shard."""
        source = self.shards[shard]
        if isinstance(source, Tensor):
            return source
        with safe_open(source, "pt") as stored:
            features: Tensor = stored.get_tensor("features")
        return features


def checksum(features: Tensor) -> str:
    """CRC-32 of the bytes of features; computing it is faster than reading them from disk."""
    return f"{crc32(features.contiguous().numpy().data):08x}"


def is_valid(features: Tensor, rows: int, expected: str) -> bool:
    """Whether a shard's features have the right shape and checksum."""
    fits = features.ndim == 2 and len(features) == rows and features.dtype == torch.float32
    return fits and checksum(features) == expected


def write_rows(file: BinaryIO, parts: Iterator[Tensor], rows: int, width: int) -> None:
    """Write float32 rows [rows, width] as .npy with a trailing checksum, which numpy ignores."""
    shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(file, shape)
    crc = 0
    for part in parts:
        content = part.contiguous().numpy().data
        crc = crc32(content, crc)
        file.write(content)
    file.write(crc.to_bytes(CHECKSUM_BYTES, "big"))


def rows_are_valid(path: Path, rows: int, width: int) -> bool:
    """Whether a file of mapped rows has this shape and matches its checksum."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0(file)
            left = path.stat().st_size - file.tell() - CHECKSUM_BYTES
            if header != ((rows, width), False, np.dtype("<f4")) or left != 4 * rows * width:
                return False
            crc = 0
            while left:
                content = file.read(min(left, BYTES_AT_ONCE))
                if not content:  # truncated in the meantime
                    return False
                crc, left = crc32(content, crc), left - len(content)
            return file.read() == crc.to_bytes(CHECKSUM_BYTES, "big")
    except (OSError, ValueError, SyntaxError):
        return False


def mark_used(path: Path) -> None:
    """Set the modification time to now; `prune` uses it as the time of the last use."""
    with suppress(OSError):
        os.utime(path)


@dataclass(frozen=True)
class Pruned:
    """Result of `prune`."""

    files: int  # number of removed files
    removed: int  # their bytes
    kept: int  # bytes of the remaining files


def prune(cache: Path, days: float | None = None, most_bytes: int | None = None) -> Pruned:
    """Remove image features by age, then the least recently used ones until the rest fits a size.

    Only files of `FeatureCache` are removed, and none that was used within the last hour.

    Args:
        cache: folder of image features, as for `image_features`.
        days: maximum age since the last use, or None for no limit.
        most_bytes: maximum total size, or None for no limit.
    """
    now = time.time()
    files = sorted(cached_files(cache))
    left = sum(size for _, size, _ in files)
    count = removed = 0
    for used, size, path in files:
        unused = now - used
        old = days is not None and unused > days * DAY
        if unused > IN_USE and (old or (most_bytes is not None and left > most_bytes)):
            path.unlink(missing_ok=True)
            count, removed, left = count + 1, removed + size, left - size
    for folder in {path.parent for _, _, path in files}:
        with suppress(OSError):  # not empty
            folder.rmdir()
    return Pruned(count, removed, left)


def cached_files(cache: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of the last use, bytes and path of each file of features, without links and others.

    Files that another process removes or renames meanwhile are left out.
    """
    for folder in cache.iterdir() if cache.is_dir() else ():
        if FOLDER.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            for path in folder.iterdir():
                with suppress(FileNotFoundError):
                    state = path.lstat()
                    if FILE.fullmatch(path.name) and stat.S_ISREG(state.st_mode):
                        yield state.st_mtime, state.st_size, path

"""Vectors of many texts and pictures; those of frozen towers are cached on disk.

Features of pictures are in shards, so that a killed run loses at most one. A shard is a safetensors
file with the tensor `features` float32 [rows, width]. Its metadata contains the key of each row, a
checksum, and the name of the folder, which identifies weights, preprocessing and precision. What
may exceed the memory is mapped from a file: the features of a run's pictures, copied from the
shards, and the vectors of its texts. Each row has a checksum there. What does not match its
checksum is computed again. `prune` removes unused files.
"""

import json
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from hashlib import sha256
from io import BytesIO
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from paraclip.arrays import Integers
from paraclip.data.images import open_image
from paraclip.data.lines import is_remote, local_path
from paraclip.data.problems import Problems
from paraclip.data.shards import split_reference
from paraclip.errors import UserError
from paraclip.files import check_room, disk_errors, take_lock, text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import hash_tensors, save_tensors
from paraclip.progress import bar, track

IMAGES_AT_ONCE = 64
_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PREPROCESSORS = min(max(_CPUS, 2), 16)  # threads; two, so that one decodes while another waits

_Decoded = Tensor | UserError
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Mask = NDArray[np.bool_]
_Numbered = tuple[Integers, Tensor]  # numbers of rows, and the rows

_ROWS_A_SHARD = 1024
_ROWS_AT_ONCE = 16_384
_TEXTS_AT_ONCE = 256
_BYTES_AT_ONCE = 1 << 24
_DAY = 86_400.0  # seconds
_IN_USE = 3_600.0  # seconds; a run reads its shards repeatedly
_FOLDER = re.compile(r"[\w.-]+-[0-9a-f]{16}-(fp32|bf16)")
_FILE = re.compile(r"[0-9a-f]{32}\.safetensors|rows-[0-9a-f]{16}\.npy|\..*\.part")


def half_precision(model: DualEncoder, precision: str) -> AbstractContextManager[object]:
    """Autocast to bf16 if `precision` is bf16."""
    if precision not in ("fp32", "bf16"):
        raise UserError("precision", f"{precision!r} is unknown", "Choose fp32 or bf16.")
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def encode_texts(
    model: DualEncoder,
    texts: Sequence[str],
    batch_size: int = _TEXTS_AT_ONCE,
    label: str | None = None,
    precision: str = "fp32",
) -> Tensor:
    """Unit vectors float32 [texts, embed_dim] on the CPU, in the order of the texts.

    Texts are batched by their number of tokens, which keeps padding low (sorting by characters
    costs a quarter more). Equal texts are computed once.

    Args:
        model: model; its text tower is set to evaluation mode.
        texts: texts; truncated to the model's context.
        batch_size: maximum number of texts per batch.
        label: label of a progress bar, or None for no bar.
        precision: fp32 or bf16.
    """
    model.eval()
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors, every = torch.empty(len(rows), model.architecture.embed_dim), np.ones(len(rows), bool)
    with half_precision(model, precision):
        for batch, encoded in _encode(model, list(rows), [0, len(rows)], batch_size, label, every):
            vectors[batch] = encoded
    return vectors[[rows[text] for text in texts]]


def _encode(
    model: DualEncoder,
    texts: Sequence[str],
    bounds: Sequence[int],
    batch_size: int,
    label: str | None,
    wanted: _Mask,
) -> Iterator[_Numbered]:
    """Batches with a wanted text, by number of tokens between two bounds, and their vectors."""
    batches = []
    for first, end in pairwise(bounds):
        lengths = [model.tokenize([text]).ids.shape[1] for text in texts[first:end]]
        order = first + np.argsort(lengths, kind="stable")
        parts = (order[start : start + batch_size] for start in range(0, len(order), batch_size))
        batches += [batch for batch in parts if wanted[batch].any()]
    for batch in batches if label is None else track(batches, label, len(batches), "batch"):
        ids = model.tokenize([texts[number] for number in batch]).ids.to(model.device)
        yield batch, model.encode_tokens(ids).float().cpu()


@torch.no_grad()
def mapped_texts(
    model: DualEncoder, lists: Sequence[Sequence[str]], cache: Path, label: str
) -> tuple[Tensor, list[Integers]]:
    """What `encode_texts` gives for lists of texts, memory-mapped from a file in the cache.

    The file is kept for later runs on the same texts and for other processes. A killed run loses at
    most one batch. Raises UserError if the file cannot be written.

    Returns:
        Unit vectors float32 [n, embed_dim], and where those of each list are, int64 [texts].
    """
    model.eval()
    every, bounds, places = list[str](), [0], list[Integers]()
    for texts in lists:
        known = {text: place for place, text in enumerate(dict.fromkeys(texts), len(every))}
        places.append(np.asarray([known[text] for text in texts], dtype=np.int64))
        every += known
        bounds.append(len(every))
    facts = json.dumps([model.architecture.as_dict(), model.header()], sort_keys=True)
    weights = hash_tensors({**model.text_tower.state_dict(), facts: torch.zeros(0)})
    folder = cache / f"{model.architecture.kind}-{weights}-fp32"
    path = folder / f"rows-{text_hash(json.dumps([bounds, every]))}.npy"
    make = partial(_encode, model, every, bounds, _TEXTS_AT_ONCE, label)
    return _map_rows(path, (len(every), model.architecture.embed_dim), make), places


def encode_images(
    model: DualEncoder,
    references: Sequence[str],
    cache: Path | None = None,
    problems: Problems | None = None,
    precision: str = "fp32",
    label: str = "image features",
) -> Tensor:
    """Unit vectors float32 [references, embed_dim] on the CPU; arguments of `image_features`."""
    return project(model, image_features(model, references, cache, problems, precision, label))


@torch.no_grad()
def project(model: DualEncoder, features: Tensor, batch_size: int = 4096) -> Tensor:
    """Unit image vectors float32 [rows, embed_dim] of cached features; NaN rows stay NaN."""
    model.eval()
    parts = [
        model.project_images(part.to(model.device)).cpu()
        for part in torch.split(features, batch_size)
    ]
    return torch.cat(parts) if parts else torch.empty(0, model.architecture.embed_dim)


def image_features(
    model: DualEncoder,
    references: Sequence[str],
    cache: Path | None = None,
    problems: Problems | None = None,
    precision: str = "fp32",
    label: str = "image features",
) -> Tensor:
    """Features of the frozen image tower, float32 [references, width] on the CPU.

    Each picture is computed once, and with a cache only once for all runs. The cache key consists
    of the weights, the preprocessing, the precision and the file (path, size, modification time). A
    killed run resumes from the last shard that it wrote.

    Args:
        model: model; its image tower is set to evaluation mode.
        references: paths or URLs, as for `open_image`.
        cache: folder of the cache, or None for no cache.
        problems: collects broken pictures, whose rows are NaN; the caller checks their number.
        precision: fp32 or bf16 (autocast).
        label: label of the progress bar.

    Raises:
        UserError: a picture is missing or broken and `problems` is None; the disk is full.
    """
    features, keys = _filled_cache(model, references, cache, problems, precision, label)
    rows = features.rows([keys[name] for name in references])
    if rows is None:  # all pictures are broken
        return torch.full((len(references), _feature_width(model)), torch.nan)
    return rows


def mapped_features(
    model: DualEncoder,
    references: Sequence[str | None],
    cache: Path,
    problems: Problems | None = None,
) -> Tensor:
    """Like `image_features` in fp32, but the rows are memory-mapped from a file in the cache.

    Args:
        model, cache, problems: as for `image_features`.
        references: one per row, None without a picture (NaN).
    """
    names = [name for name in references if name]
    features, keys = _filled_cache(model, names, cache, problems)
    return features.mapped([keys.get(name or "", "") for name in references], _feature_width(model))


def _filled_cache(
    model: DualEncoder,
    references: Sequence[str],
    cache: Path | None,
    problems: Problems | None,
    precision: str = "fp32",
    label: str = "image features",
) -> tuple["FeatureCache", dict[str, str]]:
    """A cache with the features of all readable pictures, and the key of each picture."""
    features, keys, broken = fill_features(model, references, cache, precision, label)
    for name, error in broken.items():
        if problems is None:
            raise error
        problems.add(name, error.what, rows=1)
    return features, keys


def fill_features(
    model: DualEncoder,
    references: Sequence[str],
    cache: Path | None,
    precision: str = "fp32",
    label: str = "image features",
) -> tuple["FeatureCache", dict[str, str], dict[str, UserError]]:
    """A cache with the features of all readable pictures, the key of each picture, and the errors
    of the others; arguments of `image_features`."""
    model.eval()
    features = FeatureCache(cache and cache / f"{model.image_key()}-{precision}")
    keys = {name: identity(name) for name in dict.fromkeys(references)}
    missing = [name for name in keys if keys[name] not in features]
    if features.folder and missing:  # those of `mini` are wider
        check_room(features.folder, 4 * len(missing) * model.architecture.embed_dim)
    pictures = read_pictures(model, missing)
    return features, keys, compute(model, pictures, keys, features, precision, label)


def compute(
    model: DualEncoder,
    pictures: Iterator[tuple[str, _Decoded]],
    keys: dict[str, str],
    cache: "FeatureCache",
    precision: str,
    label: str,
) -> dict[str, UserError]:
    """Compute features into the cache; returns the errors of pictures that could not be read."""
    broken: dict[str, UserError] = {}
    done = sum(key in cache for key in keys.values())
    if done == len(keys):
        return broken
    with bar(label, len(keys), "image", done=done) as progress, cache:
        for batch in batches(pictures, IMAGES_AT_ONCE):
            good = [(name, pixels) for name, pixels in batch if isinstance(pixels, Tensor)]
            broken |= {name: error for name, error in batch if isinstance(error, UserError)}
            if good:
                features = embed(model, torch.stack([pixels for _, pixels in good]), precision)
                if len(wrong := (~torch.isfinite(features)).any(1).nonzero()):
                    what = "its image features are NaN or infinite"
                    hint = "Use fp32, or check the model's weights."
                    raise UserError(good[int(wrong[0])][0], what, hint)
                cache.add([keys[name] for name, _ in good], features)
            progress.update(len(batch))
    return broken


@torch.no_grad()
def embed(model: DualEncoder, pixels: Tensor, precision: str) -> Tensor:
    """Frozen features float32 [batch, width] on the CPU."""
    with half_precision(model, precision):
        return model.embed_pixels(pixels.to(model.device)).float().cpu()


def _feature_width(model: DualEncoder) -> int:
    """Width of the image features, from a forward pass."""
    side = model.image_size
    return embed(model, torch.zeros(1, 3, side, side), "fp32").shape[1]


def read_pictures(
    model: DualEncoder, names: Sequence[str], open_named: Callable[[str], Image] | None = None
) -> Iterator[tuple[str, _Decoded]]:
    """Names with pixels [3, side, side] or the error, in order, read a few batches in advance.

    Threads suffice, because Pillow releases the GIL while it decodes and resizes.
    """

    def read(name: str) -> _Decoded:
        try:
            image = open_named(name) if open_named else open_image(name, model.image_size)
            return model.preprocess(image)
        except UserError as error:
            return error

    return ahead(read, names, PREPROCESSORS, 3 * IMAGES_AT_ONCE)


def ahead(
    work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int, most: int
) -> Generator[tuple[_Item, _Result]]:
    """Items with their results, computed in threads; at most `most` results are pending."""
    waiting: list[tuple[_Item, Future[_Result]]] = []
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= most:
                first, done = waiting.pop(0)
                yield first, done.result()
        for first, done in waiting:
            yield first, done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batches(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    """Lists of `size` items; the last one may be shorter."""
    while batch := list(islice(items, size)):
        yield batch


def image_space(model: DualEncoder) -> str:
    """Hash of everything on the image side, 16 hex digits.

    Two models give a picture the same vector if and only if their hashes are equal (up to
    rounding): base, control, tuned and merged models share one. In contrast to
    `DualEncoder.image_key`, it covers the trained image head of `mini`.
    """
    return text_hash(f"{model.image_key()} {hash_tensors(model.image_tower.state_dict())}")


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
                features = shard.get_tensor("features")
                fits = features.shape[:-1] == (len(keys),) and features.dtype == torch.float32
                valid = fits and _checksum(features) == facts["checksum"]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError):
            return
        if made_for != self.name:
            what = f"holds image features of another model ({made_for})"
            raise UserError(path, what, f"Move it back, or remove {path.parent}.")
        if valid:
            _mark_used(path)
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
        if sum(len(part) for part, _ in self.pending) >= _ROWS_A_SHARD:
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
            "checksum": _checksum(features),
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
            source = self.shards[shard]
            if isinstance(source, Tensor):
                features = source
            else:
                with safe_open(source, "pt") as stored:
                    features = stored.get_tensor("features")
            if output is None:
                output = torch.full((len(keys), features.shape[1]), torch.nan)
            output[[target for target, _ in pairs]] = features[[row for _, row in pairs]]
        return output

    def mapped(self, keys: Sequence[str], width: int) -> Tensor:
        """Rows [keys, width] as from `rows`, memory-mapped from a file that the cache keeps."""
        if self.folder is None:
            raise ValueError("a cache in memory has no file to map")
        known = text_hash("\n".join(key if key in self else "" for key in keys))

        def make(missing: _Mask) -> Iterator[_Numbered]:
            numbers = np.flatnonzero(missing)
            for start in range(0, len(numbers), _ROWS_AT_ONCE):
                part = numbers[start : start + _ROWS_AT_ONCE]
                rows = self.rows([keys[number] for number in part])
                yield part, torch.full((len(part), width), torch.nan) if rows is None else rows

        return _map_rows(self.folder / f"rows-{known}.npy", (len(keys), width), make)


def _checksum(features: Tensor) -> str:
    """CRC-32 of the bytes of features; computing it is faster than reading them from disk."""
    return f"{crc32(features.contiguous().numpy().data):08x}"


def _map_rows(
    path: Path, shape: tuple[int, int], make: Callable[[_Mask], Iterator[_Numbered]]
) -> Tensor:
    """Rows float32 of a shape, memory-mapped from a .npy file in which missing ones are made."""
    # The CRC-32 of each row follows after the last row, where numpy does not look. Where nothing
    # was written, it is 0, which is not that of zeros.
    buffer, (count, width) = BytesIO(), shape
    facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, facts)
    first, sums = buffer.tell(), buffer.tell() + 4 * count * width
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_RDONLY | os.O_CREAT, 0o666), "rb") as file:
            take_lock(file, path, wait=True)
            missing, damaged = _find_missing(file, buffer.getvalue(), shape)
            if damaged:
                print(f"paraclip: {path} has wrong checksums; it is repaired", file=sys.stderr)
            if missing.any() or not count:
                check_room(path.parent, sums + 4 * count - 512 * os.fstat(file.fileno()).st_blocks)
                with path.open("r+b") as writable:
                    writable.write(buffer.getvalue())
                    writable.truncate(sums + 4 * count)
                    for numbers, rows in make(missing):
                        for number, row in zip(numbers.tolist(), rows.contiguous(), strict=True):
                            writable.seek(first + 4 * number * width)
                            writable.write(content := row.numpy().data)
                            writable.seek(sums + 4 * number)
                            writable.write(crc32(content).to_bytes(4, "big"))
                        writable.flush()
    _mark_used(path)
    return torch.from_numpy(np.load(path, mmap_mode="c"))  # a map of `file` would keep the lock


def _find_missing(file: BinaryIO, header: bytes, shape: tuple[int, int]) -> tuple[_Mask, bool]:
    """Which rows [count] do not match their checksum, and whether any of these was written."""
    (count, width), size = shape, os.fstat(file.fileno()).st_size
    if size != len(header) + 4 * count * (width + 1) or file.read(len(header)) != header:
        return np.ones(count, bool), size > 0
    actual, step = np.empty(count, dtype=np.uint32), max(1, _BYTES_AT_ONCE // (4 * width))
    for start in range(0, count, step):
        part = np.fromfile(file, "<f4", width * min(step, count - start)).reshape(-1, width)
        actual[start : start + step] = [crc32(row.data) for row in part]
    sums = np.fromfile(file, ">u4", count)
    return actual != sums, bool(sums[actual != sums].any())


def _mark_used(path: Path) -> None:
    """Set the modification time to now; `prune` uses it as the time of the last use."""
    with suppress(OSError):
        os.utime(path)


def prune(cache: Path, days: float) -> None:
    """Remove features and vectors that were not used for some days.

    Only files of this module are removed, and none that was used within the last hour.

    Args:
        cache: folder of the cache, as for `image_features` or `mapped_texts`.
        days: maximum age since the last use.
    """
    now = time.time()
    files = list(_cached_files(cache))
    for used, path in files:
        if now - used > max(days * _DAY, _IN_USE):
            path.unlink(missing_ok=True)
    for folder in {path.parent for _, path in files}:
        with suppress(OSError):  # not empty
            folder.rmdir()


def _cached_files(cache: Path) -> Iterator[tuple[float, Path]]:
    """Time of the last use and path of each file of features, without links and others.

    Files that another process removes or renames meanwhile are left out.
    """
    for folder in cache.iterdir() if cache.is_dir() else ():
        if _FOLDER.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            for path in folder.iterdir():
                with suppress(FileNotFoundError):
                    state = path.lstat()
                    if _FILE.fullmatch(path.name) and stat.S_ISREG(state.st_mode):
                        yield state.st_mtime, path

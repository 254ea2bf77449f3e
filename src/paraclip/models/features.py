"""Vectors of many texts and pictures; those of frozen towers are kept in a `row_store`.

Its folder in the cache is named after weights, preprocessing and precision.
"""

import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from paraclip.arrays import Float, Integers
from paraclip.data.captions import Problems
from paraclip.data.images import Crop, Picture, open_image, open_picture
from paraclip.data.lines import is_remote, local_path
from paraclip.data.shards import split_reference
from paraclip.errors import UserError
from paraclip.files import text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.row_store import StoredRows, stored_rows
from paraclip.models.tensors import hash_tensors
from paraclip.progress import bar, track

IMAGES_AT_ONCE, TEXTS_AT_ONCE = 64, 256  # in a batch, which is what a killed run loses
# CPUs that this process may use, where the system says so (macOS does not).
_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PREPROCESSORS = min(max(_CPUS, 2), 16)  # threads; two, so that one decodes while another waits
_SEED, _SAMPLE, _MOST_PICTURES = 0xBA2C, 512, 100_000  # texts and pictures behind a temperature
_SPREAD, _LEAST_SPREAD = 3.0, 0.003
"""Deviation of a text's logits over pictures; that of the study's three CLIPs is 2.6 to 2.7."""

_Decoded = Tensor | UserError
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def half_precision(model: DualEncoder, precision: str) -> AbstractContextManager[object]:
    """Autocast to bf16 if `precision` is bf16."""
    if precision not in ("fp32", "bf16"):
        raise UserError("precision", f"{precision!r} is unknown", "Choose fp32 or bf16.")
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def encode_texts(
    model: DualEncoder,
    texts: Sequence[str],
    batch_size: int = TEXTS_AT_ONCE,
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
    model.eval()  # without dropout
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = torch.empty(len(rows), model.architecture.embed_dim)
    with half_precision(model, precision):
        for batch, encoded in _encode(model, list(rows), batch_size, label):
            vectors[batch] = encoded
    return vectors[[rows[text] for text in texts]]


def encoded_once(model: DualEncoder, texts: Sequence[str]) -> Callable[[Sequence[str]], Tensor]:
    """`encode_texts` for any of some texts, which are encoded now."""
    vectors = encode_texts(model, texts, label="scenes")
    rows = {text: row for row, text in enumerate(texts)}
    return lambda asked: vectors[[rows[text] for text in asked]]


@torch.no_grad()
def find_ranking_scale(model: DualEncoder, pictures_GD: Tensor, texts: Sequence[str]) -> float:
    """The inverse temperature of a model's rankings of pictures.

    A text encoder alone has none. It gets one that makes its rankings about as sharp as a CLIP's.
    """
    if model.architecture.reads_pictures:
        return float(model.logit_scale.exp())
    rng = np.random.default_rng(_SEED)
    chosen = rng.permutation(len(texts))[:_SAMPLE]
    some_GD = pictures_GD[np.sort(rng.permutation(len(pictures_GD))[:_MOST_PICTURES])]
    similar = encode_texts(model, [texts[row] for row in chosen]) @ some_GD.T
    return _SPREAD / max(float(similar.std(1).mean()), _LEAST_SPREAD)


def _encode(
    model: DualEncoder, texts: Sequence[str], batch_size: int, label: str | None
) -> Iterator[tuple[Integers, Tensor]]:
    """Batches of texts by number of tokens, and their vectors."""
    # One by one, since a batch is padded to its longest text.
    lengths = [model.tokenize([text]).ids.shape[1] for text in texts]
    # Stable: what a killed run left is batched as it would have been.
    order = np.argsort(lengths, kind="stable")
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    for batch in parts if label is None else track(parts, label, len(parts), "batch"):
        ids = model.tokenize([texts[number] for number in batch]).ids.to(model.device)
        yield batch, model.encode_tokens(ids).float().cpu()


@torch.no_grad()
def stored_texts(model: DualEncoder, texts: Sequence[str], cache: Path, label: str) -> StoredRows:
    """What `encode_texts` gives, from a store in the cache; each text is encoded once for all runs.

    A killed run loses at most one batch, and goes on with the same batches. Raises UserError if the
    store cannot be written.
    """
    model.eval()
    unique = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    every, width = list(unique), model.architecture.embed_dim

    def make(missing: Integers) -> Iterator[tuple[Integers, Tensor]]:
        left = [every[number] for number in missing]
        return _encode(model, left, TEXTS_AT_ONCE, label)

    # The tokenizer and the pooling change vectors as well as the weights do.
    facts = json.dumps([model.architecture.as_dict(), model.header()], sort_keys=True)
    # As the name of an empty tensor, because names are hashed as well.
    weights = hash_tensors({**model.text_tower.state_dict(), facts: torch.zeros(0)})
    folder = cache / f"{model.architecture.kind}-{weights}-fp32"
    found = stored_rows(folder, every, width, make)
    return found.take(np.array([unique[text] for text in texts], np.int64))


def encode_images(
    model: DualEncoder,
    references: Sequence[str],
    cache: Path | None = None,
    problems: Problems | None = None,
    label: str = "image features",
) -> Tensor:
    """Unit vectors float32 [references, embed_dim] on the CPU; arguments of `image_features`."""
    return project(model, image_features(model, references, cache, problems, label=label))


@torch.no_grad()
def encode_pictures(model: DualEncoder, pictures: Sequence[Picture]) -> Tensor:
    """Unit vectors float32 [pictures, embed_dim] on the CPU, of files and of pictures in memory.

    Raises UserError for a picture that is missing, broken, or has features that are not finite.
    """
    model.eval()

    def read(picture: Picture) -> tuple[str, Tensor]:
        shown = str(picture) if isinstance(picture, Path | str) else type(picture).__name__
        return shown, model.preprocess(open_picture(picture, model.image_size))

    read_ahead = (pixels for _, pixels in ahead(read, pictures, PREPROCESSORS, 3 * IMAGES_AT_ONCE))
    parts = [rows for _, rows in _compute(model, read_ahead, {}, "fp32", lambda _: None)]
    if not parts:
        return torch.empty(0, model.architecture.embed_dim)
    return project(model, torch.cat(parts))


@torch.no_grad()
def project(model: DualEncoder, features: Tensor | StoredRows) -> Tensor:
    """Unit image vectors float32 [rows, embed_dim] of cached features; NaN rows stay NaN."""
    model.eval()
    parts = [model.project_images(part.to(model.device)).cpu() for part in features.split(4096)]
    return torch.cat(parts) if len(features) else torch.empty(0, model.architecture.embed_dim)


def image_features(
    model: DualEncoder,
    references: Sequence[str | None],
    cache: Path | None = None,
    problems: Problems | None = None,
    label: str = "image features",
) -> StoredRows:
    """Features of the frozen image tower, float32 [references, width]; NaN without a picture.

    Each picture is computed once, and with a cache only once for all runs. The cache key consists
    of the weights, the preprocessing, the precision and the file (path, size, modification time). A
    killed run loses at most one batch.

    Args:
        model: model; its image tower is set to evaluation mode.
        references: paths or URLs, as for `open_image`, or None.
        cache: folder of the cache, or None for no cache.
        problems: collects broken pictures, whose rows are NaN; the caller checks their number.
        label: label of the progress bar.

    Raises:
        UserError: a picture is missing or broken and `problems` is None; the disk is full.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(filter(None, references)))}
    features, broken = picture_features(model, list(names), cache, label=label)
    for name, error in broken.items():
        if problems is None:
            raise error
        problems.add(name, error.what, rows=1)
    if not len(features.stored):  # all pictures are broken
        side = model.image_size
        # The features of a black picture show it; for `mini`, it is not that of the vectors.
        width = embed(model, torch.zeros(1, 3, side, side), "fp32").shape[1]
        features = replace(features, stored=torch.empty(0, width))
    # Number -1 is a row of NaN.
    return features.take(np.array([names.get(name or "", -1) for name in references], np.int64))


def picture_features(
    model: DualEncoder,
    names: Sequence[str],
    cache: Path | None,
    precision: str = "fp32",
    label: str = "image features",
    crops: Mapping[str, Crop] | None = None,
) -> tuple[StoredRows, dict[str, UserError]]:
    """Features of pictures, and the errors of those that cannot be read, whose rows are NaN.

    Names are references, or those of `crops` (parts of pictures), each once; the rest is as for
    `image_features`.
    """
    model.eval()
    broken = dict[str, UserError]()

    def make(missing: Integers) -> Iterator[tuple[Integers, Tensor]]:
        left = [names[number] for number in missing]
        with bar(label, len(names), "image", done=len(names) - len(left)) as progress:
            pictures = read_pictures(model, left, crops)
            yield from _compute(model, pictures, broken, precision, progress.update)

    keys, kind = list(map(identity, names)), ""
    if crops is not None:
        parts = [crops[name] for name in names]
        # Crops of one file differ in their boxes, and are in a store of their own.
        keys, kind = [f"{identity(part.path)}#{part.box}" for part in parts], "-crops"
    folder = cache and cache / f"{model.image_key()}-{precision}{kind}"
    width = model.architecture.embed_dim  # those of `mini` are wider
    return stored_rows(folder, keys, width, make), broken


def _compute(
    model: DualEncoder,
    pictures: Iterator[tuple[str, _Decoded]],
    broken: dict[str, UserError],
    precision: str,
    report: Callable[[int], object],
) -> Iterator[tuple[Integers, Tensor]]:
    """The numbers and features of pictures, batch by batch; collects the errors of the others, and
    raises UserError for features that are NaN or infinite."""
    for batch in batches(enumerate(pictures), IMAGES_AT_ONCE):
        good = [(number, name, one) for number, (name, one) in batch if isinstance(one, Tensor)]
        broken |= {name: one for _, (name, one) in batch if isinstance(one, UserError)}
        if good:
            features = embed(model, torch.stack([pixels for *_, pixels in good]), precision)
            # In a store, NaN stands for a picture that cannot be read.
            if len(wrong := (~torch.isfinite(features)).any(1).nonzero()):
                what = "its image features are NaN or infinite"
                hint = "Use fp32, or check the model's weights."
                raise UserError(good[int(wrong[0])][1], what, hint)
            yield np.array([number for number, *_ in good]), features
        report(len(batch))


@torch.no_grad()
def embed(model: DualEncoder, pixels: Tensor, precision: str) -> Tensor:
    """Frozen features float32 [batch, width] on the CPU."""
    with half_precision(model, precision):
        return model.embed_pixels(pixels.to(model.device)).float().cpu()


def pixel_vectors(model: DualEncoder, pixels: Sequence[Tensor], precision: str) -> Float:
    """Unit vectors float32 [pictures, embed_dim] of the pixels of each picture."""
    return np.asarray(project(model, embed(model, torch.stack([*pixels]), precision)).numpy())


def read_pictures(
    model: DualEncoder, names: Sequence[str], crops: Mapping[str, Crop] | None = None
) -> Iterator[tuple[str, _Decoded]]:
    """Names with pixels [3, side, side] or the error, in order, read a few batches in advance.

    Threads suffice, because Pillow releases the GIL while it decodes and resizes.
    """

    def read(name: str) -> _Decoded:
        try:
            image = crops[name].open() if crops else open_image(name, model.image_size)
            return model.preprocess(image)
        except UserError as error:
            return error

    # While one batch is computed, the next ones are decoded.
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
                first, done = waiting.pop(0)  # the oldest, so that results keep the order
                yield first, done.result()
        for first, done in waiting:
            yield first, done.result()
    finally:
        # Also when the consumer stops early, which closes this generator.
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
            # In place, because a picture in a tar file has the path inside its reference.
            absolute = reference.replace(path, os.path.abspath(path))
            facts = f"{absolute} {state.st_size} {state.st_mtime_ns}"
    # The bytes of a name that is not UTF-8 are surrogates in Python.
    return sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]

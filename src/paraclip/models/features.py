"""Vectors of many texts and pictures; features of the frozen image tower are cached."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TypeVar

import torch
from PIL.Image import Image
from torch import Tensor

from paraclip.data.images import open_image
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.models.feature_cache import FeatureCache, identity
from paraclip.progress import bar, track

IMAGES_AT_ONCE = 64
PREPROCESSORS = 4

Decoded = Tensor | UserError
Item = TypeVar("Item")
Result = TypeVar("Result")


def half_precision(model: DualEncoder, precision: str) -> AbstractContextManager[object]:
    """Autocast to bf16 if `precision` is bf16."""
    if precision not in ("fp32", "bf16"):
        raise UserError("precision", f"{precision!r} is unknown", "Choose fp32 or bf16.")
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def encode_texts(
    model: DualEncoder,
    texts: Sequence[str],
    batch_size: int = 256,
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
    by_length = sorted(rows, key=lambda text: model.tokenize([text]).ids.shape[1])
    starts: Iterable[int] = range(0, len(by_length), batch_size)
    vectors = torch.empty(len(rows), model.architecture.embed_dim)
    if label is not None:
        starts = track(starts, label, ceil(len(by_length) / batch_size), "batch")
    for start in starts:
        batch = by_length[start : start + batch_size]
        ids = model.tokenize(batch).ids.to(model.device)
        with half_precision(model, precision):
            encoded = model.encode_tokens(ids)
        vectors[[rows[text] for text in batch]] = encoded.float().cpu()
    return vectors[[rows[text] for text in texts]]


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
    features, keys = filled_cache(model, references, cache, problems, precision, label)
    rows = features.rows([keys[name] for name in references])
    if rows is None:  # all pictures are broken
        return torch.full((len(references), feature_width(model)), torch.nan)
    return rows


def mapped_features(
    model: DualEncoder,
    references: Sequence[str | None],
    cache: Path,
    problems: Problems | None = None,
    precision: str = "fp32",
    label: str = "image features",
) -> Tensor:
    """Like `image_features`, but the rows are memory-mapped from a file in the cache.

    Args:
        model, cache, problems, precision, label: as for `image_features`.
        references: one per row, None without a picture (NaN).
    """
    names = [name for name in references if name]
    features, keys = filled_cache(model, names, cache, problems, precision, label)
    return features.mapped([keys.get(name or "", "") for name in references], feature_width(model))


def filled_cache(
    model: DualEncoder,
    references: Sequence[str],
    cache: Path | None,
    problems: Problems | None,
    precision: str,
    label: str,
) -> tuple[FeatureCache, dict[str, str]]:
    """A cache with the features of all readable pictures, and the key of each picture."""
    model.eval()
    unique = list(dict.fromkeys(references))
    folder = cache / f"{model.image_key()}-{precision}" if cache is not None else None
    features = FeatureCache(folder)
    keys = {name: identity(name) for name in unique}
    missing = [name for name in unique if keys[name] not in features]
    pictures = read_pictures(model, missing)
    broken = compute(model, pictures, keys, features, precision, label)
    for name, error in broken.items():
        if problems is None:
            raise error
        problems.add(name, error.what, rows=1)
    return features, keys


def compute(
    model: DualEncoder,
    pictures: Iterator[tuple[str, Decoded]],
    keys: dict[str, str],
    cache: FeatureCache,
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
                check_finite_features([name for name, _ in good], features)
                cache.add([keys[name] for name, _ in good], features)
            progress.update(len(batch))
    return broken


def check_finite_features(names: Sequence[str], features: Tensor) -> None:
    """Raise for the first picture whose features [names, width] are not finite."""
    broken = (~torch.isfinite(features)).any(1).nonzero()
    if len(broken):
        what = "its image features are NaN or infinite"
        raise UserError(names[int(broken[0])], what, "Use fp32, or check the model's weights.")


@torch.no_grad()
def embed(model: DualEncoder, pixels: Tensor, precision: str) -> Tensor:
    """Frozen features float32 [batch, width] on the CPU."""
    with half_precision(model, precision):
        return model.embed_pixels(pixels.to(model.device)).float().cpu()


def feature_width(model: DualEncoder) -> int:
    """Width of the image features, from a forward pass."""
    side = model.image_size
    return embed(model, torch.zeros(1, 3, side, side), "fp32").shape[1]


def read_pictures(
    model: DualEncoder, names: Sequence[str], open_named: Callable[[str], Image] | None = None
) -> Iterator[tuple[str, Decoded]]:
    """Names with pixels [3, side, side] or the error, in order, read a few batches in advance.

    Threads suffice, because Pillow releases the GIL while it decodes and resizes.
    """

    def read(name: str) -> Decoded:
        try:
            image = open_named(name) if open_named else open_image(name, model.image_size)
            return model.preprocess(image)
        except UserError as error:
            return error

    return ahead(read, names, PREPROCESSORS, 3 * IMAGES_AT_ONCE)


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, most: int
) -> Generator[tuple[Item, Result]]:
    """Items with their results, computed in threads; at most `most` results are pending."""
    waiting: list[tuple[Item, Future[Result]]] = []
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


def batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items; the last one may be shorter."""
    while batch := list(islice(items, size)):
        yield batch

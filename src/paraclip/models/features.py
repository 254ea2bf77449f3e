"""Vectors of many texts and many pictures; what the frozen image tower gives is computed once."""

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
    """Autocast to bf16 where `precision` says so.

    Raises:
        UserError: the precision is neither fp32 nor bf16.
    """
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

    Texts of as many tokens go together, so that little padding is computed (by letters it would
    be a quarter more); equal texts are computed once.

    Args:
        model: its text tower is put into evaluation mode.
        texts: any number, any length; what is past the context is cut off.
        batch_size: most texts at once.
        label: of a progress bar, or None for no bar.
        precision: fp32 or bf16.
    """
    model.eval()
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    by_length = sorted(places, key=lambda text: model.tokenize([text]).ids.shape[1])
    starts: Iterable[int] = range(0, len(by_length), batch_size)
    vectors = torch.empty(len(places), model.architecture.embed_dim)
    if label is not None:
        starts = track(starts, label, ceil(len(by_length) / batch_size), "batch")
    for start in starts:
        batch = by_length[start : start + batch_size]
        ids = model.tokenize(batch).ids.to(model.device)
        with half_precision(model, precision):
            found = model.encode_tokens(ids)
        vectors[[places[text] for text in batch]] = found.float().cpu()
    return vectors[[places[text] for text in texts]]


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
    """What the frozen image tower gives, float32 [references, width] on the CPU.

    Each picture is computed once, however often it is named, and with a cache once for all runs:
    the cache is keyed by the weights, the preprocessing, the precision and the file (path, size,
    time of change). A killed run goes on from the last shard that it wrote.

    Args:
        model: its image tower is put into evaluation mode.
        references: paths or URLs as `open_image` takes them.
        cache: folder of the cache, or None for none.
        problems: takes the broken pictures, whose rows are NaN; the caller checks how many.
        precision: fp32 or bf16 (autocast).
        label: of the progress bar.

    Raises:
        UserError: a picture is missing or broken and `problems` is None; the disk is full.
    """
    kept, keys = filled(model, references, cache, problems, precision, label)
    found = kept.rows([keys[name] for name in references])
    if found is None:  # every picture is broken
        return torch.full((len(references), feature_width(model)), torch.nan)
    return found


def mapped_features(
    model: DualEncoder,
    references: Sequence[str | None],
    cache: Path,
    problems: Problems | None = None,
    precision: str = "fp32",
    label: str = "image features",
) -> Tensor:
    """The same for more pictures than memory holds: the rows are mapped from a file in the cache.

    Args:
        model: as for `image_features`, with what follows.
        references: of each row, None where it has no picture: NaN.
        cache: folder of the cache.
        problems: takes the broken pictures.
        precision: fp32 or bf16.
        label: of the progress bar.
    """
    names = [name for name in references if name]
    kept, keys = filled(model, names, cache, problems, precision, label)
    return kept.mapped([keys.get(name or "", "") for name in references], feature_width(model))


def filled(
    model: DualEncoder,
    references: Sequence[str],
    cache: Path | None,
    problems: Problems | None,
    precision: str,
    label: str,
) -> tuple[FeatureCache, dict[str, str]]:
    """A cache that holds the pictures, the broken ones aside, and the identity of each."""
    model.eval()
    unique = list(dict.fromkeys(references))
    folder = cache / f"{model.image_key()}-{precision}" if cache is not None else None
    kept = FeatureCache(folder)
    keys = {name: identity(name) for name in unique}
    missing = [name for name in unique if keys[name] not in kept]
    pictures = read_pictures(model, missing)
    broken = compute(model, pictures, keys, kept, precision, label)
    for name, error in broken.items():
        if problems is None:
            raise error
        problems.add(name, error.what, rows=1)
    return kept, keys


def compute(
    model: DualEncoder,
    pictures: Iterator[tuple[str, Decoded]],
    keys: dict[str, str],
    kept: FeatureCache,
    precision: str,
    label: str,
) -> dict[str, UserError]:
    """Compute pictures into the cache; returns those that could not be read.

    Args:
        model: its image tower.
        pictures: names, and pixels or error, of those that the cache lacks.
        keys: identity of every picture, the lacking ones among them.
        kept: the cache.
        precision: fp32 or bf16.
        label: of the progress bar.
    """
    broken: dict[str, UserError] = {}
    done = sum(key in kept for key in keys.values())
    if done == len(keys):
        return broken
    with bar(label, len(keys), "image", done=done) as moving, kept:
        for batch in batches(pictures, IMAGES_AT_ONCE):
            good = [(name, pixels) for name, pixels in batch if isinstance(pixels, Tensor)]
            broken |= {name: error for name, error in batch if isinstance(error, UserError)}
            if good:
                features = embed(model, torch.stack([pixels for _, pixels in good]), precision)
                refuse_no_numbers([name for name, _ in good], features)
                kept.add([keys[name] for name, _ in good], features)
            moving.update(len(batch))
    return broken


def refuse_no_numbers(names: Sequence[str], features: Tensor) -> None:
    """Raise for the first picture [names, width] that the tower made no numbers of."""
    broken = (~torch.isfinite(features)).any(1).nonzero()
    if len(broken):
        what = "the image tower makes NaN or infinity of it"
        raise UserError(names[int(broken[0])], what, "Use fp32, or check the model's weights.")


@torch.no_grad()
def embed(model: DualEncoder, pixels: Tensor, precision: str) -> Tensor:
    """Frozen features float32 [batch, width] on the CPU."""
    with half_precision(model, precision):
        return model.embed_pixels(pixels.to(model.device)).float().cpu()


def feature_width(model: DualEncoder) -> int:
    """Numbers in a row of image features: only the model knows."""
    side = model.image_size
    return embed(model, torch.zeros(1, 3, side, side), "fp32").shape[1]


def read_pictures(
    model: DualEncoder, names: Sequence[str], open_named: Callable[[str], Image] | None = None
) -> Iterator[tuple[str, Decoded]]:
    """Names with pixels [3, side, side] or the error, in order, a few batches ahead of use.

    Threads are enough: Pillow decodes and resizes without holding the interpreter.

    Args:
        model: whose preprocessing it is.
        names: paths or URLs, or whatever `open_named` takes.
        open_named: opens a picture; `open_image` if left out.
    """

    def read(name: str) -> Decoded:
        try:
            found = open_named(name) if open_named else open_image(name, model.image_size)
            return model.preprocess(found)
        except UserError as error:
            return error

    return ahead(read, names, PREPROCESSORS, 3 * IMAGES_AT_ONCE)


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, most: int
) -> Generator[tuple[Item, Result]]:
    """Do the work in threads; at most `most` results wait, so memory stays bounded."""
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
    """Lists of `size` items, the last one shorter."""
    while batch := list(islice(items, size)):
        yield batch

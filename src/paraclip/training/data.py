"""The rows of a run as numbers, and batches of them.

`make_examples` tokenizes all texts; token ids are stored in one flat array with offsets, and
padding is added only when a batch is made.

Shape suffixes: N rows of the run, B of a step, b of these in this process, k of these with a
picture; T texts of a row, W its further wordings; L tokens of a text; F features of a picture;
G pictures of the bank; D width of the base, E of a teacher.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from paraclip.arrays import Integers
from paraclip.data.captions import Problems
from paraclip.data.triples import choose_wordings, resolved_picture
from paraclip.errors import UserError
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import ahead, image_space, stored_texts
from paraclip.models.row_store import StoredRows
from paraclip.progress import bar
from paraclip.starter import TEXTS
from paraclip.starter.scenes import ENGLISH
from paraclip.training.config import LoopOptions
from paraclip.training.distributed import this_process

_ROWS_AT_ONCE = 16_384
_TOKENIZE_AT_ONCE = 4096
_WORDING_SEED = 0x303D
_TEXTS_AT_ONCE = {"cpu": 128}
"""Smaller chunks have less padding, larger ones sum up fewer gradients; chosen by measurement."""


@dataclass(frozen=True)
class Bank:
    """Pictures without captions as a base sees them, and where another model can see them."""

    vectors: Tensor  # unit vectors by the base, float32 [G, D]
    names: list[str] | None  # G files, "" where there is none; None if there are none at all


@dataclass(frozen=True)
class Teacher:
    """A frozen model whose ranking of the bank is part of the target of R.

    Its name is without secrets, or `base` for the student before training. Its share is the weight
    of its ranking; those of all teachers are divided by their sum.
    """

    name: str
    model: DualEncoder
    share: float = 1.0

    def sees_as(self, base: DualEncoder) -> bool:
        """Whether it gives pictures the vectors of the base, whose bank then serves for both."""
        return self.model is base or image_space(self.model) == image_space(base)


@dataclass(frozen=True)
class TrainingData:
    """The data of a run, as input for `train`.

    Args:
        model: the base; training changes it in place.
        triples: N rows with the columns of triples; those that no loss reads may be absent.
        features: `embed_pixels` rows float32 [N, F] of the rows' pictures; a row of NaN means no
            picture. None if no row has a picture.
        facts: JSON-serialisable facts for the checkpoints: origin of base and rows.
        problems: broken rows and pictures, which were skipped.
        bank: pictures without captions over which rankings are distilled (R). None: the
            pictures of the rows.
        teachers: models whose rankings of the bank are distilled; none: the base alone.
        languages: languages of the further wordings that are learned from.
    """

    model: DualEncoder
    triples: pa.Table
    features: Tensor | StoredRows | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    bank: Bank | None = None
    teachers: tuple[Teacher, ...] = ()
    languages: tuple[str, ...] = (ENGLISH,)

    def has_image(self) -> NDArray[np.bool_]:
        """Which rows [N] have a usable picture, that is, features that are not NaN throughout.

        Reads a few rows at a time, because the features may be in a file larger than memory.
        Raises UserError for a row that is broken.
        """
        found = np.zeros(len(self.triples), dtype=bool)
        if self.features is None:
            return found
        for start in range(0, len(self.features), _ROWS_AT_ONCE):
            part = self.features[start : start + _ROWS_AT_ONCE]
            finite = torch.isfinite(part)
            has_image = ~torch.isnan(part).all(1) if part.shape[1] else finite.any(1)
            broken = (has_image & ~finite.all(1)).nonzero()
            if len(broken):
                where = f"image features: row {start + int(broken[0]) + 1}"
                hint = "Compute the features again, in fp32."
                raise UserError(where, "a value is NaN or infinite", hint)
            found[start : start + _ROWS_AT_ONCE] = has_image.numpy()
        return found

    def texts(self) -> dict[str, list[str]]:
        """The N texts under each name of `TEXTS` that the rows have."""
        columns = self.triples.column_names
        return {name: self.triples[name].to_pylist() for name in TEXTS if name in columns}

    def wordings(self) -> list[list[tuple[str, str]]]:
        """The further wordings of each row, with their languages."""
        return choose_wordings(self.triples, self.languages)


@dataclass(frozen=True)
class _TokenStore:
    """Token ids of many texts, unpadded."""

    flat: NDArray[np.int32]  # concatenated token ids, int32 [all tokens]
    offsets: Integers  # int64 [texts + 1]; text i is `flat[offsets[i]:offsets[i + 1]]`
    pad: int  # padding id, appended to the shorter texts of a batch
    truncated: int  # number of texts that were truncated to the context length
    unknown: Sequence[str]  # texts most of whose tokens stand for unknown words

    def lengths(self, texts: Integers) -> Integers:
        """Return the number of tokens of each text, including the end token."""
        return self.offsets[texts + 1] - self.offsets[texts]

    def padded(self, texts: Integers) -> Tensor:
        """Return the token ids, int64 [texts, L], padded at the end to the longest text."""
        lengths = self.lengths(texts)
        ids = np.full((len(texts), lengths.max()), self.pad, dtype=np.int64)
        inside = np.arange(ids.shape[1]) < lengths[:, None]  # [texts, L]
        starts = np.repeat(self.offsets[texts], lengths)
        ids[inside] = self.flat[starts + np.nonzero(inside)[1]]
        return torch.from_numpy(ids)


def _store_tokens(model: DualEncoder, texts: Sequence[str]) -> _TokenStore:
    """Tokenize all texts and remove their padding; every text ends with an end token."""
    pad = padding_id(model)
    flat, lengths, truncated, unknown = [], [np.zeros(1, dtype=np.int64)], 0, list[str]()
    with bar("tokens", len(texts), "text") as moving:
        for start in range(0, len(texts), _TOKENIZE_AT_ONCE):
            tokens = model.tokenize(texts[start : start + _TOKENIZE_AT_ONCE])
            truncated += tokens.truncated
            ids = tokens.ids.numpy().astype(np.int32)  # [texts, L]
            places = np.arange(ids.shape[1])
            last = np.where(ids != pad, places, 0).max(1)  # [texts]
            flat.append(ids[places <= last[:, None]])
            lengths.append(last + 1)
            lost = 2 * (ids == model.unknown_id).sum(1) > last - 1  # without start and end
            unknown += [texts[start + place] for place in np.flatnonzero(lost).tolist()]
            moving.update(len(ids))
    offsets = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    return _TokenStore(np.concatenate(flat), offsets, pad, truncated, unknown)


def padding_id(model: DualEncoder) -> int:
    """Return the padding id of the model's tokenizer."""
    return int(model.tokenize(["a", "a text that is surely longer than the other"]).ids[0, -1])


@dataclass(frozen=True)
class FalseNegatives:
    """The rows that share a picture or a text, and are therefore not negatives of each other.

    Only a sparse membership matrix is kept; the pairs of a block of rows are computed with it.
    """

    groups: sparse.csr_array  # sparse int8 [B, groups]; above 0 where the row is in the group

    def among(self, chosen: Tensor) -> "FalseNegatives":
        """The same for a selection of rows [N]."""
        return FalseNegatives(self.groups[chosen.cpu().numpy()])

    def pairs(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """False negatives of the rows from `start` to `stop`: int64 row - start, and column."""
        shared = (self.groups[start:stop] @ self.groups.T).tocoo()
        row, column = shared.row.astype(np.int64), shared.col.astype(np.int64)
        others = row + start != column  # the diagonal contains the positives
        return torch.from_numpy(row[others]), torch.from_numpy(column[others])

    def dense(self) -> Tensor:
        """Bool [B, B], for small batches only."""
        count = self.groups.shape[0]
        mask = torch.zeros(count, count, dtype=torch.bool)
        mask[self.pairs(0, count)] = True
        return mask


def find_false_negatives(keys: Integers) -> FalseNegatives | None:
    """Find rows that share one of their keys int64 [kinds, B]: the same picture, or the same text
    on either side (image keys and text keys must not overlap); None if no two rows do."""
    kinds, count = keys.shape
    place = np.tile(np.arange(count), kinds)
    entries = np.unique(np.stack([keys.ravel(), place]), axis=1)  # a row may have a key twice
    _, group, counts = np.unique(entries[0], return_inverse=True, return_counts=True)
    shared = (counts > 1)[group]
    if not shared.any():
        return None
    ones = np.ones(int(shared.sum()), dtype=np.int8)
    members = (entries[1][shared], group[shared])
    return FalseNegatives(sparse.csr_array((ones, members), shape=(count, len(counts))))


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that take part in each loss."""

    with_image: Tensor  # int64 [K], rows with a picture; only they take part in L1
    # int64 [.] by text, but for the first: rows where it differs from the text before it; for the
    # others, L2 and L3 would compare equal vectors
    reworded: Mapping[str, Tensor]
    false_negatives: FalseNegatives | None = None  # None if no rows share a picture or a text

    def to(self, device: torch.device) -> "Rows":
        """A copy on another device; false negatives stay on theirs."""
        reworded = {name: rows.to(device) for name, rows in self.reworded.items()}
        return replace(self, with_image=self.with_image.to(device), reworded=reworded)


@dataclass(frozen=True)
class Batch:
    """The rows of one step: B over all processes, of which b belong to this process."""

    # token ids, int64 [n, L], of the unique texts of this process, sorted by length and padded to
    # the longest text in each chunk
    chunks: list[Tensor]
    # int64 [T * b], indices into the chunks' vectors that restore the order: one kind of text at a
    # time
    restore: Tensor
    features: Tensor  # frozen image features, float32 [k, F], of this process's rows with a picture
    pictures: list[str] | None  # the k pictures, if the image tower is trained; else None
    constants: dict[str, Tensor]  # see `Vectors.constants`
    rows: Rows  # which of all B rows take part in which loss
    numbers: Integers  # indices of the rows in the run, int64 [B]
    text_sizes: list[int]  # b of every process, in rank order
    image_sizes: list[int]  # k of every process

    @property
    def size(self) -> int:
        """B, the number of rows of the step."""
        return len(self.numbers)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return replace(
            self,
            chunks=[chunk.to(device, non_blocking=True) for chunk in self.chunks],
            restore=self.restore.to(device),
            features=self.features.to(device, non_blocking=True),
            constants={name: value.to(device) for name, value in self.constants.items()},
            rows=self.rows.to(device),
        )


@dataclass(frozen=True)
class Examples:
    """All N rows of a run, and how they are divided into steps."""

    options: LoopOptions  # number of epochs, size of a batch, and seed of the order
    tokens: _TokenStore  # token ids of the unique texts
    # index in `tokens` of each row's texts, int64 [T, N], followed by its further wordings, or -1:
    # [T + W, N]
    text_rows: Integers
    # names of the T texts in use, of TEXTS
    names: tuple[str, ...]
    # frozen image features, float32 [N, F]; F may be 0 if no row has a picture
    features: Tensor | StoredRows
    has_image: NDArray[np.bool_]  # whether each row has a picture, bool [N]
    image_keys: Integers  # int64 [N], equal for rows with the same picture
    # int64 [TEXTS + W, N] for TEXTS and further wordings; equal for equal texts
    text_keys: Integers
    chunk: int = 128  # number of texts encoded together
    # each row's picture, as a reference for `open_image`, or None; for runs that train the image
    # tower and have no features
    pictures: Sequence[str | None] | None = None
    # makers of the tensors that training does not change, `Loss.constants` of each loss
    constants: Sequence[Callable[[Integers, Integers], dict[str, Tensor]]] = ()
    # of a short run: the number of steps; None: all epochs
    most_steps: int | None = None

    def __len__(self) -> int:
        return len(self.image_keys)

    @property
    def epoch_steps(self) -> int:
        """Number of steps of an epoch."""
        return max(1, -(-len(self) // self.options.batch_size))

    @property
    def steps(self) -> int:
        """Number of steps of the run."""
        every = self.epoch_steps * self.options.epochs
        return every if self.most_steps is None else min(every, self.most_steps)

    def rows_from(self, start: int) -> Iterator[Integers]:
        """Yield the rows [B] of each step after `start`: shuffled by seed and epoch, sizes equal
        ± 1."""
        edges = _even_edges(len(self), self.options.batch_size)
        for step in range(start, self.steps):
            epoch, place = divmod(step, self.epoch_steps)
            if step == start or place == 0:
                order = np.random.default_rng([self.options.seed, epoch]).permutation(len(self))
            yield order[edges[place] : edges[place + 1]]

    def batches_from(self, start: int, device: torch.device) -> Generator[Batch]:
        """Yield this process's part of the batch of each step after `start`, made in a thread."""
        share = this_process().share

        def make(rows: Integers) -> Batch:
            return self.batch(rows, share).to(device)

        with closing(ahead(make, self.rows_from(start), workers=1, most=2)) as batches:
            for _, batch in batches:
                yield batch

    def batch(self, rows_B: Integers, share: tuple[int, int] = (0, 1)) -> Batch:
        """Return the batch of some rows for the process with the given (rank, count)."""
        part, parts = share
        edges = np.arange(parts + 1) * len(rows_B) // parts
        every = [rows_B[a:b] for a, b in pairwise(edges)]
        rows_b = every[part]
        places_TB = self.draw_wordings(rows_B)
        chunks, restore = self._chunks(rows_b, places_TB[:, edges[part] : edges[part + 1]])
        rows_k = rows_b[self.has_image[rows_b]]
        made = [make(rows_B, places_TB) for make in self.constants]
        return Batch(
            chunks,
            restore,
            self.features[torch.from_numpy(rows_k)],
            None if self.pictures is None else [str(self.pictures[row]) for row in rows_k],
            {name: tensor for of_loss in made for name, tensor in of_loss.items()},
            self._loss_rows(rows_B, places_TB),
            rows_B,
            [len(some) for some in every],
            [int(self.has_image[some].sum()) for some in every],
        )

    def draw_wordings(self, rows_B: Integers) -> Integers:
        """Draw the T texts of some rows, as places in `text_rows`, int64 [T, B].

        Rows of T texts have them in order. Of a row with further wordings, T are drawn, different
        ones if it has so many; the caption of a row with a picture keeps its place for L1.
        """
        count = len(self.names)
        places_TB = np.repeat(np.arange(count)[:, None], len(rows_B), axis=1)
        if len(self.text_rows) == count:
            return places_TB
        rng = np.random.default_rng([_WORDING_SEED, *rows_B.tolist()])
        texts = self.text_keys[:, rows_B]  # [3 + W, B]
        order = rng.random(texts.shape)
        order[texts < 0] = np.inf  # not a text
        for place in range(1, len(texts)):
            order[place] += (texts[:place] == texts[place]).any(0)  # an equal text is drawn last
        order[0, self.has_image[rows_B]] = -1
        more = texts[count] >= 0
        places_TB[:, more] = np.argsort(order[:, more], axis=0)[:count]
        return places_TB

    def _chunks(self, rows_b: Integers, places_Tb: Integers) -> tuple[list[Tensor], Tensor]:
        """Return the unique texts of some rows in chunks of similar length, and `Batch.restore`."""
        texts = self.text_rows[places_Tb, rows_b].ravel()  # [T * b], one kind at a time
        texts, again = np.unique(texts, return_inverse=True)  # [n], [T * b]
        by_length = np.argsort(-self.tokens.lengths(texts), kind="stable")
        edges = _even_edges(len(texts), self.chunk)
        chunks = [self.tokens.padded(texts[by_length[a:b]]) for a, b in pairwise(edges)]
        restore = np.empty_like(by_length)
        restore[by_length] = np.arange(len(texts))
        return chunks, torch.from_numpy(restore[again])

    def _loss_rows(self, rows_B: Integers, places_TB: Integers) -> Rows:
        """Return which rows take part in which loss, and which pairs are false negatives."""
        # A run of fewer texts has no further wordings, and its other texts still have their keys.
        drawn = places_TB if self.names == TEXTS else np.arange(len(TEXTS))[:, None]
        keys = dict(zip(TEXTS, self.text_keys[drawn, rows_B], strict=True))  # [B] each
        used = [keys[name] for name in self.names]
        return Rows(
            torch.from_numpy(np.nonzero(self.has_image[rows_B])[0]),
            {
                text: torch.from_numpy(np.nonzero(keys[before] != keys[text])[0])
                for before, text in pairwise(TEXTS)
            },
            find_false_negatives(np.vstack([self.image_keys[rows_B], *used])),
        )


def make_examples(
    data: TrainingData, names: tuple[str, ...], options: LoopOptions, pictures: bool = False
) -> Examples:
    """Tokenize all rows and number their texts, of which `names` are encoded, and pictures.

    If `pictures`, the rows' pictures are embedded anew in every step, because the image tower is
    trained; the features then say which of them can be opened. Raises UserError if the rows give a
    contrastive loss no negatives, or the features do not fit.
    """
    model, texts, known = data.model, data.texts(), dict[str, int]()
    captions = texts[TEXTS[0]]
    text_keys = [_number_texts(texts.get(name, captions), known) for name in TEXTS]
    image_ids = _picture_keys(data.triples)
    _check_negatives(set(text_keys[0]), set(image_ids), len(captions))
    has_image = _check_features(data)
    features = data.features
    if features is None or pictures:
        features = torch.zeros(len(captions), 0)
    stored: dict[str, int] = {}  # index of each text's tokens
    text_rows = [[stored.setdefault(text, len(stored)) for text in texts[name]] for name in names]
    if names == TEXTS:
        wordings = [[text for text, _ in of_row] for of_row in data.wordings()]
        more = np.full((2, max(map(len, wordings)), len(wordings)), -1)
        for row, of_row in enumerate(wordings):
            more[0, : len(of_row), row] = [stored.setdefault(text, len(stored)) for text in of_row]
            more[1, : len(of_row), row] = _number_texts(of_row, known)
        text_rows, text_keys = [*text_rows, *more[0]], [*text_keys, *more[1]]
    return Examples(
        options,
        _store_tokens(model, list(stored)),
        np.asarray(text_rows, dtype=np.int64),
        names,
        features,
        has_image,
        image_keys=-1 - np.unique(np.asarray(image_ids, dtype=object), return_inverse=True)[1],
        text_keys=np.asarray(text_keys, dtype=np.int64),
        chunk=options.micro_batch or _TEXTS_AT_ONCE.get(model.device.type, 1024),
        pictures=data.triples["image"].to_pylist() if pictures else None,
    )


def encode_wordings(data: TrainingData, teacher: DualEncoder, what: str) -> tuple[Tensor, Integers]:
    """Mapped vectors [n, E], and which of them is that of each wording, int64 [TEXTS + W, N], or
    -1."""
    texts, wordings = data.texts(), data.wordings()
    # The teachers read English: they see no wording in another language, which learns what they
    # find for the English ones.
    further = {
        (place, row): text
        for row, of_row in enumerate(wordings)
        for place, (text, language) in enumerate(of_row, len(TEXTS))
        if language == ENGLISH
    }
    own = [text for name in TEXTS for text in texts[name]]
    every = [*own, *further.values()]
    with this_process().first_goes_first():
        found = stored_texts(teacher, every, cache_folder() / "text_vectors", what)
    places = np.full((len(TEXTS) + max(map(len, wordings)), len(wordings)), -1)
    places[: len(TEXTS)] = found.places[: len(own)].reshape(len(TEXTS), -1)
    for wording, place in zip(further, found.places[len(own) :], strict=True):
        places[wording] = place
    return found.stored, places


def _number_texts(texts: Sequence[str], known: dict[str, int]) -> list[int]:
    """A number for each text; equal for texts that differ only in case and spaces."""
    return [known.setdefault(" ".join(text.casefold().split()), len(known)) for text in texts]


def _check_negatives(captions: set[int], images: set[str], count: int) -> None:
    """Raise UserError for different captions and pictures that are too few to contrast."""
    if count < 2:
        what = f"{count} row(s); a contrastive loss needs at least two"
        raise UserError("training rows", what, "Give more captions, or loosen the filters.")
    if len(captions) < 2 or len(images) < 2:
        same = "picture" if len(captions) > 1 else "caption"
        what = f"all {count} rows have the same {same}, so there are no negatives"
        raise UserError("training rows", what, "Give captions of several pictures.")


def _check_features(data: TrainingData) -> NDArray[np.bool_]:
    """Which rows [N] have a picture; raises UserError for features that do not fit."""
    features, model, count = data.features, data.model, len(data.triples)
    hint = "Compute the features for these rows with this model."
    if features is not None and (len(features.shape) != 2 or len(features) != count):
        what = f"shape {list(features.shape)} for {count} rows"
        raise UserError("image features", what, hint)
    has_image = data.has_image()
    if features is not None and has_image.any():
        first, width = features[[int(has_image.argmax())]], model.architecture.embed_dim
        try:
            with torch.no_grad():
                fits = model.project_images(first.to(model.device)).shape[-1] == width
        except RuntimeError:
            fits = False
        if not fits:
            what = f"width {features.shape[1]} does not fit {model.architecture.name}"
            raise UserError("image features", what, hint)
    return has_image


def _picture_keys(triples: pa.Table) -> list[str]:
    """The picture of each row: N names, equal for equal pictures.

    Rows show the same picture if their `image_id` or their `image` file is equal. In a file without
    an `image_id` column, this is the row's own id, which differs between rows of one picture.
    """
    ids: list[str] = triples["image_id"].to_pylist()
    if "image" not in triples.column_names or triples["image"].null_count == len(ids):
        return ids
    names = triples["image"].to_pylist()
    files = {name: resolved_picture(name) if name else None for name in set(names)}
    by_id, id_of_row = np.unique(np.asarray(ids, dtype=object), return_inverse=True)
    seen = np.asarray([files[name] or "" for name in names], dtype=object)
    by_file, file_of_row = np.unique(seen, return_inverse=True)
    shown = np.flatnonzero(seen != "")  # rows without a picture are linked only by their id
    ones = np.ones(len(shown), dtype=np.int8)
    size = len(by_id) + len(by_file)
    ends = (id_of_row[shown], len(by_id) + file_of_row[shown])
    _, group = connected_components(
        sparse.coo_array((ones, ends), shape=(size, size)), directed=False
    )
    _, first = np.unique(group[: len(by_id)], return_index=True)  # the first id names its group
    named = dict(zip(group[first], by_id[first], strict=True))
    return [named[group[number]] for number in id_of_row]


def _even_edges(count: int, most: int) -> Integers:
    """Return edges that split `count` items into the fewest parts of at most `most`, equal ± 1."""
    parts = max(1, -(-count // most))
    return np.arange(parts + 1, dtype=np.int64) * count // parts

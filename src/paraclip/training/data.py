"""The data of a run: rows and pictures read once, then all rows as numbers, and batches of them.

`prepare` reads triples and computes or loads the features of the frozen image tower.
`make_examples` tokenizes all texts; token ids are stored in one flat array with offsets, and
padding is added only when a batch is made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from paraclip.arrays import Integers
from paraclip.data.captions import label
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import (
    ENGLISH,
    attach_images,
    choose_wordings,
    read_provenance,
    read_triples,
    resolved_picture,
    with_column,
    with_starter,
    with_texts,
)
from paraclip.errors import UserError
from paraclip.files import cache_folder, file_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import image_features
from paraclip.models.loading import load_model
from paraclip.models.row_store import StoredRows
from paraclip.progress import bar
from paraclip.starter import STARTER, TRIPLES, resolve
from paraclip.training.bank import Bank, read_bank
from paraclip.training.distributed import this_process
from paraclip.training.losses import (
    ALL_TEXTS,
    BANK,
    CAPTION,
    TEACHERS_BANK,
    Rows,
    find_false_negatives,
)
from paraclip.training.teachers import Teacher, check_bank, load_teachers

_ROWS_AT_ONCE = 16_384
_TOKENIZE_AT_ONCE = 4096
_BANK_AT_ONCE = 2048
"""Number of pictures of the bank that are drawn for each step."""
_BANK_SEED = 0xBA2C
_WORDING_SEED = 0x303D
_TEXTS_AT_ONCE = {"cpu": 128}
"""Smaller chunks have less padding, larger ones sum up fewer gradients; chosen by measurement."""


@dataclass(frozen=True)
class TrainingData:
    """The data of a run, as input for `train`.

    Args:
        model: the base; training changes it in place.
        rows: N rows with the columns of triples.
        features: `embed_pixels` rows float32 [N, F] of the rows' pictures; a row of NaN means no
            picture. None if no row has a picture.
        facts: JSON-serialisable facts for the checkpoints: origin of base and rows.
        problems: broken rows and pictures, which were skipped.
        bank: pictures without captions over which rankings are distilled (`--ranking`). None: the
            pictures of the rows.
        teachers: models whose rankings of the bank are distilled; none: the base alone.
        languages: languages of the further wordings that are learned from.
    """

    model: DualEncoder
    rows: pa.Table
    features: Tensor | StoredRows | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    bank: Bank | None = None
    teachers: tuple[Teacher, ...] = ()
    languages: tuple[str, ...] = (ENGLISH,)

    @property
    def pictures(self) -> int:
        """Number of rows with a usable picture."""
        return 0 if self.features is None else int(_rows_with_numbers(self.features).sum())


def prepare(
    triples: pa.Table | Path | str,
    model: DualEncoder | str,
    *,
    images: Path | str | None = None,
    starter: bool = False,
    bank: Path | str | None = None,
    teachers: Sequence[str] = (),
    texts: Sequence[str] = (),
    languages: Sequence[str] = (ENGLISH,),
    control: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    problems: Problems | None = None,
    device: str = "auto",
    facts: Mapping[str, Any] | None = None,
    check: Callable[[DualEncoder], object] = lambda model: None,
) -> TrainingData:
    """Read triples, find their pictures, and compute or load the image features.

    Args:
        triples: a file written by `paraclip generate`, JSON lines, or the rows themselves.
        model: the base, or a name that `load_model` accepts.
        images: folder of the pictures, for triples that name them by image_id only, or for a bank
            whose index has the paths of another machine.
        starter: whether to train on the starter set too, which has no pictures.
        bank: pictures over which rankings are distilled; see `read_bank`.
        teachers: models whose rankings are distilled, each as MODEL or MODEL=SHARE; `base` is the
            model itself. None: base alone.
        texts: sources that `read_captions` reads, whose texts are learned from as well, each as a
            row of its own without a picture.
        languages: languages of the further wordings that are learned from, for rows that have some.
        control: whether a control is trained, which reads no bank and has no teacher.
        seed: seed of the sample of a large bank.
        cache: folder of image features; None: the default in ParaCLIP's cache folder.
        problems: collects broken rows and pictures; None: one per cent may be broken.
        device: device for a model given by name.
        facts: facts for the checkpoints, in addition to those of the files.
        check: raises UserError if a run of the base could not be written, before the first picture
            is encoded; see `check_training`.

    Raises:
        UserError: a file cannot be used, or too many rows are broken.
    """
    problems = Problems() if problems is None else problems
    if control:
        bank, teachers = None, ()
    rows, known = _read_rows(triples, images, starter, texts, problems)
    spoken = {language for of_row in choose_wordings(rows) for _, language in of_row} | {ENGLISH}
    if unknown := [name for name in languages if name not in spoken]:
        hint = f"The rows have {', '.join(sorted(spoken))}."
        raise UserError("--languages", f"no row has a wording in {label(unknown[0])}", hint)
    if isinstance(model, str):
        known["base"], model = model, load_model(model, device)
    check_base(model)
    check(model)
    rankers = load_teachers(teachers, model)
    if rankers:
        known["teachers"] = {
            str(number): {
                "taught_by": one.name,
                "share": one.share,
                "made_from": one.model.made_from,
            }
            for number, one in enumerate(rankers, 1)
        }
    found = None
    if bank is not None:
        found = read_bank(str(bank), model, problems, seed, images)
        known["bank"] = {"source": str(bank), "pictures": len(found.vectors)}
    check_bank(found, rankers, model)
    features = _features_of(model, rows["image"].to_pylist(), problems, cache)
    facts = known | dict(facts or {})
    return TrainingData(model, rows, features, facts, problems, found, rankers, tuple(languages))


def _read_rows(
    triples: pa.Table | Path | str,
    images: Path | str | None,
    starter: bool,
    texts: Sequence[str],
    problems: Problems,
) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of a run from all their sources, and facts about these; see `prepare`."""
    known: dict[str, Any] = {}
    of_starter = False
    if isinstance(triples, pa.Table):
        rows = triples
    else:
        rows = read_triples(triples, problems)
        known["triples"] = {"sha256": file_hash(resolve(triples)), **read_provenance(triples)}
        of_starter = Path(resolve(triples)).resolve() == TRIPLES.resolve()
        if starter and of_starter:
            what = "adds the triples that are trained on already"
            raise UserError("--starter", what, "Omit it, or name other triples.")
    if pc.any(pc.equal(rows["image"], "")).as_py():
        # Null for an empty name, so that such rows do not count as one picture.
        rows = with_column(rows, "image", [name or None for name in rows["image"].to_pylist()])
    if images is not None and not of_starter:
        rows = attach_images(rows, images)
    if starter:
        rows = with_starter(rows)
        known["starter"] = read_provenance(STARTER)
    if texts:
        found = [row.caption for source in texts for row in read_captions(source, None, problems)]
        rows = with_texts(rows, found)
        known["texts"] = {"data": list(texts), "count": len(found)}
    return rows, known


def check_base(model: DualEncoder) -> None:
    """Raise UserError for a model that reads no pictures."""
    if model.architecture.kind == "sentence":
        raise UserError("--model", "has only a text encoder", "Name a CLIP or mini.")


def _features_of(
    model: DualEncoder, references: list[str | None], problems: Problems, cache: Path | None = None
) -> Tensor | StoredRows:
    """`embed_pixels` rows [N, F], NaN for rows without a picture; [N, 0] if no row has one.

    With several processes, the first one computes them.
    """
    if not any(references):
        return torch.zeros(len(references), 0)
    seen = Problems(problems.max_share)  # the share is counted separately for pictures and rows
    folder = cache or cache_folder() / "image_features"
    with this_process().first_goes_first():
        features = image_features(model, references, folder, seen)
    try:
        problems.take(seen, len({name for name in references if name}))
    except UserError as error:
        hint = f"{error.hint} --images FOLDER finds moved pictures whose image_id is their name."
        raise UserError(error.where, error.what, hint) from None
    return features


def _rows_with_numbers(features: Tensor | StoredRows) -> NDArray[np.bool_]:
    """Which rows [N] of features [N, F] have a picture, that is, are not NaN throughout.

    Reads a few rows at a time, because the features may be in a file larger than memory.
    """
    has_pictures = np.zeros(len(features), dtype=bool)
    for start in range(0, len(features), _ROWS_AT_ONCE):
        part = features[start : start + _ROWS_AT_ONCE]
        finite = torch.isfinite(part)
        has_image = ~torch.isnan(part).all(1) if part.shape[1] else finite.any(1)
        broken = (has_image & ~finite.all(1)).nonzero()
        if len(broken):
            where = f"image features: row {start + int(broken[0]) + 1}"
            hint = "Compute the features again, in fp32."
            raise UserError(where, "a value is NaN or infinite", hint)
        has_pictures[start : start + _ROWS_AT_ONCE] = has_image.numpy()
    return has_pictures


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
        """Return the token ids, int64 [texts, longest text], padded at the end."""
        lengths = self.lengths(texts)
        ids = np.full((len(texts), lengths.max()), self.pad, dtype=np.int64)
        inside = np.arange(ids.shape[1]) < lengths[:, None]  # [texts, longest]
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
            ids = tokens.ids.numpy().astype(np.int32)  # [texts, length]
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
class Batch:
    """The rows of one step: B over all processes, of which b belong to this process."""

    # token ids, int64 [n, length], of the unique texts of this process, sorted by length and padded
    # to the longest text in each chunk
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
    """All N rows of a run."""

    tokens: _TokenStore  # token ids of the unique texts
    # index in `tokens` of each row's texts, int64 [T, N], followed by its further wordings, or -1:
    # [T + W, N]
    text_rows: Integers
    # names of the T texts in use: a subset of caption, paraphrase_1, paraphrase_2
    names: tuple[str, ...]
    # frozen image features, float32 [N, F]; F may be 0 if no row has a picture
    features: Tensor | StoredRows
    has_image: NDArray[np.bool_]  # whether each row has a picture, bool [N]
    image_keys: Integers  # int64 [N], equal for rows with the same picture
    # int64 [3 + W, N] for caption, paraphrase_1, paraphrase_2 and further wordings; equal for equal
    # texts
    text_keys: Integers
    chunk: int = 128  # number of texts encoded together
    # each row's picture, as a reference for `open_image`, or None; for runs that train the image
    # tower and have no features
    pictures: Sequence[str | None] | None = None
    # makers of the tensors [B, ...] that training does not change, by name; they get the numbers of
    # the rows [B] and the places of their texts [T, B]
    constants: Mapping[str, Callable[[Integers, Integers], Tensor]] = field(default_factory=dict)
    # the student's unit vectors float32 [G, D] of the bank's pictures, or None
    bank: Tensor | None = None
    # those of each teacher, float32 [G, E]; and the shares and weights, unless base is alone
    teachers_bank: Sequence[Tensor] = ()
    teachers: Sequence[tuple[float, str]] = ()

    def __len__(self) -> int:
        return len(self.image_keys)

    def batch(self, rows: Integers, share: tuple[int, int] = (0, 1)) -> Batch:
        """Return the batch of rows [B] for the process with the given (rank, count)."""
        part, parts = share
        every = [rows[a:b] for a, b in pairwise(np.arange(parts + 1) * len(rows) // parts)]
        own = every[part]  # [b]
        places = self._draw_wordings(rows)  # [T, B]
        start = sum(len(some) for some in every[:part])
        chunks, restore = self._chunks(own, places[:, start : start + len(own)])
        seen = own[self.has_image[own]]  # [k]
        constants = {name: of_rows(rows, places) for name, of_rows in self.constants.items()}
        if self.bank is not None:
            # Drawn by the numbers of the rows: equal in every process and in a resumed run.
            rng = np.random.default_rng([_BANK_SEED, *rows.tolist()])
            count = min(len(self.bank), _BANK_AT_ONCE)
            chosen = rng.choice(len(self.bank), count, replace=False, shuffle=False)
            drawn = torch.from_numpy(chosen)
            constants[BANK] = self.bank[drawn]  # [M, D]
            of_teachers = [vectors[drawn] for vectors in self.teachers_bank]
            constants[TEACHERS_BANK] = torch.cat(of_teachers, dim=1)  # [M, E]
        return Batch(
            chunks,
            restore,
            self.features[torch.from_numpy(seen)],  # [k, F]
            None if self.pictures is None else [str(self.pictures[row]) for row in seen],
            constants,
            self.loss_rows(rows),
            rows,
            [len(some) for some in every],
            [int(self.has_image[some].sum()) for some in every],
        )

    def _draw_wordings(self, rows: Integers) -> Integers:
        """Draw the T texts of some rows, as places in `text_rows`, int64 [T, B].

        Rows of T texts have them in order. Of a row with further wordings, T are drawn, different
        ones if it has so many; the caption of a row with a picture keeps its place for L1.
        """
        count = len(self.names)
        places = np.repeat(np.arange(count)[:, None], len(rows), axis=1)
        if len(self.text_rows) == count:
            return places
        rng = np.random.default_rng([_WORDING_SEED, *rows.tolist()])
        texts = self.text_keys[:, rows]
        order = rng.random(texts.shape)
        order[texts < 0] = np.inf  # not a text
        for place in range(1, len(texts)):
            order[place] += (texts[:place] == texts[place]).any(0)  # an equal text is drawn last
        order[0, self.has_image[rows]] = -1
        more = texts[count] >= 0
        places[:, more] = np.argsort(order[:, more], axis=0)[:count]
        return places

    def _chunks(self, rows: Integers, places: Integers) -> tuple[list[Tensor], Tensor]:
        """Return the unique texts of some rows in chunks of similar length, and `Batch.restore`."""
        texts = self.text_rows[places, rows].ravel()  # [T * b], one kind at a time
        texts, again = np.unique(texts, return_inverse=True)  # [n], [T * b]
        by_length = np.argsort(-self.tokens.lengths(texts), kind="stable")
        edges = _even_edges(len(texts), self.chunk)
        chunks = [self.tokens.padded(texts[by_length[a:b]]) for a, b in pairwise(edges)]
        restore = np.empty_like(by_length)
        restore[by_length] = np.arange(len(texts))
        return chunks, torch.from_numpy(restore[again])

    def loss_rows(self, rows: Integers) -> Rows:
        """Return which rows take part in which loss, and which pairs are false negatives."""
        drawn = self.names == ALL_TEXTS
        places = self._draw_wordings(rows) if drawn else np.arange(len(ALL_TEXTS))[:, None]
        keys = self.text_keys[places, rows]  # [3, B]
        caption, paraphrase_1, paraphrase_2 = keys  # [B] each
        used = [ALL_TEXTS.index(name) for name in self.names]
        keys = np.vstack([self.image_keys[rows], keys[used]])  # [1 + T, B]
        return Rows(
            torch.from_numpy(np.nonzero(self.has_image[rows])[0]),
            torch.from_numpy(np.nonzero(caption != paraphrase_1)[0]),
            torch.from_numpy(np.nonzero(paraphrase_1 != paraphrase_2)[0]),
            find_false_negatives(keys),
        )


def make_examples(
    model: DualEncoder,
    texts: Mapping[str, Sequence[str]],
    image_ids: Sequence[str],
    features: Tensor | StoredRows | None,
    needed: tuple[str, ...],
    micro_batch: int | None = None,
    pictures: Sequence[str | None] | None = None,
    wordings: Sequence[Sequence[str]] = (),
) -> Examples:
    """Tokenize all rows and number their texts and pictures.

    Args:
        model: model of the tokenizer and the image features.
        texts: N texts under "caption" and, if available, under both paraphrases.
        image_ids: N ids, equal for equal pictures.
        features: `embed_pixels` rows [N, F] or None; a row of NaN means no picture.
        needed: texts that are encoded.
        micro_batch: maximum number of texts encoded together, or None for the fastest number.
        pictures: N pictures, which are embedded anew in every step, if the image tower is trained;
            the features then say which of them can be opened.
        wordings: further wordings of each of the N rows, from which texts are drawn if all three
            are needed.

    Raises:
        UserError: the rows give a contrastive loss no negatives, or the features do not fit.
    """
    captions, known = texts[CAPTION], dict[str, int]()
    _check_rows(captions, image_ids)
    features = torch.zeros(len(captions), 0) if features is None else features
    has_image = _check_features(model, features, len(captions))
    if pictures is not None:
        features = torch.zeros(len(captions), 0)
    text_keys = np.asarray([_number_texts(texts.get(name, captions), known) for name in ALL_TEXTS])
    image_keys = np.unique(np.asarray(image_ids, dtype=object), return_inverse=True)[1]
    stored: dict[str, int] = {}  # index of each text's tokens
    text_rows = [
        np.asarray([stored.setdefault(text, len(stored)) for text in texts[name]], dtype=np.int64)
        for name in needed
    ]
    if wordings and needed == ALL_TEXTS:
        most = max(map(len, wordings))
        more_rows = np.full((most, len(wordings)), -1)
        more_keys = np.full((most, len(wordings)), -1)
        for row, of_row in enumerate(wordings):
            more_rows[: len(of_row), row] = [
                stored.setdefault(text, len(stored)) for text in of_row
            ]
            more_keys[: len(of_row), row] = _number_texts(of_row, known)
        text_rows, text_keys = [*text_rows, *more_rows], np.vstack([text_keys, more_keys])
    return Examples(
        tokens=_store_tokens(model, list(stored)),
        text_rows=np.stack(text_rows),
        names=needed,
        features=features,
        has_image=has_image,
        image_keys=-1 - image_keys.astype(np.int64),
        text_keys=text_keys.astype(np.int64),
        chunk=micro_batch or _TEXTS_AT_ONCE.get(model.device.type, 1024),
        pictures=pictures,
    )


def _number_texts(texts: Sequence[str], known: dict[str, int]) -> list[int]:
    """A number for each text; equal for texts that differ only in case and spaces."""
    return [known.setdefault(" ".join(text.casefold().split()), len(known)) for text in texts]


def _check_rows(captions: Sequence[str], image_ids: Sequence[str]) -> None:
    """Raise UserError for rows that give a contrastive loss no negatives."""
    if len(captions) < 2:
        what = f"{len(captions)} row(s); a contrastive loss needs at least two"
        raise UserError("training rows", what, "Give more captions, or loosen the filters.")
    different = len(set(_number_texts(captions, {})))
    if different < 2 or len(set(image_ids)) < 2:
        same = "picture" if different > 1 else "caption"
        what = f"all {len(captions)} rows have the same {same}, so there are no negatives"
        raise UserError("training rows", what, "Give captions of several pictures.")


def _check_features(
    model: DualEncoder, features: Tensor | StoredRows, rows: int
) -> NDArray[np.bool_]:
    """Which rows [N] have a picture; raises UserError for features that do not fit."""
    hint = "Compute the features for these rows with this model."
    if len(features.shape) != 2 or len(features) != rows:
        what = f"shape {list(features.shape)} for {rows} rows"
        raise UserError("image features", what, hint)
    has_image = _rows_with_numbers(features)
    if has_image.any():
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


def picture_keys(triples: pa.Table) -> list[str]:
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


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Return the number of batches per epoch."""
    return len(_even_edges(rows, batch_size)) - 1


def epoch_batches(rows: int, batch_size: int, seed: int, epoch: int) -> list[Integers]:
    """Return the rows of each batch of an epoch, shuffled by seed and epoch, sizes equal ± 1."""
    shuffled = np.random.default_rng([seed, epoch]).permutation(rows)
    return [shuffled[a:b] for a, b in pairwise(_even_edges(rows, batch_size))]


def row_batches(rows: int, batch_size: int, seed: int, start: int, stop: int) -> Iterator[Integers]:
    """Yield the rows of each step from `start` up to but excluding `stop`, across epochs."""
    epoch_steps = steps_per_epoch(rows, batch_size)
    batches: list[Integers] = []
    for step in range(start, stop):
        if step == start or step % epoch_steps == 0:
            batches = epoch_batches(rows, batch_size, seed, step // epoch_steps)
        yield batches[step % epoch_steps]

"""Builds the task of a run from prepared rows and options: model, data and objective."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from paraclip.data.triples import resolved_picture
from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.models.mini import Mini
from paraclip.progress import bar
from paraclip.training.config import AlignOptions, RunSettings, TrainOptions, settings_of
from paraclip.training.examples import Examples, store_tokens
from paraclip.training.losses.contrast import Integers
from paraclip.training.losses.objective import (
    ALL_TEXTS,
    CAPTION,
    CAPTIONS_ONLY,
    PARAPHRASE_1,
    PARAPHRASE_2,
)
from paraclip.training.optimizer import Part, parts_of
from paraclip.training.prepare import TrainingData, rows_with_numbers
from paraclip.training.recipes import check_options, decided, objective_of, resolved
from paraclip.training.run import Task

TEXTS_AT_ONCE = {"cpu": 128}
"""Smaller chunks have less padding, larger ones sum up fewer gradients; chosen by measurement."""
BASE_AT_ONCE = 128
"""Number of captions that the base encodes together; fixed, because it affects the last digits."""


def task_of(data: TrainingData, options: TrainOptions, settings: RunSettings | None = None) -> Task:
    """The task of `train`, with its arguments; the model then contains LoRA's matrices."""
    settings = settings_of(options, settings)
    check_options(options, settings)
    model, triples = data.model, data.rows
    options = resolved(options, model.architecture)
    objective = objective_of(options)
    texts = {name: triples[name].to_pylist() for name in ALL_TEXTS}
    if options.shuffle_paraphrases:
        texts = shuffled_paraphrases(texts, options.seed)
    unfrozen = options.image_learning_rate is not None
    examples = make_examples(
        model, texts, picture_keys(triples), None if unfrozen else data.features, objective.texts,
        options.micro_batch,
        triples[options.negatives].to_pylist() if objective.hard_negatives else None,
        triples["image"].to_pylist() if unfrozen else None,
    )  # fmt: skip
    if objective.distillation:
        examples = replace(examples, base=base_vectors(model, examples))
    if not examples.has_image.any() and (unfrozen or not any(objective.weights[1:])):
        hint = "Give the folder of the pictures with --images."
        raise UserError("training rows", "no row has a picture, and L1 needs some", hint)
    # False for a control. Hard negatives are changed paraphrases.
    learns_paraphrases = set(objective.texts) != {CAPTION} or objective.hard_negatives
    facts = {"generators": generators_of(triples) if learns_paraphrases else [], **data.facts}
    if not learns_paraphrases:
        facts |= {
            name: without_terms(facts[name]) for name in {"triples", "starter"} & facts.keys()
        }
    parts = parts_of(model, options)
    return Task(model, examples, objective, parts, options, settings, facts, describing(triples))


def without_terms(facts: Any) -> Any:
    """The origin of triples without the generator of their paraphrases and its terms."""
    if not isinstance(facts, Mapping):
        return facts
    used = (name for name in facts if name not in ("generator", "licence"))
    return {name: without_terms(facts[name]) for name in used}


def alignment_of(
    data: TrainingData, options: AlignOptions, settings: RunSettings | None = None
) -> Task:
    """The task of `align`, with its arguments: L1 on the captions, both heads and text tower."""
    settings = settings_of(options, settings)
    check_options(options, settings)
    model = cast(Mini, data.model)
    options = resolved(options, model.architecture)
    examples = make_examples(
        model, {CAPTION: data.rows["caption"].to_pylist()}, picture_keys(data.rows), data.features,
        CAPTIONS_ONLY.texts, options.micro_batch,
    )  # fmt: skip
    if examples.has_image.sum() < 2:
        what = "fewer than two captions have a picture"
        raise UserError("training rows", what, "Give pictures with their captions.")
    model.image_tower.feature_dropout = options.feature_dropout
    parts = (
        Part(model.image_head, options.head_learning_rate),
        Part(model.text_head, options.head_learning_rate),
        Part(model.text_tower, decided(options.learning_rate)),
    )
    describe = describing(data.rows.select(["image_id", "caption"]))
    return Task(model, examples, CAPTIONS_ONLY, parts, options, settings, data.facts, describe)


def text_numbers(texts: Sequence[str], known: dict[str, int]) -> list[int]:
    """A number for each text; equal for texts that differ only in case and spaces."""
    return [known.setdefault(" ".join(text.casefold().split()), len(known)) for text in texts]


def make_examples(
    model: DualEncoder,  # model of the tokenizer and the image features
    # N texts under "caption" and, if available, under both paraphrases
    texts: Mapping[str, Sequence[str]],
    image_ids: Sequence[str],  # N ids, equal for equal pictures
    features: Tensor | None,  # `embed_pixels` rows [N, F] or None; a row of NaN means no picture
    needed: tuple[str, ...],  # texts that are encoded
    # maximum number of texts encoded together, or None for the fastest number
    micro_batch: int | None = None,
    # N hard negatives; None or empty for rows without one
    negatives: Sequence[str | None] | None = None,
    # N pictures, instead of features, for runs that train the image tower
    pictures: Sequence[str | None] | None = None,
) -> Examples:
    """All rows, tokenized."""
    known: dict[str, int] = {}
    captions = texts[CAPTION]
    check_rows(captions, image_ids)
    features = torch.zeros(len(captions), 0) if features is None else features.float()
    has_image = check_features(model, features, len(captions))
    if pictures is not None:
        has_image = np.asarray([bool(name) for name in pictures], dtype=np.bool_)
    text_keys = np.asarray([text_numbers(texts.get(name, captions), known) for name in ALL_TEXTS])
    image_keys = np.unique(np.asarray(image_ids, dtype=object), return_inverse=True)[1]
    hard = ["" if text is None else text.strip() for text in negatives or ()]
    stored: dict[str, int] = {}  # index of each text's tokens
    text_rows = [indices_of(texts[name], stored) for name in needed]
    negative = indices_of((text or None for text in hard), stored) if hard else None
    return Examples(
        tokens=store_tokens(model, list(stored)),
        text_rows=np.stack(text_rows),
        names=needed,
        features=features,
        has_image=has_image,
        image_keys=-1 - image_keys.astype(np.int64),
        text_keys=text_keys.astype(np.int64),
        chunk=micro_batch or TEXTS_AT_ONCE.get(model.device.type, 1024),
        negative=negative,
        negative_keys=np.asarray(text_numbers(hard, known), dtype=np.int64) if hard else None,
        pictures=pictures,
    )


@torch.no_grad()
def base_vectors(model: DualEncoder, examples: Examples) -> Tensor:
    """Unit vectors of all captions, float32 [N, D], by the model before training."""
    model.eval()
    texts = examples.text_rows[examples.names.index(CAPTION)]  # [N]
    parts = []
    with bar("base vectors", len(texts), "text") as moving:
        for start in range(0, len(texts), BASE_AT_ONCE):
            ids = examples.tokens.padded(texts[start : start + BASE_AT_ONCE])
            parts.append(model.encode_tokens(ids.to(model.device)).float().cpu())
            moving.update(len(ids))
    return torch.cat(parts)


def indices_of(texts: Iterable[str | None], stored: dict[str, int]) -> Integers:
    """Index of each text among the stored ones, to which new texts are appended; -1 for None."""
    indices = [-1 if text is None else stored.setdefault(text, len(stored)) for text in texts]
    return np.asarray(indices, dtype=np.int64)


def check_rows(captions: Sequence[str], image_ids: Sequence[str]) -> None:
    """Raise UserError for rows that give a contrastive loss no negatives."""
    if len(captions) < 2:
        what = f"{len(captions)} row(s); a contrastive loss needs at least two"
        raise UserError("training rows", what, "Give more captions, or loosen the filters.")
    different = len(set(text_numbers(captions, {})))
    if different < 2 or len(set(image_ids)) < 2:
        same = "picture" if different > 1 else "caption"
        what = f"all {len(captions)} rows have the same {same}, so there are no negatives"
        raise UserError("training rows", what, "Give captions of several pictures.")


def check_features(model: DualEncoder, features: Tensor, rows: int) -> NDArray[np.bool_]:
    """Which rows [N] have a picture."""
    hint = "Compute the features for these rows with this model."
    if features.ndim != 2 or len(features) != rows:
        what = f"shape {list(features.shape)} for {rows} rows"
        raise UserError("image features", what, hint)
    has_image = rows_with_numbers(features)
    if has_image.any():
        check_width(model, features[int(has_image.argmax())][None], hint)
    return has_image


def check_width(model: DualEncoder, feature: Tensor, hint: str) -> None:
    """Raise UserError for features [1, F] that the model cannot project."""
    width = model.architecture.embed_dim
    try:
        with torch.no_grad():
            fits = model.project_images(feature.to(model.device)).shape[-1] == width
    except RuntimeError:
        fits = False
    if not fits:
        what = f"width {feature.shape[1]} does not fit {model.architecture.name}"
        raise UserError("image features", what, hint)


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


def shuffled_paraphrases(texts: Mapping[str, Sequence[str]], seed: int) -> dict[str, list[str]]:
    """The same texts, where every row has the paraphrases of two other rows.

    Rows are arranged in a random circle; paraphrase_1 comes from the next row and paraphrase_2 from
    the one after it, so that neither L2 nor L3 compares a text with its own paraphrase. Rows of
    three equal texts (`--replay`) have no paraphrases and are not changed.

    Args:
        texts: N texts under each of caption, paraphrase_1 and paraphrase_2.
        seed: random seed of the circle.
    """
    shuffled = {name: list(of_rows) for name, of_rows in texts.items()}
    whole = zip(*(texts[name] for name in (CAPTION, PARAPHRASE_1, PARAPHRASE_2)), strict=True)
    reworded = np.flatnonzero([len(set(row)) > 1 for row in whole])
    circle = np.random.default_rng([seed, 0x91AC]).permutation(reworded)
    for name, distance in ((PARAPHRASE_1, 1), (PARAPHRASE_2, 2)):
        for row, other in zip(circle, np.roll(circle, -distance), strict=True):
            shuffled[name][row] = texts[name][other]
    return shuffled


def describing(triples: pa.Table) -> Callable[[Integers], list[dict[str, Any]]]:
    """Return a function that describes the rows of some row numbers, for error reports."""
    return lambda rows: [{"row": int(row), **triples.slice(row, 1).to_pylist()[0]} for row in rows]


def generators_of(triples: pa.Table) -> list[str]:
    """Names of the generators that wrote the paraphrases; the first 20."""
    named = triples["generator"].to_pylist() if "generator" in triples.column_names else []
    return sorted({name for name in named if name})[:20]

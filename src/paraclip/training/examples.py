"""From texts, picture names and image features to the rows of a run, with what is refused."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.training.batches import ALL_TEXTS, Examples
from paraclip.training.losses import CAPTION
from paraclip.training.tokens import store_tokens

TEXTS_AT_ONCE = {"cpu": 128}
"""Smaller chunks hold less padding, larger ones sum up fewer gradients; measured."""


def number(texts: Sequence[str], known: dict[str, int]) -> list[int]:
    """A number for each text, the same where texts differ in case and spaces only."""
    return [known.setdefault(" ".join(text.casefold().split()), len(known)) for text in texts]


def make_examples(
    model: DualEncoder,
    texts: Mapping[str, Sequence[str]],
    image_ids: Sequence[str],
    features: Tensor | None,
    needed: tuple[str, ...],
    micro_batch: int | None = None,
) -> Examples:
    """All rows, tokenized.

    Args:
        model: whose tokenizer and image features these are.
        texts: N texts under "caption" and, where there are any, under both paraphrases.
        image_ids: N; equal where the picture is the same.
        features: `embed_pixels` rows [N, F], a row with NaN meaning no picture; or None.
        needed: the texts that go through the tower.
        micro_batch: most texts that go through it at once, or None for what is fastest.

    Raises:
        UserError: there is nothing to tell apart, or the features belong to other rows or to
            another model.
    """
    known: dict[str, int] = {}
    captions = texts[CAPTION]
    check_rows(captions, image_ids)
    features = torch.zeros(len(captions), 0) if features is None else features.float()
    has_image = check_features(model, features, len(captions))
    text_keys = [number(texts.get(name, captions), known) for name in ALL_TEXTS]
    image_keys = np.unique(np.asarray(image_ids, dtype=object), return_inverse=True)[1]
    tokens = store_tokens(model, [text for name in needed for text in texts[name]])
    return Examples(
        tokens, needed, features, has_image, -1 - image_keys.astype(np.int64),
        np.asarray(text_keys, dtype=np.int64),
        micro_batch or TEXTS_AT_ONCE.get(model.device.type, 1024),
    )  # fmt: skip


def check_rows(captions: Sequence[str], image_ids: Sequence[str]) -> None:
    """Refuse rows among which a contrastive loss has nothing to tell apart."""
    if len(captions) < 2:
        what = f"{len(captions)} row(s); a contrastive loss needs at least two"
        raise UserError("training rows", what, "Give more captions, or loosen the filters.")
    if len(set(captions)) < 2 or len(set(image_ids)) < 2:
        same = "picture" if len(set(captions)) > 1 else "caption"
        what = f"all {len(captions)} rows have the same {same}, so nothing can be told apart"
        raise UserError("training rows", what, "Give captions of several pictures.")


def check_features(model: DualEncoder, features: Tensor, rows: int) -> NDArray[np.bool_]:
    """Which rows [N] have a picture.

    Raises:
        UserError: as many features as rows there are not, or of another model's width.
    """
    mend = "Compute the features anew for these rows with this model."
    if features.ndim != 2 or len(features) != rows:
        what = f"shape {list(features.shape)} for {rows} rows"
        raise UserError("image features", what, mend)
    has_image = ~torch.isnan(features).any(dim=1) if features.shape[1] else torch.zeros(rows) > 0
    if bool(torch.isinf(features[has_image]).any()):
        raise UserError("image features", "a value is infinite", mend)
    if bool(has_image.any()):
        check_width(model, features[has_image][:1], mend)
    return np.asarray(has_image.numpy(), dtype=bool)


def check_width(model: DualEncoder, feature: Tensor, mend: str) -> None:
    """Refuse features [1, F] that the model cannot project."""
    width = model.architecture.embed_dim
    try:
        with torch.no_grad():
            fits = model.project_images(feature.to(model.device)).shape[-1] == width
    except RuntimeError:
        fits = False
    if not fits:
        what = f"width {feature.shape[1]} does not fit {model.architecture.name}"
        raise UserError("image features", what, mend)

"""The interface of every model: two encoders, one vector space, one temperature."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from paraclip.models.sources import TEXT_ONLY


@dataclass(frozen=True)
class Architecture:
    """Properties that must match before weights are loaded; stored in every checkpoint.

    Args:
        kind: "mini", "open_clip" or `TEXT_ONLY`.
        name: open_clip's model name, or "mini".
        embed_dim: width of the shared space.
        context_length: maximum length of a text in tokens, including the end token.
        quick_gelu: whether the towers use QuickGELU; weights trained with one activation give
            plausible but worse vectors with the other, so a mismatch is an error.
        causal_text: whether the text tower reads left to right and its vector at the end token, so
            that cutting a batch to its longest text leaves the vectors unchanged.
    """

    kind: str
    name: str
    embed_dim: int
    context_length: int
    quick_gelu: bool
    causal_text: bool

    @property
    def reads_pictures(self) -> bool:
        """Whether there is an image encoder."""
        return self.kind != TEXT_ONLY

    def as_dict(self) -> dict[str, Any]:
        """The architecture as a JSON-serialisable dict."""
        return asdict(self)


@dataclass(frozen=True)
class Tokens:
    """Token ids int64 [batch, length] of texts, padded at the end to the longest one, and the
    number of texts that were longer than the context and lost their tail (the end token is
    kept)."""

    ids: Tensor
    truncated: int = 0


def pad_rows(rows: Sequence[Sequence[int]], context_length: int, pad: int = 0) -> Tokens:
    """Pad rows of token ids, each with start and end token, to the longest; a row is truncated to
    `context_length` ids and keeps its last one, the end token."""
    truncated = sum(len(row) > context_length for row in rows)
    kept = [  # CLIP's towers read the vector of a text at its end token
        row if len(row) <= context_length else [*row[: context_length - 1], row[-1]] for row in rows
    ]
    length = max((len(row) for row in kept), default=0)
    padded = [[*row, *[pad] * (length - len(row))] for row in kept]
    # Without rows, `torch.tensor` has one dimension.
    return Tokens(torch.tensor(padded, dtype=torch.int64).reshape(len(rows), length), truncated)


class DualEncoder(nn.Module, ABC):
    """An image encoder and a text encoder with one vector space.

    Subclasses set the attributes and implement the abstract methods. The image side has two parts:
    the output of `embed_pixels` is expensive, never changes and is cached; `project_images` may be
    trained by `recipes/alignment.py` and only normalises in CLIP models.

    Attributes:
        architecture: properties of this model.
        text_tower: everything that `paraclip train` trains, including the projection.
        image_tower: everything on the image side; frozen unless `image_learning_rate` is set.
        logit_scale: log of the inverse temperature, a scalar.
        image_size: side in pixels of the square input picture.
        unknown_id: token id of words that the tokenizer cannot represent; -1 if there are none.
        made_from: JSON-serialisable provenance of the weights. It is copied to checkpoints made
            from this model, so that the terms of data and generators are not lost.
    """

    architecture: Architecture
    text_tower: nn.Module
    image_tower: nn.Module
    logit_scale: nn.Parameter
    image_size: int
    unknown_id: int = -1
    made_from: dict[str, Any] | None = None

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Token ids of the texts, padded to the longest; truncated texts keep the end token."""

    @abstractmethod
    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Unit text vectors [batch, embed_dim] of token ids [batch, length]."""

    @abstractmethod
    def preprocess(self, image: Image.Image) -> Tensor:
        """Pixels [3, image_size, image_size] of an RGB picture of any size."""

    @abstractmethod
    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Frozen image features [batch, width] of pixels [batch, 3, image_size, image_size]."""

    @abstractmethod
    def project_images(self, features: Tensor) -> Tensor:
        """Unit image vectors [batch, embed_dim] of the output of `embed_pixels`."""

    @abstractmethod
    def image_key(self) -> str:
        """Hash of the frozen image weights and the preprocessing: the key of cached features."""

    def computed_length(self, length: int) -> int:
        """Number of tokens that the tower computes for ids [batch, length], with its padding."""
        return length

    def header(self) -> dict[str, Any]:
        """JSON-serialisable facts needed, in addition to the weights, to rebuild the model."""
        return {}

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> Self:
        """The model that a checkpoint's header describes, with random weights."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except on the image side, whose norms keep their statistics."""
        super().train(mode)
        self.image_tower.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.logit_scale.device  # every model has it, and some have no image tower


Model = DualEncoder | Path | str | tuple[nn.Module, Any, Any]
"""A model, a name that `load_model` accepts (`mini`, `ViT-B-32:file`, a checkpoint), or open_clip's
model, tokenizer and preprocessing."""

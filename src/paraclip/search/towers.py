"""Text towers for a search: unit vectors of texts, by the name of a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from paraclip.search.exact import Float
from paraclip.search.records import IndexFacts, check_image_space

if TYPE_CHECKING:
    from PIL import Image

LONGEST_QUERY = 2_000
"""Maximum number of characters of a query: more than any model's context."""


class TextTower(Protocol):
    """A text encoder.

    Attributes:
        name: name of its model.
        image_space: hash of the image tower with whose vectors it may be compared.
    """

    name: str
    image_space: str

    def embed(self, texts: Sequence[str]) -> Float:
        """Unit vectors float32 [texts, width]."""


class TorchTower:
    """A model loaded with torch, which also embeds pictures.

    Args:
        name: name of the model, as for `load_model`.
        device: device, as for `load_model`.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        from paraclip.models.image_space import image_space
        from paraclip.models.loading import load_model

        self.name = name
        self.model = load_model(name, device)
        self.image_space = image_space(self.model)

    def embed(self, texts: Sequence[str]) -> Float:
        """Unit vectors float32 [texts, width]."""
        from paraclip.models.features import encode_texts

        return np.asarray(encode_texts(self.model, texts).numpy(), np.float32)

    def embed_image(self, image: "Image.Image") -> Float:
        """Unit vector float32 [width] of a decoded picture."""
        from paraclip.models.features import embed, project

        pixels = self.model.preprocess(image)[None]
        return np.asarray(project(self.model, embed(self.model, pixels, "fp32")).numpy()[0])

    def embed_picture(self, reference: str) -> Float:
        """Unit vector float32 [width] of a picture; raises UserError if it cannot be read."""
        from paraclip.models.features import encode_images

        return np.asarray(encode_images(self.model, [reference], label="query").numpy()[0])


def open_tower(name: str, facts: IndexFacts, where: str, device: str = "cpu") -> TextTower:
    """The text tower of a model that matches an index; without torch if it is in the cache.

    Raises:
        UserError: the model cannot be loaded, or its image tower did not make the index.
    """
    from paraclip.search.onnx_tower import kept_tower

    tower: TextTower = (device in ("auto", "cpu") and kept_tower(name)) or TorchTower(name, device)
    check_image_space(facts, tower.image_space, name, where)
    return tower

"""The public API: what each command does, as a function that returns its result and prints nothing.

Keyword options are those of the command of the same name (`paraclip train --help`), with `_` for
`-`: `train(base, triples, out="runs/tuned", text_temperature=0.1)`. One that is left out has the
command's default.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from paraclip.commands.evaluate import evaluate
from paraclip.commands.export import export
from paraclip.commands.generate import generate
from paraclip.commands.index import index
from paraclip.commands.search import search
from paraclip.commands.swap import inspect_swap, swap, undo_swap
from paraclip.commands.swap_check import swap_check
from paraclip.commands.train import train
from paraclip.data.captions import Columns
from paraclip.data.images import Picture, is_picture
from paraclip.data.reading import read_captions
from paraclip.errors import UserError
from paraclip.evaluation.compare import compare
from paraclip.given_models import loaded_model
from paraclip.merging import merge
from paraclip.models import features
from paraclip.models.encoder import Model
from paraclip.models.loading import load_model
from paraclip.starter.scenes import scenes

__all__ = (
    "Columns", "UserError", "compare", "encode_images", "encode_texts", "evaluate", "export",
    "generate", "index", "inspect_swap", "load_model", "merge", "read_captions", "scenes", "search",
    "swap", "swap_check", "train", "undo_swap",
)  # fmt: skip


def encode_texts(model: Model, texts: str | Sequence[str]) -> Tensor:
    """Vectors of texts, such as queries for an index of the model's pictures.

    Args:
        model: the text encoder; one that is passed is put in evaluation mode.
        texts: texts, or one; each is cut to the model's context.

    Returns:
        Unit vectors, float32 [texts, width] on the CPU, in the order of the texts; of one text,
        its vector [width].

    Raises:
        UserError: the model cannot be loaded.

    Example:
        >>> encode_texts("mini", ["a dog", "one dog"]).shape  # doctest: +SKIP
        torch.Size([2, 384])
    """
    if isinstance(texts, str):
        return features.encode_texts(loaded_model(model), [texts])[0]
    return features.encode_texts(loaded_model(model), texts)


def encode_images(model: Model, pictures: Picture | Sequence[Picture]) -> Tensor:
    """Vectors of pictures, such as an index of your own.

    Args:
        model: the image encoder; one that is passed is put in evaluation mode.
        pictures: pictures, or one: paths, URLs, Pillow's pictures, or arrays of 8-bit colours
            [height, width, 3].

    Returns:
        Unit vectors, float32 [pictures, width] on the CPU, in the order of the pictures; of one
        picture, its vector [width].

    Raises:
        UserError: the model cannot be loaded or reads no pictures, or a picture is missing or
            broken.
    """
    given: Any = [pictures] if (one := is_picture(pictures)) else pictures
    vectors = features.encode_pictures(loaded_model(model), given)
    return vectors[0] if one else vectors

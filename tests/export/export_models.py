"""Tiny models with CLIP's context, and their own vectors."""

import json
from collections.abc import Callable

import numpy as np
import torch
from export_texts import TEXTS
from tiny_models import TINY_CLIP

from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_texts
from paraclip.models.formats.published import preprocessing_of
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip

SMALL = {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "context_length": 77}}

Load = Callable[..., np.ndarray]


def small_clip(name: str = "small", gain: float = 2.0, **changes: object) -> OpenClip:
    """A tiny CLIP with CLIP's context; its text tower's random weights are scaled by `gain`."""
    torch.manual_seed(0)
    spec = ClipSpec(name, {**json.loads(json.dumps(SMALL)), **changes}, preprocessing_of({}))
    model = OpenClip(spec, build_clip(spec))
    with torch.no_grad():  # random towers map all texts to nearly one vector
        for parameter in model.text_tower.parameters():
            parameter.mul_(gain)
    return model


def ours(model: DualEncoder) -> np.ndarray:
    """The model's own vectors of the texts."""
    return encode_texts(model, TEXTS).numpy()

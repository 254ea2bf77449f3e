"""Options of `paraclip export`."""

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class ExportConfig:
    """Write a ParaCLIP checkpoint as weights for other programs, with a model card beside it."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint to export (.safetensors)."""

    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """File to write (.safetensors). A model for open_clip is written with open_clip's names and is
    loaded by open_clip.create_model(NAME, pretrained=FILE); `mini` keeps its own names."""

    half: bool = False
    """Write 16-bit floats: half the size, vectors equal to about three digits."""

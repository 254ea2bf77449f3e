"""Options of `paraclip export`."""

from dataclasses import dataclass

import tyro


@dataclass(frozen=True)
class ExportConfig:
    """Write a ParaCLIP checkpoint as weights for other programs, with a model card beside it."""

    checkpoint: tyro.conf.Positional[str]
    """Checkpoint to export (.safetensors)."""

    out: tyro.conf.Positional[str]
    """File to write (.safetensors). A model for open_clip is written with open_clip's names and is
    loaded by open_clip.create_model(NAME, pretrained=FILE); `mini` keeps its own names."""

    half: bool = False
    """Write 16-bit floats: half the size, vectors equal to about three digits."""

"""Options of `paraclip swap`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from paraclip.options import Checked

SwapSystem = Literal["immich", "rclip", "fastembed", "hugging-face"]


@dataclass(frozen=True, kw_only=True)
class SwapConfig(Checked):
    """Put a tuned text encoder in the place of the base's in the model cache of another program, or
    take it out again. The base's file is kept beside it; vectors of pictures stay valid."""

    system: Annotated[tyro.conf.Positional[SwapSystem], tyro.conf.arg(metavar="SYSTEM")]
    """Program whose model cache it is: immich, rclip, fastembed, or hugging-face for programs that
    load a CLIP from the hub's cache."""

    cache: str
    """The program's cache: immich's volume model-cache (/cache in the container), rclip's data
    folder (~/.local/share/rclip), fastembed's FASTEMBED_CACHE_PATH, or the hub's cache
    (~/.cache/huggingface/hub) or the folder of one model in it."""

    model: str | None = None
    """The tuned model (.safetensors), or any model as for `paraclip train --model`."""

    tag: str | None = None
    """Pretrained tag of the base in open_clip, such as `openai`, for a checkpoint that does not
    record it."""

    index: str | None = None
    """Also check that the vectors of this index come from the model's image tower; as for
    `paraclip swap-check --index`."""

    undo: bool = False
    """Restore the base's files."""

    dry_run: bool = False
    """Check everything and print what would be done, but change nothing."""

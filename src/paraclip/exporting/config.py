"""Options of `paraclip export`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from paraclip.options import Checked

Format = Literal["weights", "open-clip", "hf", "sentence-transformers", "onnx"]
SystemName = Literal[
    "immich", "rclip", "fastembed", "transformers-js", "sentence-transformers", "open-clip",
    "clip-retrieval", "lancedb",
]  # fmt: skip


@dataclass(frozen=True)
class ExportOptions(Checked):
    """How a model is written; shared by the command and `paraclip.export`."""

    to: Format | None = None
    """Format: `weights` (open_clip's names in one file, the default for OUT.safetensors),
    `open-clip` (a `local-dir:` folder, the default for a folder), `hf` (a Hugging Face CLIP
    folder), `sentence-transformers` (a folder of modules), or `onnx`."""

    target: Annotated[SystemName | None, tyro.conf.arg(name="for")] = None
    """System to write for: uses the layout that it loads, checks its base and prints the steps."""

    base: str | None = None
    """The base, as for `paraclip train --model`. Its image tower must equal the checkpoint's bit
    for bit, or the export is refused."""

    tag: str | None = None
    """Pretrained tag of the base in open_clip, such as `openai`, for a checkpoint that does not
    record it. Some systems name their folders after it."""

    half: bool = False
    """Write 16-bit floats (weights, open-clip, hf) at half the size. The drift of the text vectors
    is measured and printed; a model whose vectors change too much is refused."""

    int8: bool = False
    """Also write 8-bit weights (transformers-js, whose browsers load them by default) at about a
    quarter of the size. The drift of the text vectors is measured and printed; a model whose
    vectors change too much is refused."""

    image_tower: bool = False
    """Also write the image tower (onnx)."""

    force: bool = False
    """Replace an existing file, or a folder that an export wrote and that holds nothing else."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ExportOptions):
    """Write a model in the layout that another system loads, with a model card."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint to export (.safetensors), or any model as for `paraclip train --model`."""

    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """Folder to write, or a .safetensors file for `--to weights`."""

"""How a model is written for another system."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from paraclip.options import Checked, PathName
from paraclip.systems import FORMATS, exported

if TYPE_CHECKING:
    Format = str
    Exported = str
else:  # the names of the table, for help and checks
    Format, Exported = (Literal[tuple(names)] for names in (FORMATS, exported()))


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Checked):
    """How a model is written for another system."""

    to: Format | None = None
    """Format: `weights` (open_clip's names in one file, the default for OUT.safetensors),
    `open-clip` (a `local-dir:` folder, the default for a folder), `hf` (a Hugging Face CLIP
    folder), `sentence-transformers` (a folder of modules), or `onnx`."""

    target: Annotated[Exported | None, tyro.conf.arg(name="for")] = None
    """System to write for: uses the layout that it loads, checks its base and prints the steps."""

    base: PathName | None = None
    """The base, as for `paraclip train --base`. Its image encoder must equal the checkpoint's bit
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
    """Also write the image encoder (onnx)."""

"""Other programs: what each loads, where its cache is and how its index is read.

Each fact has its source. `graphs` has the programs that only load a graph, `files` those that load
weights or a folder of a CLIP, and indexes that are files; the other modules have a program each.
`export` writes what is in `layout`, `swap` replaces files in `cache`, and `swap-check` reads an
index by `read`: these are verbs over this table, and their options take the names from it. So
importing it imports neither torch nor numpy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from paraclip.options import Checked, PathName
from paraclip.plugins import Table
from paraclip.systems import files, graphs
from paraclip.systems.files import FORMATS
from paraclip.systems.immich import IMMICH
from paraclip.systems.librephotos import LIBREPHOTOS
from paraclip.systems.pgvector import PGVECTOR
from paraclip.systems.rclip import RCLIP
from paraclip.systems.system import IndexAddress, Layout, Parts, System

__all__ = ("FORMATS", "SYSTEMS", "ExportOptions", "exported", "indexed", "swapped")

SYSTEMS = Table("systems", {
    system.name: system
    for system in (
        IMMICH, RCLIP, LIBREPHOTOS, graphs.FASTEMBED, files.WEAVIATE, graphs.VESPA,
        graphs.OPENSEARCH, graphs.TRANSFORMERS_JS, files.SENTENCE_TRANSFORMERS, files.HUGGING_FACE,
        files.OPEN_CLIP, files.CLIP_RETRIEVAL, files.PARACLIP, files.LANCEDB, PGVECTOR, files.NPY,
        files.PARQUET,
    )
})  # fmt: skip
"""By name. An index is of the first one that recognises it."""


def exported() -> dict[str, Layout]:
    """What `export --for` writes for each program."""
    return {name: system.layout for name, system in SYSTEMS.items() if system.layout}


def swapped() -> dict[str, System]:
    """The programs whose cache `swap` knows."""
    return {name: system for name, system in SYSTEMS.items() if system.cache.files}


def indexed() -> dict[str, Callable[[IndexAddress], Parts]]:
    """The reader of each program's index."""
    return {name: system.read for name, system in SYSTEMS.items() if system.read}


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

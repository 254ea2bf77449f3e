"""Other programs: what each loads, where its cache is and how its index is read.

Each fact has its source. `graphs` has the programs that only load a graph, `files` those that load
weights or a folder of a CLIP, and indexes that are files; the other modules have a program each.
`export` writes what is in `layout`, `swap` replaces files in `cache`, and `swap-check` reads an
index by `read`: these are verbs over this table, and their options take the names from it. So
importing it imports neither torch nor numpy.
"""

from collections.abc import Callable

from paraclip.plugins import Table
from paraclip.systems import files, graphs
from paraclip.systems.files import FORMATS
from paraclip.systems.immich import IMMICH
from paraclip.systems.librephotos import LIBREPHOTOS
from paraclip.systems.pgvector import PGVECTOR
from paraclip.systems.rclip import RCLIP
from paraclip.systems.system import IndexAddress, Layout, Parts, System

__all__ = ("FORMATS", "SYSTEMS", "exported", "indexed", "swapped")

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

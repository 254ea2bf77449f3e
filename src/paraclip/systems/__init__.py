"""Other programs: what each loads, where its cache is and how its index is read.

A module a program (`folders` has those that load a folder of a CLIP), each fact with its source.
`export` writes what is in `layout`, `swap` replaces files in `cache`, and `swap-check` reads an
index by `read`: these are verbs over this table, and their options take the names from it. So
importing it imports neither torch nor numpy.
"""

from collections.abc import Callable

from paraclip.plugins import Table
from paraclip.systems.clip_retrieval import CLIP_RETRIEVAL
from paraclip.systems.fastembed import FASTEMBED
from paraclip.systems.files import FORMATS, NPY, PARACLIP, PARQUET
from paraclip.systems.folders import HUGGING_FACE, OPEN_CLIP, SENTENCE_TRANSFORMERS, WEAVIATE
from paraclip.systems.immich import IMMICH
from paraclip.systems.lancedb import LANCEDB
from paraclip.systems.librephotos import LIBREPHOTOS
from paraclip.systems.opensearch import OPENSEARCH
from paraclip.systems.pgvector import PGVECTOR
from paraclip.systems.rclip import RCLIP
from paraclip.systems.system import IndexAddress, Layout, Parts, System
from paraclip.systems.transformers_js import TRANSFORMERS_JS
from paraclip.systems.vespa import VESPA

__all__ = ("FORMATS", "SYSTEMS", "exported", "indexed", "swapped")

SYSTEMS = Table("systems", {
    system.name: system
    for system in (
        IMMICH, RCLIP, LIBREPHOTOS, FASTEMBED, WEAVIATE, VESPA, OPENSEARCH, TRANSFORMERS_JS,
        SENTENCE_TRANSFORMERS, HUGGING_FACE, OPEN_CLIP, CLIP_RETRIEVAL, PARACLIP, LANCEDB, PGVECTOR,
        NPY, PARQUET,
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

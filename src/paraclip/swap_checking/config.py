"""Options of `paraclip swap-check`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from paraclip.options import Checked

Store = Literal[
    "npy", "parquet", "clip-retrieval", "lancedb", "pgvector", "immich", "rclip", "paraclip"
]


@dataclass(frozen=True, kw_only=True)
class SwapCheckConfig(Checked):
    """Check an index before its text encoder is replaced: do its vectors come from the base's image
    tower, and how much do your queries change?"""

    index: str
    """Vectors of the pictures: .npy, .parquet (or a folder of them), a folder of clip-retrieval, a
    LanceDB folder, rclip's db.sqlite3, postgresql://... for pgvector and immich, or the --store of
    `paraclip index`."""

    base: str
    """The model that made the index, as for `paraclip train --model`."""

    model: str
    """The tuned model that would answer queries."""

    queries: str | None = None
    """Text file with one query per line. Other wordings of a query may follow on the same line,
    separated by tabs."""

    pictures: str | None = None
    """Folder in which pictures are looked up by file name, if the paths in the index do not lead to
    them."""

    paths: str | None = None
    """Text file with the path of each row's picture, for an index that contains none (.npy)."""

    store: Store | None = None
    """Kind of the index, if it cannot be recognised by its name."""

    table: str | None = None
    """Table of a LanceDB folder or a database, if there are several."""

    column: str | None = None
    """Column of the vectors, if there are several."""

    sample: Annotated[int, Ge(1), Le(10_000)] = 16
    """Number of pictures to embed again."""

    k: Annotated[int, Ge(1), Le(1000)] = 10
    """Number of results to compare per query."""

    cutoff: Annotated[float, Ge(-1), Le(1)] | None = None
    """Your cut-off on the cosine similarity with the base (of a distance, 1 - distance). The report
    gives the one that lets as many results through with the tuned model; without --queries, for the
    starter set's held-out queries."""

    json: bool = False
    """Print the report as JSON, and nothing else."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""

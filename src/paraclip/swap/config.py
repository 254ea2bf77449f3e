"""Options of `paraclip swap-check`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from paraclip.options import Checked, Count, Seed

Store = Literal[
    "npy", "parquet", "clip-retrieval", "lancedb", "pgvector", "immich", "rclip"
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SwapCheckConfig(Checked):
    """Check an index before its text encoder is replaced: do its vectors come from the base's image
    tower, and how much do your queries change?"""

    index: str
    """Vectors of the pictures: .npy, .parquet (or a folder of them), a folder of clip-retrieval, a
    LanceDB folder, rclip's db.sqlite3, or postgresql://... for pgvector and immich."""

    base: str
    """The model that made the index, as for `paraclip train --model`."""

    model: str
    """The tuned model that would answer queries."""

    queries: str | None = None
    """Text file of queries, one a line. Other wordings of a query may follow it on its line, after
    tabs."""

    pictures: str | None = None
    """Folder in which pictures are searched by their file names, where the index's own paths do not
    lead to them."""

    paths: str | None = None
    """Text file with the path of each row's picture, for an index that holds none (.npy)."""

    store: Store | None = None
    """What the index is, where its name does not show it."""

    table: str | None = None
    """Table of a LanceDB folder or a database, where there are several."""

    column: str | None = None
    """Column of the vectors, where there are several."""

    sample: Annotated[int, Ge(1), Le(10_000)] = 16
    """Pictures that are embedded again."""

    k: Annotated[int, Ge(1), Le(1000)] = 10
    """How many results of a query are compared."""

    most_rows: Count = 5_000_000
    """Rows of the index that are read at most; a larger index is an error."""

    out: str | None = None
    """File for the report as JSON."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    seed: Seed = 0
    """Seed of the choice of pictures."""

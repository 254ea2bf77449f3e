"""Which column holds what, and the options of `paraclip captions`."""

from dataclasses import dataclass
from typing import Annotated

import tyro
from annotated_types import Ge

from paraclip.options import Checked, Share


@dataclass(frozen=True)
class Columns:
    """Names of the columns (or JSON keys) of a captions file; folders and shards have none."""

    caption: Annotated[str, tyro.conf.arg(name="caption-column")] = "caption"
    """Column of the caption; in JSON and Parquet it may hold a list of captions."""

    image: Annotated[str | None, tyro.conf.arg(name="image-column")] = "image"
    """Column of the picture: a path or an fsspec URL. A row with an empty one has no picture.
    "None" reads the captions alone."""

    id: Annotated[str | None, tyro.conf.arg(name="id-column")] = None
    """Column of the caption's id. Left out: `id` where there is one, else the row number."""

    image_id: Annotated[str | None, tyro.conf.arg(name="image-id-column")] = None
    """Column that tells which captions share a picture. Left out: `image_id` where there is one,
    else the picture's name."""

    images: str | None = None
    """Folder of the pictures with relative names. Left out: the captions file's own folder, and
    the folder `images` in it."""


# A `Columns` inside another options class, with flags of its own names: `--caption-column`.
ColumnOptions = Annotated[Columns, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class CaptionsConfig(Checked):
    """Show what ParaCLIP reads in a captions file or folder, and which rows are broken."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CAPTIONS")]
    """Folder of pictures with a .txt beside each; CSV, TSV, JSONL or Parquet file; COCO captions
    JSON; WebDataset shards ("shards/{00000..00012}.tar")."""

    columns: ColumnOptions = Columns()
    """Names of the columns."""

    show: Annotated[int, Ge(0)] = 5
    """How many captions to print."""

    check_images: bool = False
    """Also decode every picture, some hundred a second, to find the broken ones."""

    max_broken: Share = 0.01
    """Largest share of broken rows that is skipped and counted instead of being an error (0 to
    1)."""

    problems: str | None = None
    """File for the list of the broken rows (the first 1,000)."""

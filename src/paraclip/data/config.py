"""Options for the columns of a captions file, and of `paraclip captions`."""

from dataclasses import dataclass
from typing import Annotated

import tyro
from annotated_types import Ge

from paraclip.options import Checked, Share


@dataclass(frozen=True)
class Columns(Checked):
    """Names of the columns (or JSON keys) of a captions file; unused for folders and shards."""

    caption: Annotated[str, tyro.conf.arg(name="caption-column")] = "caption"
    """Column of the caption; in JSON and Parquet it may hold a list of captions."""

    image: Annotated[str | None, tyro.conf.arg(name="image-column")] = "image"
    """Column of the picture: a path or an fsspec URL. Rows with an empty value have no
    picture. None: read the captions only."""

    images: str | None = None
    """Folder that relative picture paths refer to. Default: the folder of the captions file and its
    subfolder `images`."""


# Inside another options class, the flags have no prefix: `--caption-column`.
ColumnOptions = Annotated[Columns, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class CaptionsConfig(Checked):
    """Show what ParaCLIP reads from a captions file or folder, and which rows are broken."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CAPTIONS")]
    """Folder of pictures, each with a .txt of the same name; CSV, TSV, JSONL or Parquet file; COCO
    captions JSON; WebDataset shards ("shards/{00000..00012}.tar")."""

    columns: ColumnOptions = Columns()
    """Names of the columns."""

    show: Annotated[int, Ge(0)] = 5
    """Number of captions to print."""

    check_images: bool = False
    """Also decode every picture (a few hundred per second) and report broken ones."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken rows to skip; more is an error."""

    problems: str | None = None
    """Text file to write the broken rows to (at most 1,000)."""

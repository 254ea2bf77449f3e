"""Options for the columns of a captions file."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from paraclip.options import Checked


@dataclass(frozen=True)
class Columns(Checked):
    """Names of the columns (or JSON keys) of a captions file, or of the JSON in shards."""

    caption: Annotated[str, tyro.conf.arg(name="caption-column")] = "caption"
    """Column of the caption; in JSON and Parquet it may hold a list of captions."""

    image: Annotated[str | None, tyro.conf.arg(name="image-column")] = "image"
    """Column of the picture: a path or a URL; empty for a row without one."""

    images: str | None = None
    """Folder that relative picture paths refer to. Default: the folder of the captions file and its
    subfolder `images`."""


# Inside another options class, the flags have no prefix: `--caption-column`.
ColumnOptions = Annotated[Columns, tyro.conf.arg(name="")]

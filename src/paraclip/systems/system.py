"""What is known of a program; nothing here is imported that takes time."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from paraclip.compute.onnx_session import TextGraph

if TYPE_CHECKING:
    from paraclip.arrays import Float

Parts = Generator[tuple["Sequence[str | None] | None", "Float"], None, None]
"""A few thousand rows of an index at a time: paths, if it has any, and vectors [rows, width]."""
ROWS_AT_ONCE = 4096
FIX = "Read another index, or remove the row."
PATH_COLUMNS = (
    *("image_path", "filepath", "file_path", "path", "file", "image", "url", "originalPath"),
    *("image_id", "id"),
)
"""Names of columns that may contain a picture's path, most likely first."""


@dataclass(frozen=True)
class Layout:
    """Files that a program loads.

    In the steps, `{folder}` is filled in and its last part `{name}`, `{path}` and `{file}` (the
    file below, from the root and from the folder), `{local}` and `{all_clip}` (names of the folder
    for open_clip and of the file for all_clip), `{architecture}` by open_clip's name, and `{base}`
    by the program's.
    """

    format: str  # kind of the files, in `FORMATS`
    steps: tuple[str, ...]  # where to put them, which cache to clear, how to go back
    file: str = ""  # the graph or the weights in the folder, with `{base}`
    small: str = ""  # the same graph with 8-bit weights, if the program loads one
    graph: TextGraph | None = None  # how the program calls the graph
    tokenizer: str | None = None  # folder of CLIP's tokenizer, if the program reads one
    # Content of a `config.json` there; `{context}` and `{width}` are numbers of the model.
    config: Mapping[str, object] = field(default_factory=dict)
    any_tower: bool = False  # whether it may be another text tower than CLIP's

    @property
    def takes(self) -> tuple[str, ...]:
        """Options of the export that apply to it."""
        if self.format == "onnx":
            return ("int8",) if self.small else () if self.graph else ("image_tower",)
        return () if self.format == "sentence-transformers" else ("half",)


@dataclass(frozen=True)
class Cache:
    """Where a program keeps its text encoder, and what depends on it."""

    files: dict[str, Layout]  # what the file is, by its name
    folders: tuple[str, ...]  # patterns of its folder below the cache, with `{base}`
    restart: str  # what to do afterwards
    image: str = ""  # pattern of the graph of the image tower, from the file's folder
    prepared: tuple[str, ...] = ()  # patterns of what the program makes from it, beside the file
    instead: tuple[str, ...] = ()  # patterns of files that it reads instead on some devices
    sizes: str = ""  # list of the sizes that the program expects, from the file's folder


@dataclass(frozen=True)
class IndexAddress:
    """Where an index is."""

    address: str  # file, folder or `postgresql://...`
    paths: str | None = None  # text file with the path of each row's picture, for `.npy` only
    table: str | None = None  # its name, if there are several
    column: str | None = None  # name of the column of vectors, if there are several
    selectable: bool = True  # whether the command has --table and --column

    @property
    def where(self) -> str:
        """The address for messages, without a password."""
        from paraclip.provenance import without_secrets

        return without_secrets(self.address)


@dataclass(frozen=True)
class System:
    """A program."""

    name: str  # in the options
    layout: Layout | None = None  # what it loads
    # The bases that it uses, as open_clip's ARCHITECTURE__TAG in its own spelling; empty: any.
    bases: tuple[str, ...] = ()
    cache: Cache = Cache({}, (), "")  # where it keeps it
    read: Callable[[IndexAddress], Parts] | None = None  # yields the rows of its index
    recognises: Callable[[Path], bool] = lambda _: False  # whether a file or folder is its index
    index: str = "INDEX"  # shown for the address of its index
    others: tuple["System", ...] = ()  # the same with bases that it loads from other files

    @property
    def variants(self) -> tuple["System", ...]:
        """It with each set of its bases."""
        return (self, *self.others)

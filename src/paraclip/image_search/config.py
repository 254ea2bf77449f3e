"""Options of `paraclip index`, `paraclip search` and `paraclip serve`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge, Le

from paraclip.data.config import ColumnOptions, Columns
from paraclip.errors import UserError
from paraclip.options import Checked

INDEX = "runs/index"
STORE = {"lancedb": "search"}
"""The module that an index needs, with its extra."""
SERVER = dict.fromkeys(("fastapi", "uvicorn", "lancedb"), "search")
"""The modules of the server, each with its extra."""


class _OfIndex(Checked):
    """Options of a command on an index, which is a folder."""

    index: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if "://" in self.index:
            what = "is an address, and ParaCLIP keeps an index of its own in a folder"
            hint = "Name a folder; `swap-check` and `train --bank` read vectors in PostgreSQL."
            raise UserError("--index", what, hint)


@dataclass(frozen=True)
class IndexConfig(_OfIndex):
    """Index the pictures of a folder, a captions file or shards for `search` and `serve`."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PICTURES")]
    """Folder of pictures (captions in a .txt of the same name are kept, but not needed), captions
    file, or WebDataset shards. Run it again after changes: only what is new or changed is read."""

    index: str = INDEX
    """Folder of the index, a table of LanceDB."""

    base: str = "mini"
    """Base model, as in `paraclip evaluate`. Its image tower computes the vectors."""

    tuned: str | None = None
    """Model tuned from the base, or the folder of its run; `search` and `serve` show it next to the
    base. It must have the same image tower."""

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns of a captions file."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the image tower; the same in every run on an index."""

    json: bool = False
    """Print the counts and the broken pictures (at most 1,000) as JSON, and nothing else."""

    rebuild: bool = False
    """Replace an existing index, also of another image tower or source. The new one is built next
    to it and takes its place at the end."""

    def arguments(self) -> dict[str, Any]:
        """Arguments of `build_index`, except the list of problems."""
        return {name: value for name, value in vars(self).items() if name != "json"}


@dataclass(frozen=True)
class SearchConfig(_OfIndex):
    """Search an index with words or a picture."""

    query: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[QUERY]")] = ""
    """Query: a description of the pictures to find."""

    index: str = INDEX
    """Folder of the index to search."""

    image: str | None = None
    """Picture to use as the query, alone or together with words."""

    plus: tuple[str, ...] = ()
    """Texts whose vectors are added to the query vector."""

    minus: tuple[str, ...] = ()
    """Texts whose vectors are subtracted from the query vector."""

    models: str | None = None
    """Comma-separated models to show side by side with their overlap: labels of the index
    (base,tuned), or LABEL=MODEL. Default: tuned if the index has one, else base."""

    k: Annotated[int, Ge(1), Le(1000)] = 10
    """Number of results per model."""

    cutoff: Annotated[float, Ge(-1), Le(1)] | Literal["auto"] | None = None
    """Mark results that are not close (~): their similarity is at most this number or, with auto,
    no better than what queries about other things get from this index."""

    paths: bool = False
    """Print only the paths, one per line, for pipes. With several models, those of the first; with
    --cutoff, only close ones."""

    json: bool = False
    """Print everything as JSON."""

    sheet: str | None = None
    """Also write the results as one picture (.png, .jpg)."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""

    def arguments(self) -> dict[str, Any]:
        """Arguments of `search_index`."""
        shown = ("paths", "json", "sheet")
        return {name: value for name, value in vars(self).items() if name not in shown}


@dataclass(frozen=True)
class ServeConfig(_OfIndex):
    """Serve an index as a web page and over HTTP."""

    index: str = INDEX
    """Folder of the index to search."""

    models: str | None = None
    """Comma-separated models to show side by side: labels of the index (base,tuned), or
    LABEL=MODEL. Default: all models of the index."""

    host: str = "127.0.0.1"
    """Address to listen on. Any address other than loopback needs a token: a secret that each
    request must carry (Authorization: Bearer TOKEN, or once ?token=TOKEN), which the environment
    variable PARACLIP_TOKEN gives."""

    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """Port to listen on; 0 selects a free port."""

    allow_host: tuple[str, ...] = ()
    """Additional host names to accept for a server on a loopback address."""

    llm: str | None = None
    """Language model that suggests rewordings, as in `paraclip generate --backend`; openai: that of
    the environment variables OPENAI_BASE_URL and PARACLIP_MODEL. Default: none."""

"""Options of `paraclip index`, `paraclip search` and `paraclip serve`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Le

from paraclip.data.config import ColumnOptions, Columns
from paraclip.options import Checked, Count, Share

STORE = "runs/index"
EXACT_BELOW = 1_000_000
Results = Annotated[int, Ge(1), Le(1000)]
Port = Annotated[int, Ge(0), Le(65535)]


@dataclass(frozen=True)
class IndexConfig(Checked):
    """Index the pictures of a folder, a captions file or shards for `search` and `serve`."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PICTURES")]
    """Folder of pictures (captions in a .txt beside each are kept, but not needed), captions file,
    or WebDataset shards. Run it again after changes: only new and changed pictures are read."""

    store: str = STORE
    """Folder of the index (LanceDB), or postgresql://user@host/database (with pgvector)."""

    model: str = "mini"
    """Model whose image tower makes the vectors, as for `evaluate`. It is the base."""

    tuned: str | None = None
    """Model tuned from it, which `search` and `serve` show beside it. Its image tower must be that
    of --model."""

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns of a captions file."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the image tower."""

    exact_below: Count = EXACT_BELOW
    """Search is exact below this number of pictures. From it on, an approximate index is built, and
    its recall@10 against exact search is printed."""

    max_broken: Share = 1.0
    """Largest share of broken pictures (0 to 1) that are skipped and listed."""

    problems: str | None = None
    """File for the list of broken pictures (the first 1,000)."""

    rebuild: bool = False
    """Replace an index of another image tower or source at the same place."""


@dataclass(frozen=True)
class SearchConfig(Checked):
    """Search an index with words or a picture."""

    query: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[QUERY]")] = None
    """What the pictures show, in words."""

    store: str = STORE
    """Index to search: a folder, or postgresql://..."""

    image: str | None = None
    """A picture as the query, alone or together with words."""

    plus: tuple[str, ...] = ()
    """Words whose vectors are added to the query's."""

    minus: tuple[str, ...] = ()
    """Words whose vectors are subtracted."""

    models: str | None = None
    """Comma-separated models to show side by side with their overlap: labels of the index
    (base,tuned), or LABEL=MODEL. Default: tuned if the index has one, else base."""

    k: Results = 10
    """Results of each model."""

    paths: bool = False
    """Print only the paths, one a line, for pipes. With several models: of the first."""

    json: bool = False
    """Print everything as JSON."""

    sheet: str | None = None
    """Write the results as one picture (.png, .jpg)."""

    inline: bool = False
    """Show thumbnails in the terminal (Kitty's protocol or Sixel, else coloured blocks)."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


@dataclass(frozen=True)
class ServeConfig(Checked):
    """Serve an index as a web page and over HTTP."""

    store: str = STORE
    """Index to search: a folder, or postgresql://..."""

    models: str | None = None
    """Comma-separated models to show side by side: labels of the index (base,tuned), or
    LABEL=MODEL. Default: all of the index."""

    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback needs a token."""

    port: Port = 8000
    """Port to listen on; 0 takes a free one."""

    token: str | None = None
    """Secret that each request must carry (Authorization: Bearer TOKEN, or once ?token=TOKEN).
    Better given as the environment variable PARACLIP_TOKEN."""

    allow_host: tuple[str, ...] = ()
    """Further names by which browsers may call a server on a loopback address."""

    per_second: Annotated[float, Ge(0)] = 50.0
    """Requests a second of one address, on average; 0 for no limit."""

    burst: Count = 400
    """Requests of one address at once; a page with four columns of results asks for 80."""

    llm: Literal["builtin", "openai", "none"] = "builtin"
    """Language model that suggests rewordings, as for `generate --backend`."""

    llm_model: str | None = None
    """Model name of --llm openai."""

    base_url: str | None = None
    """Address of the server of --llm openai."""

    exact_below: Count = EXACT_BELOW
    """Search in memory, exactly, below this number of pictures."""

    log: bool = True
    """Log requests as JSON lines on standard error."""

"""All stores by name, and how the kind of an index is recognised."""

from collections.abc import Callable
from pathlib import Path

from paraclip.errors import UserError
from paraclip.files import check_input, readable
from paraclip.provenance import without_secrets
from paraclip.search.stores.lance import FACTS
from paraclip.swap.config import SwapCheckConfig
from paraclip.swap.stores.arrays import EMBEDDINGS, read_clip_retrieval, read_npy
from paraclip.swap.stores.databases import (
    read_immich,
    read_pgvector,
    read_rclip,
    store_of_database,
)
from paraclip.swap.stores.index import Index
from paraclip.swap.stores.own import read_own
from paraclip.swap.stores.tables import read_lancedb, read_parquet

STORES: dict[str, Callable[[SwapCheckConfig], Index]] = {
    "npy": read_npy,
    "parquet": read_parquet,
    "clip-retrieval": read_clip_retrieval,
    "lancedb": read_lancedb,
    "pgvector": read_pgvector,
    "immich": read_immich,
    "rclip": read_rclip,
    "paraclip": read_own,
}
SQLITE = b"SQLite format 3\0"
POSTGRES = ("postgresql://", "postgres://")


def read_index(config: SwapCheckConfig) -> Index:
    """The vectors of an index, and the paths of their pictures.

    Raises:
        UserError: the index is missing, unreadable, broken or empty, its kind is not clear, or
            `--paths` is given for another kind than .npy.
    """
    if not config.index.startswith(POSTGRES):
        check_input(config.index)
    with readable(config.index):
        store = config.store or store_of(config)
        if config.paths is not None and store != "npy":
            what = f"gives the paths of a .npy file, and this is an index of {store}"
            hint = "Leave it out; without paths in the index, save its vectors as .npy."
            raise UserError("--paths", what, hint)
        return STORES[store](config)


def store_of(config: SwapCheckConfig) -> str:
    """The kind of an index, by its name and content."""
    if config.index.startswith(POSTGRES):
        return store_of_database(config.index, config.table)
    path = Path(config.index)
    if path.is_dir():
        store = store_of_folder(path)
    elif path.is_file():
        store = store_of_file(path)
    else:
        raise UserError(without_secrets(config.index), "there is no such index", "Check the path.")
    if store is None:
        hint = f"Name it with --store: {', '.join(STORES)}."
        raise UserError(path, "is not an index that can be recognised", hint)
    return store


def store_of_folder(path: Path) -> str | None:
    """The kind of an index in a folder."""
    if (path / EMBEDDINGS).is_dir():
        return "clip-retrieval"
    if any(path.glob("*.lance")):
        return "paraclip" if (path / FACTS).is_file() else "lancedb"
    return "parquet" if any(path.glob("*.parquet")) else None


def store_of_file(path: Path) -> str | None:
    """The kind of an index in a file."""
    if path.suffix in (".npy", ".parquet"):
        return path.suffix[1:]
    with path.open("rb") as file:
        return "rclip" if file.read(len(SQLITE)) == SQLITE else None

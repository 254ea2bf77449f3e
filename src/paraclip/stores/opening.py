"""The table of stores: which one an address names, and what it needs."""

from pathlib import Path

from paraclip.stores import POSTGRES, Store
from paraclip.stores.lance import LanceStore
from paraclip.stores.postgres import PostgresStore


def store_packages(address: str) -> dict[str, str]:
    """The modules that a store needs, each with its extra."""
    if address.startswith(POSTGRES):
        return dict.fromkeys(("psycopg", "pgvector"), "postgres")
    return {"lancedb": "search"}


def open_store(address: str) -> Store:
    """The store of `postgresql://...` or a LanceDB folder; raises UserError without its package."""
    if address.startswith(POSTGRES):
        return PostgresStore(address)
    return LanceStore(Path(address))

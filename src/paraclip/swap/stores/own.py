"""The index of `paraclip index`, in either of its stores."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from paraclip.errors import UserError
from paraclip.provenance import without_secrets
from paraclip.search.records import full_path
from paraclip.search.stores.store import existing_facts, open_store
from paraclip.swap.config import SwapCheckConfig
from paraclip.swap.stores.index import FIX, Index, Vectors, gathered


def read_own(config: SwapCheckConfig) -> Index:
    """Vectors of the index, and paths under the folder that was indexed."""
    store = open_store(config.index)
    facts = existing_facts(store)
    where = without_secrets(config.index)

    def rows() -> Iterator[tuple[list[str], Vectors]]:
        for part in store.batches(("path", "vector")):
            if len(part):
                flat = part["vector"].combine_chunks().flatten()
                vectors = np.asarray(flat, np.float32).reshape(len(part), -1)
                yield [full_path(facts.root, path) for path in part["path"].to_pylist()], vectors

    index = gathered(rows(), config.most_rows, where)
    store.close()
    if index is None:
        raise UserError(where, "contains no pictures", FIX)
    return replace(index, kind="paraclip")

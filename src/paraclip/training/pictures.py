"""Which rows show the same picture, so that none is held out here and trained on there."""

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from paraclip.data.triples import resolved


def picture_keys(triples: pa.Table) -> list[str]:
    """The picture of each row, N names that are equal where it is the same.

    Rows show the same picture where their `image_id` or their `image` file is the same. A file
    without an `image_id` column has the rows' own ids there, which differ for one picture.
    """
    ids: list[str] = triples["image_id"].to_pylist()
    if "image" not in triples.column_names or triples["image"].null_count == len(ids):
        return ids
    names = triples["image"].to_pylist()
    files = {name: resolved(name) for name in set(names)}
    by_id, id_of_row = np.unique(np.asarray(ids, dtype=object), return_inverse=True)
    seen = np.asarray([files[name] or "" for name in names], dtype=object)
    by_file, file_of_row = np.unique(seen, return_inverse=True)
    shown = np.flatnonzero(seen != "")  # rows without a picture are linked by their id alone
    ones = np.ones(len(shown), dtype=np.int8)
    size = len(by_id) + len(by_file)
    ends = (id_of_row[shown], len(by_id) + file_of_row[shown])
    _, group = connected_components(
        sparse.coo_array((ones, ends), shape=(size, size)), directed=False
    )
    _, first = np.unique(group[: len(by_id)], return_index=True)  # the first id names its group
    named = dict(zip(group[first], by_id[first], strict=True))
    return [named[group[number]] for number in id_of_row]

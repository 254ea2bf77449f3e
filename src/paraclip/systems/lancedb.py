"""LanceDB: an embedding function of open_clip, and a table of vectors.

Source, lancedb 0.40.0 `embeddings/open_clip.py`: `name` and `pretrained` go to
`open_clip.create_model_and_transforms`; the tokenizer is that of `name`.
"""

from pathlib import Path

from paraclip.errors import UserError, optional_import
from paraclip.systems.system import FIX, ROWS_AT_ONCE, IndexAddress, Layout, Parts, System


def _read(place: IndexAddress) -> Parts:
    """A table of a LanceDB folder."""
    lancedb = optional_import("lancedb", "search")
    from paraclip.store import without_panics
    from paraclip.systems.columns import arrow_parts, choose_one, columns_of, read_as

    if not Path(place.address).is_dir():  # LanceDB would create it
        raise UserError(place.address, "is not a folder", FIX)
    names = sorted(path.stem for path in Path(place.address).glob("*.lance"))
    name = choose_one(names, place, "table")
    with read_as("LanceDB", place.address, (ValueError, RuntimeError, OSError)), without_panics():
        table = lancedb.connect(place.address).open_table(name)
        column, path = columns_of(table.schema, place)
        query = table.search().select([column, path] if path else [column])
        yield from arrow_parts(query.to_batches(batch_size=ROWS_AT_ONCE), column, path, place)


LANCEDB = System(
    "lancedb",
    Layout(
        "weights",
        (
            "Make the query function by get_registry().get('open-clip')"
            ".create(name={architecture!r}, pretrained={path!r}) and search with"
            " table.search(function.compute_query_embeddings(text)[0]); a table remembers the"
            " function that filled it.",
            "Nothing is cached. The vectors of pictures in the table stay.",
            "To go back, use the base's function again.",
        ),
        file="model.safetensors",
    ),
    read=_read,
    recognises=lambda path: any(path.glob("*.lance")),
)

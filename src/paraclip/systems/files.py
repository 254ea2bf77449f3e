"""Files for the user's own programs, and ParaCLIP's own index.

Formats are named by `export --to`; the index of `paraclip index` is a folder.
"""

import os
from pathlib import Path

from paraclip.errors import UserError
from paraclip.systems.folders import CLIP_FOLDER, MODULES, OPEN_CLIP_FOLDER
from paraclip.systems.system import FIX, ROWS_AT_ONCE, IndexAddress, Layout, Parts, System

FORMATS: dict[str, Layout] = {
    "weights": Layout(
        "weights",
        ("Load it by open_clip.create_model({architecture!r}, pretrained={folder!r}).",),
    ),
    "open-clip": OPEN_CLIP_FOLDER,
    "hf": CLIP_FOLDER,
    "sentence-transformers": MODULES,
    "onnx": Layout("onnx", ("Names, shapes and types are in {folder}/interface.json",)),
}
_BUFFER = 2**20  # bytes of a column


def _read_npy(place: IndexAddress) -> Parts:
    """A matrix [rows, width]; the paths of the rows come from a text file."""
    from paraclip.arrays import map_matrix
    from paraclip.files import read_bounded, read_errors, text_lines
    from paraclip.systems.columns import rows_of

    vectors, names = map_matrix(Path(place.address), FIX), None
    if place.paths is not None:
        with read_errors(place.paths, "Give --paths a text file."):
            names = text_lines(read_bounded(place.paths).decode("utf-8-sig", "surrogateescape"))
        if len(names) != len(vectors):
            what = f"{len(vectors)} vectors have {len(names)} paths"
            raise UserError(place.where, what, "Give one path for each row.")
    yield from rows_of(vectors, names)


def _read_parquet(place: IndexAddress) -> Parts:
    """A Parquet file or a folder of them."""
    import pyarrow.parquet as pq

    from paraclip.systems.columns import PARQUET_ERRORS, arrow_parts, columns_of, read_as

    folder, files = Path(place.address), [place.address]
    if folder.is_dir():  # which may hold other files
        # Unlike `rglob`, it reports a subfolder that may not be read.
        walked = os.walk(folder, onerror=_raise)
        found = (Path(root, name) for root, _, names in walked for name in names)
        found = (path for path in found if path.suffix == ".parquet" and path.is_file())
        files = sorted(str(path) for path in found if not path.name.startswith((".", "_")))
    with read_as("Parquet", place.address, PARQUET_ERRORS):
        for name in files:
            # The default, like a dataset, would read whole row groups.
            file = pq.ParquetFile(name, buffer_size=_BUFFER, pre_buffer=False)
            column, path = columns_of(file.schema_arrow, place)
            columns = [column, path] if path else [column]
            batches = file.iter_batches(ROWS_AT_ONCE, columns=columns, use_threads=False)
            yield from arrow_parts(batches, column, path, place)


def _raise(error: OSError) -> None:
    raise error


def _read_paraclip(place: IndexAddress) -> Parts:
    """The index of `paraclip index`, with paths under the folder that was indexed."""
    from paraclip.store import Store, existing_facts, full_path, vectors_of

    store = Store(place.address)
    root = existing_facts(store).root
    for part in store.batches(("path", "vector")):
        yield [full_path(root, path) for path in part["path"].to_pylist()], vectors_of(part)


PARACLIP = System(
    "paraclip",
    read=_read_paraclip,
    recognises=lambda path: any(path.glob("*.lance")) and (path / "index.json").is_file(),
)
NPY = System(
    "npy",
    read=_read_npy,
    recognises=lambda path: path.is_file() and path.suffix == ".npy",
)
PARQUET = System(
    "parquet",
    read=_read_parquet,
    recognises=lambda path: (
        path.suffix == ".parquet" if path.is_file() else any(path.glob("*.parquet"))
    ),
)

"""rclip: `textual.onnx` and `db.sqlite3` in its data folder.

Source, rclip 3.3.0 and 4.0.8 from PyPI:
- `rclip/model_download.py`: `download_onnx_model` returns DATADIR/MODEL_SUBDIR/textual.onnx without
  a download if that file exists, in 4.0.8 only with the four `MODEL_LEGAL_FILES` in DATADIR, which
  is RCLIP_DATADIR or ~/.local/share/rclip. But `ensure_downloaded`, with which every start begins,
  downloads of these four and the graphs only what is missing, so a swap outlives the upgrade.
- `rclip/model.py`: the graph gets `input` int64 [N, 77] and returns one output, which rclip scales
  to unit length; `rclip/utils/tokenizer.py` is open_clip's.
- `rclip/db.py`: from version 3 of the index on, of which 3.3.0 and 4.0.8 write version 4, the table
  `images` holds vectors of ViT-B-32-256, datacomp_s34b_b86k, in `vector` in float32.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from paraclip.compute.onnx_session import TextGraph
from paraclip.errors import UserError
from paraclip.files import check_file
from paraclip.systems.system import FIX, ROWS_AT_ONCE, Cache, IndexAddress, Layout, Parts, System

_FOLDER = "ViT-B-32-256-datacomp_s34b_b86k"
_INDEX = "db.sqlite3"
_MAGIC = b"SQLite format 3\0"
_LONGEST_ROW = 2**20  # bytes; checked by SQLite before it allocates them
_STEPS = 100_000  # of SQLite's virtual machine, between two looks for signals
_REAL_TABLE = (
    "SELECT 1 FROM sqlite_master WHERE name = 'images' AND type = 'table' AND rootpage > 0"
)
_IMAGES = "SELECT filepath, vector FROM images WHERE deleted IS NULL ORDER BY id"
_LAYOUT = Layout(
    "onnx",
    (
        f"In the subfolder {_FOLDER} of rclip's data folder (~/.local/share/rclip on Linux, or"
        " RCLIP_DATADIR if you have set it) rename textual.onnx to textual.onnx.base, and copy"
        " {folder}/{file} there. Do not set RCLIP_DATADIR to {folder}: rclip looks for its index"
        " there as well.",
        "No cache depends on the text encoder: db.sqlite3 holds vectors of pictures and stays.",
        "To go back, rename textual.onnx.base to textual.onnx.",
    ),
    file=f"{_FOLDER}/textual.onnx",
    graph=TextGraph("input", "output", fixed_length=True),
)


def _database(path: Path) -> Path:
    """The file of the index, which may be named by rclip's data folder."""
    return path / _INDEX if path.is_dir() else path


def _is_sqlite(path: Path) -> bool:
    path = _database(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _read(place: IndexAddress) -> Parts:
    """The pictures that are not deleted."""
    import numpy as np

    path = _database(Path(place.address))
    check_file(path)
    address = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_ROW)
            connection.set_progress_handler(_let_signals_in, _STEPS)
            if not connection.execute(_REAL_TABLE).fetchone():  # a view may never end
                raise sqlite3.OperationalError("no table images")
            cursor = connection.execute(_IMAGES)
            while batch := cursor.fetchmany(ROWS_AT_ONCE):
                blobs = [blob if isinstance(blob, bytes) else b"" for _, blob in batch]
                width, rest = divmod(len(blobs[0]), 4)  # float32
                if rest or not width or {*map(len, blobs)} != {len(blobs[0])}:
                    raise UserError(path, "has vectors of different widths", FIX)
                vectors = np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), width)
                yield [name for name, _ in batch], vectors
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error  # raised in `_let_signals_in`
        raise UserError(path, f"is not an index of rclip ({error})", FIX) from error


def _let_signals_in() -> int:
    """Called by SQLite during a query, since Ctrl-C reaches Python's code only; 0 to continue."""
    return 0


RCLIP = System(
    "rclip",
    _LAYOUT,
    ("ViT-B-32-256__datacomp_s34b_b86k",),
    Cache(
        {"textual.onnx": _LAYOUT},
        (_FOLDER,),
        "The next search uses it; db.sqlite3 stays.",
        image="visual.onnx",
    ),
    _read,
    _is_sqlite,
    index=_INDEX,
)

"""`.npy` files, and the folder that clip-retrieval writes."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from paraclip.errors import UserError
from paraclip.evaluation.scoring.arrays import BAD_HEADER
from paraclip.files import check_input, read_bounded
from paraclip.swap.config import SwapCheckConfig
from paraclip.swap.stores.index import FIX, Index, Vectors, check_count, check_width, made_index
from paraclip.swap.stores.tables import PARQUET_ERRORS, read_as

EMBEDDINGS, METADATA = "img_emb", "metadata"
PATHS = "image_path"


def read_npy(config: SwapCheckConfig) -> Index:
    """A matrix [rows, width]; the paths of the rows come from `--paths`."""
    vectors = array(Path(config.index), config.most_rows)
    names = None
    if config.paths is not None:
        text = bounded_text(Path(config.paths))
        # Not splitlines: it also splits at characters that a file name may contain.
        names = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return made_index(vectors, names, "npy", config.index)


def bounded_text(path: Path) -> str:
    """A text file of paths; raises UserError if it is missing or cannot be read."""
    try:
        return read_bounded(path).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise UserError(path, what, "Give --paths a text file.") from error


def read_clip_retrieval(config: SwapCheckConfig) -> Index:
    """`img_emb/img_emb_*.npy` with `metadata/metadata_*.parquet`.

    Source: clip-retrieval 2.45.0, `clip_inference/writer.py`.
    """
    folder = Path(config.index)
    files = sorted((folder / EMBEDDINGS).glob("*.npy"))
    if not files:
        hint = "Give the output folder of `clip-retrieval inference`."
        raise UserError(folder, f"has no {EMBEDDINGS}/*.npy", hint)
    parts, names = [], []
    for file in files:
        parts.append(array(file, config.most_rows))
        check_count(sum(map(len, parts)), config.most_rows, folder)
        check_width(parts[-1], parts[0], folder)
        number = file.stem.rpartition("_")[2]
        path = folder / METADATA / f"metadata_{number}.parquet"
        if path.is_file():
            with read_as("Parquet", path, PARQUET_ERRORS):
                found = pq.read_table(path, columns=[PATHS])[PATHS].to_pylist()
            if len(found) != len(parts[-1]):
                what = f"has {len(found)} rows for the {len(parts[-1])} vectors of {file.name}"
                raise UserError(path, what, "Run `clip-retrieval inference` again.")
            names += [name or "" for name in found]
    return made_index(np.concatenate(parts), names or None, "clip-retrieval", folder)


def array(path: Path, most: int) -> Vectors:
    """A float matrix from a file; nothing is unpickled.

    Raises:
        UserError: the file is missing, broken, not a matrix of floats, or has too many rows.
    """
    check_input(path)
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except BAD_HEADER as error:
        raise UserError(path, "is not a readable .npy file of numbers", FIX) from error
    if values.ndim != 2 or values.dtype.kind != "f":
        what = f"is not a matrix of floats ({values.dtype}, shape {list(values.shape)})"
        raise UserError(path, what, FIX)
    check_count(len(values), most, path)
    return np.asarray(values, np.float32)

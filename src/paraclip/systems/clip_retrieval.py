"""clip-retrieval: a model by open_clip's name and a file, and the folder of `inference`.

Source:
- all_clip 1.3.0 `open_clip.py`, with which clip-retrieval 2.45.0 loads models: the name is
  `open_clip:ARCHITECTURE/FILE`; the path of the file follows the first slash.
- clip-retrieval 2.45.0, `clip_inference/writer.py`: `img_emb/img_emb_*.npy` with
  `metadata/metadata_*.parquet`.
"""

from pathlib import Path

from paraclip.errors import UserError
from paraclip.files import check_input
from paraclip.systems.system import FIX, IndexAddress, Layout, Parts, System

_EMBEDDINGS, _METADATA, _PATH = "img_emb", "metadata", "image_path"


def _read(place: IndexAddress) -> Parts:
    """The numbered parts, with the paths of those that have metadata."""
    import pyarrow.parquet as pq

    from paraclip.arrays import map_matrix
    from paraclip.systems.columns import PARQUET_ERRORS, read_as, rows_of

    folder = Path(place.address)
    files = sorted((folder / _EMBEDDINGS).glob("*.npy"))
    if not files:
        hint = "Give the output folder of `clip-retrieval inference`."
        raise UserError(folder, f"has no {_EMBEDDINGS}/*.npy", hint)
    for file in files:
        check_input(file)
        vectors, names = map_matrix(file, FIX), None
        path = folder / _METADATA / f"metadata_{file.stem.rpartition('_')[2]}.parquet"
        if path.is_file():
            with read_as("Parquet", path, PARQUET_ERRORS):
                names = pq.read_table(path, columns=[_PATH])[_PATH].to_pylist()
            if len(names) != len(vectors):
                what = f"has {len(names)} rows for the {len(vectors)} vectors of {file.name}"
                raise UserError(path, what, "Run `clip-retrieval inference` again.")
        yield from rows_of(vectors, names)


CLIP_RETRIEVAL = System(
    "clip-retrieval",
    Layout(
        "weights",
        (
            "Set the model of your indices file (indices.json, `clip_model`) or of `clip-retrieval"
            " back` to {all_clip!r}, with `use_jit` off.",
            "No cache depends on it: image.index holds vectors of pictures and stays. A text.index"
            " holds vectors of texts: embed them again. Start `clip-retrieval back` again.",
            "To go back, set the base's name again.",
        ),
        file="model.safetensors",
    ),
    read=_read,
    recognises=lambda path: (path / _EMBEDDINGS).is_dir(),
)

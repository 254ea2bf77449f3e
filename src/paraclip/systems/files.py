"""Programs that load weights or a folder of a CLIP, and indexes that are files or folders.

Formats are named by `export --to`; the index of `paraclip index` is a folder.

Source:
- open_clip 3.3.0 `factory.py`, `create_model`: `local-dir:FOLDER` reads `model_cfg` and
  `preprocess_cfg` of `open_clip_config.json` and the weights of `open_clip_model.safetensors`; or a
  name and `pretrained=FILE`.
- transformers `models/clip/modeling_clip.py`: the text vector is read at the first `eos_token_id`,
  an id that is read from the configuration from version 4.31 on.
- huggingface_hub 2.4.0 `file_download.py`: CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE links to
  a blob; a FILE that exists for a commit is loaded as it is.
- sentence-transformers 5.3.0 `models/CLIPModel.py`, `Pooling.py`, `Dense.py`, `Normalize.py` and
  6.2.0 `sentence_transformer/modules/clip_model.py`: `modules.json` names the classes. `CLIPModel`
  is loaded by every version from 2.0 on (5.4 renamed the class and still finds it under the old
  name), a plain Hugging Face folder from 5.4 on.
- weaviate/multi2vec-clip-inference at 1d91296, `clip.py`: texts are embedded by
  SentenceTransformer('./models/text') (line 58) or, if `./models/openai_clip` exists (line 395), by
  CLIPModel.from_pretrained of it (line 116). `download.py` saves them there at the image's build,
  in the working folder /app (`Dockerfile`), with sentence-transformers 3.2.1 (`requirements.txt`),
  whose `save` writes a CLIP into the folder itself; older versions wrote it into `0_CLIPModel`.
- all_clip 1.3.0 `open_clip.py`, with which clip-retrieval 2.45.0 loads models: the name is
  `open_clip:ARCHITECTURE/FILE`; the path of the file follows the first slash.
- clip-retrieval 2.45.0, `clip_inference/writer.py`: `img_emb/img_emb_*.npy` with
  `metadata/metadata_*.parquet`.
- lancedb 0.40.0 `embeddings/open_clip.py`: `name` and `pretrained` go to
  `open_clip.create_model_and_transforms`; the tokenizer is that of `name`.
"""

import os
from pathlib import Path

from paraclip.errors import UserError, optional_import
from paraclip.files import check_input
from paraclip.systems.system import FIX, ROWS_AT_ONCE, Cache, IndexAddress, Layout, Parts, System

OPEN_CLIP_FOLDER = Layout(
    "open-clip",
    (
        "Load it by open_clip.create_model_and_transforms({local!r}) and"
        " open_clip.get_tokenizer({local!r}).",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base by its name and tag again.",
    ),
)
CLIP_FOLDER = Layout("hf", ("Load it by transformers.CLIPModel.from_pretrained({folder!r}).",))
MODULES = Layout(
    "sentence-transformers",
    (
        "Load it by SentenceTransformer({folder!r}) where the base's name was.",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base's name again.",
    ),
)
OPEN_CLIP = System("open-clip", OPEN_CLIP_FOLDER)
HUGGING_FACE = System(
    "hugging-face",
    cache=Cache(
        {"model.safetensors": CLIP_FOLDER, "open_clip_model.safetensors": OPEN_CLIP_FOLDER},
        ("models--*/snapshots/*/**", "snapshots/*/**"),
        "Restart the programs that load it. A new commit on the hub brings the base back: name the"
        " revision, or set HF_HUB_OFFLINE=1.",
    ),
)
SENTENCE_TRANSFORMERS = System("sentence-transformers", MODULES)
WEAVIATE = System(
    "weaviate",
    Layout(
        "sentence-transformers",
        (
            "Mount {folder} in the container of multi2vec-clip as /app/models/text (docker run -v"
            " FOLDER:/app/models/text:ro), or copy it there in an image of your own.",
            "Start the container again. Vectors of pictures stay; objects whose vectors also hold"
            " texts (textFields) must be imported again.",
            "To go back, start the container without the mount.",
        ),
    ),
    cache=Cache(
        {"model.safetensors": CLIP_FOLDER},
        ("text", "text/0_CLIPModel", "openai_clip"),
        "Start the inference container again; vectors of pictures stay.",
    ),
)


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
_EMBEDDINGS, _METADATA, _PATH = "img_emb", "metadata", "image_path"  # of clip-retrieval
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


def _read_clip_retrieval(place: IndexAddress) -> Parts:
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
    read=_read_clip_retrieval,
    recognises=lambda path: (path / _EMBEDDINGS).is_dir(),
)


def _read_lancedb(place: IndexAddress) -> Parts:
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
    read=_read_lancedb,
    recognises=lambda path: any(path.glob("*.lance")),
)

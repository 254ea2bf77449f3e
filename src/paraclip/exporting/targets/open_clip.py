"""open_clip itself, and programs that use its names: clip-retrieval and LanceDB.

Source:
- open_clip 3.3.0 `factory.py`, `create_model`: `local-dir:FOLDER`, or a name and `pretrained=FILE`.
- all_clip 1.3.0 `open_clip.py`, with which clip-retrieval 2.45.0 loads models: the name is
  `open_clip:ARCHITECTURE/FILE`; the path of the file follows the first slash.
- lancedb 0.40.0 `embeddings/open_clip.py`: `name` and `pretrained` go to
  `open_clip.create_model_and_transforms`; the tokenizer is that of `name`.
"""

from pathlib import Path

from paraclip.exporting.config import ExportOptions
from paraclip.exporting.open_clip_folder import of_open_clip, open_clip_state, write_open_clip
from paraclip.exporting.source import Source
from paraclip.exporting.targets.system import Steps, System, check_built_in
from paraclip.models.tensors import save_tensors

FILE = "model.safetensors"


def check_open_clip(source: Source) -> None:
    """Check that the model is from open_clip."""
    of_open_clip(source)


def check_named(source: Source) -> None:
    """Check that the model is from open_clip and has a name there."""
    of_open_clip(source)
    check_built_in(source, "This system")


def write_folder(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write a `local-dir:` folder."""
    write_open_clip(source, folder, options.half)


def write_weights(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write one file of weights with open_clip's names."""
    tensors = open_clip_state(of_open_clip(source), options.half)
    save_tensors(tensors, folder / FILE, {"format": "pt"})


def open_clip_steps(source: Source, folder: Path) -> Steps:
    """Steps for open_clip."""
    return (
        f"Load it by open_clip.create_model_and_transforms('local-dir:{folder}') and"
        f" open_clip.get_tokenizer('local-dir:{folder}').",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base by its name and tag again.",
    )


def clip_retrieval_steps(source: Source, folder: Path) -> Steps:
    """Steps for clip-retrieval."""
    name = f"open_clip:{source.architecture}/{(folder / FILE).resolve()}"
    return (
        f"Set the model of your indices file (indices.json, `clip_model`) or of `clip-retrieval"
        f" back` to {name!r}, with `use_jit` off.",
        "No cache depends on it: image.index holds vectors of pictures and stays. A text.index"
        " holds vectors of texts: embed them again. Start `clip-retrieval back` again.",
        "To go back, set the base's name again.",
    )


def lancedb_steps(source: Source, folder: Path) -> Steps:
    """Steps for LanceDB."""
    call = f"create(name={source.architecture!r}, pretrained={str((folder / FILE).resolve())!r})"
    return (
        f"Make the query function by get_registry().get('open-clip').{call} and search with"
        " table.search(function.compute_query_embeddings(text)[0]); a table remembers the function"
        " that filled it.",
        "Nothing is cached. The vectors of pictures in the table stay.",
        "To go back, use the base's function again.",
    )


OPEN_CLIP = System(check_open_clip, write_folder, open_clip_steps, takes=("half",))
CLIP_RETRIEVAL = System(check_named, write_weights, clip_retrieval_steps, takes=("half",))
LANCEDB = System(check_named, write_weights, lancedb_steps, takes=("half",))

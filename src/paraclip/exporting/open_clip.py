"""open_clip's folders and weights, and programs that load them: clip-retrieval and LanceDB.

Source:
- open_clip 3.3.0 `factory.py`, `create_model`: `local-dir:FOLDER` reads `model_cfg` and
  `preprocess_cfg` of `open_clip_config.json` and the weights of `open_clip_model.safetensors`; or a
  name and `pretrained=FILE`.
- all_clip 1.3.0 `open_clip.py`, with which clip-retrieval 2.45.0 loads models: the name is
  `open_clip:ARCHITECTURE/FILE`; the path of the file follows the first slash.
- lancedb 0.40.0 `embeddings/open_clip.py`: `name` and `pretrained` go to
  `open_clip.create_model_and_transforms`; the tokenizer is that of `name`.
"""

from pathlib import Path

import open_clip
from torch import Tensor

from paraclip.errors import UserError
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.source import Source
from paraclip.exporting.system import PREPROCESSING, Steps, System, write_files
from paraclip.models.checkpoint import write_weights
from paraclip.models.encoder import DualEncoder
from paraclip.models.openclip import OpenClip
from paraclip.models.tensors import save_tensors

_FILE = "model.safetensors"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def _write_folder(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write configuration and weights, and the files of a Hugging Face text tower, if any."""
    model = _of_open_clip(source)
    settings = model.spec.preprocessing
    config = {
        "model_cfg": {**model.spec.config, "quick_gelu": model.architecture.quick_gelu},
        "preprocess_cfg": {name: settings[name] for name in PREPROCESSING if name in settings},
    }
    write_files(folder, {CONFIG: config, **(model.spec.text_files or {})})
    save_tensors(_weights(model, options.half), folder / WEIGHTS, {"format": "pt"})


def _of_open_clip(source: Source) -> OpenClip:
    """The model; raises UserError if open_clip cannot build it."""
    if not isinstance(source.model, OpenClip):
        name = source.model.architecture.name
        what = f"{name} is not a model of open_clip"
        raise UserError(source.name, what, "Use --to sentence-transformers or --to onnx.")
    return source.model


def _weights(model: DualEncoder, half: bool) -> dict[str, Tensor]:
    """Weights as a file holds them, with open_clip's names for a model of open_clip and own names
    for `mini`."""
    named = model.exported_name if isinstance(model, OpenClip) else str
    state = model.state_dict().items()
    tensors = {named(name): value.detach().cpu().contiguous() for name, value in state}
    return {k: v.half() if half and v.is_floating_point() else v for k, v in tensors.items()}


def _write_file(source: Source, path: Path, options: ExportOptions) -> None:
    """Write one file."""
    # The header states no architecture, because the tensors have the names of another program.
    header = {"exported_from": source.header.get("weights"), "half": options.half}
    write_weights(_weights(source.model, options.half), path, header)


def _file_steps(source: Source, path: Path) -> Steps:
    if not isinstance(source.model, OpenClip):
        others = "--to sentence-transformers and --to onnx do not"
        return (f"The weights in {path} have ParaCLIP's own names; {others}.",)
    call = f"open_clip.create_model({source.architecture!r}, pretrained={str(path)!r})"
    return (f"Load it by {call}.",)


def _write_named(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write one file for a system that loads a model by open_clip's name and a file."""
    _of_open_clip(source)
    if source.architecture not in open_clip.list_models():
        what = f"{source.architecture} is not one of open_clip's own architectures"
        raise UserError(source.name, what, "This system loads models by such a name.")
    _write_file(source, folder / _FILE, options)


def _open_clip_steps(source: Source, folder: Path) -> Steps:
    name = repr(f"local-dir:{folder}")
    return (
        f"Load it by open_clip.create_model_and_transforms({name}) and"
        f" open_clip.get_tokenizer({name}).",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base by its name and tag again.",
    )


def _clip_retrieval_steps(source: Source, folder: Path) -> Steps:
    name = f"open_clip:{source.architecture}/{(folder / _FILE).resolve()}"
    return (
        f"Set the model of your indices file (indices.json, `clip_model`) or of `clip-retrieval"
        f" back` to {name!r}, with `use_jit` off.",
        "No cache depends on it: image.index holds vectors of pictures and stays. A text.index"
        " holds vectors of texts: embed them again. Start `clip-retrieval back` again.",
        "To go back, set the base's name again.",
    )


def _lancedb_steps(source: Source, folder: Path) -> Steps:
    call = f"create(name={source.architecture!r}, pretrained={str((folder / _FILE).resolve())!r})"
    return (
        f"Make the query function by get_registry().get('open-clip').{call} and search with"
        " table.search(function.compute_query_embeddings(text)[0]); a table remembers the function"
        " that filled it.",
        "Nothing is cached. The vectors of pictures in the table stay.",
        "To go back, use the base's function again.",
    )


WEIGHTS_FILE = System(_write_file, _file_steps, takes=("half",), index=None)
OPEN_CLIP = System(_write_folder, _open_clip_steps, takes=("half",))
CLIP_RETRIEVAL = System(_write_named, _clip_retrieval_steps, takes=("half",))
LANCEDB = System(_write_named, _lancedb_steps, takes=("half",))

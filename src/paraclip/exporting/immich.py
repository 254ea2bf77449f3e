"""immich (machine learning): `clip/NAME/textual/model.onnx` in its model cache.

Source, immich-app/immich (read in November 2026):
- `machine-learning/immich_ml/models/clip/textual.py`: the graph gets `text` int32 [1, context] and
  its first output's first row is the vector; `textual/tokenizer.json` and the `pad_token` of
  `textual/tokenizer_config.json` make the ids.
- `machine-learning/immich_ml/models/base.py`, `config.py`: the folder is CACHE/clip/NAME (with
  MACHINE_LEARNING_MODEL_REVISION other than `main`, such as `v2`: CACHE/clip/NAME/REVISION);
  nothing is downloaded if model.onnx exists. Older versions have the same layout.
- `machine-learning/immich_ml/models/constants.py`: the names below.
- `machine-learning/immich_ml/sessions/ort.py`, `prepare.py`: prepared graphs are kept in
  textual/PROVIDER (cpu, openvino, cuda, migraphx, coreml) and are reused as long as onnxruntime,
  its options and the processor are the same, even for another model.onnx.
- `machine-learning/export/.../openclip.py`: the base's graph has the output `embedding`, of unit
  length.
"""

from pathlib import Path

import open_clip

from paraclip.errors import UserError, nearest
from paraclip.exporting.clip_tokenizer import clip_tokenizer_files
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.hugging_face import no_clip_text
from paraclip.exporting.onnx_graph import TextInterface, write_text_graph
from paraclip.exporting.source import Source
from paraclip.exporting.system import Steps, System, check_settings, write_files
from paraclip.models.formats.published import QUICK

_INTERFACE = TextInterface("text", "embedding", "int32", fixed_length=True)
_NAMES = Path(__file__).with_name("immich_models.txt").read_text("utf-8").splitlines()
"""Models of open_clip that immich loads; it refuses all other names."""


def immich_name(source: Source) -> str:
    """immich's name of the base.

    Raises:
        UserError: immich has no such model, or the checkpoint does not record its base.
    """
    architectures = {
        _normalised(source.architecture), _normalised(source.architecture.removesuffix(QUICK))
    }  # fmt: skip
    same = [name for name in _NAMES if _normalised(name.split("__")[0]) in architectures]
    if not same:
        what = f"its base is {source.architecture}, which immich does not load"
        raise UserError(source.name, what, nearest(source.architecture, _NAMES))
    tags = {_normalised(tag) for tag in source.tags}
    matching = [name for name in same if _normalised(name.split("__")[1]) in tags]
    if len(matching) == 1:
        return matching[0]
    recorded = " or ".join(source.tags) or "not recorded"
    what = f"the weights of its base are {recorded}, and immich has {', '.join(same)}"
    hint = f"Add --tag {same[0].split('__')[1]} (or another of them) if it was tuned from these."
    raise UserError(source.name, what, hint)


def _normalised(name: str) -> str:
    """A name in one spelling; immich writes some tags with hyphens."""
    return name.replace("_", "-").lower()


def _write(source: Source, folder: Path, options: ExportOptions) -> None:
    name, tag = immich_name(source).split("__")
    for known in open_clip.list_pretrained_tags_by_model(name):
        if _normalised(known) == _normalised(tag):
            check_settings(source, "immich", name, known)
    textual = folder / "clip" / f"{name}__{tag}" / "textual"
    textual.mkdir(parents=True)
    if no_clip_text(source.model) is None:
        write_files(textual, clip_tokenizer_files(source.model.architecture.context_length))
    write_text_graph(source.model, textual / "model.onnx", _INTERFACE)


def _steps(source: Source, folder: Path) -> Steps:
    name = immich_name(source)
    return (
        f"Find the folder of the text encoder in immich's model cache (the volume model-cache,"
        f" /cache in the container), TEXTUAL below: CACHE/clip/{name}/textual, or, with a"
        f" MACHINE_LEARNING_MODEL_REVISION other than main (the default of newer versions is v2),"
        f" CACHE/clip/{name}/REVISION/textual. If both exist, the one in use is that in which cpu,"
        f" openvino or another prepared graph gets a new date when machine learning starts.",
        f"Stop machine learning. Rename TEXTUAL to textual.base beside it, copy"
        f" {folder / 'clip' / name / 'textual'} to TEXTUAL, and copy the files of textual.base that"
        f" are missing there, but not the folders of the next step.",
        "Delete the prepared graphs TEXTUAL/cpu, openvino, cuda, migraphx and coreml if they are"
        " there: they are not keyed by the model. Start machine learning again; the pictures need"
        " no new job.",
        "To go back, delete TEXTUAL and rename textual.base to textual.",
    )


IMMICH = System(_write, _steps, index="postgresql://...")

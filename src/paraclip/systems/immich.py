"""immich: `clip/NAME/textual/model.onnx` in the cache of its machine learning, and its database.

Source, immich-app/immich (read in November 2026):
- `machine-learning/immich_ml/models/clip/textual.py`: the graph gets `text` int32 [1, context] and
  its first output's first row is the vector; `textual/tokenizer.json` and the `pad_token` of
  `textual/tokenizer_config.json` make the ids.
- `machine-learning/immich_ml/models/base.py`, `config.py`: the folder is CACHE/clip/NAME (with
  MACHINE_LEARNING_MODEL_REVISION other than `main`, such as `v2`: CACHE/clip/NAME/REVISION);
  nothing is downloaded if model.onnx exists. Older versions have the same layout. Where a file for
  ARM NN or RKNN exists, it is read on such a device instead of model.onnx; `visual` is beside
  `textual`.
- `machine-learning/immich_ml/models/constants.py`: the names in immich_models.txt; it refuses all
  others. Some tags have hyphens.
- `machine-learning/immich_ml/sessions/ort.py`, `prepare.py`: prepared graphs are kept in
  textual/PROVIDER (cpu, openvino, cuda, migraphx, coreml) and are reused as long as onnxruntime,
  its options and the processor are the same, even for another model.onnx.
- `machine-learning/immich_ml/sessions/prepare.py` at 766d01c, and `runtime.py` of immich-app/
  ml-models, `apply_rewrites`: except with revision `main`, a prepared graph may name
  textual/model.rw-DIGEST.onnx, which is model.onnx with other operators for a device; the digest is
  not of the model. `model.lock` is empty and is held while a graph is prepared, so it stays.
- immich-app/ml-models at 8897fc0, `immich_model_exporter/exporters/`: `onnx/models/openclip.py`,
  line 143: the base's graph has the output `embedding`, of unit length. `torch.onnx.export` puts
  weights of more than 2 GiB beside it, a file each in older versions (named in `constants.py`, line
  43) and model.onnx.data in newer ones; onnxruntime finds them by the names in the graph.
- `server/src/schema/tables/smart-search.table.ts` (`assetId`, `embedding`) and `asset.table.ts`
  (`originalPath`), which was called `assets` before version 1.137.
"""

from pathlib import Path

from paraclip.compute.onnx_session import TextGraph
from paraclip.systems.pgvector import connected, exists, read_table
from paraclip.systems.system import Cache, IndexAddress, Layout, Parts, System

_LAYOUT = Layout(
    "onnx",
    (
        "Find the folder of the text encoder in immich's model cache (the volume model-cache,"
        " /cache in the container), TEXTUAL below: CACHE/clip/{base}/textual, or, with a"
        " MACHINE_LEARNING_MODEL_REVISION other than main (the default of newer versions is v2),"
        " CACHE/clip/{base}/REVISION/textual. If both exist, the one in use is that in which cpu,"
        " openvino or another prepared graph gets a new date when machine learning starts.",
        "Stop machine learning. Rename TEXTUAL to textual.base beside it, copy"
        " {folder}/clip/{base}/textual to TEXTUAL, and copy the files of textual.base that are"
        " missing there, but not what the next step deletes.",
        "Delete the prepared graphs TEXTUAL/cpu, openvino, cuda, migraphx, coreml and"
        " model.rw-*.onnx if they are there: they are not keyed by the model. Start machine"
        " learning again; the pictures need no new job.",
        "To go back, delete TEXTUAL and rename textual.base to textual.",
    ),
    file="clip/{base}/textual/model.onnx",
    graph=TextGraph("text", "embedding", "int32", fixed_length=True),
    tokenizer="clip/{base}/textual",
    any_tower=True,
)


def _read(place: IndexAddress) -> Parts:
    """The table `smart_search`, with the paths of its assets."""
    with connected(place) as connection:
        assets = next((name for name in ("asset", "assets") if exists(connection, name)), None)
        source, path = "smart_search", None
        if assets is not None:
            source += f' JOIN {assets} ON {assets}.id = smart_search."assetId"'
            path = f'{assets}."originalPath"'
        yield from read_table(connection, source, "smart_search.embedding", path, place)


IMMICH = System(
    "immich",
    _LAYOUT,
    tuple(Path(__file__).with_name("immich_models.txt").read_text("utf-8").splitlines()),
    Cache(
        {"model.onnx": _LAYOUT},
        ("clip/{base}/textual", "clip/{base}/*/textual"),  # the latter with a revision
        "Restart machine learning (docker restart immich_machine_learning); the pictures need no"
        " new job.",
        image="../visual/model.onnx",
        prepared=("cpu", "openvino", "cuda", "migraphx", "coreml", "model.rw-*.onnx"),
        instead=("model.armnn", "**/*.rknn"),
    ),
    _read,
    index="postgresql://...",
)

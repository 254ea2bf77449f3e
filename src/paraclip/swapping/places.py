"""Where other programs keep the text encoder of a CLIP.

Sources, besides those named in `exporting/immich.py` and `exporting/onnx_systems.py`:
- immich `machine-learning/immich_ml/models/base.py`: where a file for ARM NN or RKNN exists, the
  program reads it on such a device instead of model.onnx; `visual` is beside `textual`.
- fastembed 0.9.1 `fastembed/common/model_management.py`: a cache of the Hugging Face hub. A file
  whose size differs from that in `files_metadata.json` is downloaded again; one that is not listed
  there is loaded as it is.
- huggingface_hub 2.4.0 `file_download.py`: CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE links to
  a blob; a FILE that exists for a commit is loaded as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from paraclip.exporting.hugging_face import HUGGING_FACE
from paraclip.exporting.immich import IMMICH, immich_name
from paraclip.exporting.onnx_systems import FASTEMBED, RCLIP
from paraclip.exporting.open_clip import OPEN_CLIP
from paraclip.exporting.source import Source
from paraclip.exporting.system import System
from paraclip.swapping.config import SwapSystem


@dataclass(frozen=True)
class Place:
    """Where a program keeps its text encoder, and what depends on it.

    Args:
        writers: what writes the file, by the file's name.
        folders: patterns of the file's folder below the cache, with `{base}` for its name.
        restart: what to do afterwards.
        base: the program's name of a model's base.
        image: pattern of the graph of the image tower, from the file's folder.
        prepared: folders beside the file that the program makes from it.
        instead: patterns of files that the program reads instead on some devices.
        sizes: list of the sizes that the program expects, from the file's folder.
    """

    writers: dict[str, System]
    folders: tuple[str, ...]
    restart: str
    base: Callable[[Source], str] = lambda _: ""
    image: str = ""
    prepared: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    sizes: str = ""


_SNAPSHOTS = "models--Qdrant--clip-ViT-B-32-{}/snapshots/*"
PLACES: dict[SwapSystem, Place] = {
    "immich": Place(
        {"model.onnx": IMMICH},
        ("clip/{base}/textual", "clip/{base}/*/textual"),  # the latter with a revision
        "Restart machine learning (docker restart immich_machine_learning); the pictures need no"
        " new job.",
        immich_name,
        image="../visual/model.onnx",
        prepared=("cpu", "openvino", "cuda", "migraphx", "coreml"),
        instead=("model.armnn", "**/*.rknn"),
    ),
    "rclip": Place(
        {"textual.onnx": RCLIP},
        ("ViT-B-32-256-datacomp_s34b_b86k",),
        "The next search uses it; db.sqlite3 stays.",
        image="visual.onnx",
    ),
    "fastembed": Place(
        {"model.onnx": FASTEMBED},
        (_SNAPSHOTS.format("text"),),
        "Restart the program that embeds queries; the vectors in Qdrant stay.",
        image=f"../../../{_SNAPSHOTS.format('vision')}/model.onnx",
        sizes="../../files_metadata.json",
    ),
    "hugging-face": Place(
        {"model.safetensors": HUGGING_FACE, "open_clip_model.safetensors": OPEN_CLIP},
        ("models--*/snapshots/*/**", "snapshots/*/**"),
        "Restart the programs that load it. A new commit on the hub brings the base back: name the"
        " revision, or set HF_HUB_OFFLINE=1.",
    ),
}

"""rclip 3 and 4: `textual.onnx` in its data folder.

Source, rclip 3.3.0 and 4.0.8 from PyPI:
- `rclip/model_download.py`: `download_onnx_model` returns DATADIR/MODEL_SUBDIR/textual.onnx without
  a download if that file exists; DATADIR is RCLIP_DATADIR or ~/.local/share/rclip.
- `rclip/model.py`: the graph gets `input` int64 [N, 77] and returns one output, which rclip scales
  to unit length; `rclip/utils/tokenizer.py` is open_clip's.
- `rclip/db.py`: version 3 of the index holds vectors of ViT-B-32-256, datacomp_s34b_b86k.
"""

from pathlib import Path

from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import Drift
from paraclip.exporting.hugging_face import clip_text
from paraclip.exporting.onnx_graph import TextInterface, write_text_graph
from paraclip.exporting.source import Source
from paraclip.exporting.targets.system import Steps, System, check_activation, check_base

ARCHITECTURE, TAG = "ViT-B-32-256", "datacomp_s34b_b86k"
FOLDER, FILE = f"{ARCHITECTURE}-{TAG}", "textual.onnx"
INTERFACE = TextInterface("input", "output", "int64", fixed_length=True)


def _check(source: Source) -> None:
    check_base(source, "rclip", ARCHITECTURE, TAG)
    check_activation(source, "rclip", quick=False)
    clip_text(source.model, "rclip")


def _write(source: Source, folder: Path, options: ExportOptions) -> Drift | None:
    path = folder / FOLDER / FILE
    path.parent.mkdir()
    return write_text_graph(source.model, path, INTERFACE, options.int8)


def _steps(source: Source, folder: Path) -> Steps:
    return (
        f"In the subfolder {FOLDER} of rclip's data folder (~/.local/share/rclip on Linux, or"
        f" RCLIP_DATADIR if you have set it) rename {FILE} to {FILE}.base, and copy"
        f" {folder / FOLDER / FILE} there. Do not set RCLIP_DATADIR to {folder}: rclip looks for"
        " its index there as well.",
        "No cache depends on the text encoder: db.sqlite3 holds vectors of pictures and stays.",
        f"To go back, rename {FILE}.base to {FILE}.",
    )


RCLIP = System(_check, _write, _steps, takes=("int8",), index="db.sqlite3")

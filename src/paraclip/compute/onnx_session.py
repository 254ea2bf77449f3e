"""Graphs in ONNX: how a program calls one, and sessions of onnxruntime on the CPU."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip.errors import UserError, optional_import
from paraclip.files import check_input, read_bounded

if TYPE_CHECKING:
    import numpy as np

WRITERS = dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "export")
"""The modules that write a graph, each with its extra."""
_WEIGHTS = re.compile(r".+\.[0-9a-f]{16}\.data", re.DOTALL)


@dataclass(frozen=True)
class TextGraph:
    """How a program calls a text tower in ONNX."""

    inputs: str = "input_ids"  # name of the token ids
    outputs: str = "text_embeds"  # name of the text vectors
    dtype: str = "int64"  # of the ids, or int32
    fixed_length: bool = False  # whether ids always have the length of the context
    unit: bool = True  # whether the vectors have unit length
    end: int | None = None  # a token that replaces the last one of a text without it
    unused: tuple[str, ...] = ()  # other inputs of the ids' shape that the program gives
    one_file: bool = False  # whether the program cannot read weights beside the graph


def weight_files(path: Path) -> list[Path]:
    """Files of weights beside a graph, FILE.HASH.data with 16 digits of their SHA-256.

    The graph names its weights by this name, so that a graph and weights of two models are never
    taken for one, and a graph with its weights is replaced by one rename.
    """
    found = path.parent.glob(f"{escape(path.name)}.*.data")
    return sorted(file for file in found if _WEIGHTS.fullmatch(file.name))


def open_session(path: Path, extra: str, weights: "Mapping[str, np.ndarray] | None" = None) -> Any:
    """Open a graph in a session whose idle threads sleep.

    The weights are initializers that the graph names but does not contain. They are not copied, and
    must live as long as the session. Raises UserError if onnxruntime, of the extra, is not
    installed, the graph is a pipe or a device, or weights that it names are missing, cut or in
    another folder.
    """
    check_input(path)
    onnxruntime = optional_import("onnxruntime", extra)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights:
        values = map(onnxruntime.OrtValue.ortvalue_from_numpy, weights.values())
        options.add_external_initializers(list(weights), list(values))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class
        for file, what in _broken_weights(path):
            hint = "Fetch or write both files again."
            raise UserError(file, f"{what}; {path.name} names it for its weights", hint) from error
        raise


def _broken_weights(path: Path) -> Iterator[tuple[Path, str]]:
    """Files that a graph names for its weights and that do not hold them, each with the reason."""
    with suppress(Exception):  # no graph, or onnx is not installed
        import onnx
        from onnx.external_data_helper import ExternalDataInfo, uses_external_data

        graph = onnx.load_model_from_string(read_bounded(path)).graph
        for place in map(ExternalDataInfo, filter(uses_external_data, graph.initializer)):
            file = path.parent / place.location
            if Path(place.location).is_absolute() or ".." in Path(place.location).parts:
                yield file, "is in another folder"
            elif not file.is_file():
                yield file, "there is no such file"
            elif file.stat().st_size < (place.offset or 0) + (place.length or 0):
                yield file, "is cut"

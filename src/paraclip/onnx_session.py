"""Sessions of onnxruntime on the CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.errors import optional_import


def open_session(path: Path, extra: str, weights: Mapping[str, np.ndarray] | None = None) -> Any:
    """Open a graph in a session whose idle threads sleep.

    Args:
        path: file of the graph.
        extra: the extra of pyproject.toml to name if onnxruntime is not installed.
        weights: initializers that the graph names but does not contain. They are not copied, and
            must live as long as the session.

    Raises:
        UserError: onnxruntime is not installed.
    """
    onnxruntime = optional_import("onnxruntime", extra)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights:
        values = map(onnxruntime.OrtValue.ortvalue_from_numpy, weights.values())
        options.add_external_initializers(list(weights), list(values))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

"""ParaCLIP: CLIP text encoders that return more of the same pictures when a query is reworded."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from paraclip.errors import UserError
from paraclip.version import __version__ as __version__

if sys.platform == "win32":
    raise ImportError("ParaCLIP does not run on Windows, whose files have no flock: use it in WSL.")

# onnxruntime reports its use to Microsoft from its first import on, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from paraclip.api import (
        Columns,
        compare,
        encode_images,
        encode_texts,
        evaluate,
        export,
        generate,
        index,
        inspect_swap,
        load_model,
        merge,
        read_captions,
        scenes,
        search,
        swap,
        swap_check,
        train,
        undo_swap,
    )

__all__ = (
    "Columns", "UserError", "compare", "encode_images", "encode_texts", "evaluate", "export",
    "generate", "index", "inspect_swap", "load_model", "merge", "read_captions", "scenes", "search",
    "swap", "swap_check", "train", "undo_swap",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the public functions on first use (PEP 562), so that `import paraclip` stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("paraclip.api"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))

"""The packages that a verb needs, beyond those that are always installed: one table, which every
verb asks before it loads a model."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from paraclip.errors import require
from paraclip.models.sources import packages_of
from paraclip.systems import exported, swapped
from paraclip.systems.pgvector import POSTGRES

Packages = dict[str, str]
"""Modules, each with the extra that installs it."""

_SENTENCES = {"transformers": "builtin"}  # of MiniLM, which S asks
_FILTERS = dict.fromkeys(("onnxruntime", "simplemma", "snowballstemmer"), "llm")
_STORE = {"lancedb": "search"}
_SERVER = _STORE | dict.fromkeys(("fastapi", "uvicorn"), "search")
_GRAPHS = dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "export")


def _of_training(options: Any) -> Packages:
    asks_sentences = "S" in options.losses
    return _SENTENCES if asks_sentences else {}


def _of_layout(options: Any) -> Packages:
    is_graph = options.to == "onnx" or (
        options.target and exported()[options.target].format == "onnx"
    )
    return _GRAPHS if is_graph else {}


def _of_cache(options: Any) -> Packages:
    files = [one for variant in swapped()[options.system].variants
             for one in variant.cache.files.values()]  # fmt: skip
    return _GRAPHS if any(one.format == "onnx" for one in files) else {}


def _of_backend(name: str | None) -> Packages:
    from paraclip.paraphrase.backends import backend_kind  # of two verbs alone

    return backend_kind(name).packages if name else {}


NEEDS: Mapping[str, Callable[[Any], Packages]] = {
    "index": lambda options: _STORE,
    "search": lambda options: _STORE,
    "serve": lambda options: _SERVER | _of_backend(options.llm),
    "train": _of_training,
    "swap-check": lambda options: {},
    "swap": _of_cache,
    "export": _of_layout,
    "quickstart": lambda options: _SENTENCES | (_SERVER if options.serve else _STORE),
    "generate": lambda options: (
        _FILTERS | _of_backend(options.backend) | ({"ray": "ray"} if options.ray_workers else {})
    ),
    "merge": lambda options: {},
    "push": lambda options: {},
    "evaluate": lambda options: {},  # without matplotlib, it draws nothing, and says so
    "audit": lambda options: {},
}
"""What each verb needs with its options. Models and indexes that it reads add their own."""


def require_packages(
    verb: str, options: Any, models: Iterable[object] = (), indexes: Iterable[object] = ()
) -> None:
    """Raise one UserError for all packages that are not installed.

    Args:
        verb: a name of `NEEDS`.
        options: the options of the verb.
        models: names of models that it loads; those in memory, and None, need nothing more.
        indexes: addresses of indexes that it reads, or None.
    """
    names = [str(one) for one in models if isinstance(one, Path | str)]
    needed = NEEDS[verb](options) | packages_of(*names)
    for index in indexes:
        needed |= _of_index(index)
    require(needed)


def _of_index(index: object) -> Packages:
    if str(index).startswith(POSTGRES):
        return {"psycopg": "postgres"}
    # A table of LanceDB, as an index of ParaCLIP is.
    is_table = isinstance(index, Path | str) and os.path.isdir(index)
    return _STORE if is_table and any(Path(str(index)).glob("*.lance")) else {}

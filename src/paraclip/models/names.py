"""What the name of a model refers to, without loading the model."""

import os.path
from pathlib import Path

BUILT_IN = ("mini", "mini-flickr8k", "minilm")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
FOLDER = "local-dir:"


def model_files(name: str) -> list[Path]:
    """The local files that a model's name refers to; none for a built-in model or a download.

    Args:
        name: a name as for `load_model`; of a folder, these are all its files, sorted.

    Example:
        >>> model_files("mini")
        []
    """
    if name in BUILT_IN:
        return []
    for path in (name, os.path.expanduser(name.rpartition(":")[2])):
        if os.path.isfile(path):  # unlike Path.is_file, False for names that are too long
            return [Path(path)]
        if os.path.isdir(path):
            return sorted(one for one in Path(path).iterdir() if one.is_file())
    return []


def absolute_name(name: str) -> str:
    """The name with the absolute path of its file or folder, to load it from any working folder.

    Example:
        >>> absolute_name("mini")
        'mini'
    """
    head, colon, path = name.rpartition(":")
    path = os.path.expanduser(path) if colon else path
    # A tag may have the name of a file, but not its suffix.
    named = name not in BUILT_IN and (not colon or f"{head}:" == FOLDER or path.endswith(SUFFIXES))
    return f"{head}{colon}{os.path.abspath(path)}" if named and os.path.exists(path) else name

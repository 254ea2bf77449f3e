"""What the name of a model refers to, without loading the model."""

import os.path
from pathlib import Path

BUILT_IN = ("mini", "mini-flickr8k", "minilm")


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

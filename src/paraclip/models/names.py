"""What the name of a model refers to, without loading the model."""

from pathlib import Path

from paraclip.models.loading import FOLDER


def model_files(name: str) -> list[Path]:
    """The local files that a model's name refers to; none for a built-in model or a download.

    Args:
        name: a name as for `load_model`.

    Example:
        >>> model_files("mini")
        []
    """
    if (folder := Path(name.removeprefix(FOLDER))).is_dir():
        return [path for path in folder.iterdir() if path.is_file()]
    last = Path(name.rpartition(":")[2]).expanduser()
    return [path for path in dict.fromkeys((Path(name), last)) if path.is_file()]

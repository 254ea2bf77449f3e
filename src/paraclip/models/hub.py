"""The Hugging Face hub is asked once whether it is there; without it, its cache still serves."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 8.0  # seconds; the hub's own client tries for most of a minute


@contextmanager
def offline_where_unreachable() -> Iterator[None]:
    """Put the hub's client into its offline mode for the block if the hub cannot be reached."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def reachable(address: str) -> bool:
    """Whether something answers there, with whatever words."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE)
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True

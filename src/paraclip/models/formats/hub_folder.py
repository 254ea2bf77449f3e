"""The folder of a model from the Hugging Face hub, in the local cache."""

import re
from pathlib import Path

from paraclip.errors import UserError
from paraclip.models.formats.published import download_failure
from paraclip.models.hub import offline_where_unreachable

REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
SMALL_FILES = ("*.json", "*.txt")
WEIGHTS = {
    True: ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    False: ("model.safetensors", "pytorch_model.bin"),
}
"""Names of weight files, with and without `open_clip_config.json`, in order of preference."""


def downloaded_folder(repository: str) -> Path:
    """The folder of a repository with its configuration, tokenizer and one file of weights.

    Args:
        repository: OWNER/NAME. Cached files are not downloaded again; without network, only the
            cache is used.

    Raises:
        UserError: there is no such repository, it contains no CLIP, or the hub cannot be reached;
            the error explains how to copy the files manually.
    """
    from huggingface_hub import snapshot_download

    if not REPOSITORY.fullmatch(repository):
        raise UserError(f"hf-hub:{repository}", "is not OWNER/NAME", "As in hf-hub:laion/NAME.")
    try:
        with offline_where_unreachable():
            folder = Path(snapshot_download(repository, allow_patterns=list(SMALL_FILES)))
            fetch_weights(repository, folder)
    except UserError:
        raise
    except Exception as error:  # the hub's client, httpx and the OS each have their own
        raise unavailable(repository, error) from error
    return folder


def fetch_weights(repository: str, folder: Path) -> None:
    """Download the preferred file of weights into the folder of a snapshot."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    names = WEIGHTS[(folder / "open_clip_config.json").is_file()]
    for name in names:
        if (folder / name).is_file():
            return
    failure: Exception | None = None
    for name in names:
        try:
            hf_hub_download(repository, name, revision=folder.name)
            return
        except EntryNotFoundError as error:
            failure = failure or error
    if failure is not None:
        raise failure


def unavailable(repository: str, error: Exception) -> UserError:
    """The error for a repository that is not available."""
    reason, hint = download_failure(error)
    what = f"it could not be downloaded from https://huggingface.co/{repository}: {reason}"
    by_hand = "Download the repository on another machine and name its folder: local-dir:FOLDER"
    return UserError(f"hf-hub:{repository}", what, hint or by_hand)

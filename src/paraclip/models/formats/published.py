"""Published weights: open_clip's activation and preprocessing by tag, and downloads.

Neither is visible in the weights, and the wrong one gives plausible but worse vectors.
"""

import errno
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import file_digest
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from paraclip.errors import UserError
from paraclip.models.sources import HUB, QUICK, check_repository, offline_where_unreachable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_ACCESS = (
    "the server denies access",
    "Accept the model's terms on that page, and log in with `hf auth login`.",
)
_ANSWERS = {  # Hugging Face answers 401 or 403 where the terms of a model were not accepted
    401: _NO_ACCESS,
    403: _NO_ACCESS,
    404: ("the server has no such file", ""),
    429: ("too many requests", "Wait and run again."),
}
_SMALL_FILES = ("*.json", "*.txt")  # configuration and tokenizer
_WEIGHTS = {
    True: ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    False: ("model.safetensors", "pytorch_model.bin"),
}
"""Names of weight files, with and without `open_clip_config.json`, in order of preference."""

_Settings = dict[str, Any]
"""Fields of a tag: `quick_gelu`, and those of open_clip's `PreprocessCfg`."""


def quick_name(name: str, quick_gelu: bool) -> str:
    """The name of the variant with QuickGELU, if QuickGELU is needed and the variant exists."""
    quick = f"{name}{QUICK}"
    return quick if quick_gelu and quick in open_clip.list_models() else name


def preprocessing_of(tag: _Settings) -> _Settings:
    """All fields of `PreprocessCfg`, with open_clip's defaults for those that the tag lacks."""
    fields: _Settings = merge_preprocess_dict(asdict(PreprocessCfg()), tag)
    return fields


def repository_of(name: str, tag: str) -> str:
    """OWNER/NAME on the hub of a tag's weights; empty where open_clip knows none."""
    settings: _Settings = open_clip.get_pretrained_cfg(name.replace("/", "-"), tag)
    return str(settings.get("hf_hub", "")).rstrip("/")


def published_as(name: str, path: Path) -> _Settings | None:
    """The tag under which a file was published, by its name or hash; None for other files."""
    for tag in open_clip.list_pretrained_tags_by_model(name):
        published: _Settings = open_clip.get_pretrained_cfg(name, tag)
        if published.get("url", "").rsplit("/", 1)[-1] == path.name:
            return published
    # Renamed, OpenAI's files are still known by their hash.
    return {"quick_gelu": True} if is_torchscript(path) and from_openai(path) else None


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        # `torch.save` writes no such file.
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def from_openai(path: Path) -> bool:
    """Whether OpenAI published the file; its download URLs contain the SHA-256."""
    addresses = [
        open_clip.get_pretrained_cfg(*names).get("url", "") for names in open_clip.list_pretrained()
    ]
    # Its addresses end in HASH/NAME.
    published = {address.split("/")[-2] for address in addresses if "openaipublic" in address}
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest() in published


def agreed_preprocessing(name: str, path: object) -> _Settings:
    """The preprocessing that all tags of an architecture share; without tags, open_clip's."""
    groups = _tags_by_preprocessing(name)
    if len(groups) > 1:
        choices = " or ".join(f"{name}:{tags[0]}:{path}" for tags in groups.values())
        what = f"the published weights of {name} use {len(groups)} kinds of preprocessing"
        raise UserError(path, what, f"Name a tag that uses the right one, as in {choices}")
    tags = next(iter(groups.values()), [])
    return open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}


def _tags_by_preprocessing(name: str) -> Mapping[str, list[str]]:
    """Tags of an architecture by their preprocessing."""
    groups: dict[str, list[str]] = {}
    for tag in open_clip.list_pretrained_tags_by_model(name):
        settings = preprocessing_of(open_clip.get_pretrained_cfg(name, tag))
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(tag)
    return groups


def _file_name(name: str, tag: str) -> str:
    """The name for a tag's weights after a manual download."""
    settings = open_clip.get_pretrained_cfg(name, tag)
    named = quick_name(name, bool(settings.get("quick_gelu")))
    tags = open_clip.list_pretrained_tags_by_model(named)
    if named != name and tag not in tags:
        return f"{name}:{tag}:FILE" if len(_tags_by_preprocessing(name)) > 1 else f"{named}:FILE"
    return f"{named}:{tag}:FILE" if len(_tags_by_preprocessing(named)) > 1 else f"{named}:FILE"


def download(name: str, tag: str, settings: dict[str, Any]) -> Path:
    """Path of a tag's weights, downloaded if they are not in the cache."""
    hub = settings.get("hf_hub", "").rstrip("/")
    address = f"https://huggingface.co/{hub}" if hub else settings.get("url", "")
    by_hand = f"Download them on another machine and name {_file_name(name, tag)}"
    what = f"the weights could not be downloaded from {address}"
    with _download_errors(f"{name}:{tag}", what, by_hand):
        return Path(open_clip.download_pretrained(settings))


def download_folder(repository: str) -> Path:
    """Folder of a repository OWNER/NAME of the Hugging Face hub: configuration, tokenizer, one
    weights file.

    Cached files are not downloaded again; without network, only the cache is used. Raises UserError
    if there is no such repository, it contains no CLIP, or the hub cannot be reached; the error
    explains how to copy the files manually.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    where = f"{HUB}{repository}"
    check_repository(repository)
    what = f"it could not be downloaded from https://huggingface.co/{repository}"
    by_hand = "Download the repository on another machine and name its folder: local-dir:FOLDER"
    with _download_errors(where, what, by_hand):
        folder = Path(snapshot_download(repository, allow_patterns=list(_SMALL_FILES)))
        preferred, other = _WEIGHTS[(folder / "open_clip_config.json").is_file()]
        if not ((folder / preferred).is_file() or (folder / other).is_file()):
            try:
                # The snapshot's folder has the name of its commit, and the weights are of the same.
                hf_hub_download(repository, preferred, revision=folder.name)
            except EntryNotFoundError:
                hf_hub_download(repository, other, revision=folder.name)
        return folder


@contextmanager
def _download_errors(where: str, what: str, by_hand: str) -> Iterator[None]:
    """Use only the cache where the hub cannot be reached, and raise what fails as UserError."""
    try:
        with offline_where_unreachable():
            yield
    except Exception as error:  # open_clip, the hub's client, httpx and the OS each have their own
        reason, hint = failure_of(error)
        raise UserError(where, f"{what}: {reason}", hint or by_hand) from error


def failure_of(error: BaseException) -> tuple[str, str]:
    """The reason why a transfer failed, and a hint; no hint if another machine may succeed.

    The libraries wrap the cause. A full disk or a denied permission anywhere in the chain is the
    reason, or else the first HTTP status.
    """
    errors = list(_error_chain(error))
    for link in errors:
        if getattr(link, "errno", None) in _FULL:
            return "the disk is full", "Free some space, or set HF_HOME to another folder."
        if isinstance(link, OSError) and link.errno in _DENIED:
            what = f"{link.filename or 'the cache'} is not writable"
            return what, "Set HF_HOME to a writable folder."
        if "checksum" in str(link).lower():
            return "the file's SHA-256 is wrong", "Run again; if it persists, the file has changed."
    if code := next(filter(None, map(_http_status, errors)), 0):
        what, hint = _ANSWERS.get(code, ("the server fails", "Run again later."))
        return f"{what} (HTTP {code})", hint
    return "no server answers", ""


def _http_status(error: BaseException) -> int:
    """HTTP status of an error from urllib or the hub's client; 0 without one."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    code = getattr(error, "code", None) if code is None else code
    return code if isinstance(code, int) and 400 <= code < 600 else 0


def _error_chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes."""
    seen: set[int] = set()  # a chain may be a circle
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        reason = getattr(link, "reason", None)  # urllib stores the system's error here
        if isinstance(reason, BaseException):
            yield reason
        link = link.__cause__ or link.__context__

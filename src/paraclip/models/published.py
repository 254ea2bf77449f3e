"""What open_clip knows of the weights that it publishes: activation and preprocessing.

Weights cannot tell either, and the wrong one gives plausible, worse vectors.
"""

import errno
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from paraclip.errors import UserError
from paraclip.models.hub import offline_where_unreachable

QUICK = "-quickgelu"

Settings = dict[str, Any]
"""Fields of a tag: `quick_gelu`, and those of open_clip's `PreprocessCfg`."""


def uses_quick_gelu(config: Settings, tag: Settings) -> bool:
    """Whether the weights of a tag need QuickGELU: the configuration or the tag says so.

    open_clip itself goes by the configuration and warns where the tag disagrees. A tag that is
    silent overrides nothing (`roberta-ViT-B-32`); one that asks for QuickGELU under a name
    without it (`ViT-B-32:openai`) gets it, as under the name with `-quickgelu`.
    """
    return bool(config.get("quick_gelu")) or bool(tag.get("quick_gelu"))


def quick_name(name: str, quick_gelu: bool) -> str:
    """The name of the same architecture with QuickGELU, where it is needed and there is one."""
    quick = f"{name}{QUICK}"
    return quick if quick_gelu and quick in open_clip.list_models() else name


def preprocessing_of(tag: Settings) -> Settings:
    """All fields of `PreprocessCfg`, open_clip's defaults where the tag is silent."""
    fields: Settings = merge_preprocess_dict(asdict(PreprocessCfg()), tag)
    return fields


def published_as(name: str, path: Path) -> Settings | None:
    """The tag under which a file was published, known by its name or hash; None for others."""
    from paraclip.models.weights import from_openai, is_torchscript

    for tag in open_clip.list_pretrained_tags_by_model(name):
        published: Settings = open_clip.get_pretrained_cfg(name, tag)
        if published.get("url", "").rsplit("/", 1)[-1] == path.name:
            return published
    return {"quick_gelu": True} if is_torchscript(path) and from_openai(path) else None


def agreed_preprocessing(name: str, path: object) -> Settings:
    """The preprocessing that all tags of an architecture share; open_clip's without any tag.

    Raises:
        UserError: they differ, so that the user has to choose.
    """
    found = ways(name)
    if len(found) > 1:
        choices = " or ".join(f"{name}:{tags[0]}:{path}" for tags in found.values())
        what = f"the published weights of {name} prepare pictures in {len(found)} ways"
        raise UserError(path, what, f"Name the tag whose way it takes, as in {choices}")
    tags = next(iter(found.values()), [])
    return open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}


def ways(name: str) -> Mapping[str, list[str]]:
    """Tags of an architecture by their preprocessing."""
    found: dict[str, list[str]] = {}
    for tag in open_clip.list_pretrained_tags_by_model(name):
        settings = preprocessing_of(open_clip.get_pretrained_cfg(name, tag))
        found.setdefault(json.dumps(settings, sort_keys=True), []).append(tag)
    return found


def file_name(name: str, tag: str) -> str:
    """How a user names a tag's weights that were fetched by hand."""
    settings = open_clip.get_pretrained_cfg(name, tag)
    named = quick_name(name, bool(settings.get("quick_gelu")))
    tags = open_clip.list_pretrained_tags_by_model(named)
    if named != name and tag not in tags:
        return f"{name}:{tag}:FILE" if len(ways(name)) > 1 else f"{named}:FILE"
    return f"{named}:{tag}:FILE" if len(ways(named)) > 1 else f"{named}:FILE"


FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def download(name: str, tag: str, settings: dict[str, Any]) -> Path:
    """Fetch the weights of a tag, or find them in the cache.

    Raises:
        UserError: they cannot be had; it says why, and how to bring them by hand where that helps.
    """
    from open_clip import download_pretrained

    hub = settings.get("hf_hub", "").rstrip("/")
    place = f"https://huggingface.co/{hub}" if hub else settings.get("url", "")
    try:
        with offline_where_unreachable():
            return Path(download_pretrained(settings))
    except Exception as error:  # each way of downloading has its own errors
        reason, hint = cause(error)
        what = f"the weights could not be downloaded from {place}: {reason}"
        by_hand = f"Fetch them on another machine and say {file_name(name, tag)}"
        raise UserError(f"{name}:{tag}", what, hint or by_hand) from error


def cause(error: BaseException) -> tuple[str, str]:
    """What kept a download away, and the hint; no hint where another machine is the way.

    The libraries wrap the cause, and the oldest error in the chain is not always the one that
    counts: a full disk or a refusal in any of them is the reason.
    """
    errors = list(chain(error))
    for found in errors:
        if getattr(found, "errno", None) in FULL:
            return "the disk is full", "Free some space, or set HF_HOME to a folder elsewhere."
        if isinstance(found, OSError) and found.errno in DENIED:
            what = f"{found.filename or 'the cache'} may not be written"
            return what, "Set HF_HOME to a folder that may be written."
        if "checksum" in str(found).lower():
            return "the file's SHA-256 is wrong", "Run again; if it stays so, the file has changed."
    codes = [code for found in errors if (code := status(found))]
    return answered(codes[0]) if codes else ("nothing answers there", "")


def answered(code: int) -> tuple[str, str]:
    """What a server meant by its code."""
    if code in (401, 403):
        what = f"the server refuses it (HTTP {code})"
        return what, "Accept the model's terms on that page, and log in with `hf auth login`."
    if code == 404:
        return "the server has no such file (HTTP 404)", ""
    if code == 429:
        return "the server has had too many questions (HTTP 429)", "Wait and run again."
    return f"the server answers with HTTP {code}", "Run again later."


def status(error: BaseException) -> int:
    """The HTTP code of an error of urllib or of the hub's client; 0 without one."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    code = getattr(error, "code", None) if code is None else code
    return code if isinstance(code, int) and 400 <= code < 600 else 0


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came from."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        reason = getattr(found, "reason", None)  # urllib keeps the system's error here
        if isinstance(reason, BaseException):
            yield reason
        found = found.__cause__ or found.__context__

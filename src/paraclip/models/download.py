"""Fetch published weights, and say what kept them away."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.models.hub import offline_where_unreachable
from paraclip.models.published import file_name

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

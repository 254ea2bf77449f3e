"""Failed downloads: each cause has its own message."""

import errno
import urllib.error
from email.message import Message
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import GatedRepoError

from paraclip.errors import UserError
from paraclip.models.formats.published import download

TAG = {"hf_hub": "someone/tiny/", "url": ""}


def http(code: int) -> Exception:
    return urllib.error.HTTPError("https://example.org", code, "words", Message(), None)


def gated() -> Exception:
    response = SimpleNamespace(status_code=401, headers={}, request=None)
    return GatedRepoError("Access to model is restricted", response=response)


def full() -> Exception:
    return OSError(errno.ENOSPC, "No space left on device")


def unknown_host() -> Exception:
    return urllib.error.URLError(OSError(-2, "Name or service not known"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (gated(), r"HTTP 401.*terms.*hf auth login"),
        (http(403), r"HTTP 403"),
        (http(404), r"no such file \(HTTP 404\).*name tiny:FILE"),
        (http(503), r"HTTP 503.*later"),
        (full(), r"the disk is full.*Free"),
        (urllib.error.URLError(full()), "the disk is full"),
        (PermissionError(errno.EACCES, "denied", "/cache"), "/cache is not writable"),
        (RuntimeError("the SHA256 checksum does not not match"), "SHA-256 is wrong"),
        (unknown_host(), r"no server answers.*name tiny:FILE"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_cause_is_in_the_line(monkeypatch, error, words, wrapped):
    def fetch(settings):
        if not wrapped:
            raise error
        try:
            raise error
        except Exception as inner:  # as open_clip wraps it
            raise FileNotFoundError(f"Failed to download file. Last error: {inner}") from None

    monkeypatch.setattr("paraclip.models.sources.reachable", lambda address: True)
    monkeypatch.setattr("open_clip.download_pretrained", fetch)
    with pytest.raises(UserError, match=words) as caught:
        download("tiny", "tag", TAG)
    assert "huggingface.co/someone/tiny" in str(caught.value)

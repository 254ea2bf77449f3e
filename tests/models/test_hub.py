"""The Hugging Face hub: reachable or not, files from a folder, and failed downloads."""

import errno
import socket
import threading
import urllib.error
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError

from paraclip.errors import UserError
from paraclip.models.formats.published import download
from paraclip.models.sources import offline_where_unreachable, text_files_of
from tiny import word_files


@pytest.fixture
def address() -> Iterator[str]:
    """A server that answers every request with the status code in its path."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("set_by_user", [False, True])
def test_the_hubs_client_is_offline_only_for_the_block_unless_the_user_chose_it(
    address: str, monkeypatch: pytest.MonkeyPatch, set_by_user: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", set_by_user)
    answering = [f"{address}/{code}" for code in (200, 404, 500)]
    for place in (*answering, closed_port(), "no address", "http://"):
        monkeypatch.setattr(constants, "ENDPOINT", place)
        with offline_where_unreachable():
            assert constants.HF_HUB_OFFLINE is (set_by_user or place not in answering)
        assert constants.HF_HUB_OFFLINE is set_by_user


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that does not answer."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", closed_port())


@pytest.mark.usefixtures("away")
def test_a_text_towers_files_come_from_where_its_name_leads(tmp_path: Path) -> None:
    assert text_files_of({"width": 64, "layers": 2}, beside=None) is None, "open_clip's own"
    folder = tmp_path / "tower"
    folder.mkdir()
    for name, text in word_files("roberta").items():
        (folder / name).write_text(text, encoding="utf-8")
    names = {"hf_tokenizer_name": str(folder), "hf_model_name": str(folder)}
    found = text_files_of(names, beside=None)
    assert found is not None and set(found) >= {"config.json", "tokenizer_config.json"}
    assert '"roberta"' in found["config.json"]


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("option", ["hf_tokenizer_name", "hf_model_name"])
def test_without_hub_and_files_one_line_reports_which_to_bring(option: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"are not available.*huggingface.co/nobody/no-such-tower"):
        text_files_of({option: "nobody/no-such-tower"}, beside=tmp_path)


# --- failed downloads ---

TAG = {"hf_hub": "someone/tiny/", "url": ""}


FULL = OSError(errno.ENOSPC, "No space left on device")
UNKNOWN_HOST = urllib.error.URLError(OSError(-2, "Name or service not known"))


def http(code: int) -> Exception:
    return urllib.error.HTTPError("https://example.org", code, "words", Message(), None)


def gated() -> Exception:
    response = SimpleNamespace(status_code=401, headers={}, request=None)
    return GatedRepoError("Access to model is restricted", response=response)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (gated(), r"HTTP 401.*terms.*hf auth login"),
        (http(403), r"HTTP 403"),
        (http(404), r"no such file \(HTTP 404\).*name tiny:FILE"),
        (http(503), r"HTTP 503.*later"),
        (FULL, r"the disk is full.*Free"),
        (urllib.error.URLError(FULL), "the disk is full"),
        (PermissionError(errno.EACCES, "denied", "/cache"), "/cache is not writable"),
        (RuntimeError("the SHA256 checksum does not not match"), "SHA-256 is wrong"),
        (UNKNOWN_HOST, r"no server answers.*name tiny:FILE"),
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

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("open_clip.download_pretrained", fetch)
    with pytest.raises(UserError, match=words) as caught:
        download("tiny", "tag", TAG)
    assert "huggingface.co/someone/tiny" in str(caught.value)

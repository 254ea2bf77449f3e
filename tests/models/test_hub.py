"""The Hugging Face hub: reachable or not, and files from a cache or a folder."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from tiny_models import word_files

from paraclip.errors import UserError
from paraclip.models.sources import offline_where_unreachable, reachable, text_files_of


class Answer(BaseHTTPRequestHandler):
    """Answers every request with the status code in its path."""

    def do_HEAD(self) -> None:
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def closed_port() -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("code", [200, 404, 500])
def test_a_server_is_reachable_whatever_its_status(address: str, code: int) -> None:
    assert reachable(f"{address}/{code}")


def test_a_closed_port_is_unreachable() -> None:
    assert not any(reachable(place) for place in (closed_port(), "no address", "http://"))


def test_the_hubs_client_is_offline_only_for_the_block(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for place, offline in ((f"{address}/200", False), (closed_port(), True)):
        monkeypatch.setattr(constants, "ENDPOINT", place)
        with offline_where_unreachable():
            assert constants.HF_HUB_OFFLINE is offline
        assert constants.HF_HUB_OFFLINE is False


def test_offline_mode_set_by_the_user_stays(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "ENDPOINT", f"{address}/200")
    with offline_where_unreachable():
        assert constants.HF_HUB_OFFLINE is True


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that does not answer."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", closed_port())


@pytest.mark.usefixtures("away")
def test_a_text_towers_files_come_from_where_its_name_leads(tmp_path: Path) -> None:
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


def test_a_tower_of_open_clips_own_needs_no_files() -> None:
    assert text_files_of({"width": 64, "layers": 2}, beside=None) is None

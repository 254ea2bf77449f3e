"""`push` to a hub that a test serves, and a tuned model named by its repository there."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

import paraclip
from paraclip.cli import main
from paraclip.models.checkpoint import read_header, save_model
from paraclip.models.loading import load_model
from paraclip.models.openclip import OpenClip
from paraclip.models.sources import model_files
from paraclip.output_folder import OutputFolder
from paraclip.provenance import provenance

COMMIT = "0" * 40
TRAINING = {"facts": {"base": "ViT-B-32:laion2b_s34b_b79k", "generator": "some LLM"}}


class Hub(ThreadingHTTPServer):
    """Takes the requests of one upload, and keeps its files by their path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.denies = False


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body, hub = self.rfile.read(int(self.headers["Content-Length"])), self.server
        answer, address = dict[str, Any](), f"http://127.0.0.1:{hub.server_port}"
        if self.path.endswith("/repos/create"):
            hub.created.append(json.loads(body))
            answer = {"url": f"{address}/someone/tuned"}
        elif "/preupload/" in self.path:
            sent = [one["path"] for one in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            answer = {"files": [{"path": path, **modes} for path in sent]}
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    hub.files[value["path"]] = base64.b64decode(value["content"])
            answer = {
                "commitUrl": f"{address}/someone/tuned/commit/0",
                "commitOid": COMMIT,
            }
        content = json.dumps(answer).encode()
        self.send_response(403 if hub.denies else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub, and an empty cache of its client."""
    with Hub() as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{served.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        yield served
        served.shutdown()


@pytest.fixture
def tuned(quick_clip: OpenClip, tmp_path: Path) -> Path:
    return save_model(quick_clip, tmp_path / "tuned.safetensors", provenance(training=TRAINING))


def test_nothing_is_sent_without_yes(hub: Hub, tuned: Path, capsys: Any) -> None:
    assert main(["push", "someone/tuned", str(tuned)]) == 0
    shown = capsys.readouterr().out
    assert (hub.files, hub.created) == ({}, [])
    assert "open_clip_model.safetensors" in shown and "Nothing was sent" in shown
    assert "base_model:" in shown and ".paraclip" not in shown


def test_an_edited_export_is_sent_as_it_is(hub: Hub, tuned: Path, tmp_path: Path) -> None:
    folder = paraclip.export(tuned, tmp_path / "hf", to="hf")
    card = (folder / "README.md").read_text().replace("license: other", "license: mit")
    (folder / "README.md").write_text(card)
    assert main(["push", "someone/tuned", str(folder), "--yes"]) == 0
    assert set(hub.files) == {path.name for path in folder.iterdir()} - {".paraclip"}
    assert hub.files["README.md"].decode() == card
    assert "private" in json.dumps(hub.created[0])


def test_a_folder_of_triples_is_not_sent(hub: Hub, tmp_path: Path, capsys: Any) -> None:
    for name in ("README.md", "answers.jsonl"):
        OutputFolder(tmp_path, "generation").write(tmp_path / name, "---\nlicense: other\n---\n")
    assert main(["push", "someone/triples", str(tmp_path), "--yes"]) == 2
    assert (hub.files, hub.created) == ({}, [])
    assert str(tmp_path) in capsys.readouterr().err


def test_a_refusal_of_the_hub_is_one_line(hub: Hub, tuned: Path, capsys: Any) -> None:
    hub.denies = True
    assert main(["push", "someone/tuned", str(tuned), "--yes"]) == 2
    assert "hf auth login" in capsys.readouterr().err
    assert main(["push", "tuned", str(tuned)]) == 2
    assert "is not OWNER/NAME" in capsys.readouterr().err


@pytest.fixture
def named(hub: Hub, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of what was sent, which is in the cache of the hub's client."""
    assert main(["push", "someone/tuned", str(tuned), "--yes"]) == 0
    place = tmp_path / "hub" / "models--someone--tuned"
    for path in (place / "refs", place / "snapshots" / COMMIT):
        path.mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    for name, content in hub.files.items():
        (place / "snapshots" / COMMIT / name).write_bytes(content)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return "hf-hub:someone/tuned"


def test_what_was_sent_knows_where_it_comes_from(named: str, tuned: Path, tmp_path: Path) -> None:
    found, (file, *_) = load_model(named, "cpu"), model_files(named)
    assert found.made_from is not None
    assert found.made_from["training"]["facts"] == TRAINING["facts"]
    merged, out = str(tmp_path / "merged.safetensors"), tmp_path / "out"
    assert main(["merge", str(tuned), named, "--out", merged]) == 0
    assert TRAINING["facts"]["base"] in json.dumps(read_header(merged))
    assert main(["export", named, str(out)]) == 0
    data = ModelCard.load(out / "README.md").data
    assert data.base_model == ["laion/CLIP-ViT-B-32-laion2B-s34B-b79K"]
    assert data.library_name == "open_clip"

    with torch.no_grad():
        found.text_tower.token_embedding.weight.add_(1)
    other = paraclip.export(found, tmp_path / "other.safetensors")
    (file.parent / "open_clip_model.safetensors").write_bytes(other.read_bytes())
    with pytest.raises(paraclip.UserError, match="hash of other weights"):
        load_model(named, "cpu")


@pytest.mark.slow
def test_a_tuned_model_on_the_hub_is_indexed_searched_and_checked(
    named: str, tuned: Path, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "pictures" / "red.png")
    pictures, index = str(tmp_path / "pictures"), str(tmp_path / "index")
    models = ["--base", str(tuned), "--tuned", named]
    for words in (
        ["index", pictures, "--index", index, *models],
        ["search", "a red disc", "--index", index, "--models", f"base,tuned={named}"],
        ["swap-check", "--index", index, *models],
    ):
        assert main(words) == 0, words

"""The commands and programs of docs/guide/programs do what they say, section by section."""

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
from http.server import HTTPServer
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any
from urllib.request import urlopen

import numpy as np
import open_clip
import pytest
from export_models import program, unit

from paraclip.cli import main
from paraclip.models.checkpoint import save_model
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.openclip import OpenClip
from tiny import SMALL_CLIP, draw

pytestmark = pytest.mark.slow
PAGES = sorted((Path(__file__).parents[2] / "docs" / "guide" / "programs").glob("*.md"))
QUICK, PLAIN = "ViT-B-32-quickgelu", "ViT-B-32-256"
BPE = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
TEXT = "a young child with a pizza box"
SAVE = "\nimport numpy; numpy.save('vectors.npy', numpy.asarray(vectors))\n"
NAMED = "import open_clip; open_clip.add_model_config('configs')\n"


def sections() -> dict[str, str]:
    """Text of each section by its page and title."""
    found: dict[str, str] = {}
    for page in PAGES:
        parts = re.split(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        titles = [f"{page.stem}: {title}" for title in parts[::2]]
        found |= dict(zip(titles, parts[1::2], strict=True))
    return found


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def environment(section: str) -> str | None:
    found = re.search(r"<!-- environment: (\w+) -->", section)
    return found[1] if found else None


def run_commands(section: str) -> None:
    """Run a section's `paraclip` lines in the working folder."""
    for line in "".join(blocks(section, "sh")).splitlines():
        words = shlex.split(line.replace("ViT-B-32:openai", "base.safetensors"))
        assert words[0] == "paraclip" and main(words[1:]) == 0, line


def save_run(model: OpenClip) -> None:
    """Save the model under both names of a run, whose weights do not matter here."""
    Path("runs/tuned").mkdir(parents=True)
    Path("runs/tuned/run.json").write_text("{}")
    for name in ("last", "merged"):
        save_model(model, Path(f"runs/tuned/{name}.safetensors"))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder, with a tiny model under open_clip's name for other programs."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs", f"{QUICK}.json").write_text(json.dumps({**SMALL_CLIP, "quick_gelu": True}))
    return tmp_path


@pytest.fixture
def tuned(named, folder) -> OpenClip:
    """The tuned model at the path that the page uses."""
    model = named(QUICK, quick=True)
    save_run(model)
    return model


SERVER = "frigate: Swap"
WITH_PROGRAM = [
    title for title, text in sections().items() if blocks(text, "python") and title != SERVER
]


@pytest.mark.parametrize("title", WITH_PROGRAM)
def test_a_section_with_a_program(title, named, folder) -> None:
    section = sections()[title]
    name = environment(section)
    python = program(name)  # skips without the environment
    quick = name not in ("rclip3",)
    model = named(QUICK if quick else PLAIN, quick=quick)
    save_run(model)
    run_commands(section)
    (code,) = blocks(section, "python")
    if name == "rclip3":
        (folder / "tuned_rclip" / "tokenizer").mkdir()
        shutil.copy(BPE, folder / "tuned_rclip" / "tokenizer" / BPE.name)
    if name in ("clip_retrieval", "lancedb"):
        code = NAMED + code
    Path("program.py").write_text(code + SAVE, encoding="utf-8")
    done = subprocess.run(
        [*python, "program.py"], capture_output=True, text=True, check=False, timeout=280,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = np.load("vectors.npy").reshape(-1, model.architecture.embed_dim)[:1]
    np.testing.assert_allclose(unit(found), encode_texts(model, [TEXT]).numpy(), atol=1e-4)


def test_a_server_gives_vectors_as_frigate_asks(tuned, folder, monkeypatch) -> None:
    """The requests follow Frigate's `llama_cpp.py`, `_get_model_info` and `embed`, at e3fa701."""
    servers: SimpleQueue[HTTPServer] = SimpleQueue()

    def serve(server: HTTPServer) -> None:
        servers.put(server)
        for _ in range(2):
            server.handle_request()
        server.server_close()

    monkeypatch.setattr(HTTPServer, "serve_forever", serve)
    (code,) = blocks(sections()[SERVER], "python")
    thread = Thread(target=exec, args=(code.replace("8080", "0"), {}))
    thread.start()
    port = servers.get(timeout=200).server_address[1]

    def ask(path: str, content: bytes | None = None) -> Any:
        with urlopen(f"http://127.0.0.1:{port}{path}", content, timeout=200) as answer:
            return json.load(answer)

    assert ask("/v1/models")["data"] == [{"id": "clip"}]
    picture = draw(folder / "picture.jpg")
    encoded = base64.b64encode(Path(picture).read_bytes()).decode()
    image = {"prompt_string": "<__media__>\n", "multimodal_data": [encoded]}
    asked = {"model": "clip", "content": [{"prompt_string": TEXT}, image]}
    found = ask("/embeddings", json.dumps(asked).encode())
    thread.join()
    expected = [*encode_texts(tuned, [TEXT]), *encode_images(tuned, [picture])]
    for one, vector in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["embedding"], vector.numpy(), atol=1e-5)


COMMANDS_ALONE = [
    "immich: By hand", "librephotos: By hand", "librephotos: Before September 2026",
    "opensearch: Swap", "own-tables: Your own program", "transformers-js: Swap", "vespa: Swap",
]  # fmt: skip


def test_every_export_of_the_pages_is_run() -> None:
    shown = {
        title
        for title, text in sections().items()
        if "paraclip export" in "".join(blocks(text, "sh"))
    }
    assert shown == {*WITH_PROGRAM, *COMMANDS_ALONE} and len(shown) == 15


@pytest.mark.parametrize("title", COMMANDS_ALONE)
def test_a_section_with_commands_alone(title, tuned, folder, capsys) -> None:
    run_commands(sections()[title])
    out = capsys.readouterr().out
    assert ("To go back" in out) is (title != "own-tables: Your own program")

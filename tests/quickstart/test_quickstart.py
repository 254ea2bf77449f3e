"""The whole quickstart on drawn pictures, and the examples of the documents, with real weights."""

import json
import re
import subprocess
import sys
from itertools import islice, product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer
from PIL import Image, ImageDraw

from paraclip.cli import main
from paraclip.data.captions import Problems
from paraclip.models.features import encode_images
from paraclip.models.loading import load_model
from paraclip.starter import TRIPLES

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

COLOURS = ("red", "blue", "green", "yellow", "black", "white")
PLACES = {"left": (30, 90), "middle": (90, 150), "right": (150, 210)}
SHAPES = ("circle", "square")


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paraclip.training.sources.DRAWN", 64)
    monkeypatch.setattr("paraclip.training.sources.with_starter", lambda rows: rows)
    monkeypatch.setattr("paraclip.training.train.SHORT", 1)


def draw_pictures(folder: Path, count: int = 36) -> None:
    """Up to 36 pictures of one shape each, with a description in a .txt file next to each."""
    folder.mkdir()
    for colour, place, shape in islice(product(COLOURS, PLACES, SHAPES), count):
        picture = Image.new("RGB", (240, 240), "gray")
        left, right = PLACES[place]
        pen = ImageDraw.Draw(picture)
        box = (left, 90, right, 150)
        (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=colour)
        name = f"{colour}-{shape}-{place}"
        picture.save(folder / f"{name}.png")
        text = f"A big {colour} {shape} stands on the {place} of a gray wall."
        (folder / f"{name}.txt").write_text(text + "\n")


@pytest.mark.weights
@pytest.mark.timeout(900)
def test_the_whole_job_and_then_again_from_existing_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_pictures(tmp_path / "pictures")
    (tmp_path / "pictures" / "red-circle-left.txt").unlink()
    out = tmp_path / "out"
    words = ["quickstart", str(tmp_path / "pictures"), "--out", str(out), "--epochs", "1"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "36 pictures in the index: 36 added" in first and "of 35 captions" in first
    assert re.search(r"^(Use (tuned|merged)\.|Keep your base)", first, re.MULTILINE)
    summary = json.loads((out / "tuned" / "summary.json").read_text())
    assert summary["choice"]["use"] in ("base", "merged", "tuned")
    written = (out / "tuned" / "last.safetensors").stat().st_mtime_ns
    assert main(words) == 0
    assert (out / "tuned" / "last.safetensors").stat().st_mtime_ns == written
    again = capsys.readouterr().out
    assert again.partition("== Checking")[2] == first.partition("== Checking")[2]


@pytest.mark.weights
def test_the_example_of_the_api_runs_to_its_table(tmp_path: Path) -> None:
    def reword(text: str, _: int) -> str:
        words = re.findall(
            r"red|blue|green|yellow|black|white|circle|square|left|right|middle", text
        )
        words.sort(key=lambda word: (word in PLACES, word in SHAPES))  # colour, shape, place
        colour, shape, place = words
        if text.startswith("A big"):
            return f"On the {place} of a gray wall stands a big {colour} {shape}."
        return f"A gray wall has a big {colour} {shape} on its {place}."

    draw_pictures(tmp_path / "my_pictures", 12)
    with FakeServer() as server:
        server.behave = reword
        places = {"http://localhost:11434/v1": server.url}
        stdout = run_example("docs/python.md", tmp_path, places)
    assert "AO@10" in stdout and "tuned" in stdout
    assert (tmp_path / "runs/python/tuned/last.safetensors").is_file()
    assert (tmp_path / "runs/python/report/report.md").is_file()


@pytest.mark.weights
def test_the_example_of_the_page_on_swapping_runs_with_the_built_in_model(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "my_pictures", 12)
    names = sorted(map(str, (tmp_path / "my_pictures").glob("*.png")))
    vectors = encode_images(load_model("mini"), names, tmp_path / "cache", Problems())
    pq.write_table(
        pa.table({"path": names, "vector": vectors.tolist()}), tmp_path / "index.parquet"
    )
    rows = TRIPLES.read_text(encoding="utf-8").splitlines()[:16]
    (tmp_path / "few.jsonl").write_text("\n".join(rows), encoding="utf-8")
    places = {
        "ViT-B-32:openai": "mini", '"scenes"': '"few.jsonl"',
        ', "ViT-B-16-SigLIP:webli"': "",
        "teacher=teachers": "teacher=teachers, learning_rate=1e-4",
        'target="open-clip"': 'to="sentence-transformers"',
    }  # fmt: skip
    run_example("docs/guide/swap.md", tmp_path, places)
    assert (tmp_path / "runs/tuned/last.safetensors").is_file()
    assert (tmp_path / "tuned_clip/README.md").is_file()


def run_example(document: str, folder: Path, places: dict[str, str]) -> str:
    """Run a document's only Python code in a folder, with other names in it; returns its output."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)
    for name, other in places.items():
        assert name in code
        code = code.replace(name, other)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout

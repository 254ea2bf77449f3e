"""Pictures that changed under the same name are other data."""

import json
from pathlib import Path

import pytest
from PIL import Image

from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.benchmarks.aro import _make_visual_genome
from paraclip.evaluation.benchmarks.sugar_crepe import (
    Subset,
    SugarCrepePlusPlus,
    _make_sugar_crepe,
)
from paraclip.evaluation.pictures import Found
from paraclip.evaluation.report import data_hash
from tiny import ColourEncoder, draw_pictures


def of_sugar_crepe(folder: Path) -> Benchmark:
    subset = Subset("add_att", (("a red thing", "a blue thing"),), "0", ("red_0.png",))
    found = Found({"red_0.png": str(folder / "images" / "red_0.png")})
    return _make_sugar_crepe([subset], found, Arithmetic(), [])


def of_sugar_crepe_pp(folder: Path) -> Benchmark:
    rows, images = (("a red thing", "some red stuff", "a blue thing"),), ("red_0.png",)
    found = Found({"red_0.png": str(folder / "images" / "red_0.png")})
    subset = Subset("swap_obj", rows, "0", images)
    return SugarCrepePlusPlus([subset], found=found)


def of_visual_genome(folder: Path) -> Benchmark:
    box = {"bbox_x": 0, "bbox_y": 0, "bbox_w": 8, "bbox_h": 8}
    texts = {"true_caption": "a red thing", "false_caption": "a blue thing"}
    entry = {"image_path": "red_0.png", "relation_name": "on", **box, **texts}
    file = folder / "visual_genome_relation.json"
    file.write_text(json.dumps([entry]))
    return _make_visual_genome("aro-vg-relation", file)


@pytest.mark.parametrize("make", [of_sugar_crepe, of_sugar_crepe_pp, of_visual_genome])
def test_another_picture_under_the_same_name_is_other_data(tmp_path: Path, make) -> None:
    draw_pictures(tmp_path / "images", 2)
    model, cache = ColourEncoder(0.01), tmp_path / "cache"
    first = make(tmp_path)
    assert first.score(model, cache).metrics[-1].value() == 1
    Image.new("RGB", (40, 40), (0, 0, 255)).save(tmp_path / "images" / "red_0.png")
    other = make(tmp_path)
    assert other.score(model, cache).metrics[-1].value() == 0
    assert other.data["pictures_hash"] != first.data["pictures_hash"]
    assert data_hash(other.pool, other.data) != data_hash(first.pool, first.data)

"""ARO's Visual Genome tasks: the crop, the averaging rules, and refused inputs."""

import json
from pathlib import Path

import numpy as np
import pytest
from colour_encoder import ColourEncoder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.aro import SYMMETRIC, figures, make_visual_genome
from paraclip.evaluation.benchmarks.text_choice import TextChoice
from paraclip.evaluation.pictures import Crop, crop_vectors

RED_LEFT = (0, 0, 10, 20)
BLUE_RIGHT = (10, 0, 10, 20)


def entry(
    box: tuple[int, int, int, int], true: str, false: str, relation: str = "on",
    image: str = "a.png",
) -> dict:  # fmt: skip
    sides = dict(zip(("bbox_x", "bbox_y", "bbox_w", "bbox_h"), box, strict=True))
    row = {"image_path": image, "true_caption": true, "false_caption": false}
    return {**row, **sides, "relation_name": relation}


def write(folder: Path, rows: list, name: str = "visual_genome_relation.json") -> Path:
    """A folder in ARO's layout with one picture: red on the left, blue on the right."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (20, 20), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 10, 20))
    picture.save(folder / "images" / "a.png")
    (folder / name).write_text(json.dumps(rows))
    return folder / name


def values(benchmark: TextChoice, cache: Path | None = None) -> dict[str, float]:
    found = benchmark.score(ColourEncoder(), cache).metrics
    return {metric.name: metric.value() for metric in found}


def test_the_box_decides_what_is_seen(tmp_path: Path) -> None:
    file = write(tmp_path, [entry(RED_LEFT, "red", "blue"), entry(BLUE_RIGHT, "blue", "red")])
    assert values(make_visual_genome("aro-vg-relation", file))["VG-R micro"] == 1
    file = write(tmp_path, [entry(RED_LEFT, "blue", "red"), entry(BLUE_RIGHT, "red", "blue")])
    assert values(make_visual_genome("aro-vg-relation", file))["VG-R micro"] == 0


def test_relations_are_averaged_apart_and_the_symmetric_ones_only_in_micro(tmp_path: Path) -> None:
    rows = [
        entry(RED_LEFT, "red", "blue", "on"), entry(RED_LEFT, "red", "blue", "on"),
        entry(RED_LEFT, "blue", "red", "on"), entry(RED_LEFT, "red", "blue", "wearing"),
        entry(RED_LEFT, "blue", "red", "near"), entry(RED_LEFT, "blue", "red", "near"),
    ]  # fmt: skip
    benchmark = make_visual_genome("aro-vg-relation", write(tmp_path, rows))
    found = benchmark.score(ColourEncoder(), None)
    values_by_name = {metric.name: metric.value() for metric in found.metrics}
    assert values_by_name["VG-R macro"] == pytest.approx((2 / 3 + 1) / 2)
    assert values_by_name["VG-R micro"] == pytest.approx(3 / 6)
    assert values_by_name["VG-R on"] == pytest.approx(2 / 3) and "VG-R near" not in values_by_name
    assert found.notes == ["VG-R macro is over 2 of 3 relations, 4 of 6 entries"]
    assert [m.name for m in found.metrics if m.headline] == ["VG-R macro"]


def test_attribute_pairs_need_25_cases(tmp_path: Path) -> None:
    def rows(first: str, many: int, right: int) -> list:
        good, bad = entry(RED_LEFT, "red", "blue"), entry(RED_LEFT, "blue", "red")
        made = [dict(good if number < right else bad) for number in range(many)]
        for row in made:
            del row["relation_name"]
            row["attributes"] = [first, "open"]
        return made

    name = "visual_genome_attribution.json"
    file = write(tmp_path, rows("old", 25, 5) + rows("wet", 24, 24) + rows("big", 30, 30), name)
    by_name = values(load_vg_attribution_of(file))
    assert by_name["VG-A macro"] == pytest.approx((5 / 25 + 1) / 2)
    assert by_name["VG-A micro"] == pytest.approx(59 / 79)
    few = values(load_vg_attribution_of(write(tmp_path, rows("wet", 24, 24), name)))
    assert few == {"VG-A micro": 1}


def load_vg_attribution_of(file: Path) -> TextChoice:
    return make_visual_genome("aro-vg-attribution", file)


@given(
    groups=st.lists(st.sampled_from(["on", "near", "wearing", "in"]), min_size=1, max_size=60),
    seed=st.integers(0, 10**6),
)
def test_macro_and_micro_equal_their_slow_twins(groups: list[str], seed: int) -> None:
    right = np.random.default_rng(seed).integers(0, 2, len(groups)).astype(float)
    pictures = np.arange(len(groups))
    for name, label, counted in (
        ("aro-vg-relation", "VG-R", {g for g in groups if g not in SYMMETRIC}),
        ("aro-vg-attribution", "VG-A", {g for g in groups if groups.count(g) >= 25}),
    ):
        each = [
            [value for group, value in zip(groups, right, strict=True) if group == one]
            for one in counted
        ]
        found = {m.name: m.value() for m in figures(name, right, groups, pictures)[0]}
        assert found[f"{label} micro"] == pytest.approx(sum(right) / len(right))
        if each:
            slow = sum(sum(values) / len(values) for values in each) / len(each)
            assert found[f"{label} macro"] == pytest.approx(slow)
        assert len(found) == 1 + bool(each) + len(each)


def test_the_authors_list_is_whole() -> None:
    assert len(SYMMETRIC) == 157 and {"next to", "with", "attached to"} <= SYMMETRIC
    assert not SYMMETRIC & {"on", "wearing", "to the left of", "in", "above"}


def test_a_cached_part_is_not_computed_again(tmp_path: Path) -> None:
    file = write(tmp_path, [entry(RED_LEFT, "red", "blue"), entry(BLUE_RIGHT, "blue", "red")])
    benchmark, cache = make_visual_genome("aro-vg-relation", file), tmp_path / "cache"
    first = values(benchmark, cache)
    crops = [Crop(crop.path, crop.box) for crop in benchmark.shown]

    class Blind(ColourEncoder):
        def embed_pixels(self, pixels):
            raise AssertionError("computed again")

    vectors, good, _ = crop_vectors(Blind(), crops, cache, Arithmetic())
    assert good.tolist() == [0, 1] and vectors.shape == (2, 8)
    assert first == values(benchmark, cache)


def test_a_box_outside_is_broken_and_one_over_the_edge_is_filled(tmp_path: Path) -> None:
    file = write(tmp_path, [entry((20, 0, 5, 5), "red", "blue")])
    with pytest.raises(UserError, match=r"the box \(20, 0, 5, 5\) is not inside"):
        make_visual_genome("aro-vg-relation", file).score(ColourEncoder(), None)
    file = write(tmp_path, [entry((0, 0, 10**6, 10**6), "red", "blue")])
    with pytest.raises(UserError, match=r"the box \(0, 0, 1000000, 1000000\) is not inside"):
        make_visual_genome("aro-vg-relation", file).score(ColourEncoder(), None)
    over = Crop(str(tmp_path / "images" / "a.png"), (15, 0, 10, 20)).open()
    assert over.size == (10, 20) and over.getpixel((9, 3)) == (0, 0, 0)
    assert over.getpixel((0, 3)) == (0, 0, 255)


@pytest.mark.parametrize("lost", ["image_path", "true_caption", "bbox_w"])
def test_an_entry_without_its_column_is_reported(tmp_path: Path, lost: str) -> None:
    row = entry(RED_LEFT, "red", "blue")
    del row[lost]
    with pytest.raises(UserError, match=rf"relation.json:1: has no column '{lost}' .*Get visual"):
        make_visual_genome("aro-vg-relation", write(tmp_path, [row]))


def test_what_is_wrong_with_the_entries_is_reported(tmp_path: Path) -> None:
    row = {**entry(RED_LEFT, "red", "blue"), "bbox_x": 1.5}
    with pytest.raises(UserError, match="is not of whole pixels"):
        make_visual_genome("aro-vg-relation", write(tmp_path, [row]))
    row = {**entry(RED_LEFT, "red", "blue"), "attributes": ["one"]}
    del row["relation_name"]
    with pytest.raises(UserError, match="the attributes are not two"):
        make_visual_genome("aro-vg-attribution", write(tmp_path, [row]))


def test_missing_pictures_are_named_counted_and_refused(tmp_path: Path) -> None:
    rows = [entry(RED_LEFT, "red", "blue", image=f"{n}.png") for n in range(3)]
    file = write(tmp_path, [*rows, entry(RED_LEFT, "red", "blue")])
    with pytest.raises(UserError, match=r"0.png: there is no such picture \(3 of 4 rows"):
        make_visual_genome("aro-vg-relation", file)
    lenient = make_visual_genome("aro-vg-relation", file, how=Arithmetic(max_broken=0.8))
    assert lenient.notes[0].startswith("3 of 4 pictures left out") and len(lenient.texts) == 1
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(UserError, match="holds none of the 4 named pictures"):
        make_visual_genome("aro-vg-relation", file, how=Arithmetic(max_broken=1))
    (tmp_path / "images").rmdir()
    with pytest.raises(UserError, match="there is no such folder of pictures"):
        make_visual_genome("aro-vg-relation", file)

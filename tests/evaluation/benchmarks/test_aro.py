"""ARO: crops, and the averaging rules."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from text_sets import write_json

from paraclip.data.images import Crop
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks import aro
from paraclip.evaluation.benchmarks.aro import SYMMETRIC
from paraclip.evaluation.benchmarks.choice import Choice, Item
from paraclip.evaluation.pictures import image_vectors
from tiny import ColourEncoder

RED_LEFT = (0, 0, 10, 20)
BLUE_RIGHT = (10, 0, 10, 20)
Case = tuple[tuple[int, int, int, int], str, str, str]


def relation(folder: Path, *cases: Case) -> Choice:
    """VG-Relation with these boxes, texts and relations; one picture, red left and blue right."""
    (folder / "aro/images").mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (20, 20), (0, 0, 255))
    picture.paste((255, 0, 0), RED_LEFT)
    picture.save(folder / "aro/images/a.png")
    rows = [
        {"image_path": "a.png", "true_caption": true, "false_caption": false, "relation_name": name,
         **dict(zip(("bbox_x", "bbox_y", "bbox_w", "bbox_h"), box, strict=True))}
        for box, true, false, name in cases
    ]  # fmt: skip
    write_json(folder / "aro/visual_genome_relation.json", rows)
    return aro.load_aro("relation", folder, Arithmetic())


def values(benchmark: Choice, cache: Path | None = None) -> dict[str, float]:
    found = benchmark.score(ColourEncoder(), cache).metrics
    return {metric.name: metric.value() for metric in found}


def test_the_box_decides_what_is_seen_and_a_cached_part_is_not_computed_again(
    tmp_path: Path,
) -> None:
    cases = (RED_LEFT, "red", "blue", "on"), (BLUE_RIGHT, "blue", "red", "on")
    benchmark, cache = relation(tmp_path, *cases), tmp_path / "cache"
    assert values(benchmark, cache)["VG-R micro"] == 1

    class Blind(ColourEncoder):
        def embed_pixels(self, pixels):
            raise AssertionError("computed again")

    crops = {str(box): Crop(benchmark.pictures[0], box) for box in (RED_LEFT, BLUE_RIGHT)}
    vectors, good, _ = image_vectors(Blind(), list(crops), cache, Arithmetic(), crops)
    assert good.tolist() == [0, 1] and vectors.shape == (2, 8)
    cases = (RED_LEFT, "blue", "red", "on"), (BLUE_RIGHT, "red", "blue", "on")
    assert values(relation(tmp_path, *cases), cache)["VG-R micro"] == 0


@given(
    groups=st.lists(st.sampled_from(["on", "near", "wearing", "in"]), min_size=1, max_size=60),
    seed=st.integers(0, 10**6),
)
def test_macro_and_micro_equal_their_slow_twins(groups: list[str], seed: int) -> None:
    right = np.random.default_rng(seed).integers(0, 2, len(groups)).astype(float)
    similar = np.stack([right, np.full(len(groups), 0.5)], axis=1)
    items = [Item("a.png", ("x", "y"), group) for group in groups]
    for task, label, counted in (
        ("relation", "VG-R", {g for g in groups if g not in SYMMETRIC}),
        ("attribution", "VG-A", {g for g in groups if groups.count(g) >= 25}),
    ):
        each = [
            [value for group, value in zip(groups, right, strict=True) if group == one]
            for one in counted
        ]
        metrics, (note,) = aro._accuracies(task, similar, items, np.arange(len(groups)))
        found = {m.name: m.value() for m in metrics}
        assert found[f"{label} micro"] == pytest.approx(sum(right) / len(right))
        if each:
            slow = sum(sum(values) / len(values) for values in each) / len(each)
            assert found[f"{label} macro"] == pytest.approx(slow)
        assert len(found) == 1 + bool(each) + len(each)
        assert f"macro is over {len(counted)} of {len(set(groups))} " in note
        assert note.endswith(f", {sum(map(len, each))} of {len(groups)} entries")


def test_the_authors_list_is_whole() -> None:
    assert len(SYMMETRIC) == 157 and {"next to", "with", "attached to"} <= SYMMETRIC
    assert not SYMMETRIC & {"on", "wearing", "to the left of", "in", "above"}


@pytest.mark.parametrize("box", [(20, 0, 5, 5), (0, 0, 10**6, 10**6)])
def test_a_box_outside_is_broken(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    benchmark = relation(tmp_path, (box, "red", "blue", "on"))
    with pytest.raises(UserError, match=rf"the box \({box[0]}, 0, .* is not inside"):
        benchmark.score(ColourEncoder(), None)
    over = Crop(benchmark.pictures[0], (15, 0, 10, 20)).open()  # one over the edge is filled
    assert over.size == (10, 20) and over.getpixel((9, 3)) == (0, 0, 0)
    assert over.getpixel((0, 3)) == (0, 0, 255)

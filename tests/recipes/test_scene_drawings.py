"""The recipe of the drawn scenes: plans, drawings, and the shipped archive."""

import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.scenes import ARCHIVE, read_plans
from recipes.scenes.__main__ import write_archive
from recipes.scenes.backdrops import BACKDROPS
from recipes.scenes.pen import Look, Pen, shade
from recipes.scenes.plan import DRAWERS, SIDE, draw, parse

POSES = {
    "running", "asleep", "flying", "cheering", "waving", "holding", "sitting", "hat", "bare",
    "apples", "lit", "crescent", "taxi", "police", "double", "fire", "steaming", "football",
    "heavy", "flip",
}  # fmt: skip


def test_the_recipe_still_draws_every_shipped_picture(tmp_path: Path) -> None:
    plans = read_plans()
    with ZipFile(ARCHIVE) as archive:
        shipped = {name: pixels(archive.read(name)) for name in archive.namelist()}
    assert list(shipped) == list(plans)
    for name, plan in plans.items():
        # Versions of Pillow round the edges of shapes differently, by a pixel at most.
        differing = (shipped[name] != np.asarray(draw(plan))).any(axis=2).mean()
        assert differing < 0.02, name


def pixels(data: bytes) -> np.ndarray:
    """RGB values [height, width, 3] of a picture file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_same_plans_give_the_same_archive(tmp_path: Path) -> None:
    plans = dict(list(read_plans().items())[:2])
    assert write_archive(plans, tmp_path / "a.zip") == 2
    write_archive(plans, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_plan_is_a_backdrop_and_things_with_looks_and_places() -> None:
    backdrop, (dog, rain) = parse("meadow; dog black running flip @40,80 30; rain heavy")
    assert backdrop == "meadow"
    assert (dog.name, dog.x, dog.y, dog.size, dog.flip) == ("dog", 40, 80, 30, True)
    assert dog.look.colour("brown") == (38, 38, 42) and "running" in dog.look.poses
    assert (rain.x, rain.y, rain.size) == (0, 100, 100) and "heavy" in rain.look.poses


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("moonbase; dog @1,2 3", "there is no backdrop 'moonbase'"),
        ("meadow; unicorn @1,2 3", "'unicorn @1,2 3'.*is no thing that can be drawn"),
        ("meadow; dog brown", "has no place"),
        ("meadow; dog @1,2", "is no thing that can be drawn"),
        ("", "there is no backdrop"),
    ],
)
def test_a_plan_that_cannot_be_read_gives_an_error(plan: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw(plan)


@pytest.mark.parametrize("name", sorted(DRAWERS))
def test_every_thing_marks_the_picture_and_is_drawn_the_same_each_time(name: str) -> None:
    first = draw(f"meadow; {name} @50,85 40")
    assert first.size == (SIDE, SIDE) and first.mode == "RGB"
    assert first.tobytes() == draw(f"meadow; {name} @50,85 40").tobytes()
    changed = np.asarray(first) != np.asarray(draw("meadow"))
    assert changed.any(axis=2).mean() > 0.004


@pytest.mark.parametrize("name", sorted(BACKDROPS))
def test_every_backdrop_fills_the_picture(name: str) -> None:
    corners = np.asarray(draw(name))[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.sum(axis=1) > 0).all()


def test_a_pen_has_its_origin_where_the_thing_stands_and_y_upwards() -> None:
    picture = Image.new("RGB", (100, 100))
    Pen(picture, 50, 80, 40).box(0, 0, 0.5, 0.5, (255, 0, 0))
    assert picture.getbbox() == (50, 60, 71, 81)
    mirrored = Image.new("RGB", (100, 100))
    Pen(mirrored, 50, 80, 40, flip=True).box(0, 0, 0.5, 0.5, (255, 0, 0))
    assert mirrored.getbbox() == (30, 60, 51, 81)


@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3), factor=st.floats(0.1, 4, allow_subnormal=False)
)
def test_shades_stay_colours(colour: tuple[int, int, int], factor: float) -> None:
    made = shade(colour, factor)
    assert all(0 <= part <= 255 for part in made)
    assert (sum(made) <= sum(colour)) if factor <= 1 else (sum(made) >= sum(colour))


def test_a_look_without_colours_is_the_usual_one() -> None:
    assert Look().colour("white") == (246, 246, 242)


def test_every_shipped_plan_is_drawn_and_no_two_pictures_are_alike() -> None:
    plans = read_plans()
    assert len(plans) >= 120
    words = {word for plan in plans.values() for one in parse(plan)[1] for word in one.look.poses}
    assert words <= POSES  # a pose that no drawing knows would be passed over
    pictures = {draw(plan).tobytes() for plan in plans.values()}
    assert len(pictures) == len(plans)

"""A scene in one line of text, and the picture of it.

    meadow; dog brown running @40,80 30; ball red @66,82 9

First the backdrop, then things from back to front: a name, colours and other words for its look,
where it stands (percent from the left and from the top, of the point that it stands on), its
height in percent. `flip` lets it look to the left. Weather (`rain`, `snowfall`) needs no place.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from paraclip.errors import UserError
from recipes.scenes.animals import ANIMALS
from recipes.scenes.backdrops import BACKDROPS
from recipes.scenes.outdoors import OUTDOORS
from recipes.scenes.pen import COLOURS, Look, Pen
from recipes.scenes.people import PEOPLE
from recipes.scenes.things import THINGS
from recipes.scenes.vehicles import VEHICLES

DRAWERS: dict[str, Callable[[Pen, Look], None]] = {
    **ANIMALS, **PEOPLE, **OUTDOORS, **VEHICLES, **THINGS,
}  # fmt: skip
WEATHER = ("rain", "snowfall")
SIDE = 256  # pixels of a picture
FINER = 2  # drawn so many times larger, then averaged down, so that edges are smooth
ELEMENT = re.compile(
    r"(?P<name>[a-z]+)(?P<words>(?: [a-z]+)*)(?: @(?P<x>-?\d+),(?P<y>-?\d+) (?P<size>\d+))?"
)
HINT = "Write it as `meadow; dog brown @40,80 30`: name, look, @left,top, height in percent."


@dataclass(frozen=True)
class Element:
    """One thing of a scene.

    Args:
        name: a key of `DRAWERS`.
        look: colours and poses.
        x: percent from the left.
        y: percent from the top.
        size: height in percent of the picture.
        flip: looks to the left.
    """

    name: str
    look: Look
    x: int
    y: int
    size: int
    flip: bool


def parse(plan: str) -> tuple[str, list[Element]]:
    """Backdrop and things of a plan.

    Raises:
        UserError: a name is unknown, or a place is missing.
    """
    backdrop, *others = (part.strip() for part in plan.split(";"))
    if backdrop not in BACKDROPS:
        raise UserError(
            repr(plan), f"there is no backdrop {backdrop!r}", f"Take one of {', '.join(BACKDROPS)}."
        )
    return backdrop, [element(part) for part in others]


def element(part: str) -> Element:
    """One thing."""
    found = ELEMENT.fullmatch(part)
    if found is None or found["name"] not in DRAWERS:
        raise UserError(repr(part), "is no thing that can be drawn", HINT)
    if found["x"] is None and found["name"] not in WEATHER:
        raise UserError(repr(part), "has no place", HINT)
    words = found["words"].split()
    colours = tuple(COLOURS[word] for word in words if word in COLOURS)
    look = Look(colours, frozenset(words) - set(COLOURS))
    usual = (("x", 0), ("y", 100), ("size", 100))  # weather covers the whole picture
    x, y, size = (int(found[key] or default) for key, default in usual)
    return Element(found["name"], look, x, y, size, flip="flip" in words)


def draw(plan: str) -> Image.Image:
    """The picture, RGB of 256 x 256; the same pixels on every run.

    Raises:
        UserError: the plan cannot be read.
    """
    backdrop, elements = parse(plan)
    side = SIDE * FINER
    picture = Image.new("RGB", (side, side))
    BACKDROPS[backdrop](picture)
    for one in elements:
        scale = side / 100
        pen = Pen(picture, one.x * scale, one.y * scale, one.size * scale, one.flip)
        DRAWERS[one.name](pen, one.look)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)

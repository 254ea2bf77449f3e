"""A pen with coordinates of its own: every thing is drawn one unit high, standing on (0, 0)."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Colour] = {
    "red": (208, 44, 44), "green": (52, 150, 62), "blue": (46, 98, 200), "yellow": (244, 206, 52),
    "orange": (238, 136, 40), "purple": (126, 66, 160), "pink": (240, 150, 176),
    "brown": (134, 88, 50), "black": (38, 38, 42), "white": (246, 246, 242),
    "grey": (140, 142, 148), "tan": (212, 176, 124), "gold": (222, 172, 52),
    "skin": (232, 186, 150), "dark": (30, 36, 60), "sky": (140, 196, 238),
}  # fmt: skip


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (below 1) or lighter (above)."""
    if factor <= 1:
        red, green, blue = (round(part * factor) for part in colour)
    else:
        red, green, blue = (round(255 - (255 - part) / factor) for part in colour)
    return red, green, blue


@dataclass(frozen=True)
class Look:
    """How one thing of a scene looks.

    Args:
        colours: in the order in which the scene names them.
        poses: other words that it gives ("running").
    """

    colours: tuple[Colour, ...] = ()
    poses: frozenset[str] = frozenset()

    def colour(self, usual: str, place: int = 0) -> Colour:
        """The colour at that place, or the usual one where the scene names none."""
        return self.colours[place] if place < len(self.colours) else COLOURS[usual]


class Pen:
    """Draws on a picture in units of a thing's height, y upwards.

    Args:
        picture: what is drawn on.
        x: pixels from the left of the point that the thing stands on.
        y: pixels from the top of that point.
        size: pixels of its height.
        flip: mirror it, so that it looks to the left.
    """

    def __init__(
        self, picture: Image.Image, x: float, y: float, size: float, flip: bool = False
    ) -> None:
        self.draw = ImageDraw.Draw(picture)
        self.x, self.y, self.size, self.way = x, y, size, -1 if flip else 1
        self.edge = max(1, round(size * 0.012))

    def at(self, x: float, y: float) -> Point:
        """Pixels of a point."""
        return self.x + self.way * x * self.size, self.y - y * self.size

    def corners(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, ...]:
        """Pixels left, top, right, bottom of a box."""
        (a, b), (c, d) = self.at(x0, y0), self.at(x1, y1)
        return min(a, c), min(b, d), max(a, c), max(b, d)

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """An ellipse in a box."""
        self.draw.ellipse(self.corners(x0, y0, x1, y1), fill, shade(fill, 0.7), self.edge)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """A circle."""
        self.oval(x - radius, y - radius, x + radius, y + radius, fill)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour, round_by: float = 0
    ) -> None:
        """A rectangle, its corners rounded."""
        place, radius = self.corners(x0, y0, x1, y1), round_by * self.size
        self.draw.rounded_rectangle(place, radius, fill, shade(fill, 0.7), self.edge)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        """A polygon."""
        place = [self.at(*point) for point in points]
        self.draw.polygon(place, fill, shade(fill, 0.7), self.edge)

    def line(self, points: Sequence[Point], fill: Colour, width: float = 0.05) -> None:
        """A bent line with round ends."""
        place, broad = [self.at(*point) for point in points], max(1, round(width * self.size))
        self.draw.line(place, fill, broad, joint="curve")
        for x, y in (place[0], place[-1]):
            half = broad / 2 - 0.5
            self.draw.ellipse((x - half, y - half, x + half, y + half), fill)

    def bow(
        self, x: float, y: float, radius: float, start: float, end: float, fill: Colour,
        width: float = 0.05,
    ) -> None:  # fmt: skip
        """Part of a circle, from `start` to `end` degrees clockwise from the right."""
        place = self.corners(x - radius, y - radius, x + radius, y + radius)
        self.draw.arc(place, start, end, fill, max(1, round(width * self.size)))

    def eye(self, x: float, y: float, radius: float = 0.035) -> None:
        """White with a dark middle."""
        self.disc(x, y, radius, COLOURS["white"])
        self.disc(x + radius * 0.2, y, radius * 0.55, COLOURS["black"])

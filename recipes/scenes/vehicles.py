"""What one travels in; it goes to the right."""

from math import cos, pi, sin

from recipes.scenes.pen import COLOURS, Colour, Look, Pen, shade

BLACK, WHITE, GREY, BROWN = (COLOURS[name] for name in ("black", "white", "grey", "brown"))
RED, YELLOW = COLOURS["red"], COLOURS["yellow"]
GLASS: Colour = (190, 224, 242)


def wheels(pen: Pen, places: tuple[float, ...], radius: float) -> None:
    """Tyres with hubs."""
    for x in places:
        pen.disc(x, radius, radius, BLACK)
        pen.disc(x, radius, radius * 0.5, GREY)


def car(pen: Pen, look: Look) -> None:
    """A car; taxi gives it a sign, police a light."""
    paint = look.colour("red")
    pen.shape([(-0.62, 0.54), (-0.4, 0.96), (0.34, 0.96), (0.66, 0.54)], paint)
    pen.shape([(-0.5, 0.56), (-0.34, 0.88), (-0.04, 0.88), (-0.04, 0.56)], GLASS)
    pen.shape([(0.04, 0.56), (0.04, 0.88), (0.3, 0.88), (0.52, 0.56)], GLASS)
    pen.box(-1.0, 0.18, 1.04, 0.58, paint, 0.12)
    pen.disc(0.98, 0.44, 0.06, YELLOW)
    pen.line([(0.06, 0.46), (0.2, 0.46)], shade(paint, 0.6), 0.03)
    if "taxi" in look.poses:
        pen.box(-0.2, 0.96, 0.16, 1.1, BLACK)
        for step in range(8):
            pen.box(-0.8 + step * 0.2, 0.3, -0.7 + step * 0.2, 0.38, BLACK)
    if "police" in look.poses:
        pen.box(-0.7, 0.3, 0.8, 0.42, COLOURS["blue"])
        pen.box(-0.16, 0.96, 0, 1.08, COLOURS["blue"])
        pen.box(0, 0.96, 0.16, 1.08, RED)
    wheels(pen, (-0.56, 0.6), 0.22)


def bus(pen: Pen, look: Look) -> None:
    """A bus; a double one has two decks."""
    paint = look.colour("yellow")
    pen.box(-0.9, 0.12, 0.9, 1.0, paint, 0.08)
    rows = (0.3, 0.66) if "double" in look.poses else (0.5,)
    high = 0.22 if "double" in look.poses else 0.32
    for y in rows:
        for step in range(5):
            pen.box(-0.82 + step * 0.3, y, -0.58 + step * 0.3, y + high, GLASS)
        pen.box(0.7, y, 0.88, y + high, GLASS)
    pen.line([(-0.88, 0.26), (0.88, 0.26)], shade(paint, 0.6), 0.03)
    wheels(pen, (-0.5, 0.54), 0.15)


def truck(pen: Pen, look: Look) -> None:
    """A truck with a box behind the cab; fire gives it a ladder."""
    paint, load = look.colour("blue"), look.colour("white", 1)
    pen.box(-1.1, 0.22, 0.4, 1.0, load)
    pen.shape([(0.42, 0.2), (0.42, 0.86), (0.76, 0.86), (1.0, 0.54), (1.0, 0.2)], paint)
    pen.shape([(0.54, 0.54), (0.54, 0.78), (0.72, 0.78), (0.88, 0.54)], GLASS)
    if "fire" in look.poses:
        for y in (1.04, 1.16):
            pen.line([(-1.1, y), (0.7, y)], GREY, 0.03)
        for step in range(10):
            pen.line([(-1.0 + step * 0.18, 1.04), (-1.0 + step * 0.18, 1.16)], GREY, 0.025)
        pen.line([(-1.05, 0.5), (0.38, 0.5)], YELLOW, 0.06)
    wheels(pen, (-0.8, -0.4, 0.7), 0.18)


def tractor(pen: Pen, look: Look) -> None:
    """A tractor: a large wheel behind, a small one before."""
    paint = look.colour("green")
    pen.box(-0.1, 0.34, 0.76, 0.62, paint, 0.05)
    pen.line([(0.56, 0.6), (0.56, 0.88)], BLACK, 0.05)
    pen.box(-0.54, 0.4, 0.0, 1.0, GLASS)
    pen.box(-0.6, 0.96, 0.06, 1.04, paint)
    wheels(pen, (-0.36,), 0.34)
    wheels(pen, (0.58,), 0.2)


def bicycle(pen: Pen, look: Look) -> None:
    """A bicycle."""
    frame = look.colour("red")
    for x in (-0.55, 0.55):
        pen.bow(x, 0.34, 0.34, 0, 360, BLACK, 0.05)
        for step in range(6):
            turn = step * pi / 3
            pen.line([(x, 0.34), (x + 0.31 * cos(turn), 0.34 + 0.31 * sin(turn))], GREY, 0.012)
    saddle, hub, fork = (-0.2, 0.8), (-0.55, 0.34), (0.4, 0.78)
    for ends in (
        (hub, saddle), (hub, (0, 0.34)), ((0, 0.34), saddle), ((0, 0.34), fork),
        ((-0.2, 0.76), fork), ((0.55, 0.34), (0.38, 0.94)),
    ):  # fmt: skip
        pen.line(list(ends), frame, 0.05)
    pen.line([(-0.34, 0.86), (-0.08, 0.86)], BLACK, 0.07)
    pen.line([(0.28, 0.98), (0.5, 0.94)], BLACK, 0.05)


def train(pen: Pen, look: Look) -> None:
    """A steam engine with two carriages, on rails."""
    paint = look.colour("red")
    pen.line([(-2.4, 0), (2.4, 0)], BROWN, 0.06)
    for x in (-1.5, -0.5):
        pen.box(x - 0.45, 0.2, x + 0.45, 0.8, paint, 0.05)
        for step in (-0.25, 0.05):
            pen.box(x + step, 0.44, x + step + 0.2, 0.68, GLASS)
        wheels(pen, (x - 0.25, x + 0.25), 0.13)
    pen.box(0.06, 0.2, 0.5, 0.98, BLACK)
    pen.box(0.14, 0.6, 0.4, 0.88, GLASS)
    pen.box(0.48, 0.2, 1.24, 0.64, shade(BLACK, 1.3), 0.06)
    pen.box(0.96, 0.6, 1.12, 0.96, BLACK)
    for x, y, radius in ((1.0, 1.1, 0.13), (0.82, 1.28, 0.17), (0.54, 1.42, 0.2)):
        pen.disc(x, y, radius, (226, 226, 228))
    wheels(pen, (0.26, 0.64, 1.02), 0.16)


def boat(pen: Pen, look: Look) -> None:
    """A sailing boat; the colour is its sail."""
    pen.line([(0, 0.2), (0, 1)], BROWN, 0.03)
    pen.shape([(0.04, 0.98), (0.04, 0.28), (0.52, 0.28)], look.colour("white"))
    pen.shape([(-0.04, 0.9), (-0.04, 0.28), (-0.4, 0.28)], shade(look.colour("white"), 0.88))
    pen.shape([(-0.56, 0.24), (0.62, 0.24), (0.42, 0), (-0.4, 0)], look.colour("brown", 1))


def ship(pen: Pen, look: Look) -> None:
    """A large ship with funnels."""
    pen.box(-0.5, 0.34, 0.6, 0.58, WHITE)
    pen.box(-0.3, 0.56, 0.4, 0.72, WHITE)
    for x in (-0.16, 0.14):
        pen.box(x, 0.7, x + 0.14, 0.96, look.colour("red"))
    for step in range(6):
        pen.disc(-0.4 + step * 0.18, 0.46, 0.04, COLOURS["blue"])
    pen.shape([(-0.9, 0.36), (1.05, 0.36), (0.8, 0), (-0.76, 0)], look.colour("black", 1))


def plane(pen: Pen, look: Look) -> None:
    """An aeroplane in the air."""
    paint = look.colour("white")
    pen.shape([(-1.0, 0.5), (-1.16, 0.98), (-0.86, 0.98), (-0.66, 0.6)], shade(paint, 0.8))
    pen.oval(-1.1, 0.3, 1.1, 0.74, paint)
    pen.shape([(-0.16, 0.48), (-0.66, 0.02), (-0.4, 0.02), (0.3, 0.46)], shade(paint, 0.75))
    for step in range(7):
        pen.disc(-0.6 + step * 0.18, 0.58, 0.045, COLOURS["blue"])
    pen.shape([(0.76, 0.58), (0.8, 0.68), (0.94, 0.64), (1.0, 0.58)], GLASS)


def helicopter(pen: Pen, look: Look) -> None:
    """A helicopter."""
    paint = look.colour("red")
    pen.line([(-0.3, 0.52), (-1.1, 0.6)], paint, 0.1)
    pen.bow(-1.1, 0.62, 0.16, 0, 360, BLACK, 0.03)
    pen.oval(-0.5, 0.2, 0.6, 0.76, paint)
    pen.draw.pieslice(pen.corners(0.1, 0.26, 0.58, 0.72), 270, 90, GLASS)
    pen.line([(0, 0.74), (0, 0.92)], BLACK, 0.04)
    pen.line([(-0.9, 0.94), (0.9, 0.94)], BLACK, 0.04)
    pen.line([(-0.5, 0.06), (0.56, 0.06)], BLACK, 0.04)
    for x in (-0.2, 0.26):
        pen.line([(x, 0.24), (x, 0.06)], BLACK, 0.03)


def airship(pen: Pen, look: Look) -> None:
    """A hot-air balloon with its basket."""
    cloth = look.colour("red")
    for x in (-0.12, 0.12):
        pen.line([(x, 0.14), (x * 2.2, 0.42)], BROWN, 0.015)
    pen.oval(-0.4, 0.26, 0.4, 1.0, cloth)
    pen.oval(-0.2, 0.26, 0.2, 1.0, look.colour("yellow", 1))
    pen.oval(-0.08, 0.26, 0.08, 1.0, cloth)
    pen.box(-0.12, 0, 0.12, 0.16, BROWN)


def rocket(pen: Pen, look: Look) -> None:
    """A rocket on its flame."""
    paint = look.colour("white")
    pen.shape([(-0.1, 0.24), (0, -0.02), (0.1, 0.24)], COLOURS["orange"])
    for way in (-1, 1):
        pen.shape([(way * 0.13, 0.44), (way * 0.3, 0.2), (way * 0.13, 0.26)], RED)
    pen.box(-0.14, 0.22, 0.14, 0.76, paint)
    pen.shape([(-0.14, 0.75), (0, 1.02), (0.14, 0.75)], RED)
    pen.disc(0, 0.6, 0.07, COLOURS["blue"])


VEHICLES = {
    "car": car, "bus": bus, "truck": truck, "tractor": tractor, "bicycle": bicycle,
    "train": train, "boat": boat, "ship": ship, "plane": plane, "helicopter": helicopter,
    "airship": airship, "rocket": rocket,
}  # fmt: skip

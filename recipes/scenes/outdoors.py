"""Houses, bridges, plants, hills, and what hangs in the sky."""

from math import cos, pi, sin

from recipes.scenes.pen import COLOURS, Colour, Look, Pen, shade

BLACK, WHITE, GREY, BROWN = (COLOURS[name] for name in ("black", "white", "grey", "brown"))
RED, YELLOW, GREEN, ORANGE = (COLOURS[name] for name in ("red", "yellow", "green", "orange"))
GLASS: Colour = (176, 216, 238)


def house(pen: Pen, look: Look) -> None:
    """A house with door, window and chimney."""
    wall, roof = look.colour("white"), look.colour("brown", 1)
    pen.box(0.22, 0.66, 0.34, 1.0, shade(roof, 0.7))
    pen.box(-0.5, 0, 0.5, 0.58, wall)
    pen.shape([(-0.62, 0.56), (0, 1.0), (0.62, 0.56)], roof)
    pen.box(-0.1, 0, 0.12, 0.36, shade(roof, 0.6))
    for x in (-0.32, 0.32):
        pen.box(x - 0.1, 0.24, x + 0.1, 0.44, GLASS)
        pen.line([(x, 0.24), (x, 0.44)], WHITE, 0.02)


def castle(pen: Pen, look: Look) -> None:
    """A castle with two towers and flags."""
    stone = look.colour("grey")
    pen.box(-0.5, 0, 0.5, 0.5, stone)
    for x in (-0.5, 0.5):
        pen.box(x - 0.14, 0, x + 0.14, 0.72, shade(stone, 0.9))
        pen.shape([(x - 0.18, 0.7), (x, 0.9), (x + 0.18, 0.7)], RED)
        pen.line([(x, 0.88), (x, 1.04)], BLACK, 0.015)
        pen.shape([(x, 1.04), (x + 0.12, 1.0), (x, 0.96)], YELLOW)
        pen.box(x - 0.03, 0.44, x + 0.03, 0.58, BLACK)
    for x in (-0.28, -0.1, 0.08, 0.26):
        pen.box(x, 0.5, x + 0.1, 0.58, stone)
    pen.box(-0.12, 0, 0.12, 0.3, BROWN, 0.1)


def church(pen: Pen, look: Look) -> None:
    """A church with its steeple and cross."""
    wall = look.colour("white")
    pen.box(-0.1, 0, 0.56, 0.4, wall)
    pen.shape([(-0.1, 0.38), (0.22, 0.6), (0.62, 0.38)], BROWN)
    pen.box(-0.36, 0, 0.0, 0.6, wall)
    pen.shape([(-0.4, 0.58), (-0.18, 0.9), (0.04, 0.58)], BROWN)
    pen.line([(-0.18, 0.88), (-0.18, 1.04)], BLACK, 0.025)
    pen.line([(-0.24, 0.98), (-0.12, 0.98)], BLACK, 0.025)
    pen.box(-0.26, 0, -0.1, 0.22, BROWN, 0.06)
    for x in (0.12, 0.34):
        pen.box(x, 0.12, x + 0.1, 0.3, GLASS, 0.05)


def lighthouse(pen: Pen, look: Look) -> None:
    """A lighthouse in bands of red and white, on a rock."""
    pen.oval(-0.5, -0.08, 0.5, 0.14, GREY)
    for band in range(5):
        low, high = 0.05 + band * 0.14, 0.19 + band * 0.14
        wide = 0.18 - band * 0.015
        fill = look.colour("red") if band % 2 == 0 else WHITE
        pen.shape([(-wide, low), (wide, low), (wide - 0.015, high), (0.015 - wide, high)], fill)
    pen.box(-0.16, 0.75, 0.16, 0.79, BLACK)
    pen.box(-0.09, 0.79, 0.09, 0.9, YELLOW)
    pen.shape([(-0.13, 0.9), (0, 1.02), (0.13, 0.9)], RED)


def tent(pen: Pen, look: Look) -> None:
    """A tent, its door open."""
    cloth = look.colour("green")
    pen.shape([(-0.8, 0), (0, 1), (0.8, 0)], cloth)
    pen.shape([(-0.22, 0), (0, 0.8), (0.22, 0)], shade(cloth, 0.4))


def bridge(pen: Pen, look: Look) -> None:
    """An arched bridge; what lies behind it is seen through the arch."""
    stone = look.colour("grey")
    turns = [pi * step / 32 for step in range(33)]
    outer = [(1.3 * cos(turn), sin(turn)) for turn in turns]
    inner = [(cos(turn), 0.76 * sin(turn)) for turn in turns]
    pen.shape([*outer, *reversed(inner)], stone)
    for step in range(-5, 6):
        x = step * 0.22
        y = (max(0.0, 1 - (x / 1.3) ** 2)) ** 0.5
        pen.line([(x, y), (x, y + 0.16)], shade(stone, 0.6), 0.04)


def tree(pen: Pen, look: Look) -> None:
    """A tree with a round crown; bare it has branches only."""
    pen.box(-0.06, 0, 0.06, 0.5, BROWN)
    if "bare" in look.poses:
        for x, y in (
            (-0.3, 0.8),
            (-0.14, 0.96),
            (0.1, 1.0),
            (0.3, 0.84),
            (0.22, 0.66),
            (-0.24, 0.6),
        ):
            pen.line([(0, 0.4), (x, y)], BROWN, 0.03)
        return
    leaves = look.colour("green")
    for x, y, radius in ((-0.2, 0.56, 0.2), (0.2, 0.56, 0.2), (0, 0.76, 0.24), (0, 0.56, 0.22)):
        pen.disc(x, y, radius, leaves)
    if "apples" in look.poses:
        for x, y in (
            (-0.22, 0.6),
            (-0.06, 0.8),
            (0.12, 0.7),
            (0.24, 0.54),
            (0.02, 0.54),
            (-0.1, 0.66),
        ):
            pen.disc(x, y, 0.04, RED)


def pine(pen: Pen, look: Look) -> None:
    """A pine; lit it is a Christmas tree."""
    needles = look.colour("green")
    pen.box(-0.05, 0, 0.05, 0.2, BROWN)
    for low, wide in ((0.14, 0.36), (0.38, 0.28), (0.62, 0.2)):
        pen.shape([(-wide, low), (0, low + 0.38), (wide, low)], shade(needles, 0.8))
    if "lit" in look.poses:
        lights = (
            (-0.18, 0.22, RED), (0.14, 0.26, YELLOW), (0, 0.42, COLOURS["blue"]),
            (-0.1, 0.56, YELLOW), (0.1, 0.52, RED), (0, 0.74, RED), (0.24, 0.18, RED),
        )  # fmt: skip
        for x, y, fill in lights:
            pen.disc(x, y, 0.035, fill)
        pen.disc(0, 1.0, 0.06, YELLOW)


def palm(pen: Pen, look: Look) -> None:
    """A palm tree."""
    pen.line([(0, 0), (0.04, 0.4), (0.12, 0.74)], BROWN, 0.07)
    for x, y in (
        (-0.34, 0.72),
        (-0.24, 0.92),
        (0.04, 1.02),
        (0.4, 0.94),
        (0.54, 0.72),
        (0.4, 0.58),
        (-0.2, 0.56),
    ):
        middle = ((x + 0.12) / 2, (y + 0.74) / 2 + 0.06)
        pen.line([(0.12, 0.74), middle, (x, y)], look.colour("green"), 0.06)


def cactus(pen: Pen, look: Look) -> None:
    """A cactus with two arms."""
    skin = look.colour("green")
    for way, y in ((-1, 0.4), (1, 0.54)):
        pen.line([(0, y), (way * 0.28, y), (way * 0.28, y + 0.26)], skin, 0.13)
    pen.box(-0.11, 0, 0.11, 1, skin, 0.1)
    for x in (-0.04, 0.04):
        pen.line([(x, 0.06), (x, 0.94)], shade(skin, 0.7), 0.012)


def flower(pen: Pen, look: Look) -> None:
    """A flower with its leaves."""
    petals = look.colour("red")
    pen.line([(0, 0), (0, 0.66)], GREEN, 0.05)
    for way in (-1, 1):
        pen.oval(way * 0.16 - 0.14, 0.16, way * 0.16 + 0.14, 0.3, GREEN)
    for step in range(7):
        turn = step * 2 * pi / 7
        pen.disc(0.2 * cos(turn), 0.76 + 0.2 * sin(turn), 0.12, petals)
    pen.disc(0, 0.76, 0.12, YELLOW if petals != YELLOW else BROWN)


def mushroom(pen: Pen, look: Look) -> None:
    """A mushroom with a spotted cap."""
    pen.box(-0.16, 0, 0.16, 0.6, (240, 230, 206), 0.08)
    pen.draw.pieslice(pen.corners(-0.56, 0.06, 0.56, 1.0), 180, 360, look.colour("red"))
    for x, y in ((-0.3, 0.66), (0, 0.84), (0.3, 0.66), (0.02, 0.62)):
        pen.disc(x, y, 0.075, WHITE)


def mountain(pen: Pen, look: Look) -> None:
    """A mountain with snow on its top."""
    rock = look.colour("grey")
    pen.shape([(-0.9, 0), (-0.1, 1), (0.8, 0)], rock)
    pen.shape(
        [(-0.36, 0.68), (-0.1, 1), (0.16, 0.7), (0.02, 0.76), (-0.1, 0.66), (-0.22, 0.76)], WHITE
    )


def volcano(pen: Pen, look: Look) -> None:
    """A mountain that throws fire and smoke."""
    for x, y, radius in ((0.1, 1.16, 0.14), (0.26, 1.3, 0.18), (-0.04, 1.32, 0.16)):
        pen.disc(x, y, radius, (120, 116, 118))
    pen.shape([(-0.9, 0), (-0.2, 0.94), (0.2, 0.94), (0.9, 0)], look.colour("brown"))
    pen.shape([(-0.2, 0.94), (-0.1, 1.2), (0, 1.04), (0.1, 1.24), (0.2, 0.94)], ORANGE)
    pen.line([(0, 0.94), (0.06, 0.6), (-0.04, 0.3)], RED, 0.08)


def fence(pen: Pen, look: Look) -> None:
    """A wooden fence."""
    wood = look.colour("white")
    for y in (0.3, 0.66):
        pen.box(-2.2, y, 2.2, y + 0.12, wood)
    for step in range(-5, 6):
        x = step * 0.42
        pen.shape([(x - 0.1, 0), (x - 0.1, 0.86), (x, 1), (x + 0.1, 0.86), (x + 0.1, 0)], wood)


def sun(pen: Pen, look: Look) -> None:
    """The sun with its rays."""
    for step in range(12):
        turn = step * pi / 6
        ends = [
            (0.34 * cos(turn), 0.5 + 0.34 * sin(turn)),
            (0.5 * cos(turn), 0.5 + 0.5 * sin(turn)),
        ]
        pen.line(ends, ORANGE, 0.05)
    pen.disc(0, 0.5, 0.3, look.colour("yellow"))


def moon(pen: Pen, look: Look) -> None:
    """A full moon, or the crescent."""
    pen.disc(0, 0.5, 0.5, (244, 240, 206))
    if "crescent" in look.poses:
        pen.draw.ellipse(pen.corners(0, 0.1, 0.9, 1.0), (30, 37, 74))
        return
    for x, y, radius in ((-0.16, 0.6, 0.1), (0.16, 0.4, 0.13), (0.1, 0.74, 0.07)):
        pen.disc(x, y, radius, (222, 216, 180))


def cloud(pen: Pen, look: Look) -> None:
    """A heap of cloud."""
    fill = look.colour("white")
    for x, y, radius in ((-0.6, 0.3, 0.28), (-0.2, 0.55, 0.4), (0.3, 0.5, 0.36), (0.7, 0.3, 0.26)):
        place = pen.corners(x - radius, y - radius, x + radius, y + radius)
        pen.draw.ellipse(place, fill)
    pen.draw.rectangle(pen.corners(-0.6, 0.03, 0.7, 0.36), fill)


def rainbow(pen: Pen, look: Look) -> None:
    """A rainbow."""
    for step, name in enumerate(("red", "orange", "yellow", "green", "blue", "purple")):
        pen.bow(0, 0, 1 - step * 0.06, 180, 360, COLOURS[name], 0.065)


def lightning(pen: Pen, look: Look) -> None:
    """A flash."""
    pen.shape(
        [(0.1, 1), (-0.2, 0.45), (-0.02, 0.48), (-0.14, 0), (0.24, 0.6), (0.06, 0.58), (0.26, 1)],
        YELLOW,
    )


OUTDOORS = {
    "house": house, "castle": castle, "church": church, "lighthouse": lighthouse, "tent": tent,
    "bridge": bridge, "tree": tree, "pine": pine, "palm": palm, "cactus": cactus,
    "flower": flower, "mushroom": mushroom, "mountain": mountain, "volcano": volcano,
    "fence": fence, "sun": sun, "moon": moon, "cloud": cloud, "rainbow": rainbow,
    "lightning": lightning,
}  # fmt: skip

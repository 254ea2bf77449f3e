"""Furniture, food and playthings, and weather that lies over a whole picture."""

import random
from math import cos, pi, sin

from recipes.scenes.pen import COLOURS, Look, Pen, shade

BLACK, WHITE, GREY, BROWN = (COLOURS[name] for name in ("black", "white", "grey", "brown"))
RED, YELLOW, GREEN, ORANGE = (COLOURS[name] for name in ("red", "yellow", "green", "orange"))


def table(pen: Pen, look: Look) -> None:
    """A table; things stand on it at its full height."""
    wood = look.colour("brown")
    for x in (-0.8, 0.7):
        pen.box(x, 0, x + 0.12, 0.9, shade(wood, 0.8))
    pen.box(-1.0, 0.84, 1.0, 1.0, wood, 0.03)


def chair(pen: Pen, look: Look) -> None:
    """A chair from the side."""
    wood = look.colour("brown")
    pen.box(-0.3, 0, -0.2, 1.0, wood)
    pen.box(0.22, 0, 0.32, 0.46, wood)
    pen.box(-0.32, 0.42, 0.34, 0.52, shade(wood, 1.2))
    pen.box(-0.3, 0.7, -0.16, 0.98, shade(wood, 1.2))


def sofa(pen: Pen, look: Look) -> None:
    """A couch with two cushions."""
    cloth = look.colour("blue")
    pen.box(-0.9, 0.4, 0.9, 1.0, cloth, 0.1)
    for x in (-0.7, 0.02):
        pen.box(x, 0.26, x + 0.7, 0.52, shade(cloth, 1.25), 0.06)
    for x in (-1.08, 0.78):
        pen.box(x, 0.1, x + 0.3, 0.68, shade(cloth, 0.85), 0.1)
    pen.box(-0.9, 0.08, 0.9, 0.28, shade(cloth, 0.85))


def bed(pen: Pen, look: Look) -> None:
    """A bed with a pillow."""
    pen.box(-1.2, 0, -1.08, 1.0, BROWN)
    pen.box(1.08, 0, 1.2, 0.6, BROWN)
    pen.box(-1.1, 0.2, 1.1, 0.5, WHITE)
    pen.box(-0.4, 0.2, 1.1, 0.6, look.colour("blue"), 0.06)
    pen.box(-1.02, 0.48, -0.5, 0.7, WHITE, 0.1)


def lamp(pen: Pen, look: Look) -> None:
    """A standing lamp."""
    pen.box(-0.2, 0, 0.2, 0.05, BLACK)
    pen.line([(0, 0.04), (0, 0.7)], BLACK, 0.035)
    pen.shape([(-0.3, 0.66), (-0.16, 1.0), (0.16, 1.0), (0.3, 0.66)], look.colour("yellow"))


def clock(pen: Pen, look: Look) -> None:
    """A round clock at ten past ten."""
    pen.disc(0, 0.5, 0.5, look.colour("brown"))
    pen.disc(0, 0.5, 0.42, WHITE)
    for step in range(12):
        turn = step * pi / 6
        pen.disc(0.34 * cos(turn), 0.5 + 0.34 * sin(turn), 0.025, BLACK)
    pen.line([(0, 0.5), (-0.18, 0.62)], BLACK, 0.05)
    pen.line([(0, 0.5), (0.24, 0.68)], BLACK, 0.035)


def television(pen: Pen, look: Look) -> None:
    """A television set with aerials."""
    for x in (-0.3, 0.3):
        pen.line([(0, 0.8), (x, 1.08)], BLACK, 0.03)
    pen.box(-0.7, 0, 0.7, 0.84, BLACK, 0.08)
    pen.box(-0.6, 0.12, 0.6, 0.76, look.colour("sky"), 0.04)


def window(pen: Pen, look: Look) -> None:
    """A window in a wall."""
    pen.box(-0.5, 0, 0.5, 1.0, WHITE)
    for x in (-0.44, 0.03):
        for y in (0.06, 0.53):
            pen.box(x, y, x + 0.41, y + 0.41, look.colour("sky"))


def cup(pen: Pen, look: Look) -> None:
    """A cup with a handle; full it steams."""
    china = look.colour("white")
    pen.bow(0.42, 0.5, 0.22, 270, 90, shade(china, 0.8), 0.1)
    pen.shape([(-0.42, 0.84), (0.42, 0.84), (0.3, 0), (-0.3, 0)], china)
    pen.oval(-0.42, 0.74, 0.42, 0.94, (92, 56, 34))
    if "steaming" in look.poses:
        for x in (-0.16, 0.14):
            pen.line([(x, 1.0), (x + 0.08, 1.15), (x - 0.04, 1.3), (x + 0.06, 1.45)], WHITE, 0.05)


def bottle(pen: Pen, look: Look) -> None:
    """A bottle with a label."""
    glass = look.colour("green")
    pen.box(-0.17, 0, 0.17, 0.62, glass, 0.06)
    pen.shape([(-0.17, 0.58), (-0.07, 0.76), (0.07, 0.76), (0.17, 0.58)], glass)
    pen.box(-0.07, 0.72, 0.07, 1.0, glass)
    pen.box(-0.17, 0.18, 0.17, 0.44, WHITE)


def pizza(pen: Pen, look: Look) -> None:
    """A pizza from above."""
    pen.disc(0, 0.5, 0.5, (206, 148, 76))
    pen.disc(0, 0.5, 0.43, (240, 204, 96))
    for x, y in (
        (-0.2, 0.66),
        (0.18, 0.7),
        (0.24, 0.4),
        (-0.04, 0.44),
        (-0.22, 0.34),
        (0.04, 0.22),
    ):
        pen.disc(x, y, 0.09, look.colour("red"))
    for x, y in ((0, 0.78), (0.06, 0.56), (-0.32, 0.5), (0.32, 0.56), (0.16, 0.26)):
        pen.disc(x, y, 0.035, GREEN)


def cake(pen: Pen, look: Look) -> None:
    """A cake with three candles."""
    icing = look.colour("pink")
    pen.box(-0.5, 0, 0.5, 0.5, (222, 184, 130), 0.04)
    pen.box(-0.5, 0.3, 0.5, 0.56, icing, 0.06)
    for step in range(5):
        pen.disc(-0.4 + step * 0.2, 0.3, 0.08, icing)
    for x in (-0.26, 0, 0.26):
        pen.box(x - 0.03, 0.56, x + 0.03, 0.82, COLOURS["blue"])
        pen.oval(x - 0.04, 0.82, x + 0.04, 0.98, ORANGE)


def apple(pen: Pen, look: Look) -> None:
    """An apple."""
    skin = look.colour("red")
    pen.oval(-0.48, 0, 0.14, 0.84, skin)
    pen.oval(-0.14, 0, 0.48, 0.84, skin)
    pen.draw.ellipse(pen.corners(-0.3, 0.08, 0.3, 0.78), skin)
    pen.line([(0, 0.74), (0.06, 1.0)], BROWN, 0.06)
    pen.oval(0.06, 0.84, 0.34, 0.98, GREEN)


def banana(pen: Pen, look: Look) -> None:
    """A banana."""
    pen.bow(0, 0.8, 0.7, 20, 160, shade(look.colour("yellow"), 0.75), 0.32)
    pen.bow(0, 0.8, 0.68, 22, 158, look.colour("yellow"), 0.26)
    pen.disc(0.62, 0.58, 0.05, BROWN)
    pen.disc(-0.62, 0.58, 0.05, BROWN)


def icecream(pen: Pen, look: Look) -> None:
    """Ice cream in a cone."""
    pen.shape([(-0.22, 0.56), (0.22, 0.56), (0, 0)], (214, 160, 90))
    pen.disc(0, 0.68, 0.25, look.colour("pink"))
    pen.disc(0, 0.9, 0.18, look.colour("white", 1))


def ball(pen: Pen, look: Look) -> None:
    """A ball with a band; football has black patches."""
    fill = look.colour("red")
    pen.disc(0, 0.5, 0.5, fill)
    if "football" in look.poses:
        for step in range(5):
            turn = step * 2 * pi / 5 + pi / 2
            pen.disc(0.36 * cos(turn), 0.5 + 0.36 * sin(turn), 0.1, BLACK)
        pen.disc(0, 0.5, 0.14, BLACK)
        return
    pen.bow(0, 0.5, 0.44, 200, 260, WHITE, 0.1)


def kite(pen: Pen, look: Look) -> None:
    """A kite and its string."""
    pen.line([(0, 0.2), (-0.14, -0.2), (0.04, -0.6), (-0.3, -1.4)], WHITE, 0.03)
    pen.shape([(0, 0.1), (-0.36, 0.62), (0, 1), (0.36, 0.62)], look.colour("red"))
    pen.shape([(0, 0.1), (0.36, 0.62), (0, 0.62)], look.colour("yellow", 1))
    for y in (-0.2, -0.6):
        pen.shape(
            [(-0.12, y - 0.06), (-0.12, y + 0.06), (0.12, y - 0.06), (0.12, y + 0.06)], YELLOW
        )


def umbrella(pen: Pen, look: Look) -> None:
    """An open umbrella."""
    cloth = look.colour("red")
    pen.line([(0, 0.9), (0, 0.1)], BROWN, 0.04)
    pen.bow(0.08, 0.1, 0.08, 0, 180, BROWN, 0.04)
    pen.draw.pieslice(pen.corners(-0.62, 0.16, 0.62, 1.0), 180, 360, cloth, shade(cloth, 0.7), 2)
    for x in (-0.2, 0.2):
        pen.line([(x, 0.58), (0, 0.98)], shade(cloth, 0.7), 0.02)


def balloon(pen: Pen, look: Look) -> None:
    """A toy balloon on a string."""
    pen.line([(0, 0.4), (0.05, 0.2), (-0.04, 0)], GREY, 0.02)
    pen.oval(-0.24, 0.4, 0.24, 1.0, look.colour("red"))
    pen.shape([(-0.05, 0.36), (0.05, 0.36), (0, 0.42)], look.colour("red"))


def guitar(pen: Pen, look: Look) -> None:
    """A guitar, upright."""
    wood = look.colour("tan")
    pen.box(-0.04, 0.5, 0.04, 0.94, BROWN)
    pen.box(-0.07, 0.92, 0.07, 1.04, BROWN)
    pen.disc(0, 0.22, 0.22, wood)
    pen.disc(0, 0.48, 0.16, wood)
    pen.disc(0, 0.36, 0.07, BLACK)
    pen.box(-0.09, 0.12, 0.09, 0.16, BROWN)


def book(pen: Pen, look: Look) -> None:
    """An open book."""
    cover = look.colour("red")
    pen.shape([(-0.9, 0), (0, 0.12), (0.9, 0), (0.9, 0.9), (0, 1.0), (-0.9, 0.9)], cover)
    for way in (-1, 1):
        pen.shape([(0, 0.2), (way * 0.82, 0.08), (way * 0.82, 0.84), (0, 0.94)], WHITE)
        for row in range(4):
            y = 0.3 + row * 0.14
            pen.line([(way * 0.12, y), (way * 0.7, y - 0.06)], GREY, 0.02)


def bench(pen: Pen, look: Look) -> None:
    """A park bench."""
    wood = look.colour("brown")
    for x in (-0.8, 0.74):
        pen.box(x, 0, x + 0.08, 0.9, BLACK)
    for y in (0.4, 0.62, 0.82):
        pen.box(-1, y, 1, y + 0.12, wood)


def campfire(pen: Pen, look: Look) -> None:
    """Logs on fire."""
    pen.shape(
        [
            (-0.34, 0.1),
            (-0.2, 0.66),
            (-0.06, 0.42),
            (0.04, 1),
            (0.16, 0.46),
            (0.28, 0.7),
            (0.34, 0.1),
        ],
        ORANGE,
    )
    pen.shape([(-0.16, 0.1), (0, 0.6), (0.16, 0.1)], YELLOW)
    pen.line([(-0.5, 0.02), (0.4, 0.2)], BROWN, 0.14)
    pen.line([(0.5, 0.02), (-0.4, 0.2)], BROWN, 0.14)


def light(pen: Pen, look: Look) -> None:
    """A traffic light; one lamp is lit, by the colour."""
    lit = look.colour("red")
    pen.line([(0, 0), (0, 0.5)], GREY, 0.06)
    pen.box(-0.16, 0.4, 0.16, 1.0, BLACK, 0.04)
    for y, fill in ((0.88, RED), (0.7, YELLOW), (0.52, GREEN)):
        pen.disc(0, y, 0.08, fill if fill == lit else (70, 70, 70))


def sign(pen: Pen, look: Look) -> None:
    """A stop sign: eight corners, red, a white bar."""
    pen.line([(0, 0), (0, 0.6)], GREY, 0.06)
    corners = [
        (0.32 * cos(pi / 8 + n * pi / 4), 0.7 + 0.32 * sin(pi / 8 + n * pi / 4)) for n in range(8)
    ]
    pen.shape(corners, look.colour("red"))
    pen.box(-0.2, 0.64, 0.2, 0.76, WHITE)


def rain(pen: Pen, look: Look) -> None:
    """Rain over the whole picture; heavy is more of it."""
    falling(pen, 320 if "heavy" in look.poses else 110, (206, 222, 240), 5)


def snowfall(pen: Pen, look: Look) -> None:
    """Flakes over the whole picture."""
    chance, side = random.Random(11), pen.size
    for _ in range(130):
        x, y, size = chance.random() * side, chance.random() * side, chance.choice((3, 4, 6, 7))
        pen.draw.ellipse((x, y, x + size, y + size), WHITE)


def falling(pen: Pen, many: int, colour: tuple[int, int, int], slant: float) -> None:
    """Slanting strokes, the same ones on every run."""
    chance, side = random.Random(9), pen.size
    for _ in range(many):
        x, y = chance.random() * side, chance.random() * side
        pen.draw.line([(x, y), (x - slant, y + 0.05 * side)], colour, 2)


THINGS = {
    "table": table, "chair": chair, "sofa": sofa, "bed": bed, "lamp": lamp, "clock": clock,
    "television": television, "window": window, "cup": cup, "bottle": bottle, "pizza": pizza,
    "cake": cake, "apple": apple, "banana": banana, "icecream": icecream, "ball": ball,
    "kite": kite, "umbrella": umbrella, "balloon": balloon, "guitar": guitar, "book": book,
    "bench": bench, "campfire": campfire, "light": light, "sign": sign, "rain": rain,
    "snowfall": snowfall,
}  # fmt: skip

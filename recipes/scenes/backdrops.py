"""What lies behind a scene: sky, ground, walls. Each fills the whole picture."""

import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from recipes.scenes.pen import Colour, shade

SKY = ((112, 178, 236), (206, 230, 246))
GREY_SKY = ((98, 104, 116), (164, 170, 178))
NIGHT_SKY = ((14, 18, 48), (44, 54, 98))
EVENING_SKY = ((120, 60, 120), (252, 164, 74))


def blend(picture: Image.Image, top: float, bottom: float, colours: tuple[Colour, Colour]) -> None:
    """A band from one height to another (shares of the side), one colour running into the other."""
    draw, side = ImageDraw.Draw(picture), picture.height
    first, last = round(top * side), round(bottom * side)
    for row in range(first, last):
        share = (row - first) / max(1, last - first - 1)
        mixed = tuple(round(a + (b - a) * share) for a, b in zip(*colours, strict=True))
        draw.line([(0, row), (picture.width, row)], mixed)


def speckle(
    picture: Image.Image, top: float, bottom: float, colour: Colour, many: int, tall: float
) -> None:
    """Strokes of grass, grains of sand: the same ones on every run."""
    draw, side, chance = ImageDraw.Draw(picture), picture.height, random.Random(7)
    for _ in range(many):
        x, y = chance.random() * side, (top + (bottom - top) * chance.random()) * side
        tint = shade(colour, 0.75 + 0.7 * chance.random())
        draw.line([(x, y), (x + chance.uniform(-2, 2), y - tall * side)], tint, 2)


def meadow(picture: Image.Image) -> None:
    """Green grass under a blue sky."""
    blend(picture, 0, 0.58, SKY)
    blend(picture, 0.58, 1, ((120, 178, 76), (70, 138, 52)))
    speckle(picture, 0.6, 1, (82, 150, 56), 700, 0.02)


def storm(picture: Image.Image) -> None:
    """Dull grass under a grey sky."""
    blend(picture, 0, 0.58, GREY_SKY)
    blend(picture, 0.58, 1, ((92, 118, 84), (62, 86, 62)))
    speckle(picture, 0.6, 1, (66, 92, 62), 500, 0.02)


def night(picture: Image.Image) -> None:
    """Dark ground under stars."""
    blend(picture, 0, 0.64, NIGHT_SKY)
    blend(picture, 0.64, 1, ((30, 46, 42), (16, 26, 28)))
    draw, side, chance = ImageDraw.Draw(picture), picture.height, random.Random(3)
    for _ in range(60):
        x, y = chance.random() * side, chance.random() * 0.6 * side
        size = chance.choice((1, 1, 2, 3))
        draw.ellipse((x, y, x + size, y + size), (250, 246, 220))


def sunset(picture: Image.Image) -> None:
    """The sun going down over water."""
    blend(picture, 0, 0.6, EVENING_SKY)
    draw, side = ImageDraw.Draw(picture), picture.height
    draw.ellipse((0.38 * side, 0.46 * side, 0.62 * side, 0.7 * side), (255, 220, 120))
    blend(picture, 0.6, 1, ((214, 118, 84), (70, 44, 96)))
    for row in range(12):
        y, half = (0.62 + row * 0.03) * side, (0.11 - row * 0.006) * side
        draw.line([(0.5 * side - half, y), (0.5 * side + half, y)], (255, 206, 124), 3)


def snow(picture: Image.Image) -> None:
    """A white field under a pale sky."""
    blend(picture, 0, 0.58, ((150, 186, 220), (222, 234, 244)))
    blend(picture, 0.58, 1, ((238, 244, 250), (214, 226, 240)))
    speckle(picture, 0.62, 1, (196, 212, 230), 120, 0.004)


def beach(picture: Image.Image) -> None:
    """Sand before the sea."""
    blend(picture, 0, 0.4, SKY)
    blend(picture, 0.4, 0.62, ((40, 120, 186), (94, 182, 214)))
    blend(picture, 0.62, 1, ((238, 216, 164), (222, 192, 134)))
    speckle(picture, 0.65, 1, (206, 176, 120), 300, 0.004)
    ImageDraw.Draw(picture).rectangle(
        (0, 0.61 * picture.height, picture.width, 0.63 * picture.height), (246, 250, 250)
    )


def sea(picture: Image.Image) -> None:
    """Open water."""
    blend(picture, 0, 0.5, SKY)
    blend(picture, 0.5, 1, ((58, 132, 194), (22, 72, 136)))
    draw, side, chance = ImageDraw.Draw(picture), picture.height, random.Random(5)
    for _ in range(70):
        x, y = chance.random() * side, (0.52 + 0.47 * chance.random()) * side
        draw.arc((x, y, x + 0.06 * side, y + 0.02 * side), 200, 340, (168, 208, 234), 2)


def underwater(picture: Image.Image) -> None:
    """Below the surface, with sand and weed."""
    blend(picture, 0, 0.86, ((74, 172, 214), (16, 76, 140)))
    blend(picture, 0.86, 1, ((206, 188, 140), (176, 154, 108)))
    draw, side = ImageDraw.Draw(picture), picture.height
    for x in (0.06, 0.12, 0.9, 0.95):
        wave = [((x + 0.015 * (-1) ** row) * side, (0.9 - row * 0.05) * side) for row in range(7)]
        draw.line(wave, (36, 132, 84), 7, joint="curve")


def street(picture: Image.Image) -> None:
    """A road with a pavement before a row of buildings."""
    blend(picture, 0, 0.62, SKY)
    draw, side = ImageDraw.Draw(picture), picture.height
    walls = ((0, 0.3, (176, 132, 112)), (0.24, 0.2, (158, 158, 168)), (0.5, 0.34, (196, 172, 134)),
             (0.76, 0.24, (150, 120, 120)))  # fmt: skip
    for x, top, wall in walls:
        place = (x * side, top * side, (x + 0.23) * side, 0.62 * side)
        draw.rectangle(place, wall, shade(wall, 0.7), 2)
        for across in range(3):
            for down in range(3):
                a, b = (x + 0.035 + across * 0.065) * side, (top + 0.04 + down * 0.08) * side
                draw.rectangle((a, b, a + 0.035 * side, b + 0.045 * side), (112, 146, 176))
    blend(picture, 0.6, 0.7, ((188, 186, 182), (172, 170, 166)))
    blend(picture, 0.7, 1, ((92, 94, 98), (72, 74, 78)))
    for dash in range(5):
        x = (0.04 + dash * 0.21) * side
        draw.rectangle((x, 0.86 * side, x + 0.1 * side, 0.875 * side), (240, 236, 220))


def room(picture: Image.Image) -> None:
    """A wall and a wooden floor."""
    blend(picture, 0, 0.66, ((232, 220, 196), (222, 208, 182)))
    blend(picture, 0.66, 1, ((168, 118, 74), (142, 96, 58)))
    draw, side = ImageDraw.Draw(picture), picture.height
    draw.rectangle((0, 0.65 * side, side, 0.675 * side), (246, 242, 232))
    for row in range(1, 5):
        y = (0.675 + row * 0.07) * side
        draw.line([(0, y), (side, y)], (126, 84, 50), 2)


def desert(picture: Image.Image) -> None:
    """Dunes under a hot sky."""
    blend(picture, 0, 0.55, ((132, 190, 232), (248, 230, 190)))
    blend(picture, 0.55, 1, ((232, 190, 116), (206, 154, 84)))
    draw, side = ImageDraw.Draw(picture), picture.height
    draw.ellipse((-0.3 * side, 0.48 * side, 0.6 * side, 0.9 * side), (226, 178, 104))
    draw.ellipse((0.4 * side, 0.52 * side, 1.4 * side, 1.1 * side), (216, 166, 92))


def forest(picture: Image.Image) -> None:
    """Trunks and leaves, all green."""
    blend(picture, 0, 0.66, ((98, 146, 92), (46, 92, 56)))
    blend(picture, 0.66, 1, ((88, 98, 52), (60, 70, 38)))
    draw, side = ImageDraw.Draw(picture), picture.height
    for x, broad in (
        (0.04, 0.05),
        (0.2, 0.03),
        (0.36, 0.04),
        (0.66, 0.03),
        (0.8, 0.05),
        (0.95, 0.04),
    ):
        draw.rectangle((x * side, 0, (x + broad) * side, 0.72 * side), (84, 62, 42))
    for step in range(14):
        x = step * 0.075 - 0.05
        draw.ellipse((x * side, -0.12 * side, (x + 0.18) * side, 0.1 * side), (40, 96, 48))
    speckle(picture, 0.7, 1, (84, 120, 52), 400, 0.025)


BACKDROPS: dict[str, Callable[[Image.Image], None]] = {
    "meadow": meadow, "storm": storm, "night": night, "sunset": sunset, "snow": snow,
    "beach": beach, "sea": sea, "underwater": underwater, "street": street, "room": room,
    "desert": desert, "forest": forest,
}  # fmt: skip

"""People: a man, a woman, a child, in a few poses."""

from recipes.scenes.pen import COLOURS, Colour, Look, Pen, shade

SKIN, HAIR, BLACK = COLOURS["skin"], COLOURS["brown"], COLOURS["black"]

# Where the hands are, left and right, by pose; and the feet.
HANDS = {
    "cheering": ((-0.3, 1.0), (0.3, 1.0)), "waving": ((-0.24, 0.4), (0.32, 0.98)),
    "holding": ((-0.24, 0.4), (0.34, 0.62)), "running": ((-0.26, 0.5), (0.28, 0.6)),
}  # fmt: skip
FEET = {"running": ((-0.36, 0.12), (0.3, 0.02)), "sitting": ((0.34, 0.0), (0.4, 0.0))}


def limbs(pen: Pen, look: Look, shirt: Colour, trousers: Colour) -> None:
    """Legs and arms as the pose wants them."""
    pose = next((word for word in look.poses if word in HANDS), "")
    left, right = HANDS.get(pose, ((-0.24, 0.4), (0.24, 0.4)))
    if "sitting" in look.poses:
        for dark in (0.8, 1.0):
            knee = [(0, 0.36), (0.28, 0.34), (0.3, 0.04)]
            pen.line(knee, shade(trousers, dark), 0.12)
    else:
        far, near = FEET.get(pose, ((-0.09, 0.02), (0.09, 0.02)))
        pen.line([(-0.06, 0.42), far], trousers, 0.12)
        pen.line([(0.06, 0.42), near], trousers, 0.12)
        for x, y in (far, near):
            pen.oval(x - 0.07, y - 0.02, x + 0.1, y + 0.05, BLACK)
    for way, hand in ((-1, left), (1, right)):
        pen.line([(way * 0.12, 0.68), hand], shade(shirt, 0.85), 0.08)
        pen.disc(*hand, 0.045, SKIN)


def face(pen: Pen, hair: Colour) -> None:
    """Head with short hair."""
    pen.disc(0, 0.87, 0.125, SKIN)
    pen.draw.pieslice(pen.corners(-0.135, 0.74, 0.135, 1.01), 185, 355, hair)
    for way in (-1, 1):
        pen.disc(way * 0.045, 0.87, 0.014, BLACK)
    pen.bow(0, 0.84, 0.05, 20, 160, COLOURS["red"], 0.012)


def man(pen: Pen, look: Look) -> None:
    """A man; first colour the shirt, second the trousers."""
    shirt, trousers = look.colour("blue"), look.colour("dark", 1)
    limbs(pen, look, shirt, trousers)
    pen.box(-0.16, 0.38, 0.16, 0.74, shirt, 0.06)
    face(pen, HAIR)
    if "hat" in look.poses:
        hat(pen, COLOURS["black"])


def woman(pen: Pen, look: Look) -> None:
    """A woman with long hair; the colour is her dress."""
    dress = look.colour("red")
    pen.box(-0.16, 0.62, 0.16, 0.98, shade(HAIR, 0.8), 0.1)
    limbs(pen, look, dress, SKIN)
    pen.shape([(-0.12, 0.74), (0.12, 0.74), (0.26, 0.22), (-0.26, 0.22)], dress)
    face(pen, shade(HAIR, 0.8))
    if "hat" in look.poses:
        hat(pen, COLOURS["tan"])


def child(pen: Pen, look: Look) -> None:
    """A child with a large head; first colour the shirt, second the trousers."""
    shirt, trousers = look.colour("yellow"), look.colour("blue", 1)
    limbs(pen, look, shirt, trousers)
    pen.box(-0.16, 0.34, 0.16, 0.7, shirt, 0.07)
    pen.disc(0, 0.84, 0.17, SKIN)
    pen.draw.pieslice(pen.corners(-0.18, 0.67, 0.18, 1.03), 185, 355, HAIR)
    for way in (-1, 1):
        pen.disc(way * 0.06, 0.84, 0.018, BLACK)
    pen.bow(0, 0.8, 0.06, 20, 160, COLOURS["red"], 0.015)


def hat(pen: Pen, colour: Colour) -> None:
    """A hat with a brim."""
    pen.oval(-0.22, 0.92, 0.22, 1.0, colour)
    pen.box(-0.11, 0.96, 0.11, 1.14, colour, 0.03)


def snowman(pen: Pen, look: Look) -> None:
    """Three balls of snow with a carrot nose."""
    white, scarf = COLOURS["white"], look.colour("red")
    for x, y in ((-0.5, 0.7), (0.5, 0.72)):
        pen.line([(x / 2, 0.5), (x, y)], COLOURS["brown"], 0.03)
    for y, radius in ((0.24, 0.25), (0.55, 0.19), (0.8, 0.14)):
        pen.disc(0, y, radius, white)
    pen.box(-0.14, 0.66, 0.14, 0.72, scarf, 0.02)
    pen.shape([(0, 0.82), (0.2, 0.78), (0, 0.77)], COLOURS["orange"])
    for way in (-1, 1):
        pen.disc(way * 0.05, 0.85, 0.018, BLACK)
    for y in (0.5, 0.58):
        pen.disc(0, y, 0.022, BLACK)
    pen.box(-0.17, 0.9, 0.17, 0.93, BLACK)
    pen.box(-0.1, 0.92, 0.1, 1.06, BLACK)


PEOPLE = {"man": man, "woman": woman, "child": child, "snowman": snowman}

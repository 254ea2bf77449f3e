"""Animals, seen from the side (they look to the right) or the front."""

from math import pi, sin

from recipes.scenes.pen import COLOURS, Colour, Look, Pen, shade

BLACK, WHITE, PINK = COLOURS["black"], COLOURS["white"], COLOURS["pink"]
ORANGE = COLOURS["orange"]


def legs(pen: Pen, coat: Colour, high: float, places: tuple[float, ...], broad: float) -> None:
    """Four legs: the first two places are those farther away, a little darker."""
    for number, x in enumerate(places):
        tint = shade(coat, 0.8) if number < 2 else coat
        pen.box(x - broad / 2, 0, x + broad / 2, high, tint, broad / 3)


def dog(pen: Pen, look: Look) -> None:
    """A dog; running with legs apart, sitting from the side."""
    coat = look.colour("brown")
    dark = shade(coat, 0.7)
    if "running" in look.poses:
        for x, end in ((-0.3, -0.6), (-0.25, -0.42), (0.25, 0.5), (0.3, 0.66)):
            pen.line([(x, 0.42), (end, 0.06)], dark, 0.1)
    else:
        legs(pen, coat, 0.42, (-0.26, 0.2, -0.38, 0.32), 0.11)
    pen.line([(-0.44, 0.58), (-0.62, 0.72), (-0.68, 0.92)], coat, 0.08)
    pen.oval(-0.5, 0.3, 0.46, 0.7, coat)
    pen.oval(0.28, 0.52, 0.7, 0.96, coat)
    pen.oval(0.54, 0.54, 0.88, 0.76, shade(coat, 1.3))
    pen.disc(0.84, 0.7, 0.045, BLACK)
    pen.oval(0.26, 0.52, 0.42, 0.92, dark)
    pen.eye(0.58, 0.8)
    pen.line([(0.3, 0.56), (0.44, 0.5)], COLOURS["red"], 0.05)


def cat(pen: Pen, look: Look) -> None:
    """A cat that sits and looks at us; asleep it lies curled up."""
    coat = look.colour("orange")
    dark = shade(coat, 0.7)
    if "asleep" in look.poses:
        pen.oval(-0.8, 0, 0.7, 0.8, coat)
        pen.line([(0.6, 0.2), (0.2, 0.06), (-0.5, 0.1)], dark, 0.14)
        head, high = -0.5, 0.45
    else:
        pen.line([(0.25, 0.08), (0.52, 0.14), (0.52, 0.42), (0.62, 0.5)], dark, 0.09)
        pen.oval(-0.32, 0, 0.32, 0.62, coat)
        pen.oval(-0.2, 0, -0.02, 0.14, shade(coat, 1.3))
        pen.oval(0.02, 0, 0.2, 0.14, shade(coat, 1.3))
        head, high = 0.0, 0.68
    for way in (-1, 1):
        ear = [(head + way * 0.24, high + 0.06), (head + way * 0.23, high + 0.34),
               (head + way * 0.05, high + 0.2)]  # fmt: skip
        pen.shape(ear, coat)
    pen.oval(head - 0.28, high - 0.2, head + 0.28, high + 0.23, coat)
    for way in (-1, 1):
        if "asleep" in look.poses:
            pen.line(
                [(head + way * 0.16, high + 0.04), (head + way * 0.06, high + 0.02)], BLACK, 0.02
            )
        else:
            pen.disc(head + way * 0.11, high + 0.05, 0.055, COLOURS["green"])
            pen.oval(head + way * 0.11 - 0.018, high, head + way * 0.11 + 0.018, high + 0.1, BLACK)
        for tilt in (-0.03, 0.03):
            pen.line(
                [(head + way * 0.1, high - 0.07), (head + way * 0.4, high - 0.07 + tilt)],
                dark,
                0.012,
            )
    pen.shape([(head - 0.035, high - 0.03), (head + 0.035, high - 0.03), (head, high - 0.07)], PINK)


def horse(pen: Pen, look: Look) -> None:
    """A horse with a mane."""
    coat = look.colour("brown")
    dark = shade(coat, 0.5)
    if "running" in look.poses:
        for x, end in ((-0.34, -0.62), (-0.3, -0.44), (0.22, 0.4), (0.26, 0.6)):
            pen.line([(x, 0.44), ((x + end) / 2, 0.24), (end, 0.02)], shade(coat, 0.85), 0.08)
    else:
        legs(pen, coat, 0.48, (-0.28, 0.18, -0.4, 0.28), 0.09)
    pen.line([(-0.46, 0.6), (-0.6, 0.5), (-0.62, 0.24)], dark, 0.09)
    pen.oval(-0.5, 0.38, 0.4, 0.72, coat)
    pen.shape([(0.12, 0.62), (0.4, 0.5), (0.6, 0.9), (0.42, 0.98)], coat)
    pen.line([(0.14, 0.7), (0.28, 0.84), (0.42, 1.0)], dark, 0.08)
    pen.shape([(0.42, 0.98), (0.6, 0.96), (0.86, 0.74), (0.78, 0.64), (0.5, 0.78)], coat)
    pen.shape([(0.44, 0.96), (0.47, 1.08), (0.53, 0.96)], coat)
    pen.eye(0.58, 0.88, 0.025)
    pen.disc(0.79, 0.71, 0.015, BLACK)


def cow(pen: Pen, look: Look) -> None:
    """A cow, white with black patches."""
    coat = look.colour("white")
    legs(pen, coat, 0.4, (-0.34, 0.26, -0.46, 0.38), 0.12)
    pen.line([(-0.58, 0.74), (-0.7, 0.66), (-0.7, 0.36)], shade(coat, 0.7), 0.04)
    pen.oval(-0.24, 0.24, 0.02, 0.44, PINK)
    pen.box(-0.6, 0.34, 0.52, 0.82, coat, 0.18)
    patch = BLACK if coat == WHITE else shade(coat, 0.6)
    pen.oval(-0.44, 0.5, -0.1, 0.8, patch)
    pen.oval(0.1, 0.38, 0.34, 0.64, patch)
    for x in (0.52, 0.76):
        pen.line([(x, 0.94), (x + (0.06 if x > 0.6 else -0.06), 1.06)], COLOURS["tan"], 0.05)
    pen.oval(0.42, 0.52, 0.84, 1.0, coat)
    pen.oval(0.36, 0.78, 0.5, 0.9, patch)
    pen.oval(0.5, 0.46, 0.86, 0.68, PINK)
    pen.disc(0.62, 0.58, 0.02, BLACK)
    pen.disc(0.75, 0.58, 0.02, BLACK)
    pen.eye(0.56, 0.8)
    pen.eye(0.72, 0.8)


def sheep(pen: Pen, look: Look) -> None:
    """A woolly sheep."""
    wool = look.colour("white")
    legs(pen, BLACK, 0.36, (-0.26, 0.2, -0.36, 0.3), 0.09)
    for x, y in ((-0.4, 0.5), (-0.2, 0.68), (0.05, 0.72), (0.26, 0.62), (0.34, 0.44), (0.1, 0.34),
                 (-0.16, 0.34), (-0.38, 0.38), (0, 0.52)):  # fmt: skip
        pen.disc(x, y, 0.22, wool)
    pen.oval(-0.4, 0.3, 0.36, 0.74, wool)
    pen.oval(0.36, 0.48, 0.68, 0.86, COLOURS["dark"])
    pen.oval(0.3, 0.72, 0.46, 0.82, COLOURS["dark"])
    pen.disc(0.44, 0.86, 0.1, wool)
    pen.eye(0.56, 0.72)


def pig(pen: Pen, look: Look) -> None:
    """A pig with a curly tail."""
    skin = look.colour("pink")
    dark = shade(skin, 0.8)
    legs(pen, skin, 0.3, (-0.3, 0.24, -0.42, 0.36), 0.14)
    pen.bow(-0.66, 0.62, 0.09, 0, 300, dark, 0.04)
    pen.oval(-0.6, 0.2, 0.5, 0.9, skin)
    pen.oval(0.24, 0.36, 0.76, 0.92, skin)
    pen.shape([(0.3, 0.84), (0.36, 1.04), (0.5, 0.88)], dark)
    pen.oval(0.64, 0.5, 0.84, 0.74, dark)
    pen.oval(0.7, 0.56, 0.74, 0.66, BLACK)
    pen.oval(0.77, 0.56, 0.81, 0.66, BLACK)
    pen.eye(0.56, 0.76)


def elephant(pen: Pen, look: Look) -> None:
    """An elephant with trunk and tusk."""
    skin = look.colour("grey")
    legs(pen, skin, 0.4, (-0.34, 0.2, -0.5, 0.32), 0.18)
    pen.line([(-0.62, 0.66), (-0.7, 0.4)], shade(skin, 0.7), 0.03)
    pen.oval(-0.66, 0.28, 0.44, 0.94, skin)
    pen.line([(0.66, 0.66), (0.8, 0.5), (0.8, 0.24), (0.9, 0.16)], skin, 0.14)
    pen.oval(0.28, 0.46, 0.78, 0.98, skin)
    pen.shape([(0.66, 0.54), (0.74, 0.5), (0.94, 0.48), (0.92, 0.43), (0.68, 0.42)], WHITE)
    pen.oval(0.12, 0.44, 0.46, 0.94, shade(skin, 0.85))
    pen.eye(0.6, 0.78, 0.025)


def giraffe(pen: Pen, look: Look) -> None:
    """A giraffe with its patches."""
    coat, patch = look.colour("yellow"), COLOURS["brown"]
    legs(pen, coat, 0.36, (-0.16, 0.1, -0.22, 0.16), 0.045)
    pen.oval(-0.28, 0.3, 0.22, 0.5, coat)
    pen.shape([(0.04, 0.44), (0.2, 0.38), (0.32, 0.9), (0.22, 0.92)], coat)
    pen.shape([(0.2, 0.96), (0.34, 0.96), (0.48, 0.86), (0.45, 0.82), (0.26, 0.86)], coat)
    for x in (0.23, 0.29):
        pen.line([(x, 0.95), (x, 1.02)], patch, 0.018)
    for x, y in ((-0.2, 0.4), (-0.1, 0.44), (-0.08, 0.35), (0.03, 0.4), (0.12, 0.46), (0.16, 0.56),
                 (0.2, 0.66), (0.24, 0.77), (0.26, 0.86)):  # fmt: skip
        pen.disc(x, y, 0.026, patch)
    pen.line([(-0.27, 0.42), (-0.33, 0.28)], patch, 0.02)
    pen.eye(0.33, 0.91, 0.014)


def lion(pen: Pen, look: Look) -> None:
    """A lion; its mane makes it one."""
    coat, mane = look.colour("gold"), COLOURS["brown"]
    legs(pen, coat, 0.38, (-0.3, 0.16, -0.42, 0.28), 0.12)
    pen.line([(-0.5, 0.6), (-0.7, 0.5), (-0.74, 0.3)], coat, 0.05)
    pen.disc(-0.74, 0.28, 0.06, mane)
    pen.oval(-0.54, 0.3, 0.4, 0.68, coat)
    pen.disc(0.42, 0.68, 0.32, mane)
    pen.disc(0.46, 0.68, 0.2, coat)
    pen.oval(0.44, 0.52, 0.68, 0.68, shade(coat, 1.5))
    pen.disc(0.62, 0.65, 0.035, BLACK)
    pen.eye(0.42, 0.74, 0.03)
    pen.eye(0.56, 0.74, 0.03)


def bear(pen: Pen, look: Look) -> None:
    """A bear on its four feet."""
    coat = look.colour("brown")
    legs(pen, coat, 0.4, (-0.3, 0.24, -0.46, 0.38), 0.18)
    pen.oval(-0.62, 0.24, 0.5, 0.86, coat)
    pen.disc(0.42, 0.92, 0.08, coat)
    pen.disc(0.66, 0.92, 0.08, coat)
    pen.oval(0.3, 0.5, 0.78, 0.94, coat)
    pen.oval(0.6, 0.52, 0.9, 0.72, shade(coat, 1.5))
    pen.disc(0.86, 0.67, 0.045, BLACK)
    pen.eye(0.6, 0.8, 0.03)


def rabbit(pen: Pen, look: Look) -> None:
    """A rabbit that sits up."""
    coat = look.colour("white")
    for way in (-1, 1):
        pen.oval(way * 0.13 - 0.07, 0.58, way * 0.13 + 0.07, 1.0, coat)
        pen.oval(way * 0.13 - 0.03, 0.64, way * 0.13 + 0.03, 0.94, PINK)
    pen.oval(-0.3, 0, 0.3, 0.48, coat)
    pen.disc(0, 0.52, 0.21, coat)
    for way in (-1, 1):
        pen.oval(way * 0.16 - 0.12, 0, way * 0.16 + 0.12, 0.1, coat)
        pen.disc(way * 0.09, 0.56, 0.03, BLACK)
    pen.disc(0, 0.47, 0.03, PINK)


def bird(pen: Pen, look: Look) -> None:
    """A bird; flying it spreads its wings."""
    coat = look.colour("blue")
    if "flying" in look.poses:
        pen.shape([(-0.2, 0.46), (-0.62, 1.0), (0.16, 0.56)], shade(coat, 0.7))
    else:
        for x in (-0.05, 0.08):
            pen.line([(x, 0.2), (x, 0)], ORANGE, 0.03)
    pen.shape([(-0.3, 0.36), (-0.8, 0.5), (-0.76, 0.3)], shade(coat, 0.8))
    pen.oval(-0.44, 0.16, 0.36, 0.58, coat)
    pen.disc(0.34, 0.6, 0.2, coat)
    pen.shape([(0.5, 0.66), (0.74, 0.58), (0.5, 0.52)], ORANGE)
    if "flying" in look.poses:
        pen.shape([(-0.12, 0.44), (-0.2, 1.04), (0.24, 0.5)], shade(coat, 0.85))
    else:
        pen.oval(-0.34, 0.24, 0.12, 0.5, shade(coat, 0.75))
    pen.eye(0.4, 0.66)


def duck(pen: Pen, look: Look) -> None:
    """A duck."""
    coat = look.colour("yellow")
    pen.shape([(-0.4, 0.3), (-0.66, 0.6), (-0.2, 0.5)], coat)
    pen.oval(-0.56, 0.02, 0.42, 0.56, coat)
    pen.disc(0.34, 0.74, 0.24, coat)
    pen.oval(0.5, 0.64, 0.84, 0.78, ORANGE)
    pen.oval(-0.34, 0.18, 0.16, 0.46, shade(coat, 0.85))
    pen.eye(0.4, 0.82)


def owl(pen: Pen, look: Look) -> None:
    """An owl with large eyes."""
    coat = look.colour("brown")
    for way in (-1, 1):
        pen.shape([(way * 0.32, 0.8), (way * 0.34, 1.02), (way * 0.1, 0.9)], coat)
    pen.oval(-0.38, 0, 0.38, 0.94, coat)
    pen.oval(-0.24, 0.04, 0.24, 0.56, shade(coat, 1.6))
    for way in (-1, 1):
        pen.oval(way * 0.36 - 0.1, 0.1, way * 0.36 + 0.1, 0.6, shade(coat, 0.75))
        pen.disc(way * 0.16, 0.7, 0.15, COLOURS["yellow"])
        pen.disc(way * 0.16, 0.7, 0.075, BLACK)
    pen.shape([(-0.06, 0.62), (0.06, 0.62), (0, 0.5)], ORANGE)


def fish(pen: Pen, look: Look) -> None:
    """A fish with stripes."""
    skin = look.colour("orange")
    pen.shape([(-0.5, 0.5), (-0.96, 0.9), (-0.86, 0.5), (-0.96, 0.1)], shade(skin, 0.85))
    pen.shape([(-0.2, 0.8), (0.1, 1.04), (0.3, 0.8)], shade(skin, 0.85))
    pen.oval(-0.66, 0.1, 0.7, 0.9, skin)
    for x in (-0.2, 0.16):
        pen.oval(x - 0.06, 0.16, x + 0.06, 0.84, WHITE)
    pen.eye(0.46, 0.6, 0.07)
    pen.bow(0.66, 0.42, 0.1, 100, 200, BLACK, 0.03)


def penguin(pen: Pen, look: Look) -> None:
    """A penguin, upright."""
    back = look.colour("black")
    for way in (-1, 1):
        pen.oval(way * 0.14 - 0.13, 0, way * 0.14 + 0.13, 0.1, ORANGE)
        pen.oval(way * 0.34 - 0.08, 0.22, way * 0.34 + 0.08, 0.64, back)
    pen.oval(-0.34, 0.04, 0.34, 0.74, back)
    pen.oval(-0.24, 0.06, 0.24, 0.62, WHITE)
    pen.disc(0, 0.8, 0.2, back)
    for way in (-1, 1):
        pen.eye(way * 0.08, 0.84, 0.04)
    pen.shape([(-0.07, 0.78), (0.07, 0.78), (0, 0.68)], ORANGE)


def snake(pen: Pen, look: Look) -> None:
    """A snake in waves."""
    skin = look.colour("green")
    wave = [(-1.5 + step * 0.1, 0.36 + 0.24 * sin(step * pi / 5)) for step in range(28)]
    pen.line(wave, shade(skin, 0.7), 0.24)
    pen.line(wave, skin, 0.18)
    pen.oval(1.04, 0.2, 1.5, 0.56, skin)
    pen.line([(1.48, 0.36), (1.64, 0.36), (1.74, 0.44)], COLOURS["red"], 0.03)
    pen.eye(1.34, 0.46, 0.05)


def turtle(pen: Pen, look: Look) -> None:
    """A turtle under its shell."""
    skin, shell = COLOURS["green"], look.colour("brown")
    for x in (-0.5, 0.4):
        pen.oval(x - 0.16, 0, x + 0.2, 0.3, skin)
    pen.oval(0.6, 0.3, 1.1, 0.72, skin)
    pen.oval(-0.8, 0.14, 0.74, 1.0, shell)
    for x, y in ((-0.4, 0.5), (0, 0.66), (0.36, 0.5), (-0.06, 0.34)):
        pen.disc(x, y, 0.14, shade(shell, 1.35))
    pen.eye(0.92, 0.58, 0.05)


def butterfly(pen: Pen, look: Look) -> None:
    """A butterfly from above."""
    wing = look.colour("orange")
    for way in (-1, 1):
        pen.oval(way * 0.36 - 0.34, 0.42, way * 0.36 + 0.34, 1.0, wing)
        pen.oval(way * 0.28 - 0.26, 0.02, way * 0.28 + 0.26, 0.5, shade(wing, 0.85))
        pen.disc(way * 0.4, 0.74, 0.12, shade(wing, 1.8))
        pen.line([(0, 0.84), (way * 0.14, 1.06)], BLACK, 0.03)
    pen.oval(-0.07, 0.1, 0.07, 0.88, BLACK)


ANIMALS = {
    "dog": dog, "cat": cat, "horse": horse, "cow": cow, "sheep": sheep, "pig": pig,
    "elephant": elephant, "giraffe": giraffe, "lion": lion, "bear": bear, "rabbit": rabbit,
    "bird": bird, "duck": duck, "owl": owl, "fish": fish, "penguin": penguin, "snake": snake,
    "turtle": turtle, "butterfly": butterfly,
}  # fmt: skip

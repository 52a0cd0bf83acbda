"""Draws a scene with Pillow: a background and one or two groups of simple, recognisable objects.

Objects are drawn in a unit square (x to the right, y downwards) by the small functions of :data:`SKETCHES`,
one a kind, at three times the wanted resolution and then reduced, which smooths the edges.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw
from scene_grammar import Group

Colour = tuple[int, int, int]
Point = tuple[float, float]

OVERSAMPLING = 3

COLOURS: dict[str, Colour] = {
    "red": (215, 40, 40),
    "blue": (35, 75, 205),
    "green": (25, 125, 50),
    "yellow": (250, 215, 40),
    "white": (250, 250, 250),
    "black": (28, 28, 30),
    "brown": (125, 75, 35),
    "grey": (140, 140, 145),
}
SIDES = {"small": 0.15, "medium": 0.195, "big": 0.245}  # of one object, in image widths

DARK: Colour = (30, 30, 34)
LIGHT: Colour = (228, 228, 228)
WOOD: Colour = (110, 72, 40)
LEAF: Colour = (40, 130, 55)
GLASS: Colour = (200, 228, 240)
METAL: Colour = (95, 98, 105)


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """*colour* with *share* (0 to 1) of *other* mixed in."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other))


class Pen:
    """Draws in the unit square of one object: `body` is the caption's colour, `line` its outline's."""

    def __init__(self, draw: ImageDraw.ImageDraw, left: float, top: float, side: float, colour: str):
        self._draw, self._left, self._top, self._side = draw, left, top, side
        self.body = COLOURS[colour]
        self.line = LIGHT if colour == "black" else DARK
        self.shade = mix(self.body, LIGHT if colour == "black" else DARK, 0.3)
        self.tint = mix(self.body, (255, 255, 255), 0.45)

    def _points(self, points: Sequence[Point]) -> list[Point]:
        return [(self._left + x * self._side, self._top + y * self._side) for x, y in points]

    def _width(self, width: float) -> int:
        return max(1, round(width * self._side))

    def polygon(self, points: Sequence[Point], fill: Colour, width: float = 0.03) -> None:
        """A filled polygon with an outline."""
        placed = self._points(points)
        self._draw.polygon(placed, fill=fill)
        self._draw.line(placed + placed[:2], fill=self.line, width=self._width(width), joint="curve")

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, width: float = 0.03) -> None:
        """A filled ellipse in the box of two corners, with an outline."""
        corners = self._points([(x0, y0), (x1, y1)])
        self._draw.ellipse(corners, fill=fill, outline=self.line, width=self._width(width))

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0.0) -> None:
        """A filled rectangle with an outline and, if asked, round corners."""
        corners = self._points([(x0, y0), (x1, y1)])
        self._draw.rounded_rectangle(
            corners, radius=radius * self._side, fill=fill, outline=self.line, width=self._width(0.03)
        )

    def stroke(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A line through the points with round joints and ends."""
        placed, thick = self._points(points), self._width(width)
        self._draw.line(placed, fill=colour, width=thick, joint="curve")
        for x, y in (placed[0], placed[-1]):
            self._draw.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=colour)

    def limb(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A thick line with an outline."""
        self.stroke(points, self.line, width + 0.06)
        self.stroke(points, colour, width)


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int = 16) -> list[Point]:
    """Points of an elliptic arc around (x, y), angles in degrees clockwise from three o'clock."""
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


def _ball(pen: Pen) -> None:
    pen.ellipse(0.06, 0.06, 0.94, 0.94, pen.body)
    pen.stroke(arc(0.12, 0.5, 0.22, 0.36, -70, 70), pen.shade, 0.05)
    pen.stroke(arc(0.88, 0.5, 0.22, 0.36, 110, 250), pen.shade, 0.05)


def _tree(pen: Pen) -> None:
    pen.box(0.42, 0.6, 0.58, 0.97, WOOD)
    pen.ellipse(0.05, 0.25, 0.58, 0.73, pen.body)
    pen.ellipse(0.42, 0.25, 0.95, 0.73, pen.body)
    pen.ellipse(0.2, 0.02, 0.8, 0.6, pen.body)


def _star(pen: Pen) -> None:
    radii = [(0.5, 0.2)[i % 2] for i in range(10)]
    angles = [math.radians(-90 + 36 * i) for i in range(10)]
    pen.polygon([(0.5 + r * math.cos(a), 0.52 + r * math.sin(a)) for r, a in zip(radii, angles)], pen.body)


def _kite(pen: Pen) -> None:
    pen.stroke([(0.5, 0.68), (0.6, 0.77), (0.45, 0.85), (0.58, 0.97)], pen.line, 0.03)
    pen.polygon([(0.5, 0.02), (0.85, 0.3), (0.5, 0.72), (0.15, 0.3)], pen.body)
    pen.stroke([(0.5, 0.02), (0.5, 0.72)], pen.line, 0.025)
    pen.stroke([(0.15, 0.3), (0.85, 0.3)], pen.line, 0.025)


def _fish(pen: Pen) -> None:
    pen.polygon([(0.68, 0.5), (0.98, 0.25), (0.92, 0.5), (0.98, 0.75)], pen.shade)
    pen.polygon([(0.3, 0.32), (0.5, 0.12), (0.58, 0.32)], pen.shade)
    pen.ellipse(0.02, 0.26, 0.76, 0.74, pen.body)
    pen.ellipse(0.13, 0.38, 0.25, 0.5, (255, 255, 255))
    pen.ellipse(0.17, 0.42, 0.22, 0.47, DARK, 0.01)


def _cup(pen: Pen) -> None:
    pen.limb(arc(0.7, 0.5, 0.2, 0.18, -90, 90), pen.body, 0.06)
    pen.polygon([(0.08, 0.22), (0.76, 0.22), (0.66, 0.9), (0.18, 0.9)], pen.body)
    pen.ellipse(0.08, 0.13, 0.76, 0.31, pen.tint)


def _flower(pen: Pen) -> None:
    pen.stroke([(0.5, 0.4), (0.5, 0.98)], LEAF, 0.07)
    pen.polygon([(0.5, 0.86), (0.66, 0.66), (0.84, 0.66), (0.7, 0.84)], LEAF, 0.02)
    for i in range(6):
        x, y = 0.5 + 0.2 * math.cos(math.pi * i / 3), 0.34 + 0.2 * math.sin(math.pi * i / 3)
        pen.ellipse(x - 0.14, y - 0.14, x + 0.14, y + 0.14, pen.body)
    pen.ellipse(0.39, 0.23, 0.61, 0.45, (255, 170, 30))


def _lamp(pen: Pen) -> None:
    pen.stroke([(0.5, 0.5), (0.5, 0.9)], METAL, 0.07)
    pen.box(0.28, 0.88, 0.72, 0.97, METAL)
    pen.ellipse(0.4, 0.42, 0.6, 0.62, (255, 240, 150))
    pen.polygon([(0.32, 0.05), (0.68, 0.05), (0.92, 0.52), (0.08, 0.52)], pen.body)


def _house(pen: Pen) -> None:
    pen.box(0.14, 0.42, 0.86, 0.96, pen.body)
    pen.polygon([(0.03, 0.44), (0.5, 0.04), (0.97, 0.44)], pen.shade)
    pen.box(0.24, 0.55, 0.44, 0.74, GLASS)
    pen.box(0.56, 0.58, 0.76, 0.96, WOOD)


def _car(pen: Pen) -> None:
    pen.polygon([(0.2, 0.5), (0.32, 0.24), (0.68, 0.24), (0.82, 0.5)], pen.body)
    pen.polygon([(0.28, 0.48), (0.36, 0.3), (0.48, 0.3), (0.48, 0.48)], GLASS, 0.02)
    pen.polygon([(0.53, 0.48), (0.53, 0.3), (0.65, 0.3), (0.74, 0.48)], GLASS, 0.02)
    pen.box(0.03, 0.47, 0.97, 0.73, pen.body, radius=0.08)
    for x in (0.25, 0.75):
        pen.ellipse(x - 0.13, 0.6, x + 0.13, 0.86, DARK)
        pen.ellipse(x - 0.06, 0.67, x + 0.06, 0.79, LIGHT, 0.01)


def _boat(pen: Pen) -> None:
    pen.stroke([(0.48, 0.06), (0.48, 0.68)], WOOD, 0.05)
    pen.polygon([(0.53, 0.08), (0.53, 0.58), (0.9, 0.58)], (245, 240, 225))
    pen.polygon([(0.43, 0.18), (0.43, 0.58), (0.14, 0.58)], (245, 240, 225))
    pen.polygon([(0.03, 0.66), (0.97, 0.66), (0.8, 0.93), (0.2, 0.93)], pen.body)


def _bat_animal(pen: Pen) -> None:
    wing = [(0.02, 0.62), (0.05, 0.36), (0.3, 0.18), (0.48, 0.34), (0.46, 0.62)]
    wing += [(0.36, 0.74), (0.3, 0.58), (0.2, 0.7), (0.14, 0.54)]
    ear = [(0.41, 0.3), (0.38, 0.1), (0.5, 0.24)]
    for side in (-1, 1):
        pen.polygon([(0.5 + side * (x - 0.5), y) for x, y in wing], pen.shade)
        pen.polygon([(0.5 + side * (x - 0.5), y) for x, y in ear], pen.body)
    pen.ellipse(0.38, 0.36, 0.62, 0.82, pen.body)
    pen.ellipse(0.37, 0.2, 0.63, 0.46, pen.body)
    for x in (0.44, 0.56):
        pen.ellipse(x - 0.035, 0.28, x + 0.035, 0.35, (255, 255, 255), 0.01)


def _bat_club(pen: Pen) -> None:
    pen.ellipse(0.03, 0.81, 0.19, 0.97, pen.shade)
    tip = arc(0.83, 0.16, 0.13, 0.13, -135, 45)
    pen.polygon([(0.1, 0.84), (0.4, 0.52), *tip, (0.5, 0.62), (0.16, 0.9)], pen.body)


def _crane_machine(pen: Pen) -> None:
    pen.stroke([(0.8, 0.2), (0.8, 0.6)], pen.line, 0.025)
    pen.stroke(arc(0.8, 0.65, 0.05, 0.05, -90, 120), pen.line, 0.035)
    pen.stroke([(0.03, 0.2), (0.36, 0.03), (0.97, 0.2)], pen.line, 0.025)
    pen.box(0.02, 0.15, 0.98, 0.26, pen.body)
    pen.box(0.05, 0.24, 0.2, 0.42, METAL)
    pen.box(0.29, 0.06, 0.43, 0.92, pen.body)
    for y in (0.3, 0.45, 0.6, 0.75):
        pen.stroke([(0.31, y), (0.41, y + 0.12)], pen.line, 0.02)
    pen.box(0.16, 0.88, 0.56, 0.97, METAL)


def _crane_bird(pen: Pen) -> None:
    pen.stroke([(0.5, 0.6), (0.46, 0.8), (0.5, 0.97)], pen.line, 0.035)
    pen.stroke([(0.62, 0.6), (0.66, 0.8), (0.62, 0.97)], pen.line, 0.035)
    pen.limb([(0.4, 0.5), (0.28, 0.42), (0.34, 0.28), (0.26, 0.15)], pen.body, 0.07)
    pen.polygon([(0.2, 0.1), (0.2, 0.19), (0.0, 0.19)], (240, 150, 40), 0.02)
    pen.ellipse(0.17, 0.05, 0.35, 0.23, pen.body)
    pen.ellipse(0.22, 0.1, 0.27, 0.15, (255, 255, 255), 0.015)
    pen.polygon([(0.68, 0.46), (0.98, 0.66), (0.7, 0.64)], pen.shade)
    pen.ellipse(0.34, 0.4, 0.84, 0.68, pen.body)


def _palm_tree(pen: Pen) -> None:
    pen.limb([(0.4, 0.97), (0.45, 0.7), (0.53, 0.36)], WOOD, 0.07)
    for x, y, rise in (
        (0.03, 0.62, 0.3),
        (0.03, 0.3, 0.2),
        (0.25, 0.06, 0.1),
        (0.8, 0.06, 0.1),
        (0.97, 0.34, 0.2),
        (0.96, 0.66, 0.3),
    ):
        middle_x, middle_y = (x + 0.53) / 2, (y + 0.34) / 2
        frond = [(0.53, 0.34), (middle_x, middle_y - rise), (x, y), (middle_x, middle_y - rise / 2 + 0.08)]
        pen.polygon(frond, pen.body)


def _palm_hand(pen: Pen) -> None:
    fingers = ([(0.33, 0.5), (0.2, 0.18)], [(0.43, 0.5), (0.4, 0.09)], [(0.54, 0.5), (0.58, 0.1)])
    for points in (*fingers, [(0.64, 0.52), (0.76, 0.2)], [(0.34, 0.8), (0.1, 0.56)]):
        pen.limb(points, pen.body, 0.09)
    pen.ellipse(0.24, 0.42, 0.74, 0.97, pen.body)
    pen.stroke(arc(0.28, 0.82, 0.16, 0.22, -80, 10), pen.shade, 0.03)
    pen.stroke([(0.36, 0.56), (0.64, 0.6)], pen.shade, 0.03)


def _seal_animal(pen: Pen) -> None:
    pen.polygon([(0.84, 0.78), (0.99, 0.6), (0.96, 0.8), (0.99, 0.94)], pen.shade)
    torso = [(0.14, 0.5), (0.16, 0.3), (0.4, 0.3), (0.6, 0.55), (0.88, 0.74), (0.86, 0.86), (0.2, 0.88)]
    pen.polygon(torso, pen.body)
    pen.polygon([(0.34, 0.7), (0.5, 0.72), (0.42, 0.97), (0.26, 0.95)], pen.shade)
    pen.ellipse(0.08, 0.08, 0.46, 0.46, pen.body)
    pen.ellipse(0.06, 0.25, 0.22, 0.39, pen.tint)
    pen.ellipse(0.04, 0.26, 0.1, 0.32, DARK, 0.01)
    pen.ellipse(0.2, 0.17, 0.27, 0.24, (255, 255, 255), 0.02)
    for y in (0.28, 0.36):
        pen.stroke([(0.2, 0.32), (0.4, y)], pen.line, 0.015)


def _seal_wax(pen: Pen) -> None:
    pen.polygon([(0.34, 0.6), (0.2, 0.98), (0.34, 0.9), (0.44, 0.98), (0.5, 0.7)], pen.shade)
    pen.polygon([(0.66, 0.6), (0.8, 0.98), (0.66, 0.9), (0.56, 0.98), (0.5, 0.7)], pen.shade)
    rim = []
    for i in range(48):  # twelve scallops
        angle, radius = math.radians(7.5 * i), (0.42, 0.4, 0.35, 0.4)[i % 4]
        rim.append((0.5 + radius * math.cos(angle), 0.42 + radius * math.sin(angle)))
    pen.polygon(rim, pen.body)
    pen.ellipse(0.22, 0.14, 0.78, 0.7, pen.tint)
    pen.stroke([(0.38, 0.55), (0.38, 0.3), (0.5, 0.43), (0.62, 0.3), (0.62, 0.55)], pen.line, 0.05)


def _pipe_tube(pen: Pen) -> None:
    pen.limb([(0.24, 0.3), (0.6, 0.3), (0.7, 0.4), (0.7, 0.74)], pen.body, 0.24)
    pen.box(0.03, 0.11, 0.19, 0.49, pen.shade)
    pen.box(0.51, 0.8, 0.89, 0.96, pen.shade)


def _pipe_tobacco(pen: Pen) -> None:
    pen.limb([(0.34, 0.8), (0.6, 0.7), (0.72, 0.4), (0.95, 0.34)], pen.body, 0.07)
    pen.polygon([(0.08, 0.4), (0.44, 0.4), (0.42, 0.84), (0.32, 0.94), (0.2, 0.94), (0.1, 0.84)], pen.body)
    pen.ellipse(0.08, 0.33, 0.44, 0.47, DARK)
    pen.stroke([(0.26, 0.28), (0.2, 0.2), (0.3, 0.12), (0.24, 0.03)], (200, 200, 205), 0.04)


def _key_lock(pen: Pen) -> None:
    for x in (0.7, 0.86):
        pen.limb([(x, 0.5), (x, 0.68)], pen.body, 0.07)
    pen.limb([(0.38, 0.5), (0.94, 0.5)], pen.body, 0.09)
    pen.limb(arc(0.22, 0.5, 0.15, 0.18, 0, 360, 32), pen.body, 0.09)


def _key_board(pen: Pen) -> None:
    pen.box(0.05, 0.08, 0.95, 0.95, pen.shade, radius=0.12)
    pen.box(0.17, 0.13, 0.83, 0.75, pen.body, radius=0.1)
    pen.stroke([(0.66, 0.28), (0.66, 0.48), (0.36, 0.48)], pen.line, 0.06)
    pen.polygon([(0.28, 0.48), (0.42, 0.36), (0.42, 0.6)], pen.line, 0.01)


def _letter_mail(pen: Pen) -> None:
    pen.box(0.03, 0.18, 0.97, 0.84, pen.body)
    pen.stroke([(0.05, 0.82), (0.4, 0.5)], pen.line, 0.03)
    pen.stroke([(0.95, 0.82), (0.6, 0.5)], pen.line, 0.03)
    pen.polygon([(0.03, 0.18), (0.97, 0.18), (0.5, 0.58)], pen.tint)


def _letter_type(pen: Pen) -> None:
    outer = [(0.38, 0.04), (0.62, 0.04), (0.96, 0.96), (0.74, 0.96)]
    outer += [(0.66, 0.73), (0.34, 0.73), (0.26, 0.96), (0.04, 0.96)]
    pen.polygon(outer, pen.body)
    pen.polygon([(0.5, 0.26), (0.6, 0.56), (0.4, 0.56)], pen.line)


def _bow_ribbon(pen: Pen) -> None:
    pen.polygon([(0.46, 0.46), (0.2, 0.94), (0.32, 0.88), (0.4, 0.97), (0.54, 0.5)], pen.shade)
    pen.polygon([(0.54, 0.46), (0.8, 0.94), (0.68, 0.88), (0.6, 0.97), (0.46, 0.5)], pen.shade)
    for side in (-1, 1):
        loop = [(0.5, 0.42), (0.14, 0.14), (0.04, 0.2), (0.03, 0.62), (0.13, 0.68)]
        pen.polygon([(0.5 + side * (x - 0.5), y) for x, y in loop], pen.body)
    pen.ellipse(0.39, 0.3, 0.61, 0.54, pen.tint)


def _bow_weapon(pen: Pen) -> None:
    tips = arc(0.3, 0.5, 0.42, 0.46, -90, 90)
    pen.stroke([tips[0], (0.14, 0.5), tips[-1]], pen.line, 0.02)
    pen.limb(tips, pen.body, 0.08)
    pen.stroke([(0.14, 0.5), (0.9, 0.5)], WOOD, 0.04)
    pen.polygon([(0.99, 0.5), (0.85, 0.42), (0.85, 0.58)], METAL, 0.01)


SKETCHES: dict[str, Callable[[Pen], None]] = {
    "ball": _ball,
    "tree": _tree,
    "star": _star,
    "kite": _kite,
    "fish": _fish,
    "cup": _cup,
    "flower": _flower,
    "lamp": _lamp,
    "house": _house,
    "car": _car,
    "boat": _boat,
    "bat_animal": _bat_animal,
    "bat_club": _bat_club,
    "crane_machine": _crane_machine,
    "crane_bird": _crane_bird,
    "palm_tree": _palm_tree,
    "palm_hand": _palm_hand,
    "seal_animal": _seal_animal,
    "seal_wax": _seal_wax,
    "pipe_tube": _pipe_tube,
    "pipe_tobacco": _pipe_tobacco,
    "key_lock": _key_lock,
    "key_board": _key_board,
    "letter_mail": _letter_mail,
    "letter_type": _letter_type,
    "bow_ribbon": _bow_ribbon,
    "bow_weapon": _bow_weapon,
}

# Horizon and colours (above, below it) of a background; a horizon of 1 fills the picture.
_SCENERY: dict[str, tuple[float, Colour, Colour]] = {
    "grass": (0.3, (190, 225, 245), (150, 200, 105)),
    "sea": (0.36, (205, 232, 245), (85, 160, 200)),
    "sky": (1.0, (165, 212, 242), (165, 212, 242)),
    "night": (1.0, (38, 42, 88), (38, 42, 88)),
}


class PlacedObject(NamedTuple):
    """One object of a picture: its kind, colour, and unit square in image widths."""

    kind: str
    colour: str
    left: float
    top: float
    side: float


def _extent(group: Group) -> Point:
    side = SIDES[group.size]
    return side * (1 if group.count == 1 else 2), side * (1 if group.count < 3 else 2)


_CELLS = {  # column and row of each object of a group: a row of two, a triangle, a square
    1: [(0, 0)],
    2: [(0, 0), (1, 0)],
    3: [(0.5, 0), (0, 1), (1, 1)],
    4: [(0, 0), (1, 0), (0, 1), (1, 1)],
}


def _place_group(group: Group, x: float, y: float) -> list[PlacedObject]:
    """The objects of a group around (x, y), kept inside the picture."""
    width, height = _extent(group)
    left = min(max(x - width / 2, 0.01), 0.99 - width)
    top = min(max(y - height / 2, 0.01), 0.99 - height)
    side = SIDES[group.size]
    return [
        PlacedObject(group.kind, group.colour, left + column * side, top + row * side, side)
        for column, row in _CELLS[group.count]
    ]


_PLACE_CENTRES = {
    "left": (0.24, 0.5),
    "right": (0.76, 0.5),
    "top": (0.5, 0.24),
    "bottom": (0.5, 0.76),
    "middle": (0.5, 0.5),
}
_RELATION_CENTRES = {  # of the first and the second group
    "left_of": ((0.25, 0.5), (0.75, 0.5)),
    "right_of": ((0.75, 0.5), (0.25, 0.5)),
    "above": ((0.5, 0.25), (0.5, 0.75)),
    "below": ((0.5, 0.75), (0.5, 0.25)),
}


def lay_out(groups: Sequence[Group], place: str, relation: str, rng: random.Random) -> list[PlacedObject]:
    """Where every object goes, the farthest first; *relation* for two groups, *place* for one."""

    def near(point: Point) -> Point:
        return point[0] + rng.uniform(-0.02, 0.02), point[1] + rng.uniform(-0.02, 0.02)

    if len(groups) == 1:
        return _place_group(groups[0], *near(_PLACE_CENTRES[place]))
    first, second = groups
    if relation in _RELATION_CENTRES:
        centres = _RELATION_CENTRES[relation]
        return _place_group(first, *near(centres[0])) + _place_group(second, *near(centres[1]))
    # Behind or in front: the far group stands higher and to a side, partly hidden.
    far, close = (first, second) if relation == "behind" else (second, first)
    (far_width, far_height), (close_width, close_height) = _extent(far), _extent(close)
    shift_x = rng.choice((-1, 1)) * 0.15 * (far_width + close_width)
    shift_y = 0.15 * (far_height + close_height)
    return _place_group(far, *near((0.5 + shift_x, 0.5 - shift_y))) + _place_group(
        close, *near((0.5 - shift_x, 0.5 + shift_y))
    )


def draw_scene(
    objects: Sequence[PlacedObject], background: str, image_size: int, rng: random.Random
) -> Image.Image:
    """An RGB picture of *image_size* pixels a side; *rng* places clouds, grass, waves and stars."""
    full = image_size * OVERSAMPLING
    picture = Image.new("RGB", (full, full))
    draw = ImageDraw.Draw(picture)
    _draw_background(draw, background, full, rng)
    for item in objects:
        margin = 0.03 * item.side
        pen = Pen(
            draw,
            (item.left + margin) * full,
            (item.top + margin) * full,
            (item.side - 2 * margin) * full,
            item.colour,
        )
        SKETCHES[item.kind](pen)
    return picture.reduce(OVERSAMPLING)


def _draw_background(draw: ImageDraw.ImageDraw, background: str, full: int, rng: random.Random) -> None:
    horizon, above, below = _SCENERY[background]
    draw.rectangle([0, 0, full, full], fill=below)
    draw.rectangle([0, 0, full, horizon * full], fill=above)
    thin = max(1, round(0.005 * full))
    if background == "night":
        for _ in range(30):
            x, y = rng.random() * full, rng.random() * full
            draw.ellipse([x - thin, y - thin, x + thin, y + thin], fill=(150, 155, 190))
        return
    clouds = 5 if background == "sky" else 2
    for _ in range(clouds):
        x, y = rng.random() * full, rng.uniform(0.03, 0.9 * horizon) * full
        for shift in (-0.05, 0.0, 0.05):
            box = [x + (shift - 0.05) * full, y - 0.03 * full, x + (shift + 0.05) * full, y + 0.03 * full]
            draw.ellipse(box, fill=mix(above, (255, 255, 255), 0.6))
    if background == "grass":
        for _ in range(60):
            x, y = rng.random() * full, rng.uniform(horizon + 0.04, 1.0) * full
            draw.line([x, y, x + thin, y - 0.03 * full], fill=mix(below, DARK, 0.15), width=thin)
    elif background == "sea":
        for _ in range(24):
            x, y = rng.random() * full, rng.uniform(horizon + 0.03, 1.0) * full
            box = [x, y, x + 0.07 * full, y + 0.025 * full]
            draw.arc(box, 180, 360, fill=mix(below, (255, 255, 255), 0.4), width=thin)

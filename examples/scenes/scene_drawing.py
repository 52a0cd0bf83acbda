"""Draws a scene with Pillow: a background and one or two groups of simple, recognisable objects.

Objects are drawn at three times the wanted resolution and then reduced, which smooths the edges.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
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

DARK, LIGHT, WHITE = (30, 30, 34), (228, 228, 228), (255, 255, 255)
PAINTS: dict[str, Colour] = {  # of the parts that have the same colour in every object
    "dark": DARK,
    "light": LIGHT,
    "white": WHITE,
    "wood": (110, 72, 40),
    "leaf": (40, 130, 55),
    "glass": (200, 228, 240),
    "metal": (95, 98, 105),
    "pistil": (255, 170, 30),
    "glow": (255, 240, 150),
    "canvas": (245, 240, 225),
    "beak": (240, 150, 40),
    "smoke": (200, 200, 205),
}


class Shape(NamedTuple):
    """A shape of ``sketches.txt``, which says what they mean; lengths in sides of the object's square."""

    kind: str
    paint: str
    number: float
    points: list[Point]


def _points(text: str) -> list[Point]:
    """The points that a word of a sketch stands for; angles are in degrees clockwise from three o'clock.

    ``x,y``; ``arc:x,y,rx,ry,start,end[,steps]``, of an ellipse around (x, y); or ``ring:x,y,start,n,r,...``,
    n points all around, at each of the radii in turn.
    """
    kind, _, numbers = text.rpartition(":")
    x, y, *others = map(float, numbers.split(","))
    if not kind:
        return [(x / 100, y / 100)]
    if kind == "ring":
        start, count, *radii = others
        turns = [start + 360 * i / count for i in range(int(count))]
        sizes = [(radii[i % len(radii)],) * 2 for i in range(int(count))]
    else:
        rx, ry, start, end, steps = (*others, 16)[:5]
        turns = [start + (end - start) * i / steps for i in range(int(steps) + 1)]
        sizes = [(rx, ry)] * len(turns)
    return [
        ((x + rx * math.cos(math.radians(turn))) / 100, (y + ry * math.sin(math.radians(turn))) / 100)
        for turn, (rx, ry) in zip(turns, sizes)
    ]


def _read_sketches(text: str) -> dict[str, list[Shape]]:
    sketches: dict[str, list[Shape]] = {}
    for line in text.splitlines():
        match line.split():
            case ["#", *_]:
                pass
            case [kind]:
                sketches[kind] = []
            case [shape, paint, number, *words]:
                for outline in " ".join(words).split(" / "):
                    points = [point for word in outline.split() for point in _points(word)]
                    sketches[kind].append(Shape(shape, paint, float(number) / 100, points))
    return sketches


SKETCHES = _read_sketches(Path(__file__).with_name("sketches.txt").read_text(encoding="utf-8"))


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """*colour* with *share* (0 to 1) of *other* mixed in."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other))


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


_CENTRES = {  # of the group at a place, or of the two groups that stand in a relation
    "left": [(0.24, 0.5)],
    "right": [(0.76, 0.5)],
    "top": [(0.5, 0.24)],
    "bottom": [(0.5, 0.76)],
    "middle": [(0.5, 0.5)],
    "left_of": [(0.25, 0.5), (0.75, 0.5)],
    "right_of": [(0.75, 0.5), (0.25, 0.5)],
    "above": [(0.5, 0.25), (0.5, 0.75)],
    "below": [(0.5, 0.75), (0.5, 0.25)],
}


def lay_out(groups: Sequence[Group], place: str, relation: str, rng: random.Random) -> list[PlacedObject]:
    """Where every object goes, the farthest first; *relation* for two groups, *place* for one."""
    if relation in ("behind", "in_front_of"):
        # The far group stands higher and to a side, partly hidden.
        far, close = groups if relation == "behind" else reversed(groups)
        groups = far, close
        width, height = (a + b for a, b in zip(_extent(far), _extent(close)))
        x, y = rng.choice((-1, 1)) * 0.15 * width, 0.15 * height
        centres = [(0.5 + x, 0.5 - y), (0.5 - x, 0.5 + y)]
    else:
        centres = _CENTRES[place or relation]
    return [
        placed
        for group, (x, y) in zip(groups, centres)
        for placed in _place_group(group, x + rng.uniform(-0.02, 0.02), y + rng.uniform(-0.02, 0.02))
    ]


def _draw_object(draw: ImageDraw.ImageDraw, item: PlacedObject, full: int) -> None:
    left, top, side = (full * value for value in (item.left, item.top, item.side))
    left, top, side = left + 0.03 * side, top + 0.03 * side, 0.94 * side
    body, line = COLOURS[item.colour], LIGHT if item.colour == "black" else DARK
    own = {"body": body, "line": line, "shade": mix(body, line, 0.3), "tint": mix(body, WHITE, 0.45)}

    def pixels(share: float) -> int:
        return max(1, round(share * side))

    def stroke(points: list[Point], colour: Colour, thick: int) -> None:
        """With round joints and ends."""
        draw.line(points, fill=colour, width=thick, joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=colour)

    for kind, paint, number, points in SKETCHES[item.kind]:
        fill = (PAINTS | own)[paint]
        placed = [(left + x * side, top + y * side) for x, y in points]
        match kind:
            case "polygon":
                draw.polygon(placed, fill=fill)
                draw.line(placed + placed[:2], fill=line, width=pixels(number), joint="curve")
            case "ellipse":
                draw.ellipse(placed, fill=fill, outline=line, width=pixels(number))
            case "box":
                draw.rounded_rectangle(placed, number * side, fill=fill, outline=line, width=pixels(0.03))
            case "line":
                stroke(placed, fill, pixels(number))
            case "tube":
                stroke(placed, line, pixels(number + 0.06))
                stroke(placed, fill, pixels(number))


def draw_scene(
    objects: Sequence[PlacedObject], background: str, image_size: int, rng: random.Random
) -> Image.Image:
    """An RGB picture of *image_size* pixels a side; *rng* places clouds, grass, waves and stars."""
    full = image_size * OVERSAMPLING
    picture = Image.new("RGB", (full, full))
    draw = ImageDraw.Draw(picture)
    _draw_background(draw, background, full, rng)
    for item in objects:
        _draw_object(draw, item, full)
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
            draw.ellipse(box, fill=mix(above, WHITE, 0.6))
    if background == "grass":
        for _ in range(60):
            x, y = rng.random() * full, rng.uniform(horizon + 0.04, 1.0) * full
            draw.line([x, y, x + thin, y - 0.03 * full], fill=mix(below, DARK, 0.15), width=thin)
    elif background == "sea":
        for _ in range(24):
            x, y = rng.random() * full, rng.uniform(horizon + 0.03, 1.0) * full
            box = [x, y, x + 0.07 * full, y + 0.025 * full]
            draw.arc(box, 180, 360, fill=mix(below, WHITE, 0.4), width=thin)

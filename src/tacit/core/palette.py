"""Palette: one colour a class, the same wherever label maps are shown."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

__all__ = ["VOID_COLOUR", "palette"]

Colour = tuple[int, int, int]
NAMED: dict[str, Colour] = {
    "sky": (128, 160, 200),
    "building": (150, 50, 45),
    "pole": (205, 200, 150),
    "road": (125, 95, 150),
    "pavement": (60, 75, 200),
    "tree": (85, 135, 45),
    "sign": (235, 130, 140),
    "fence": (90, 85, 120),
    "car": (70, 20, 130),
    "pedestrian": (235, 165, 30),
    "cyclist": (20, 165, 190),
}
"""Colours near those in which CamVid's classes are usually shown, but further apart."""
VOID_COLOUR: Colour = (0, 0, 0)


def palette(names: Sequence[str]) -> list[Colour]:
    """Return a colour for each class, red, green and blue from 0 to 255, no two alike; known names have colours of their own."""
    found: list[Colour] = []
    for number, name in enumerate(names):
        hue, value = number * 0.618034 % 1.0, 0.95 - 0.3 * (number // 3 % 3) / 2
        mixed = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (number % 2), value)
        chosen = NAMED.get(str(name).lower(), (round(255 * mixed[0]), round(255 * mixed[1]), round(255 * mixed[2])))
        while chosen in found or chosen == VOID_COLOUR:
            chosen = (chosen[0], chosen[1], (chosen[2] + 7) % 256)
        found.append(chosen)
    return found

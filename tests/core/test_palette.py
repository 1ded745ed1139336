"""Colours of classes."""

from __future__ import annotations

from tacit.core.palette import NAMED, VOID_COLOUR, palette


def test_no_two_classes_look_alike_and_none_like_no_class() -> None:
    for names in ([*NAMED], [str(number) for number in range(255)], ["sky", "sky", "Sky", "road"]):
        found = palette(names)
        assert len(found) == len(set(found)) == len(names)
        assert VOID_COLOUR not in found
        assert all(0 <= value <= 255 for colour in found for value in colour)


def test_known_names_have_their_colour_whatever_stands_before_them() -> None:
    assert palette(["cat", "Road"])[1] == NAMED["road"] == palette(["road"])[0]
    apart = [sum(abs(a - b) for a, b in zip(one, other, strict=True)) for one in NAMED.values() for other in NAMED.values() if one != other]
    assert min(apart) > 60

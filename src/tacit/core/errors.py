"""What went wrong, said to the person who can mend it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

__all__ = ["InputError", "MissingExtraError", "import_extra", "nearest"]


class InputError(ValueError):
    """The user's input is wrong: one line with what was expected, what came, and what to do. The CLI exits with 2."""


class MissingExtraError(InputError):
    """An optional dependency is not installed; the message names the install command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: install it with `pip install 'tacit[{extra}]' -c constraints.txt`")


def import_extra(name: str, extra: str, purpose: str) -> Any:
    """Return a module of an optional package; `MissingExtraError` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name.partition(".")[0], extra, purpose) from error


def nearest(name: str, known: Iterable[str], *, most: int = 6) -> str:
    """Return ``; did you mean 'x'?``, or ``; known: a, b, c`` where nothing is near.

    Args:
        name: What was given.
        known: What could have been given.
        most: How many names are listed where none is near.
    """
    names = list(dict.fromkeys(known))
    lowered = {candidate.lower(): candidate for candidate in names}
    close = get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    if not names:
        return ""
    return f"; known: {', '.join(names[:most])}{', ...' if len(names) > most else ''}"

"""Arguments: whether what is written as the option of a loss is what the loss takes, by its annotations."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from tacit.core.errors import InputError

__all__ = ["check_arguments"]

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", NoneType: "null"}


def _choices(hint: Any) -> list[Any]:
    return [part for inner in get_args(hint) for part in _choices(inner)] if get_origin(hint) in (Union, UnionType) else [hint]


def _takes(hint: Any, value: Any) -> bool:
    """Whether `value` is of one type; what is annotated otherwise than by plain types may be anything."""
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool) and math.isfinite(value)
    if hint in PLAIN:
        return isinstance(value, hint)
    if get_origin(hint) is Literal:
        return isinstance(value, str | int) and value in get_args(hint)
    if get_origin(hint) is Sequence and get_args(hint) == (str,):
        return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(part, str) for part in value))
    return True


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    return PLAIN.get(hint, "a list of names")


def check_arguments(name: str, kind: type, arguments: Mapping[str, Any]) -> None:
    """Raise `InputError` where an argument of the loss `name` is not of the type that its class `kind` is annotated with."""
    try:
        known = inspect.signature(kind, eval_str=True).parameters
    except (NameError, TypeError):  # somebody else's class may name types that are only there for a type checker
        return
    for argument, value in arguments.items():
        choices = _choices(known[argument].annotation) if argument in known else [Any]
        if not any(_takes(hint, value) for hint in choices):
            expected = " or ".join(map(_words, choices))
            raise InputError(f"objective: {name}: {argument}: expected {expected}, got {value!r}")

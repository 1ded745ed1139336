"""Tensors inside of what modules return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from tacit.core.parts import find_part, first_tensor, only_tensor, outline, tensor_parts

ONE, TWO, THREE = torch.ones(1), torch.ones(2), torch.ones(3)


@dataclass
class Answer:
    """An object."""

    logits: Any
    loss: Any = None


class Named(NamedTuple):
    """A tuple with names."""

    features: Any
    scores: Any


WHOLE = {"a": ONE, "deep": Answer(logits=(TWO, [THREE])), "b.c": TWO, "word": "no tensor", "nothing": None}


@pytest.mark.parametrize(
    ("output", "path", "wanted"),
    [
        (WHOLE, "a", ONE),
        (WHOLE, "deep.logits.0", TWO),
        (WHOLE, "deep.logits.-1.0", THREE),
        (WHOLE, "b.c", TWO),
        (Named(ONE, TWO), "scores", TWO),
        (Named(ONE, TWO), "1", TWO),
        ((ONE, TWO), "2", None),
        (WHOLE, "deep.lgits.0", None),
        (ONE, "shape", None),
        (WHOLE, "a.0", None),
    ],
)
def test_a_part_is_found_by_keys_indices_and_attributes(output: Any, path: str, wanted: Any) -> None:
    assert find_part(output, path) is wanted


def test_all_tensors_are_listed_by_paths_that_find_them() -> None:
    found = tensor_parts(WHOLE)
    assert list(found) == ["a", "deep.logits.0", "deep.logits.1.0", "b.c"]
    assert all(find_part(WHOLE, path) is tensor for path, tensor in found.items())
    assert tensor_parts(ONE) == {"": ONE}
    assert tensor_parts("abc") == {}


def test_the_only_tensor_is_one_that_stands_alone() -> None:
    assert only_tensor(ONE) is ONE
    assert only_tensor(({"x": [TWO]}, None)) is TWO
    assert only_tensor((ONE, TWO)) is None
    assert only_tensor(Answer(logits=None)) is None


def test_the_first_tensor_of_a_call() -> None:
    assert first_tensor((ONE, TWO), {"x": THREE}) is ONE
    assert first_tensor((None, TWO), {}) is None
    assert first_tensor((), {"mask": None, "x": THREE}) is THREE
    assert first_tensor((), {}) is None


def test_what_is_returned_is_told_in_words() -> None:
    assert [outline(x) for x in (WHOLE, (ONE, TWO), Answer(ONE), "word")] == [
        "a dict with the keys ['a', 'deep', 'b.c', 'word', 'nothing']",
        "a tuple of 2",
        "a Answer",
        "a str",
    ]

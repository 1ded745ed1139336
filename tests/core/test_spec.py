"""Spec: what is refused, and what is filled in."""

from __future__ import annotations

from typing import Any

import pytest

from tacit.core.errors import InputError
from tacit.core.spec import Spec


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"shape": (3, 8)}, r"shape: expected three positive numbers .* got \[3, 8\]"),
        ({"shape": (3, 0, 8)}, r"shape: expected three positive numbers .* got \[3, 0, 8\]"),
        ({"shape": (-1, 8, 8)}, "shape: expected three positive numbers"),
        ({"classes": 1}, "classes: expected at least 2, got 1"),
        ({"mean": (0.5,)}, "mean: expected 3 values, one a channel, got 1"),
        ({"std": (0.5, 0.5)}, "std: expected 3 values, one a channel, got 2"),
        ({"std": (0.5, 0.0, 0.5)}, "std: expected positive values"),
        ({"std": (0.5, -0.2, 0.5)}, "std: expected positive values"),
        ({"names": ("a", "b")}, "names: expected 10 class names, got 2"),
    ],
)
def test_a_bad_spec_is_refused_with_what_was_expected(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Spec(**{"shape": (3, 8, 8), "classes": 10, **fields})


def test_a_spec_takes_lists_as_yaml_gives_them_and_fills_in_zeros_and_ones() -> None:
    spec = Spec(shape=[3, 8, 8], classes=2, names=["cat", "dog"])  # type: ignore[arg-type]
    assert spec == Spec(shape=(3, 8, 8), classes=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), names=("cat", "dog"))
    assert (spec.class_name(1), Spec(shape=(1, 6, 6), classes=5).class_name(1)) == ("dog", "1")

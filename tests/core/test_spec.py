"""Spec: what is refused, and what is filled in."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from tacit.core.errors import InputError
from tacit.core.network import Ensemble, Network
from tacit.core.spec import Spec
from tacit.verbs.base import check_pair


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


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cat", "dog"), None),
        ((), None),
        (("dog", "cat"), "have the same classes in another order: class 0 is 'cat' for one and 'dog' for the other"),
        (("cat", "cow"), "have other classes: class 1 is 'dog' for one and 'cow' for the other"),
    ],
)
def test_networks_stand_beside_each_other_where_they_name_the_same_classes(names: tuple[str, ...], said: str | None) -> None:
    one, other = (Spec(shape=(1, 2, 2), classes=2, names=each) for each in (("cat", "dog"), names))
    networks = [Network(nn.Flatten(), spec) for spec in (other, one, other)]
    if said is None:
        check_pair(one, other)
        assert Ensemble.of(networks).spec.names == ("cat", "dog")
        return
    with pytest.raises(InputError, match=f"teacher and student {said}"):
        check_pair(one, other)
    with pytest.raises(InputError, match="the members of an ensemble have"):
        Ensemble.of(networks)

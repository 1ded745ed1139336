"""How classes are counted."""

from __future__ import annotations

import math

import pytest
import torch

from tacit.evaluate import class_histogram


def test_a_histogram_of_classes_is_counted() -> None:
    even, one, some = (class_histogram(torch.tensor(labels), 4) for labels in ([0, 1, 2, 3] * 5, [2] * 7, [0, 0, 0, 3]))
    assert (even.counts, even.covered) == ([5, 5, 5, 5], 4)
    assert even.entropy == pytest.approx(math.log(4))
    assert (one.counts, one.covered, one.entropy) == ([0, 0, 7, 0], 1, 0)
    assert some.covered == 2
    assert some.entropy == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))

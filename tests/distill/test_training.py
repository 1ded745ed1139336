"""Training: the learning rate over time, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from tacit.core.errors import InputError
from tacit.distill import Training


def rates(training: Training) -> list[float]:
    return [training.rate(step, step / training.steps) for step in range(training.steps)]


def test_steps_are_those_of_pytorch() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = MultiStepLR(optimizer, milestones=[8, 16], gamma=0.2)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    found = rates(Training(steps=20, lr=0.4, schedule="steps", milestones=(0.4, 0.8), gamma=0.2))
    assert found == pytest.approx(expected)
    assert len({round(rate, 9) for rate in found}) == 3


def test_a_warm_up_rises_to_where_the_steps_begin() -> None:
    found = rates(Training(steps=10, lr=1.0, warmup=4, schedule="steps", milestones=(0.5,)))
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1])


def test_cosine_and_constant() -> None:
    assert rates(Training(steps=8, lr=2.0)) == pytest.approx([1 + math.cos(math.pi * step / 8) for step in range(8)])
    assert rates(Training(steps=8, lr=2.0, schedule="constant")) == [2.0] * 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "steps"}, r"expected some with the schedule `steps` and none with another, got \[\] with `steps`"),
        ({"milestones": (0.5,)}, r"got \[0.5\] with `cosine`"),
        ({"schedule": "steps", "milestones": (0.8, 0.4)}, r"expected rising shares between 0 and 1"),
        ({"schedule": "steps", "milestones": (0.4, 0.4)}, r"expected rising shares between 0 and 1"),
        ({"schedule": "steps", "milestones": (80, 120)}, r"got \[80.0, 120.0\]"),
        ({"schedule": "steps", "milestones": (0.5,), "gamma": -1.0}, r"training.gamma: expected at least 0, got -1.0"),
    ],
)
def test_milestones_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Training(**options)

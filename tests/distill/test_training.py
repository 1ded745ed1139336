"""Training: the learning rate over time, the optimiser, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.distill import Learner, Stored, Training, build_objective
from toy import BNNet


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
    ("name", "kind", "more"),
    [("sgd", SGD, {"momentum": 0.9, "nesterov": True}), ("adam", Adam, {"betas": (0.9, 0.999)}), ("adamw", AdamW, {"betas": (0.9, 0.999)})],
)
def test_the_optimiser_is_the_one_asked_for(name: Any, kind: type[Optimizer], more: dict[str, Any]) -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = Training(optimizer=name, lr=0.03, weight_decay=0.02).build([weight])
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    wanted = {"params": [weight], "lr": 0.03, "weight_decay": 0.02, **more}
    assert {key: group[key] for key in wanted} == wanted


@pytest.mark.parametrize("clip", [1e-3, 0.0])
def test_the_gradient_of_a_step_is_clipped_where_asked(clip: float, runtime: Runtime) -> None:
    torch.manual_seed(0)
    student = Network(BNNet(classes=10), Spec(shape=(1, 8, 8), classes=10))
    training = Training(steps=2, batch=8, weight_decay=0.0, clip=clip)
    source = Stored(digits("train"), size=8, seed=0, device=runtime.device)
    learner = Learner(student, source, build_objective("ce=1"), training, runtime=runtime, generator=torch.Generator())
    learner.step()
    kept = [state["momentum_buffer"].square().sum() for state in learner.optimizer.state.values()]
    norm = float(torch.stack(kept).sum().sqrt())
    assert norm == pytest.approx(clip, rel=1e-3) if clip else norm > 0.1


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

"""Every method teaches a student what noise does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from quick_methods import plain_net
from tacit.core.device import Clock, Runtime
from tacit.core.network import Network, Teacher
from tacit.data import digits
from tacit.distill import Learner, Synthetic, Training, build_objective
from tacit.evaluate import predict
from tacit.synthesize import (
    BNS,
    CMI,
    DAFL,
    DFAD,
    DFQ,
    METHODS,
    MSKD,
    NAYER,
    RDSKD,
    ZSKD,
    ZSKT,
    AdaptiveDeepInversion,
    DeepInversion,
    FastDFKD,
    Gaussian,
    Inception,
    Method,
    Synthesizer,
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a student learns in a second or two."""

    method: Method
    steps: int = 160
    lr: float = 6e-3
    objective: str = "kd"


NET: dict[str, Any] = {"batch": 64, "width": 8, "latent": 32}
SETTINGS = (
    Setting(method=DeepInversion(batch=64, steps=25, lr=0.1, bn=0.3, warmup=8)),
    Setting(method=AdaptiveDeepInversion(batch=64, steps=15, lr=0.1, bn=0.3, warmup=5, every=40)),
    Setting(method=FastDFKD(**NET, steps=5, lr=0.01, warmup=20, every=20, bn=3.0), steps=200),
    Setting(method=CMI(**NET, steps=15, lr=0.02, warmup=5, every=60, negatives=32, embedding=32, restart=0)),
    Setting(method=NAYER(batch=60, width=8, noise=32, steps=20, lr=0.02, warmup=6, every=40)),
    Setting(method=DFQ(**NET, lr=5e-3, every=4)),
    Setting(method=DFAD(**NET, lr=1e-3, every=5), steps=300, lr=1e-2, objective="l1"),
    Setting(method=RDSKD(**NET, lr=2e-3, warmup=200, samples=10.0), steps=300),  # with 1.0 two seeds of four end at what noise gives
    Setting(method=DAFL(**NET, lr=2e-3), steps=240),
    Setting(method=MSKD(**NET, lr=2e-3), steps=240),
    Setting(method=ZSKT(**NET, lr=1e-3, every=5), steps=240),
    Setting(method=ZSKD(batch=64, steps=20, lr=0.1, warmup=16), steps=200),
    Setting(method=BNS(batch=128, steps=30, lr=0.1, warmup=3, copies=0)),
    Setting(method=Inception(batch=64, steps=30, lr=0.1, warmup=6, logit=1000.0, smooth=0.1, copies=0), lr=3e-3),
)
NOISE = Setting(method=Gaussian(batch=64, warmup=4), steps=max(setting.steps for setting in SETTINGS))


def accuracy(setting: Setting, teacher: Teacher, runtime: Runtime) -> float:
    """Return the accuracy on held-out digits of a student without batch norm, whose statistics a live generator would lead astray."""
    torch.manual_seed(0)
    student = Network(plain_net(), teacher.spec)
    work = Synthesizer(teacher, setting.method, runtime=runtime, generator=runtime.generator(0), student=student)
    source = Synthetic(work, size=64, clock=Clock())
    training = Training(steps=setting.steps, batch=64, optimizer="adam", lr=setting.lr)
    objective = build_objective(setting.objective)
    learner = Learner(student, source, objective, training, runtime=runtime, generator=runtime.generator(0), teacher=teacher)
    for _ in source.prepare():
        pass
    for _ in range(setting.steps):
        learner.step()
    return predict(student, digits("test").batches(540), runtime).accuracy


@pytest.fixture(scope="module")
def from_noise(teacher: Teacher, runtime: Runtime) -> float:
    return accuracy(NOISE, teacher, runtime)


def test_there_is_a_setting_for_every_method() -> None:
    assert {type(setting.method) for setting in (*SETTINGS, NOISE)} == set(METHODS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.method.name)
def test_a_student_learns_far_more_than_from_noise(setting: Setting, from_noise: float, teacher: Teacher, runtime: Runtime) -> None:
    """Measured with four teachers, since another processor trains another one: noise leads to 11 to 24 % of the digits read, a method to 36
    to 66 %, and to 13 points or more above noise of the same teacher; RDSKD with four seeds too, to 39 to 53 %."""
    assert from_noise < 0.3
    assert accuracy(setting, teacher, runtime) > from_noise + 0.1

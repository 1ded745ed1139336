"""No field is for show: changing any one changes the images, or what the student becomes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quick_methods import quick
from tacit.core.device import Clock, Runtime
from tacit.core.files import write_tensors
from tacit.core.network import Network, Teacher
from tacit.core.spec import Spec
from tacit.distill import Learner, Synthetic, Training, build_objective
from tacit.synthesize import CMI, DFAD, METHODS, DeepInversion, FastDFKD, Method, Synthesizer
from toy import BNNet

SPEC = Spec(shape=(1, 8, 8), classes=5, mean=(0.4,), std=(0.3,))

OTHER: dict[str, Any] = {
    "activation": 1.0,
    "adv": 5.0,
    "authenticity": 2.0,
    "balance": 1.0,
    "bank": 17,
    "batch": 25,
    "bn": 3.0,
    "ce": 3.0,
    "classes": 2.0,
    "clip": 1e-4,
    "concentrations": (2.0, 0.3),
    "contrast": 2.0,
    "decay": False,
    "embedding": 5,
    "embeddings": "given.safetensors",
    "epoch": 2,
    "every": 3,
    "rounding": 3,
    "copies": 3,
    "sigma": 2.0,
    "smooth": 1e-5,
    "logit": 3.0,
    "direction": "paper",
    "flip": True,
    "jitter": 0.3,
    "l2": 0.1,
    "latent": 5,
    "lr": 0.02,
    "lr_latent": 0.3,
    "meta": "reptile",
    "momentum": 0.5,
    "negatives": 3,
    "noise": 5,
    "penalty": "step",
    "rescale": True,
    "reset": 2,
    "restart": 1,
    "samples": 3.0,
    "seeking": 3.0,
    "start": "uniform",
    "steps": 2,
    "temperature": 3.0,
    "tv": 0.1,
    "views": "shift",
    "warmup": 3,
    "width": 6,
}
"""For every field of every method, a value that none has in the quick settings."""


class Mirrored(nn.Module):
    """A teacher that tells left from right."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = BNNet()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x * torch.linspace(0.2, 1.8, x.shape[-1]))
        return logits


def outcome(method: Method, runtime: Runtime) -> list[Tensor]:
    """Return all that six student steps with a round before every second one, or as the method has it, led to."""
    torch.manual_seed(0)
    teacher, student = Teacher(Mirrored(), SPEC), Network(BNNet(width=3), SPEC)
    work = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(0), student=student)
    source = Synthetic(work, size=8, clock=Clock())
    learner = Learner(
        student, source, build_objective("kd"), Training(steps=6, batch=8), runtime=runtime, generator=runtime.generator(1), teacher=teacher
    )
    for _ in source.prepare():
        pass
    for _ in range(6):
        learner.step()
    images = [source.pool.columns["images"]] if method.pooled else [work.sample(4).images]
    return [*images, *(parameter.detach() for parameter in student.parameters())]


CASES = [(kind, field.name) for kind in METHODS for field in fields(kind)]


@pytest.fixture(scope="module")
def baselines(runtime: Runtime) -> dict[type[Method], list[Tensor]]:
    return {kind: outcome(quick(kind), runtime) for kind in METHODS}


def test_the_same_settings_give_the_same_outcome(baselines: dict[type[Method], list[Tensor]], runtime: Runtime) -> None:
    for kind in (DeepInversion, DFAD, CMI):  # a pool, a live generator, and one with a bank; `test_methods.py` has the images of all
        again = outcome(quick(kind), runtime)
        assert all(torch.equal(one, other) for one, other in zip(baselines[kind], again, strict=True)), kind.__name__


@pytest.mark.parametrize(("kind", "field"), CASES, ids=[f"{kind.__name__}.{field}" for kind, field in CASES])
def test_every_field_matters(
    kind: type[Method],
    field: str,
    baselines: dict[type[Method], list[Tensor]],
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tensors(Path("given.safetensors"), {"names": torch.rand(5, 7, generator=torch.Generator().manual_seed(0))})
    assert getattr(quick(kind), field) != OTHER[field]
    found, before = outcome(quick(kind, **{field: OTHER[field]}), runtime), baselines[kind]
    assert any(one.shape != other.shape or not torch.equal(one, other) for one, other in zip(found, before, strict=True))


def test_no_reset_differs_from_one_that_comes(runtime: Runtime) -> None:
    never, once = (outcome(quick(FastDFKD, reset=reset), runtime)[0] for reset in (0, 1))
    assert not torch.equal(never, once)
    assert torch.equal(never[:30], once[:30])

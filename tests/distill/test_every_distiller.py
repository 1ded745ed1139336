"""Every distiller in the one loop: it learns, its state is whole, and a run that is resumed ends with the very same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tacit.core.device import Runtime
from tacit.core.network import Network, Teacher
from tacit.data import digits
from tacit.distill import Learner, Stored, Training, build_objective
from tacit.distill.objectives import DISTILLERS
from tacit.zoo import resnet

OWN: dict[str, dict[str, Any]] = {
    "crd": {"width": 16, "negatives": 64},
    "crd queue": {"width": 16, "negatives": 64, "bank": "queue", "rows": 100},
    "reviewkd": {"width": 16},
}
"""Options that keep a distiller small, or are another one."""
ALIKE = ("fsp", "intermediate")
"""Those that need a student of the teacher's own shape."""


def learner(name: str, teacher: Teacher, runtime: Runtime) -> Learner:
    torch.manual_seed(0)
    width = 8 if name in ALIKE else 4
    model = resnet(8, channels=1, width=width)
    model.add_module("pool", nn.Sequential(model.pool, nn.Dropout(0.3)))  # whose draws are of the global generator
    student = Network(model, teacher.spec)
    source = Stored(digits("train"), size=32, seed=0, device=runtime.device, augmentation="shift")
    terms = [{"loss": name.partition(" ")[0], **OWN.get(name, {})}, *([{"loss": "ce"}] if name != "ce" else [])]
    training = Training(steps=20, batch=32, lr=0.01, clip=1.0)
    return Learner(
        student, source, build_objective(terms), training, runtime=runtime, generator=torch.Generator().manual_seed(0), teacher=teacher
    )


@pytest.mark.parametrize("name", sorted({*DISTILLERS, *OWN}))
def test_a_resumed_learner_takes_the_very_same_steps(name: str, teacher: Teacher, runtime: Runtime, tmp_path: Path) -> None:
    whole = learner(name, teacher, runtime)
    before = [parameter.detach().clone() for parameter in whole.parameters]
    for _ in range(4):
        whole.step()
    torch.save(whole.state_dict(), tmp_path / "state.pt")
    for _ in range(3):
        whole.step()
    again = learner(name, teacher, runtime)
    torch.manual_seed(99)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), tmp_path)
    for _ in range(3):
        again.step()
    assert set(whole.parts) == set(again.parts)
    assert all(bool(torch.isfinite(part)) for part in whole.parts.values())
    assert any(not torch.equal(one, two) for one, two in zip(before, whole.parameters, strict=True))
    for one, two in ((whole.student, again.student), (whole.objective, again.objective)):
        theirs = two.state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())

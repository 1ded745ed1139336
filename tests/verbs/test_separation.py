"""Real data given to a data-free run serve evaluation only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tacit
from tacit.core.batch import Batch
from tacit.core.models import ModelRef
from tacit.data import ImageSet, digits
from tacit.distill.loop import Learner
from tacit.synthesize import CMI, DFAD, DeepInversion, Method, Synthesizer

METHODS: tuple[Method, ...] = (
    CMI(steps=3, batch=32, width=4, latent=8, every=4),
    DeepInversion(steps=3, batch=32, warmup=2),
    DFAD(batch=16, width=4, latent=8),
)


@dataclass(frozen=True)
class Guarded(ImageSet):
    """Raises when an image is touched while something learns or is painted."""

    def to(self, device: torch.device) -> ImageSet:
        return self

    def batch(self, index: Tensor) -> Batch:
        assert not working, "evaluation data were touched outside of evaluation"
        touched.append(len(index))
        return super().batch(index)


working: list[str] = []
touched: list[int] = []


def distil(folder: Path, teacher: Path, method: Method, data: ImageSet | None, **options: Any) -> tacit.Outcome:
    student = ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2})
    training = tacit.Training(steps=10, batch=16)
    given: dict[str, Any] = {"student": student, "method": method, "training": training, "data": data, "evaluations": 5, **options}
    return tacit.distill(teacher=str(teacher), out=folder, **given)


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> None:
    touched.clear()
    for kind, name in ((Learner, "step"), (Synthesizer, "round"), (Synthesizer, "sample")):
        inner = getattr(kind, name)

        def outer(self: Any, *args: Any, inner: Any = inner, **options: Any) -> Any:
            working.append(inner.__name__)
            try:
                return inner(self, *args, **options)
            finally:
                working.pop()

        monkeypatch.setattr(kind, name, outer)


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_evaluation_data_are_touched_by_evaluation_alone_and_change_nothing(method: Method, tmp_path: Path, teacher_folder: Path) -> None:
    held = digits("test")
    with_data = distil(tmp_path / "with", teacher_folder, method, Guarded(held.images, held.labels, held.names))
    assert touched
    assert with_data.metrics["student_accuracy"] is not None
    without = distil(tmp_path / "without", teacher_folder, method, None)
    assert without.metrics["student_accuracy"] is None
    files = ["model/weights.safetensors"] + (["pool/pool.json"] if method.pooled else [])
    for file in files:
        assert (tmp_path / "with" / file).read_bytes() == (tmp_path / "without" / file).read_bytes()


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("method", METHODS[:1] + METHODS[2:], ids=lambda method: method.name)
@pytest.mark.parametrize("select", ["ema", "agreement"])
def test_evaluation_data_can_not_influence_which_weights_are_selected(
    method: Method, select: str, tmp_path: Path, teacher_folder: Path
) -> None:
    """Labels that are right, labels that are all wrong, and none lead to the same weights."""
    held, chosen, right = digits("test"), [], []
    for name, labels in (("right", held.labels), ("wrong", (held.labels + 1) % 10), ("none", None)):
        data = Guarded(held.images, labels, held.names) if labels is not None else None
        options: dict[str, Any] = {"select": select, "ema": 0.8, "checks": 5, "patience": 3, "training": tacit.Training(steps=20, batch=16)}
        outcome = distil(tmp_path / name, teacher_folder, method, data, **options)
        chosen.append((tmp_path / name / "model" / "weights.safetensors").read_bytes())
        right.append(outcome.metrics["student_accuracy_selected"])
        assert outcome.result["selection"] == {"ema": "ema", "agreement": "agreement_synthetic"}[select]
    assert right[0] != right[1]
    assert right[2] is None
    assert chosen[0] == chosen[1] == chosen[2]


def test_the_guard_raises_when_data_are_learned_from(tmp_path: Path, teacher_folder: Path, guard: None) -> None:
    held = digits("test")
    with pytest.raises(AssertionError, match="touched outside of evaluation"):
        tacit.distill(
            teacher=str(teacher_folder),
            student=ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2}),
            source="data",
            data=Guarded(held.images, held.labels, held.names),
            training=tacit.Training(steps=2, batch=16),
            out=tmp_path / "run",
        )

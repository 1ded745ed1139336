"""Losses of the logits on answers with a class a pixel: each is what it is on the pixels as if they were images."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.loss import Loss, View
from tacit.core.probe import Signals
from tacit.core.spec import VOID
from tacit.losses import (
    KD,
    L1,
    MSE,
    ClassBalance,
    ClassPrior,
    Competition,
    CrossEntropy,
    DecisionAdversarial,
    DecoupledKD,
    Disagreement,
    Dist,
    Divergence,
    SoftCrossEntropy,
)
from tacit.losses.logits import cross_entropy

IMAGES = torch.zeros(2, 3, 4, 5)
CLASSES = 6


def draw(seed: int) -> Tensor:
    return torch.randn(2, CLASSES, 4, 5, generator=torch.Generator().manual_seed(seed)) * 2


def labels(void: int = 0) -> Tensor:
    found = torch.randint(CLASSES, (2, 4, 5), generator=torch.Generator().manual_seed(9))
    found.view(-1)[:void] = VOID
    return found


def flat(logits: Tensor) -> Tensor:
    """Return a row a pixel, by a slow loop."""
    return torch.stack([logits[n, :, y, x] for n in range(2) for y in range(4) for x in range(5)])


def view(student: Tensor, teacher: Tensor, targets: Tensor | None) -> View:
    return View(IMAGES, targets, teacher=Signals(teacher), student=Signals(student))


LOSSES = (
    *(KD(), KD(standardise=True), L1(), MSE(), SoftCrossEntropy(), Dist(), DecoupledKD(), CrossEntropy(), ClassPrior(), ClassBalance()),
    *(DecisionAdversarial(), Divergence(), Competition()),
)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_dense_answer_counts_as_its_pixels(loss: Loss) -> None:
    dense = loss(view(draw(0), draw(1), labels()))
    assert float(dense) == pytest.approx(float(loss(view(flat(draw(0)), flat(draw(1)), labels().flatten()))), rel=1e-5)


@pytest.mark.parametrize("loss", [CrossEntropy(), ClassPrior(), DecoupledKD()], ids=lambda loss: type(loss).__name__)
def test_pixels_of_no_class_are_left_out(loss: Loss) -> None:
    dense, known = loss(view(draw(0), draw(1), labels(void=13))), labels().flatten()[13:]
    assert float(dense) == pytest.approx(float(loss(view(flat(draw(0))[13:], flat(draw(1))[13:], known))), rel=1e-5)
    student = draw(0).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(view(student, student * 2, labels(void=13))), student)
    assert not bool(flat(gradient)[:13].any())
    assert bool(flat(gradient)[13:].any())


@pytest.mark.parametrize("loss", [CrossEntropy(), ClassPrior(), DecoupledKD()], ids=lambda loss: type(loss).__name__)
def test_a_batch_without_any_class_teaches_nothing(loss: Loss) -> None:
    student = draw(0).requires_grad_()
    value = loss(view(student, student * 2, labels(void=40)))
    (gradient,) = torch.autograd.grad(value, student)
    assert float(value.detach()) == 0.0
    assert not bool(gradient.any())


def test_a_classifier_of_many_classes_keeps_class_255() -> None:
    logits, targets = torch.randn(3, 300), torch.tensor([255, 4, 255])
    assert float(cross_entropy(logits, targets)) == pytest.approx(float(F.cross_entropy(logits, targets)))


def test_disagreement_is_the_logarithm_of_one_and_the_mean_difference() -> None:
    student, teacher = draw(0), draw(1)
    apart = sum(abs(a - b) for a, b in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)) / student.numel()
    assert float(Disagreement()(view(student, teacher, None))) == pytest.approx(-math.log(1 + apart), rel=1e-5)
    assert float(Disagreement()(view(flat(student), flat(teacher), None))) == pytest.approx(-apart, rel=1e-5)
    near, far = (1e-6, 1e3)
    steep = [_slope(Disagreement(), scale) for scale in (near, far)]
    assert steep[0] == pytest.approx(1 / student.numel(), rel=1e-3), "as that of the mean where they agree"
    assert steep[1] < 0.01 / student.numel(), "less where they differ much"


def _slope(loss: Loss, scale: float) -> float:
    student = (scale * torch.ones(2, CLASSES, 4, 5)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(view(student, torch.zeros_like(student), None)), student)
    return float(gradient.abs().max())

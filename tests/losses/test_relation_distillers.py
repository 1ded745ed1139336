"""SP, CC, RKD and PKT, which compare images with images, against slow loops in doubles, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import Layer, Match
from tacit.core.probe import Signals
from tacit.losses import CorrelationCongruence, ProbabilisticTransfer, RelationalKD, SimilarityPreserving
from tacit.losses.correlation import correlation_distance
from tacit.losses.probabilistic import neighbour_divergence, neighbours
from tacit.losses.relational import angle_distance, angles, distances, spacing_distance
from tacit.losses.similarity_preserving import similarities, similarity_distance

Distance = Callable[[Tensor, Tensor], Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def length(vector: Tensor) -> Tensor:
    return torch.stack([value**2 for value in vector]).sum().sqrt()


def huber(one: Tensor, other: Tensor) -> Tensor:
    apart = (one - other).abs()
    return 0.5 * apart**2 if float(apart.detach()) < 1 else apart - 0.5


def slow_similarity(student: Tensor, teacher: Tensor) -> Tensor:
    rows = []
    for flat in (student.flatten(1), teacher.flatten(1)):
        gram = [torch.stack([(one * other).sum() for other in flat]) for one in flat]
        rows.append([row / length(row) for row in gram])
    total = torch.stack([((one - other) ** 2).sum() for one, other in zip(*rows, strict=True)]).sum()
    return total / len(student) ** 2


def slow_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    products = []
    for i in range(len(student) - 1):
        pieces = [(student[i, d] - teacher[i, d]).abs() * (student[i + 1, d] - teacher[i + 1, d]).abs() for d in range(student.shape[1])]
        products.append(torch.stack(pieces).sum())
    return mean(products)


def slow_spacing(student: Tensor, teacher: Tensor) -> Tensor:
    spaced = []
    for x in (student, teacher):
        found = {(i, j): length(x[i] - x[j]) for i in range(len(x)) for j in range(len(x)) if i != j}
        mu = mean(list(found.values()))
        spaced.append({pair: value / mu for pair, value in found.items()})
    apart = [huber(value, spaced[1][pair]) for pair, value in spaced[0].items()]
    return torch.stack(apart).sum() / len(student) ** 2


def slow_angle(student: Tensor, teacher: Tensor) -> Tensor:
    count, total = len(student), torch.zeros((), dtype=torch.double)
    for j in range(count):
        for i in set(range(count)) - {j}:
            for k in set(range(count)) - {j}:
                cosines = [((x[i] - x[j]) * (x[k] - x[j])).sum() / length(x[i] - x[j]) / length(x[k] - x[j]) for x in (student, teacher)]
                total = total + huber(*cosines)
    return total / count**3


def slow_neighbours(student: Tensor, teacher: Tensor) -> Tensor:
    terms = []
    for j in range(len(student)):
        ours, theirs = (torch.stack([((row * x[j]).sum() / length(row) / length(x[j]) + 1) / 2 for row in x]) for x in (student, teacher))
        for p, q in zip(theirs / theirs.sum(), ours / ours.sum(), strict=True):
            terms.append(p * (p / q).log())
    return mean(terms)


@pytest.mark.parametrize(
    ("found", "slow", "shapes"),
    [
        (similarity_distance, slow_similarity, ((5, 3, 2, 2), (5, 4, 3, 3))),
        (correlation_distance, slow_correlation, ((5, 6), (5, 6))),
        (spacing_distance, slow_spacing, ((5, 3), (5, 4))),
        (angle_distance, slow_angle, ((5, 3), (5, 4))),
        (neighbour_divergence, slow_neighbours, ((5, 3), (5, 4))),
    ],
)
def test_each_is_its_formula_in_value_and_gradient(found: Distance, slow: Distance, shapes: Any) -> None:
    student, teacher = draw(*shapes[0]).requires_grad_(), draw(*shapes[1], seed=1)
    value, wanted = found(student, teacher), slow(student.double(), teacher.double())
    assert value.shape == ()
    assert float(value.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert float(value.detach()) > 1e-4
    (one,), (other,) = torch.autograd.grad(value, student), torch.autograd.grad(wanted, student)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distance", [similarity_distance, correlation_distance, spacing_distance, angle_distance, neighbour_divergence])
def test_each_is_nothing_where_the_student_is_the_teacher_and_something_elsewhere(distance: Distance) -> None:
    student = draw(6, 5).requires_grad_()
    value = distance(student, student.detach().clone())
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-7)
    (gradient,) = torch.autograd.grad(value, student)
    assert float(gradient.abs().max()) < 1e-6
    assert float(distance(draw(6, 5, seed=1), student).detach()) > 1e-4


def test_similarities_and_angles_of_known_images() -> None:
    torch.testing.assert_close(similarities(torch.tensor([[3.0, 0.0], [0.0, 2.0]])), torch.eye(2))
    half = math.sqrt(0.5)
    torch.testing.assert_close(similarities(torch.ones(2, 3, 1, 1)), torch.full((2, 2), half))
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(
        distances(corner) / float(distances(corner)[0, 1]), torch.tensor([[0.0, 1, 1], [1, 0, math.sqrt(2)], [1, math.sqrt(2), 0]])
    )
    assert float(distances(corner).sum()) == pytest.approx(6)  # six pairs, 1 on average
    torch.testing.assert_close(angles(corner)[0], torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    torch.testing.assert_close(angles(corner)[1], torch.tensor([[1.0, 0, half], [0, 0, 0], [half, 0, 1]]))
    torch.testing.assert_close(neighbours(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])), torch.eye(2))


def test_what_is_compared_has_no_scale() -> None:
    x = draw(5, 4)
    for compared in (similarities, distances, angles, neighbours):
        torch.testing.assert_close(compared(7 * x), compared(x))
    torch.testing.assert_close(angles(x + 3), angles(x), rtol=1e-4, atol=1e-5)


def test_images_that_are_one_and_the_same_have_no_distance_and_do_not_count() -> None:
    twins = torch.tensor([[1.0, 1.0], [1.0, 1.0], [4.0, 5.0]]).requires_grad_()
    found = distances(twins)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 1, 0]]))
    (gradient,) = torch.autograd.grad(spacing_distance(twins, draw(3, 2)), twins)
    assert bool(torch.isfinite(gradient).all())


def shown(ours: Tensor, theirs: Tensor) -> View:
    logits = torch.zeros(len(ours), 5)
    return View(torch.zeros(len(ours), 1, 1, 1), teacher=Signals(logits, {"t": theirs}), student=Signals(logits, {"s": ours}))


def test_relations_weigh_distances_by_25_and_angles_by_50() -> None:
    ours, theirs = draw(4, 3, 2, 2), draw(4, 6, seed=1)
    pooled = ours.mean(dim=(2, 3))
    spaced, turned = float(spacing_distance(pooled, theirs)), float(angle_distance(pooled, theirs))
    view = shown(ours, theirs)
    assert float(RelationalKD(["t"], ["s"])(view)) == pytest.approx(25 * spaced + 50 * turned, rel=1e-5)
    assert float(RelationalKD(["t"], ["s"], distance=2, angle=0)(view)) == pytest.approx(2 * spaced, rel=1e-5)


def test_losses_are_their_distances_of_vectors_or_of_whole_maps() -> None:
    ours, theirs = draw(4, 3, 2, 2), draw(4, 6, 3, 3, seed=1)
    view, pooled = shown(ours, theirs), (ours.mean(dim=(2, 3)), theirs.mean(dim=(2, 3)))
    assert float(SimilarityPreserving(["t"], ["s"])(view)) == float(similarity_distance(ours, theirs))
    assert float(ProbabilisticTransfer(["t"], ["s"])(view)) == pytest.approx(float(neighbour_divergence(*pooled)), rel=1e-6)


def test_correlation_is_of_embeddings_that_learn_and_nothing_where_these_are_the_same() -> None:
    torch.manual_seed(0)
    loss = CorrelationCongruence(["t"], ["s"], width=7)
    loss.build([Match(Layer("t", (6, 3, 3), -1), Layer("s", (6,), -math.inf))])
    ours, theirs = draw(4, 6), draw(4, 6, 3, 3, seed=1)
    (heads,) = loss.adapters
    one, other = (heads.get_submodule(side) for side in ("student", "teacher"))
    wanted = slow_correlation(one(ours).double(), other(theirs.mean(dim=(2, 3))).double())
    value = loss(shown(ours, theirs))
    assert float(value.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    gradients = torch.autograd.grad(value, list(loss.parameters()))
    assert len(gradients) == 4
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)
    one.load_state_dict(other.state_dict())
    assert float(loss(shown(theirs.mean(dim=(2, 3)), theirs)).detach()) == 0.0
    with pytest.raises(InputError, match="cc: width: expected the length of an embedding, at least 1, got 0"):
        CorrelationCongruence(width=0)
    with pytest.raises(InputError, match="CorrelationCongruence: call `fit` first"):
        CorrelationCongruence(["t"], ["s"])(shown(ours, theirs))

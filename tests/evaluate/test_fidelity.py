"""Fidelity against closed forms and slow numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.evaluate import density_coverage, frechet_distance, precision_recall


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow(real: Tensor, made: Tensor, k: int) -> tuple[list[float], list[float]]:
    """Return precision and recall, density and coverage, written out as in the papers."""
    a, b = real.double().numpy(), made.double().numpy()

    def reach(points: np.ndarray) -> list[float]:
        return [sorted(float(np.linalg.norm(p - q)) for m, q in enumerate(points) if m != n)[k - 1] for n, p in enumerate(points)]

    of_a, of_b = reach(a), reach(b)
    apart = np.array([[np.linalg.norm(p - q) for q in b] for p in a])
    precision = np.mean([any(apart[i, j] <= of_a[i] for i in range(len(a))) for j in range(len(b))])
    recall = np.mean([any(apart[i, j] <= of_b[j] for j in range(len(b))) for i in range(len(a))])
    density = sum(apart[i, j] < of_a[i] for i in range(len(a)) for j in range(len(b))) / (k * len(b))
    coverage = np.mean([any(apart[i, j] < of_a[i] for j in range(len(b))) for i in range(len(a))])
    return [float(precision), float(recall)], [float(density), float(coverage)]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("chunk", [1, 6, 512])
def test_all_four_are_what_the_papers_formulas_give(k: int, chunk: int) -> None:
    real, made = draw(20, 3), 0.8 * draw(17, 3, seed=1) + 1.2
    shares, others = slow(real, made, k)
    assert list(precision_recall(real, made, k=k, chunk=chunk)) == pytest.approx(shares)
    assert list(density_coverage(real, made, k=k, chunk=chunk)) == pytest.approx(others)
    assert all(0 < value < 1 for value in shares), "the example tells nothing at its ends"


def test_a_set_is_its_own_perfect_image() -> None:
    real = draw(60, 4)
    assert precision_recall(real, real.clone()) == (1, 1)
    assert density_coverage(real, real.clone()) == pytest.approx((1, 1))


def test_sets_that_lie_apart_share_nothing() -> None:
    real = draw(60, 4)
    assert precision_recall(real, real + 100) == (0, 0)
    assert density_coverage(real, real + 100) == (0, 0)


def test_one_mode_of_two_is_precise_and_recalls_half() -> None:
    near, far = draw(50, 2), draw(50, 2, seed=1) + 100
    made = draw(100, 2, seed=2) * 0.5
    found, robust = precision_recall(torch.cat([near, far]), made), density_coverage(torch.cat([near, far]), made)
    assert found.precision > 0.95
    assert 0.2 < found.recall <= 0.5
    assert 0.2 < robust.coverage <= 0.5
    assert robust.density > 1


def test_one_outlier_opens_the_door_to_precision_but_hardly_to_density() -> None:
    real = torch.cat([draw(99, 2), torch.full((1, 2), 50.0)])
    made = draw(100, 2, seed=1) + 25
    assert precision_recall(real, made).precision == 1
    assert density_coverage(real, made).density == pytest.approx(1 / 5)


def test_equal_distributions_have_density_one_and_coverage_near_one() -> None:
    found = density_coverage(draw(1500, 3), draw(1500, 3, seed=1))
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - 0.5**5, abs=0.02)  # Naeem et al., lemma 2, for large sets


@pytest.mark.parametrize("measure", [precision_recall, density_coverage])
def test_too_few_images_or_other_features_are_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(InputError, match="real: expected more than 3 images, got 3"):
        measure(draw(3, 2), draw(9, 2), k=3)
    with pytest.raises(InputError, match=r"got \[9, 2\] and \[9, 3\]"):
        measure(draw(9, 2), draw(9, 3))
    with pytest.raises(InputError, match="k: expected at least 1, got 0"):
        measure(draw(9, 2), draw(9, 2), k=0)


def exactly(count: int, mean: Tensor, deviation: Tensor, seed: int) -> Tensor:
    """Return samples whose own mean and covariance are exactly these; `deviation` is a matrix A with covariance A A'."""
    raw = draw(count, len(mean), seed=seed).double()
    raw = raw - raw.mean(dim=0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(raw.T @ raw / (count - 1)), raw.T, upper=False).T
    made: Tensor = white @ deviation.double().T + mean.double()
    return made


def test_frechet_distance_of_two_gaussians_is_the_closed_form() -> None:
    one, two = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([2.0, 0.5, 0.5])
    shift = torch.tensor([3.0, 0.0, -1.0])
    real, made = exactly(200, torch.zeros(3), one.diag(), 0), exactly(300, shift, two.diag(), 1)
    assert frechet_distance(real, made) == pytest.approx(float(shift.square().sum() + (one - two).square().sum()), rel=1e-9)
    assert frechet_distance(made, real) == pytest.approx(frechet_distance(real, made), rel=1e-9)


def test_frechet_distance_of_covariances_that_do_not_commute_is_that_of_a_matrix_root() -> None:
    first, second = draw(4, 4, seed=3).double(), draw(4, 4, seed=4).double()
    real, made = exactly(50, torch.zeros(4), first, 0), exactly(50, torch.ones(4), second, 1)
    a, b = (first @ first.T).numpy(), (second @ second.T).numpy()
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values) @ vectors.T
    of_root = np.sqrt(np.linalg.eigvalsh(root @ b @ root)).sum()  # tr((a b)^(1/2)) by symmetric matrices alone
    assert frechet_distance(real, made) == pytest.approx(4 + float(np.trace(a + b) - 2 * of_root), rel=1e-8)


def test_frechet_distance_of_a_set_to_itself_is_zero_also_far_from_the_origin() -> None:
    real = draw(100, 8)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(real + 1e4, real + 1e4) == pytest.approx(0, abs=1e-5)


def test_frechet_distance_needs_two_images_of_each() -> None:
    with pytest.raises(InputError, match="made: expected more than 1 images, got 1"):
        frechet_distance(draw(9, 2), draw(1, 2))

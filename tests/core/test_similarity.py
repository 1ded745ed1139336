"""Distances and near-duplicates against slow loops and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.similarity import duplicate_rate, pairwise_distance, subsample


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_distances(features: Tensor, labels: Tensor) -> list[float]:
    points = features.double().numpy()
    found: dict[str, list[float]] = {"far": [], "turn": [], "far within": [], "turn within": []}
    for one, first in enumerate(points):
        for other, second in enumerate(points[:one]):
            far = float(np.linalg.norm(first - second))
            turn = 1 - float(first @ second) / float(np.linalg.norm(first) * np.linalg.norm(second))
            for name in ("", " within") if labels[one] == labels[other] else ("",):
                found[f"far{name}"].append(far)
                found[f"turn{name}"].append(turn)
    return [float(np.mean(values)) for values in found.values()]


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_distances_are_what_a_loop_over_pairs_gives(chunk: int) -> None:
    features, labels = draw(23, 5) + 1, torch.arange(23) % 3
    found = pairwise_distance(features, labels, chunk=chunk)
    measured = [found.euclidean, found.cosine, found.euclidean_within_class, found.cosine_within_class]
    assert measured == pytest.approx(slow_distances(features, labels), rel=1e-5)


def test_distances_of_a_square_are_known() -> None:
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    found = pairwise_distance(square, torch.tensor([0, 1, 0, 1]))
    assert found.euclidean == pytest.approx((4 * math.sqrt(2) + 2 * 2) / 6)
    assert found.cosine == pytest.approx((4 * 1 + 2 * 2) / 6)
    assert (found.euclidean_within_class, found.cosine_within_class) == pytest.approx((2, 2))


def test_distance_has_the_unit_of_the_features_and_cosine_none() -> None:
    features = draw(30, 4)
    one, ten = pairwise_distance(features), pairwise_distance(10 * features)
    assert (ten.euclidean, ten.cosine) == pytest.approx((10 * (one.euclidean or 0), one.cosine))


def test_distance_of_many_gaussian_samples_is_the_closed_form() -> None:
    dimension = 16  # |x - y| / sqrt(2) is chi-distributed
    chi = math.sqrt(2) * math.exp(math.lgamma((dimension + 1) / 2) - math.lgamma(dimension / 2))
    assert pairwise_distance(draw(2000, dimension)).euclidean == pytest.approx(math.sqrt(2) * chi, rel=5e-3)


def test_where_there_is_no_pair_there_is_no_distance() -> None:
    alone = pairwise_distance(draw(1, 4), torch.tensor([0]))
    assert (alone.euclidean, alone.cosine, alone.euclidean_within_class) == (None, None, None)
    strangers = pairwise_distance(draw(3, 4), torch.arange(3))
    assert strangers.euclidean is not None
    assert strangers.euclidean_within_class is None
    assert pairwise_distance(draw(3, 4)).cosine_within_class is None


def test_of_many_samples_a_seeded_draw_is_compared() -> None:
    features, labels = draw(200, 3), torch.arange(200) % 2
    drawn = [pairwise_distance(features, labels, most=50, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0].euclidean_within_class == pytest.approx(pairwise_distance(features, labels).euclidean_within_class, rel=0.15)


def slow_duplicate_rate(images: Tensor, limit: float) -> float:
    pixels = images.double().flatten(1).numpy()
    near = [any(np.abs(a - b).mean() < limit for m, b in enumerate(pixels) if m != n) for n, a in enumerate(pixels)]
    return float(np.mean(near))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(1, 8, 8), (3, 5, 7), (2, 1, 3)]), st.floats(0.5, 4.0), st.integers(1, 9))
def test_the_rate_of_duplicates_is_what_a_loop_over_pairs_gives(seed: int, shape: tuple[int, int, int], spread: float, chunk: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bases = torch.randint(20, 230, (4, *shape), generator=generator).float()
    images = bases[torch.randint(4, (14,), generator=generator)] + spread * torch.randn(14, *shape, generator=generator)
    images = images.round().clamp(0, 255).to(torch.uint8)
    assert duplicate_rate(images, chunk=chunk) == slow_duplicate_rate(images, 2.0)


def test_both_of_a_pair_count_and_floats_are_measured_like_bytes() -> None:
    images = torch.randint(0, 256, (10, 1, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert duplicate_rate(images) == 0.0
    images[7] = images[2]
    assert duplicate_rate(images) == duplicate_rate(images.float() / 255) == 0.2


@pytest.mark.parametrize(("step", "rate"), [(1, 1.0), (2, 0.0), (3, 0.0)])
def test_two_grey_levels_are_no_duplicate_and_one_is(step: int, rate: float) -> None:
    images = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    images[1] += step
    assert duplicate_rate(images) == rate


def test_differences_that_cancel_within_a_block_are_seen() -> None:
    images = torch.full((2, 1, 8, 8), 100, dtype=torch.uint8)
    images[1, :, :, ::2] += 10
    images[1, :, :, 1::2] -= 10
    assert duplicate_rate(images) == 0.0


def test_images_all_alike_are_all_duplicates_and_one_image_is_none() -> None:
    images = torch.randint(0, 256, (1, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert duplicate_rate(images) == 0.0
    assert duplicate_rate(images.expand(3000, -1, -1, -1), most=700) == 1.0


def test_the_rate_needs_images() -> None:
    with pytest.raises(InputError, match=r"expected images of shape \(N, C, H, W\), got \[0, 1, 4, 4\]"):
        duplicate_rate(torch.zeros(0, 1, 4, 4))
    with pytest.raises(InputError, match="got"):
        duplicate_rate(torch.zeros(3, 16))


def test_a_draw_has_no_repetition_keeps_the_order_and_repeats() -> None:
    assert subsample(5, 5).tolist() == subsample(5, 9).tolist() == [0, 1, 2, 3, 4]
    first, again, other = (subsample(100, 30, torch.Generator().manual_seed(seed)).tolist() for seed in (1, 1, 2))
    assert first == again == sorted(set(first))
    assert first != other
    assert len(first) == 30
    assert max(first) < 100
    assert subsample(100, 30).tolist() == subsample(100, 30).tolist()

"""Ranges against published clips, brute force and hand calculation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tacit.quantize.fake import Quantizer, fake_quantize
from tacit.quantize.ranges import RangeOf, laplace_clip, least_error, weight_range
from tacit.quantize.scheme import Ranges


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("bits", "clip"), [(2, 2.83), (3, 3.89), (4, 5.03), (8, 9.89)])
def test_the_clips_for_a_laplace_distribution_are_those_of_the_paper(bits: int, clip: float) -> None:
    assert laplace_clip(bits) == pytest.approx(clip, abs=0.011)


def test_average_is_the_mean_of_the_images_own_ranges() -> None:
    seen, images = RangeOf("average", 8, seeded()), torch.randn(6, 2, 3, 3, generator=seeded())
    for part in torch.split(images, 4):  # of unequal size: every image counts alike
        seen.see(part)
    least, most = seen.range
    assert float(least) == pytest.approx(float(images.flatten(1).amin(1).mean()), rel=1e-5)
    assert float(most) == pytest.approx(float(images.flatten(1).amax(1).mean()), rel=1e-5)


def test_minmax_is_the_whole_range() -> None:
    seen, images = RangeOf("minmax", 8, seeded()), torch.randn(6, 5, generator=seeded())
    for part in torch.split(images, 4):
        seen.see(part)
    assert [float(value) for value in seen.range] == [float(images.min()), float(images.max())]


def test_a_percentile_leaves_outliers_out() -> None:
    seen, images = RangeOf("percentile", 8, seeded()), torch.rand(100, 1000, generator=seeded())
    images[0, 0] = 1000.0
    seen.see(images)
    assert float(seen.range[1]) == pytest.approx(1.0, abs=0.01)


def test_a_percentile_leaves_one_value_of_ten_thousand_out_at_each_end() -> None:
    values = torch.randperm(105_000, generator=seeded()).float()
    seen = RangeOf("percentile", 8, seeded())
    seen.see(values.view(100, -1))
    assert [float(value) for value in seen.range] == [10, 104_989]
    least, most = weight_range(values[None] - 50_000, "percentile", Quantizer(8, weights=True))
    assert (float(least), float(most)) == (-49_990, 54_989)


def test_a_batch_of_too_many_values_is_looked_at_in_all_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.quantize.ranges.MOST", 2000)
    seen = RangeOf("percentile", 8, seeded())
    seen.see(torch.arange(50_000.0).view(100, -1))
    least, most = (float(value) for value in seen.range)  # of 50,000 values it would be 4 and 49,995
    assert 4 < least < 500
    assert 49_500 < most < 49_995


def mean_error(x: Tensor, least: float, most: float, levels: int) -> float:
    """Return the mean squared error of a uniform quantizer in slow steps, zero a level."""
    scale = (most - least) / levels
    zero = min(max(round(-least / scale), 0), levels)
    total = 0.0
    for value in x.tolist():
        level = min(max(round(value / scale + zero), 0), levels)
        total += (value - (level - zero) * scale) ** 2
    return total / len(x)


def test_the_range_of_least_error_is_better_than_any_other_share_of_the_whole() -> None:
    x = torch.randn(400, generator=seeded()).relu() ** 2
    least, most = least_error(x[None], torch.zeros(1), x.max().view(1), 0, 15, symmetric=False)
    found = mean_error(x, float(least), float(most), 15)
    others = [mean_error(x, 0.0, float(x.max()) * share / 40, 15) for share in range(1, 41)]
    assert found == pytest.approx(min(others), rel=1e-4)
    assert found < others[-1]


def test_the_range_of_least_error_is_the_mean_of_what_is_best_for_each_batch() -> None:
    seen, best = RangeOf("mse", 4, seeded()), list[tuple[float, float]]()
    for scale in (1.0, 3.0):
        x = scale * (torch.randn(400, generator=seeded()) + 0.5)
        seen.see(x.view(20, 20))
        tried = [(float(x.min()) * share / 40, float(x.max()) * share / 40) for share in range(1, 41)]
        errors = [mean_error(x.flatten(), *ends, 15) for ends in tried]
        best.append(tried[errors.index(min(errors))])
    assert [float(value) for value in seen.range] == pytest.approx([sum(ends) / 2 for ends in zip(*best, strict=True)])


@pytest.mark.parametrize("how", ["average", "minmax", "percentile", "mse", "aciq"])
def test_weights_get_a_range_a_row_that_holds_zero(how: Ranges) -> None:
    rows = torch.randn(4, 200, generator=seeded()) + torch.tensor([[0.0], [5.0], [-5.0], [0.0]])
    least, most = weight_range(rows, how, Quantizer(4, weights=True, shape=(4, 1)))
    assert least.shape == most.shape == (4,)
    assert bool((least <= 0).all())
    assert bool((most >= 0).all())
    assert bool((most - least > 0).all())
    assert bool((most <= rows.amax(1).clamp_min(0) + 1e-6).all())
    if how == "minmax":
        assert torch.equal(most, rows.amax(1).clamp_min(0))


def test_two_bits_fit_weights_that_lean_to_either_side_alike() -> None:
    lean = torch.randn(1, 400, generator=seeded()).exp() - 1
    rows, quantizer = torch.cat([lean, -lean]), Quantizer(2, weights=True, shape=(2, 1))
    quantizer.set_range(*weight_range(rows, "mse", quantizer))
    errors = (quantizer(rows) - rows).square().mean(dim=1)
    torch.testing.assert_close(errors[0], errors[1], rtol=1e-3, atol=0)
    narrow = least_error(rows[:1], rows[:1].amin(dim=1), rows[:1].amax(dim=1), -2, 1, symmetric=True)
    one = (fake_quantize(rows[0], torch.maximum(narrow[0] / -2, narrow[1]), torch.zeros(1), -2, 1) - rows[0]).square().mean()
    assert float(errors[0]) < 0.7 * float(one)


def test_aciq_is_half_a_range_for_what_is_never_negative() -> None:
    images = torch.randn(50, 400, generator=seeded()).relu()
    found = {}
    for bits in (2, 4):
        seen = RangeOf("aciq", bits, seeded())
        seen.see(images)
        assert float(seen.range[0]) == 0.0
        found[bits] = float(seen.range[1])
    assert found[2] == pytest.approx(3.89 * float(images[images > 0].mean()), rel=0.003)  # the clip of 3 bits, by the paper
    assert found[2] < 0.9 * float(images.max())
    assert found[4] == pytest.approx(float(images.max()))  # 6.2 means of a half normal are farther out than 20,000 values go


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_aciq_is_near_the_least_error_behind_a_relu(bits: int) -> None:
    """Of half a Laplace distribution, the error of the range is within a tenth of the least that a search of ranges finds."""
    draw = torch.distributions.Laplace(0.0, 1.3)
    torch.manual_seed(0)
    x = draw.sample((1, 200_000)).relu()
    high = 2**bits - 1

    def error(most: float) -> float:
        scale = torch.tensor(most / high)
        return float((fake_quantize(x, scale, torch.zeros(()), 0, high) - x).square().mean())

    seen = RangeOf("aciq", bits, seeded())
    seen.see(x.view(100, -1))
    least = min(error(float(x.max()) * share / 200) for share in range(1, 201))
    assert error(float(seen.range[1])) < 1.1 * least

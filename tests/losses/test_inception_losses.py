"""What Inception is made of (target logits, smoothness, pixels of 8 bits), against closed forms and slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Needs, View
from tacit.core.probe import Signals
from tacit.core.spec import Spec
from tacit.losses import Smoothness, TargetLogit
from tacit.losses.inception import gaussian_blur
from tacit.synthesize.canvas import Round, RoundedPixels

IMAGES = torch.zeros(1, 1, 1, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def excited(logits: Tensor, targets: list[int], **options: float) -> Tensor:
    value: Tensor = TargetLogit(**options)(View(IMAGES, torch.tensor(targets), teacher=Signals(logits)))
    return value


# ---------------------------------------------------------------- target logits


def test_target_logit_is_the_exponential_of_the_mean_wanted_logit() -> None:
    logits = torch.tensor([[9.0, -1.0, 4.0], [2.0, 7.0, 30.0]])
    assert float(excited(logits, [2, 0], scale=0.5)) == pytest.approx(math.exp(-0.5 * (4 + 2) / 2))
    assert float(excited(logits, [1, 2], scale=0.5)) == pytest.approx(math.exp(-0.5 * (-1 + 30) / 2))
    assert float(excited(logits * 0, [1, 2])) == 1.0
    assert TargetLogit().needs == Needs(targets=True)


def test_target_logit_has_the_scale_of_the_authors_code() -> None:
    assert float(excited(torch.full((3, 2), 1000.0), [0, 1, 0])) == pytest.approx(math.exp(-0.4))


def test_only_the_wanted_logits_are_pulled_and_the_less_the_larger_they_are() -> None:
    logits = torch.tensor([[1.0, 5.0], [3.0, 2.0]], requires_grad=True)
    value = excited(logits, [0, 1], scale=0.1)
    (gradient,) = torch.autograd.grad(value, logits)
    pull = -0.1 * math.exp(-0.1 * 1.5) / 2
    torch.testing.assert_close(gradient, torch.tensor([[pull, 0.0], [0.0, pull]]))
    (later,) = torch.autograd.grad(excited(logits + 10, [0, 1], scale=0.1), logits)
    torch.testing.assert_close(later, gradient * math.exp(-1.0))


# ---------------------------------------------------------------- smoothness


def slow_blur(images: Tensor, size: int, sigma: float) -> np.ndarray:
    """Sum over a square window, pixel by pixel; what lies outside the image is zero."""
    reach, (n, channels, height, width) = size // 2, images.shape
    window = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    weights = {at: math.exp(-(at[0] ** 2 + at[1] ** 2) / (2 * sigma**2)) for at in window}
    found = np.zeros(images.shape)
    for i in range(n):
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    for (down, right), weight in weights.items():
                        if 0 <= y + down < height and 0 <= x + right < width:
                            found[i, c, y, x] += weight / sum(weights.values()) * float(images[i, c, y + down, x + right])
    return found


@pytest.mark.parametrize(("size", "sigma"), [(5, 1.0), (5, 0.375), (3, 2.0), (7, 1.5), (1, 1.0)])
def test_the_blur_is_a_weighted_sum_over_a_window_with_zeros_around(size: int, sigma: float) -> None:
    images = torch.randn(2, 3, 4, 6, generator=seeded())
    np.testing.assert_allclose(gaussian_blur(images, size, sigma).numpy(), slow_blur(images, size, sigma), atol=1e-6)


def test_the_blur_of_one_lit_pixel_is_the_bell_and_that_of_white_is_dark_at_the_border_alone() -> None:
    lit = torch.zeros(1, 1, 9, 9)
    lit[0, 0, 4, 4] = 1.0
    bell = gaussian_blur(lit, 5, 1.0)[0, 0]
    assert float(bell.sum()) == pytest.approx(1.0)
    assert int((bell > 0).sum()) == 25
    assert float(bell[4, 5] / bell[4, 4]) == pytest.approx(math.exp(-0.5))
    assert float(bell[2, 2] / bell[4, 4]) == pytest.approx(math.exp(-4))
    white = gaussian_blur(torch.ones(1, 1, 9, 9), 5, 1.0)[0, 0]
    torch.testing.assert_close(white[2:-2, 2:-2], torch.ones(5, 5))
    line = [math.exp(-(x**2) / 2) for x in range(3)]
    inside = sum(line) / (2 * sum(line) - 1)
    assert [float(white[0, 4]), float(white[0, 0])] == pytest.approx([inside, inside**2])


@pytest.mark.parametrize("sigma", [1.0, 0.375])
def test_smoothness_is_the_mean_square_of_what_the_blur_takes_from_the_normalised_canvas(sigma: float) -> None:
    canvas, mean, std = torch.rand(2, 2, 5, 4, generator=seeded()), torch.tensor([0.3, 0.5]), torch.tensor([0.2, 0.9])
    loss = Smoothness(mean.view(-1, 1, 1), std.view(-1, 1, 1), sigma=sigma)
    seen = torch.stack([(canvas[:, c] - mean[c]) / std[c] for c in range(2)], dim=1)
    slow = ((seen.double().numpy() - slow_blur(seen, 5, sigma)) ** 2).mean()
    assert float(loss(View(1 - canvas, canvas=canvas))) == pytest.approx(slow, rel=1e-5)
    assert loss.needs == Needs(teacher=False)


def test_smoothness_is_zero_for_the_grey_that_is_normalised_to_zero_and_least_for_gentle_slopes() -> None:
    mean, unit = torch.full((1, 1, 1), 0.5), torch.ones(1, 1, 1)
    loss = Smoothness(mean, unit)
    slope = torch.linspace(0.4, 0.6, 16).expand(1, 1, 16, 16)
    rough = slope.flatten()[torch.randperm(256, generator=seeded())].view(1, 1, 16, 16)
    assert float(loss(View(torch.full((1, 1, 8, 8), 0.5)))) == 0.0
    assert 0 < 3 * float(loss(View(slope))) < float(loss(View(rough)))


def test_smoothness_wants_an_odd_window_and_a_width() -> None:
    unit = torch.ones(1, 1, 1)
    assert Smoothness(unit, unit, size=3).size == 3
    for size, sigma in ((4, 1.0), (0, 1.0), (5, 0.0), (5, math.nan)):
        with pytest.raises(InputError, match=f"expected an odd number of pixels and a positive sigma, got {size} and {sigma}"):
            Smoothness(unit, unit, size=size, sigma=sigma)


# ---------------------------------------------------------------- pixels of 8 bits

SPEC = Spec(shape=(2, 16, 16), classes=5, mean=(0.4, 0.6), std=(0.1, 0.05))


def painted(every: int, seed: int = 0) -> RoundedPixels:
    canvas = RoundedPixels(SPEC, every=every)
    canvas.begin(Round(0, 32, None, seeded(seed)))
    return canvas


def nearest_level(pixels: Tensor) -> Tensor:
    """Return the nearest of the 256 levels of a picture file, by trying all."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    return levels[(pixels.double()[..., None] - levels).abs().argmin(dim=-1)]


def test_rounded_pixels_start_as_normal_noise_with_the_moments_of_the_network() -> None:
    pixels = painted(1)().detach()
    for channel, (mean, std) in enumerate(zip(SPEC.mean, SPEC.std, strict=True)):
        assert float(pixels[:, channel].mean()) == pytest.approx(mean, abs=0.005)
        assert float(pixels[:, channel].std()) == pytest.approx(std, rel=0.03)
    assert torch.equal(pixels, painted(1)())
    assert not torch.equal(pixels, painted(1, seed=1)())


def test_a_projection_brings_every_pixel_to_the_nearest_of_256_levels_within_bounds() -> None:
    canvas = painted(1)
    before = torch.empty_like(canvas.pixels.detach()).uniform_(-0.5, 1.5, generator=seeded(1))
    kept = canvas.pixels
    kept.data.copy_(before)
    canvas.project()
    assert canvas.pixels is kept
    assert kept.requires_grad
    torch.testing.assert_close(kept.detach().double(), nearest_level(before), rtol=0.0, atol=1e-7)
    assert {round(255 * value) for value in kept.detach().flatten().tolist()} == set(range(256))
    assert torch.equal(kept.detach()[before < 0], torch.zeros(int((before < 0).sum())))
    assert torch.equal(kept.detach()[before > 1], torch.ones(int((before > 1).sum())))


@pytest.mark.parametrize("every", [1, 2, 5])
def test_pixels_are_rounded_at_every_so_many_steps_of_a_round_and_clamped_at_all(every: int) -> None:
    canvas = painted(every)
    for number in range(2):
        canvas.begin(Round(number, 3, None, seeded(number)))
        rounded = []
        for _ in range(7):
            canvas.pixels.data.add_(0.1003).data[0, 0, 0, 0] = 2.0
            canvas.project()
            shown = canvas().detach()
            assert 0 <= float(shown.min()) <= float(shown.max()) == 1
            rounded.append(bool(torch.allclose(shown.double(), nearest_level(shown), rtol=0.0, atol=1e-7)))
        assert rounded == [step % every == 0 for step in range(1, 8)]

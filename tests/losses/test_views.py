"""Views: windows of images, and that they can be differentiated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.losses.views import _sampled, resized_crop, shifted


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """Return the window of `image` that begins `down` and `right` of it, zeros outside."""
    _, height, width = image.shape
    return F.pad(image, (9, 9, 9, 9))[:, 9 + down : 9 + down + height, 9 + right : 9 + right + width]


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 7, 5), (3, 16, 12)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_shift_is_by_whole_pixels_with_zeros_coming_in_each_image_on_its_own(shape: tuple[int, int, int], flip: bool) -> None:
    images = torch.rand(40, *shape, generator=seeded()) + 0.5
    limits = [round(side / 4) for side in shape[1:]]
    found: set[tuple[int, int, bool]] = set()
    for image, shown in zip(images, shifted(images, seeded(1), most=1 / 4, flip=flip), strict=True):
        every = [
            (down, right, mirror)
            for down in range(-limits[0], limits[0] + 1)
            for right in range(-limits[1], limits[1] + 1)
            for mirror in ([False, True] if flip else [False])
        ]
        near = [
            at for at in every if bool(((moved(image, *at[:2]).flip(-1) if at[2] else moved(image, *at[:2])) - shown).abs().max() < 1e-4)
        ]
        assert len(near) == 1
        found.add(near[0])
    assert len(found) > 10
    for axis, limit in enumerate(limits):
        assert {at[axis] for at in found} == set(range(-limit, limit + 1))
    assert {at[2] for at in found} == ({False, True} if flip else {False})


def test_a_shift_of_nothing_is_exact_and_so_is_a_mirrored_one() -> None:
    images = torch.rand(3, 2, 8, 8)
    assert torch.equal(shifted(images, seeded(), most=0.0), images)
    ones, middle = torch.ones(3, 2), torch.zeros(3, 2)
    assert torch.equal(_sampled(images, ones * torch.tensor([-1.0, 1.0]), middle, False, seeded()), images.flip(-1))


def test_the_usual_shift_is_an_eighth() -> None:
    images = torch.ones(400, 1, 32, 16)
    shown = shifted(images, seeded())
    rows, columns = (shown.amax(dim=3) < 0.5).sum(dim=2), (shown.amax(dim=2) < 0.5).sum(dim=2)
    assert set(rows.flatten().tolist()) == {0, 1, 2, 3, 4}
    assert set(columns.flatten().tolist()) == {0, 1, 2}


def ramps(n: int, size: int = 64) -> Tensor:
    """Images whose two channels are the coordinates of their pixels' centres, from 0 to 1."""
    line = (torch.arange(size) + 0.5) / size
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))
    return grid.expand(n, 2, size, size)


def test_a_crop_is_a_window_inside_the_image_of_the_promised_area_and_ratio() -> None:
    shown = resized_crop(ramps(500), seeded(), area=(0.25, 0.81))
    inner = shown[:, :, 8:-8, 8:-8]
    slope = {0: inner[:, 0].diff(dim=1).mean(dim=(1, 2)) * 64, 1: inner[:, 1].diff(dim=2).mean(dim=(1, 2)) * 64}
    area, ratio = slope[0] * slope[1], slope[1] / slope[0]
    assert float(area.min()) == pytest.approx(0.25, abs=0.01)
    assert float(area.max()) == pytest.approx(0.81, abs=0.02)
    assert float(ratio.min()) == pytest.approx(3 / 4, abs=0.02)
    assert float(ratio.max()) == pytest.approx(4 / 3, abs=0.02)
    assert abs(float(ratio.log().mean())) < 0.03
    for channel in (0, 1):
        begin = inner[:, channel].mean(dim=(1, 2)) - slope[channel] / 2
        assert float(begin.min()) > -1e-3
        assert float((begin + slope[channel]).max()) < 1 + 1e-3
        share = (begin / (1 - slope[channel]))[slope[channel] < 0.99]
        assert float(share.mean()) == pytest.approx(0.5, abs=0.04)


def test_a_crop_of_everything_is_the_image() -> None:
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(resized_crop(images, seeded(), area=(1.0, 1.0), ratio=1.0), images)


def test_half_of_the_crops_are_mirrored_where_asked() -> None:
    plain, mirrored = (resized_crop(ramps(200), seeded(), flip=flip)[:, 1].diff(dim=2).mean(dim=(1, 2)) for flip in (False, True))
    assert bool((plain > 0).all())
    assert 70 < int((mirrored < 0).sum()) < 130
    torch.testing.assert_close(mirrored.abs(), plain, atol=2e-3, rtol=0.0)


@pytest.mark.parametrize("view", [shifted, resized_crop])
def test_views_stay_in_bounds_depend_on_the_generator_alone_and_leave_the_global_one(view: Callable[..., Tensor]) -> None:
    images, before = torch.rand(16, 3, 9, 7), torch.get_rng_state()
    one, same, other = (view(images, seeded(seed), flip=True) for seed in (0, 0, 1))
    assert one.shape == images.shape
    assert 0 <= float(one.min()) <= float(one.max()) <= 1 + 1e-6
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("view", [shifted, resized_crop])
def test_gradients_of_views_are_those_of_finite_differences(view: Callable[..., Tensor]) -> None:
    images, weights, step = torch.rand(2, 1, 4, 5, generator=seeded()), torch.randn(2, 1, 4, 5, generator=seeded(1)), 0.5

    def value(x: Tensor) -> Tensor:
        return (view(x, seeded(3), flip=True) * weights).sum()

    canvas = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(canvas), canvas)
    for place in range(images.numel()):
        ahead, behind = images.clone(), images.clone()
        ahead.view(-1)[place] += step
        behind.view(-1)[place] -= step
        assert float(gradient.view(-1)[place]) == pytest.approx(float(value(ahead) - value(behind)) / (2 * step), abs=1e-5)
    assert float(gradient.abs().sum()) > 0

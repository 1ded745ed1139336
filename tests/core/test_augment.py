"""Augmentations: windows of images, and that they can be differentiated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.augment import crop_windows, cutout, resized_crop, seen, shifted


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
    mirrored = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(3, 2, 3)
    assert torch.equal(seen(images, mirrored), images.flip(-1))


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


def test_a_map_of_classes_is_seen_through_the_same_window_and_no_class_is_made_up() -> None:
    windows = crop_windows(60, seeded(), area=(0.08, 1.0), flip=True)
    classes = (ramps(60) * 5).floor() * 50
    shown, where = seen(classes, windows, classes=True), seen(ramps(60), windows, beyond="border")
    assert set(shown.flatten().tolist()) == {0.0, 50.0, 100.0, 150.0, 200.0}
    sure = ((where * 5) % 1 - 0.5).abs() < 0.4
    assert float(sure.float().mean()) > 0.7
    assert torch.equal(shown[sure], ((where * 5).floor() * 50)[sure])


def test_beyond_the_edge_is_the_edge_where_asked() -> None:
    corner = torch.tensor([[0.5, 0.0, -0.5], [0.0, 0.5, -0.5]]).expand(2, 2, 3)
    images = torch.ones(2, 1, 8, 8)
    assert torch.equal(seen(images, corner, beyond="border"), images)
    assert float(seen(images, corner)[0, 0, 0, 0]) == pytest.approx(0.75**2)


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


# ---------------------------------------------------------------- holes


def cut(n: int, height: int, width: int, **options: float) -> Tensor:
    """Return where `cutout` cut, of shape (n, height, width)."""
    return cutout(torch.ones(n, 1, height, width), seeded(), **options)[:, 0] == 0  # type: ignore[arg-type]


def corners(holes: Tensor) -> Tensor:
    """Count the upper left corners; a union of rectangles has no more of them than it has rectangles, and as many where none overlap."""
    padded = F.pad(holes, (1, 0, 1, 0))
    return (holes & ~padded[:, 1:, :-1] & ~padded[:, :-1, 1:]).sum(dim=(1, 2))


def test_a_hole_is_one_rectangle_through_all_channels_and_all_else_is_as_it_was() -> None:
    images = torch.rand(200, 3, 12, 9, generator=seeded()) + 0.5
    shown = cutout(images, seeded(1), holes=1)
    gone = shown == 0
    assert torch.equal(gone.any(dim=1), gone.all(dim=1))
    assert torch.equal(shown[~gone], images[~gone])
    where = gone[:, 0]
    rows, columns = where.any(dim=2), where.any(dim=1)
    assert torch.equal(where, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):
        assert int((line.int().diff(dim=1, prepend=torch.zeros(200, 1).int()) > 0).sum(dim=1).max()) == 1


def test_the_sides_of_a_hole_are_uniform_up_to_the_largest_share_of_height_and_of_width() -> None:
    where = cut(1500, 120, 80, holes=1, side=0.5)
    some = where[where.any(dim=(1, 2))]
    for axis, most in ((2, 60), (1, 40)):
        sides = some.any(dim=axis).sum(dim=1).double()
        assert int(sides.max()) == most
        assert float(sides.mean()) == pytest.approx(most / 2, rel=0.08)
        assert float((sides <= most / 4).double().mean()) == pytest.approx(1 / 4, abs=0.05)
    assert bool(where.any(dim=(0, 1)).all())
    assert bool(where.any(dim=(0, 2)).all())


@pytest.mark.parametrize("most", [1, 4])
def test_any_number_of_holes_up_to_the_largest_is_as_likely(most: int) -> None:
    counts = corners(cut(600, 150, 150, holes=most, side=0.1))
    shares = torch.bincount(counts) / len(counts)
    assert len(shares) == most + 1
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / (most + 1)), rtol=0.0, atol=0.1)  # small ones may hit no pixel


def test_holes_are_at_most_four_and_a_third_where_nothing_is_said() -> None:
    images = torch.rand(50, 2, 16, 16)
    assert torch.equal(cutout(images, seeded(3)), cutout(images, seeded(3), holes=4, side=1 / 3))
    assert int(corners(cut(300, 30, 30)).max()) == 4


def test_holes_depend_on_the_generator_alone_leave_the_images_and_pass_no_gradient_on() -> None:
    images, before = torch.rand(16, 3, 9, 7, generator=seeded()) + 0.1, torch.get_rng_state()
    kept = images.clone().requires_grad_()
    one, same, other = (cutout(kept, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(kept.detach(), images)
    assert torch.equal(torch.get_rng_state(), before)
    (gradient,) = torch.autograd.grad(one.sum(), kept)
    assert torch.equal(gradient, (one != 0).float())
    assert 0 < float(gradient.mean()) < 1

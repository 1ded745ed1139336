"""The rendered streets: the same from the same seed, right where things cover one another, and streets in what they show."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.spec import Spec
from tacit.data import ImageSet, load_data, street, textures
from tacit.data.rendered.noise import PATTERNS, SIDE, Draw, noise
from tacit.data.rendered.street.frame import NAMES, Camera, Frame
from tacit.data.rendered.street.houses import met
from tacit.data.rendered.textures import KINDS

FEW = 96


def camera(scenes: int = 3, size: tuple[int, int] = (20, 24), seed: int = 0) -> Camera:
    return Camera.drawn(Draw(torch.Generator().manual_seed(seed), scenes), size)


def test_streets_depend_on_the_arguments_alone_and_splits_share_none() -> None:
    first, again = street.__wrapped__("train", 40), street.__wrapped__("train", 40)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    test, other = street.__wrapped__("test", 40), street.__wrapped__("train", 40, seed=1)
    seen = {tuple(image.flatten().tolist()) for image in first.images}
    assert len(seen) == 40
    for each in (test, other):
        assert not seen & {tuple(image.flatten().tolist()) for image in each.images}


def test_every_pixel_has_a_class_and_every_class_comes() -> None:
    found = street("train", FEW)
    assert (found.images.shape, found.labels.shape) == ((FEW, 3, 64, 64), (FEW, 64, 64))
    assert (found.images.dtype, found.labels.dtype, found.names) == (torch.uint8, torch.uint8, NAMES)
    assert int(found.labels.max()) < len(NAMES) == 11
    there = torch.stack([(found.labels == label).flatten(1).any(dim=1) for label in range(11)]).float().mean(dim=1)
    assert float(there.min()) > 0.4
    assert float(torch.bincount(found.labels.flatten(), minlength=11).min()) / found.labels.numel() > 0.002


def test_it_is_a_street() -> None:
    labels = street("train", FEW).labels
    rows = torch.arange(64.0)[:, None]
    height = {name: float((rows * (labels == label)).sum() / (labels == label).sum()) for label, name in enumerate(NAMES)}
    assert height["sky"] < height["building"] < height["pedestrian"] < height["road"]
    assert height["sign"] < height["car"]
    assert not bool((labels[:, -1] == NAMES.index("sky")).any())
    assert float((labels[:, -1] == NAMES.index("road")).float().mean()) > 0.6


def test_colours_and_places_tell_classes_apart() -> None:
    """A Gaussian a class, of colour and row alone, must name far more pixels than the largest class has."""
    found = street("train", FEW)
    rows = torch.arange(64.0).view(1, 64, 1).expand(FEW, 64, 64) / 64
    points = torch.cat([found.images.float().div(255), rows[:, None]], dim=1).permute(0, 2, 3, 1)
    x, y, held, true = (part.flatten(0, 2) for part in (points[:64], found.labels[:64], points[64:], found.labels[64:]))
    scores = []
    for label in range(11):
        own = x[y == label]
        apart, covariance = held - own.mean(dim=0), own.T.cov() + 1e-3 * torch.eye(4)
        surprise = (apart @ covariance.inverse() * apart).sum(dim=1) + covariance.logdet()
        scores.append(torch.log((y == label).float().mean()) - surprise / 2)
    right = float((torch.stack(scores).argmax(dim=0) == true).float().mean())
    assert right > float((true == 3).float().mean()) + 0.2


def test_other_textures_are_on_the_same_streets() -> None:
    own, other = street("train", 32), street("train", 32, textures="other")
    assert torch.equal(own.labels, other.labels)
    assert float((own.images.float() - other.images.float()).abs().mean()) > 30


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (48, 80)])
def test_streets_come_in_the_size_of_the_model(size: tuple[int, int]) -> None:
    found = street("test", 4, size)
    assert (found.images.shape, found.labels.shape) == ((4, 3, *size), (4, *size))
    assert len(set(found.labels.flatten().tolist())) > 6


def test_they_are_loaded_by_name_and_the_class_count_must_fit() -> None:
    found = load_data("street", "test", Spec(shape=(3, 32, 32), classes=11, task="segmentation"))
    assert isinstance(found, ImageSet)
    assert found.images.shape == (500, 3, 32, 32)
    assert load_data("street", "test", Spec(shape=(3, 32, 32), classes=11, task="segmentation")) is found
    with pytest.raises(InputError, match="the data have 11 classes a pixel can be of, the model 12"):
        load_data("street", "test", Spec(shape=(3, 32, 32), classes=12, task="segmentation"))
    with pytest.raises(InputError, match="one label an image; the data have one label a pixel"):
        load_data("street", "test", Spec(shape=(3, 32, 32), classes=11))
    with pytest.raises(InputError, match="split: street has 'train' and 'test', got 'val'"):
        load_data("street", "val")
    with pytest.raises(InputError, match="expected at least 1 image of at least 16x16 pixels, got 3 of 8x8"):
        street("test", 3, (8, 8))


def slow_patch(eye: Camera, scene: int, box: tuple[float, float, float, float]) -> set[int]:
    """Return the pixels that a rectangle of (left, right, top, bottom), in u and v, touches."""
    height, width = eye.size
    focal, middle, horizon = (float(part[scene]) for part in (eye.focal, eye.middle, eye.horizon))
    left, right, top, bottom = box
    return {
        (scene * height + y) * width + x
        for y in range(height)
        for x in range(width)
        if x + 1 > left * focal + middle and x < right * focal + middle and y + 1 > top * focal + horizon and y < bottom * focal + horizon
    }


def test_the_pixels_of_things_are_those_that_their_rectangles_touch() -> None:
    eye = camera()
    boxes = [(-0.31, 0.22, -0.2, 0.13), (0.3, 0.31, 0.05, 0.4), (-9.0, -5.0, 0.0, 0.1), (-5.0, 5.0, -5.0, 5.0), (0.2, 0.1, 0.0, 0.1)]
    scene = torch.tensor([0, 2, 1, 1, 0])
    patch = eye.patch(scene, *torch.tensor(boxes).T)
    for number, box in enumerate(boxes):
        found = patch.pixel[patch.thing == number].tolist()
        assert len(set(found)) == len(found)
        assert set(found) == (slow_patch(eye, int(scene[number]), box) if box[0] < box[1] else set())
    of = scene[patch.thing]
    torch.testing.assert_close(patch.u, eye.u[of, 0, patch.x])
    torch.testing.assert_close(patch.v, eye.v[of, patch.y, 0])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_what_is_nearer_covers_whatever_comes_first(order: tuple[int, ...]) -> None:
    eye = camera(scenes=1)
    boxes, depths = [(-0.5, 0.2, -0.3, 0.2), (-0.2, 0.5, -0.1, 0.3), (-0.1, 0.1, -0.3, 0.3)], [4.0, 9.0, 2.0]
    one_by_one, together = Frame(eye), Frame(eye)
    for number in order:
        patch = eye.patch(torch.zeros(1, dtype=torch.long), *torch.tensor([boxes[number]]).T)
        size = len(patch.pixel)
        one_by_one.put(patch, torch.ones(size, dtype=torch.bool), torch.full((size,), depths[number]), torch.full((size, 3), 0.1), number)
    patch = eye.patch(torch.zeros(3, dtype=torch.long), *torch.tensor([boxes[number] for number in order]).T)
    which = torch.tensor(order)[patch.thing]
    together.put(patch, which >= 0, torch.tensor(depths)[which], torch.full((len(which), 3), 0.1), which.to(torch.uint8))
    wanted = torch.full((20 * 24,), 255, dtype=torch.uint8)
    for number in sorted(order, key=lambda one: -depths[one]):
        wanted[list(slow_patch(eye, 0, boxes[number]))] = number
    assert torch.equal(one_by_one.label, wanted)
    assert torch.equal(together.label, wanted)


def test_walls_are_met_where_they_are_on_a_bent_road() -> None:
    eye = camera(scenes=40, seed=1)
    for side in (-6.0, 7.5):
        place = torch.full((40, 1), side)
        z = met(eye, place)
        u = eye.u[:, 0]
        seen = z.isfinite() & (z < 200)
        found = u * z - eye.bend[:, None] * z * z
        torch.testing.assert_close(found[seen], place.expand_as(z)[seen], rtol=1e-3, atol=1e-3)
        straight = (eye.bend == 0)[:, None] & ((u * side) > 0.3)
        assert bool(seen[straight].all())
        assert not bool(z[(eye.bend == 0)[:, None].expand_as(z) & (u * side < 0)].isfinite().any())


def test_noise_has_no_edge_and_all_of_it_is_in_zero_to_one() -> None:
    x, y = torch.rand(500, generator=torch.Generator().manual_seed(0)) * 300 - 150, torch.arange(500.0)
    for pattern in range(PATTERNS):
        found = noise(pattern, x, y)
        assert torch.equal(found, noise(pattern, x + SIDE, y - SIDE))
        assert 0 <= float(found.min()) < float(found.max()) <= 1
    along: Tensor = torch.arange(SIDE)
    steps = noise(7, along[:, None], along) - noise(7, along[:, None] - 1, along)
    assert float(steps[0].abs().mean()) < 1.5 * float(steps.abs().mean())


def test_textures_are_of_six_kinds_that_come_equally_often() -> None:
    found = textures.__wrapped__("train", 60)
    assert torch.equal(found.images, textures.__wrapped__("train", 60).images)
    assert torch.bincount(found.labels, minlength=6).tolist() == [10] * 6
    assert found.names == KINDS
    assert float(found.images.float().std(dim=(1, 2, 3)).min()) > 3
    loaded = load_data("textures", "test", Spec(shape=(3, 16, 16), classes=6))
    assert len(loaded) == 500
    with pytest.raises(InputError, match="textures has 'train' and 'test'"):
        textures("val")
    with pytest.raises(InputError, match="expected at least 1 image of at least 4x4"):
        textures("test", 0)

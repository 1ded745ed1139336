"""The rendered set: distances and rays against closed forms, and what the set promises."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.spec import Spec
from tacit.data import load_data, solids
from tacit.data.rendered.bodies import BODIES, Distance, box_distance, pebble
from tacit.data.rendered.march import Camera, cast, normals, turned
from tacit.data.rendered.scene import Background, Group, Light, Picture, Surface
from tacit.data.rendered.solids import IMAGES

HEIGHTS = (0.8, 1.0, 1.25)


def ball(points: Tensor, sizes: Tensor) -> Tensor:
    return points.square().sum(dim=1).sqrt() - sizes


def scattered(count: int, seed: int = 0) -> Tensor:
    return 3 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1.5


@pytest.mark.parametrize("tall", HEIGHTS)
@pytest.mark.parametrize("name", BODIES)
def test_a_body_lies_within_the_unit_sphere_and_its_distance_never_overshoots(name: str, tall: float) -> None:
    points, distance = scattered(40_000), BODIES[name]
    found = distance(points, torch.full((len(points),), tall))
    inside = points[found <= 0]
    assert 0.005 < len(inside) / len(points) < 0.2, "it fills some of the cube, of which the sphere is 0.155"
    assert float(inside.norm(dim=1).max()) <= 1.0 + 1e-5
    outside = points[found > 0][:2000]
    nearest = torch.cdist(outside, inside).amin(dim=1)
    assert bool((found[found > 0][:2000] <= nearest + 1e-4).all())


@pytest.mark.parametrize("name", BODIES)
def test_a_distance_changes_no_faster_than_the_place(name: str) -> None:
    points, step = scattered(5000), 0.05 * scattered(5000, 1)
    tall = torch.full((5000,), 1.1)
    change = (BODIES[name](points + step, tall) - BODIES[name](points, tall)).abs()
    assert bool((change <= step.norm(dim=1) + 1e-5).all())


def test_boxes_and_crosses_are_as_far_as_a_slow_formula_says() -> None:
    points = scattered(3000)
    half = torch.tensor([0.3, 0.5, 0.7])
    for point, found in zip(points[:300].tolist(), box_distance(points[:300], half.expand(300, 3)).tolist(), strict=True):
        apart = [abs(value) - edge for value, edge in zip(point, half.tolist(), strict=True)]
        wanted = math.sqrt(sum(max(value, 0) ** 2 for value in apart)) if max(apart) > 0 else max(apart)
        assert found == pytest.approx(wanted, abs=1e-5)
    arms = torch.stack(
        [box_distance(points, torch.tensor(sides).expand(3000, 3)) for sides in set(itertools.permutations((0.8, 0.2, 0.2)))]
    )
    found = BODIES["cross"](points, torch.ones(3000))
    outside = found > 0
    assert torch.allclose(found[outside], arms.amin(dim=0)[outside], atol=1e-5)
    assert torch.equal(outside, arms.amin(dim=0) > 0)


def test_a_pebble_is_a_box_whose_edges_are_round() -> None:
    corner = torch.tensor([[0.5, 0.5, 0.5]])
    sharp, round_ = (pebble(corner, torch.tensor([[0.5, 0.5, 0.5, edge]])) for edge in (0.0, 0.2))
    assert float(sharp) == pytest.approx(0.0, abs=1e-6)
    assert float(round_) == pytest.approx(0.2 * math.sqrt(3) - 0.2, abs=1e-6)


def test_rays_meet_a_ball_where_geometry_says_and_see_which_way_it_faces() -> None:
    origins = torch.tensor([[0.0, 0.0, 3.0]]).expand(200, 3)
    ways = torch.nn.functional.normalize(0.4 * scattered(200) + torch.tensor([0.0, 0.0, -3.0]), dim=1)
    radius = torch.full((200,), 0.6)
    along = -(origins * ways).sum(dim=1)
    under = 0.36 - 9.0 + along.square()
    found = cast(ball, origins, ways, radius)
    clear = under.abs() > 0.02  # but for those that graze it
    assert torch.equal(found.isfinite()[clear], (under > 0)[clear])
    met = found.isfinite() & clear
    assert 30 < int(met.sum()) < 190
    wanted = along[met] - under[met].sqrt()
    assert torch.allclose(found[met], wanted, atol=0.02)
    points = origins[met] + wanted[:, None] * ways[met]
    assert torch.allclose(normals(ball, points, radius[met]), points / 0.6, atol=0.01)
    assert not cast(ball, origins, -ways, radius).isfinite().any(), "what is behind is not met"


@pytest.mark.parametrize("name", ["box", "cone", "torus", "pyramid", "octahedron", "prism", "cross"])
def test_rays_meet_a_body_where_small_steps_find_it(name: str) -> None:
    distance: Distance = BODIES[name]
    eye, ways = torch.tensor([0.3, 1.0, 2.6]), torch.nn.functional.normalize(0.5 * scattered(150) - torch.tensor([0.3, 1.0, 2.6]), dim=1)
    tall = torch.ones(150)
    steps = torch.arange(1.5, 4.5, 0.002)
    inside = torch.stack([distance(eye + step * ways, tall) <= 0 for step in steps])
    wanted = torch.where(inside.any(dim=0), steps[inside.int().argmax(dim=0)], torch.inf)
    found = cast(distance, eye.expand(150, 3), ways, tall)
    both = wanted.isfinite() & found.isfinite()
    assert int(both.sum()) > 30
    assert int((wanted.isfinite() != found.isfinite()).sum()) <= 5, "but for a few that graze it"
    assert float((found - wanted)[both].abs().quantile(0.9)) < 0.02


def test_turns_are_rotations() -> None:
    draw = torch.Generator().manual_seed(0)
    yaw, tilt, towards = (6 * torch.rand(20, generator=draw) for _ in range(3))
    turns = turned(yaw, tilt, towards)
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(3).expand(20, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(20), atol=1e-5)
    up = torch.tensor([0.0, 1.0, 0.0]) @ turns
    assert torch.allclose(up[:, 1], tilt.cos(), atol=1e-5), "what stood upright leans by the tilt, whichever way it is turned"


def plain(count: int, colour: tuple[float, float, float]) -> Surface:
    return Surface(colours=torch.tensor(colour).expand(count, 2, 3), kind=torch.zeros(count, dtype=torch.long), waves=torch.ones(count, 3))


def shown(*, height: float = 0.0) -> Picture:
    """A red ball of radius 0.5 before a green floor and a blue wall, the light straight above; 33x33 pixels."""
    camera = Camera(torch.tensor([[0.0, 0.0, 4.0]]), torch.zeros(1, 3), (33, 33), opening=0.5)
    surfaces = Surface(
        colours=torch.tensor([[[0.0, 1.0, 0.0]] * 2, [[0.0, 0.0, 1.0]] * 2]), kind=torch.zeros(2, dtype=torch.long), waves=torch.ones(2, 3)
    )
    background = Background(floor=torch.tensor([-1.0]), wall=torch.tensor([-3.0]), surfaces=surfaces)
    picture = Picture(camera, background, Light(towards=torch.tensor([[0.0, 1.0, 0.0]]), colour=torch.ones(1, 3)))
    one = torch.ones(1)
    group = Group(
        distance=ball,
        image=torch.zeros(1, dtype=torch.long),
        centre=torch.tensor([[0.0, height, 0.0]]),
        size=one,
        turn=torch.eye(3)[None],
        sizes=0.5 * one,
        surface=plain(1, (1.0, 0.0, 0.0)),
    )
    picture.add(group)
    picture.cast_shadows(group)
    return picture


def test_depth_is_how_far_things_are_into_the_picture() -> None:
    depth = shown().depth().view(33, 33)
    assert float(depth[16, 16]) == pytest.approx(3.5, abs=0.01), "the ball's nearest point"
    assert float(depth[0, 0]) == pytest.approx(7.0, abs=1e-4), "the wall, as far in the corner as anywhere"
    assert float(depth[0, 16]) == pytest.approx(7.0, abs=1e-4)
    slope = 16 * 2 * 0.5 / 33  # down the last row
    assert float(depth[32, 3]) == pytest.approx(1.0 / slope, abs=1e-3), "the floor, 1 below the camera"


def test_colours_are_those_of_what_is_nearest_and_shadows_fall_away_from_the_light() -> None:
    picture = shown(height=0.3)
    colours = picture.colours(torch.zeros(1)).view(33, 33, 3)
    assert colours[14, 16].argmax() == 0
    assert colours[2, 2].argmax() == 2
    assert colours[30, 2].argmax() == 1
    floor = picture.normal.view(33, 33, 3)[..., 1] == 1.0
    dark = picture.shade.view(33, 33) & floor
    points = picture.points(torch.arange(33 * 33)).view(33, 33, 3)
    away = points[..., [0, 2]].norm(dim=2)
    assert bool((away[dark] < 0.55).all()), "the light is above, so that the shadow is below the ball"
    assert int(dark.sum()) > 0
    assert bool((dark | (away > 0.45))[floor].all())
    assert bool((colours[dark].sum(dim=1) < colours[floor & ~dark].sum(dim=1).min()).all())


def test_the_set_is_of_four_channels_and_has_every_class_alike() -> None:
    found = solids("train", images=57)
    assert (found.images.shape, found.images.dtype) == ((57, 4, 32, 32), torch.uint8)
    assert found.names == tuple(BODIES)
    assert len(found.names) == 10
    counts = torch.bincount(found.labels, minlength=10)
    assert int(counts.max() - counts.min()) == 1
    assert float(found.images[:, :3].float().std()) > 30, "there is something to see"
    assert float(found.images[:, 3].float().std()) > 20


def test_the_set_depends_on_its_arguments_alone_and_its_splits_share_no_picture() -> None:
    first = solids("train", images=20)
    solids.cache_clear()
    torch.manual_seed(5)
    again = solids("train", images=20)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    for other in (solids("test", images=20), solids("train", images=20, seed=1)):
        apart = (first.images[:, None].float() - other.images[None].float()).abs().mean(dim=(2, 3, 4))
        assert float(apart.min()) > 10


def test_a_body_stands_nearer_than_what_is_around_it() -> None:
    found = solids("test", images=200)
    depth = found.images[:, 3].float()
    middle, border = depth[:, 12:20, 12:20].mean(), depth[:, :10, [0, 1, 30, 31]].mean()
    assert float(border - middle) > 25


def test_the_set_is_loaded_by_name_in_the_models_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 6), ("test", 4)):
        monkeypatch.setitem(IMAGES, split, count)
    solids.cache_clear()
    found = load_data("solids", "test", Spec(shape=(4, 24, 40), classes=10))
    assert len(found) == 4
    assert next(iter(found.batches(4))).images.shape == (4, 4, 24, 40)
    assert len(load_data("solids", "train")) == 6
    solids.cache_clear()
    with pytest.raises(InputError, match=r"images have shape \[4, 32, 32\], the model expects \[3, 32, 32\]"):
        load_data("solids", "test", Spec(shape=(3, 32, 32), classes=10))
    solids.cache_clear()


def test_other_splits_and_empty_sets_are_refused() -> None:
    with pytest.raises(InputError, match="solids has 'train' and 'test', got 'validation'"):
        solids("validation")
    with pytest.raises(InputError, match="at least 1 image of at least 4x4 pixels, got 0 of 32x32"):
        solids("train", images=0)

"""What networks see of images: colours against published values, edges and means against slow loops, shapes, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import sights
from tacit.core.batch import Batch
from tacit.core.errors import InputError
from tacit.core.spec import Spec
from tacit.data import Modality, Views, find_modality, find_views, seen
from tacit.data.modalities import MODALITIES, SCALED
from tacit.data.modalities.colour import lab
from tacit.data.modalities.edges import sobel

PUBLISHED = {
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 255, 255): (100.0, 0.0, 0.0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (255, 255, 0): (97.14, -21.55, 94.48),
    (0, 255, 255): (91.11, -48.09, -14.13),
    (255, 0, 255): (60.32, 98.23, -60.82),
    (128, 128, 128): (53.59, 0.0, 0.0),
}
"""L*, a* and b* of colours of sRGB under D65, as tables and calculators of colour give them to two places."""


def pixels(*colours: tuple[int, int, int]) -> Tensor:
    return torch.tensor(colours).float().div(255).T.reshape(1, 3, 1, -1)


def slow_lab(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """The formulas as they stand in the standards, for one pixel in double precision."""
    r, g, b = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (red, green, blue))
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883

    def f(t: float) -> float:
        return math.cbrt(t) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116

    return 116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))


@pytest.mark.parametrize("colour", PUBLISHED)
def test_colours_have_their_published_lab_values(colour: tuple[int, int, int]) -> None:
    assert lab(pixels(colour)).flatten().tolist() == pytest.approx(PUBLISHED[colour], abs=0.006)


def test_lab_is_what_the_standards_formulas_give_pixel_by_pixel() -> None:
    images = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    images[0, :, 0] *= 0.04  # the straight parts of both curves
    found = lab(images)
    for number, row, column in itertools.product(range(2), range(5), range(4)):
        wanted = slow_lab(*images[number, :, row, column].tolist())
        assert found[number, :, row, column].tolist() == pytest.approx(wanted, abs=2e-3)


def test_luminance_and_chrominance_fill_the_range_and_nothing_lies_outside() -> None:
    steps = torch.linspace(0, 1, 18)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 1, -1)
    luminance, chrominance = (find_modality(name)(cube) for name in ("luminance", "chrominance"))
    assert (luminance.shape, chrominance.shape) == ((1, 1, 1, 5832), (1, 2, 1, 5832))
    for channel in (luminance[:, 0], chrominance[:, 0], chrominance[:, 1]):
        assert 0 <= float(channel.min()) < 1e-4
        assert 1 - 1e-4 < float(channel.max()) <= 1


def test_luminance_is_blind_to_hue_and_chrominance_to_brightness() -> None:
    greys = pixels(*[(level, level, level) for level in (0, 119, 128, 255)])
    chrominance = find_modality("chrominance")(greys)
    assert float((chrominance - chrominance[..., :1]).abs().max()) < 1e-5
    assert chrominance[0, :, 0, 0].tolist() == pytest.approx([86.19 / (86.19 + 98.24), 107.87 / (107.87 + 94.49)], abs=1e-5)
    assert find_modality("luminance")(greys).flatten().tolist() == pytest.approx([0, 0.5003, 0.5359, 1], abs=1e-4)


def test_colour_is_of_rgb() -> None:
    with pytest.raises(InputError, match=r"of RGB images: expected shape \(N, 3, H, W\), got \[2, 1, 4, 4\]"):
        find_modality("luminance")(torch.zeros(2, 1, 4, 4))


def test_edges_fill_the_range_and_no_nine_pixels_go_beyond() -> None:
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9))).view(512, 1, 3, 3)
    found = sobel(every)[:, 0, 1, 1]
    assert float(found.max()) == pytest.approx(1.0, abs=1e-6)
    assert float(found.min()) == 0.0


def test_edges_are_where_brightness_changes() -> None:
    step = torch.zeros(1, 1, 6, 6)
    step[..., 3:] = 1.0
    found = sobel(step)
    assert found[0, 0, 2].tolist() == pytest.approx([0, 0, 4 / math.sqrt(20), 4 / math.sqrt(20), 0, 0])
    assert float(sobel(torch.full((1, 1, 4, 4), 0.7)).max()) < 1e-6, "nothing comes in at the border"
    assert torch.allclose(sobel(step.transpose(2, 3)), found.transpose(2, 3))
    slow = torch.zeros(6, 6)
    noise = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    for y, x in itertools.product(range(1, 5), range(1, 5)):
        p = noise[0, 0]
        across = p[y - 1, x + 1] + 2 * p[y, x + 1] + p[y + 1, x + 1] - p[y - 1, x - 1] - 2 * p[y, x - 1] - p[y + 1, x - 1]
        down = p[y + 1, x - 1] + 2 * p[y + 1, x] + p[y + 1, x + 1] - p[y - 1, x - 1] - 2 * p[y - 1, x] - p[y - 1, x + 1]
        slow[y, x] = math.hypot(across, down) / math.sqrt(20)
    assert torch.allclose(sobel(noise)[0, 0, 1:5, 1:5], slow[1:5, 1:5], atol=1e-6)


def test_colours_are_made_grey_as_pillow_does() -> None:
    colours = pixels((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
    assert find_modality("grey")(colours).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114, 1.0])
    assert torch.equal(find_modality("grey")(colours[:, :1]), colours[:, :1])


def test_low_resolution_shows_the_mean_of_squares_whatever_the_size() -> None:
    images = torch.rand(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    low, small = find_modality("low3")(images), find_modality("small3")(images)
    assert (low.shape, small.shape) == ((2, 3, 7, 6), (2, 3, 3, 2))
    for row, column in itertools.product(range(3), range(2)):
        square = (..., slice(3 * row, min(3 * row + 3, 7)), slice(3 * column, 3 * column + 3))
        mean = images[square].mean(dim=(2, 3))
        assert torch.allclose(small[..., row, column], mean, atol=1e-6)
        assert torch.allclose(low[square], mean[..., None, None].expand_as(low[square]), atol=1e-6)
    assert torch.equal(find_modality("low")(images), find_modality("low2")(images))
    assert torch.equal(find_modality("full")(images), images)


def test_rgb_and_depth_are_parts_of_four_channels() -> None:
    images = torch.rand(2, 4, 5, 5)
    assert torch.equal(torch.cat([find_modality("rgb")(images), find_modality("depth")(images)], dim=1), images)
    with pytest.raises(InputError, match="images of 4 channels, as those of `solids`: got 3"):
        find_modality("depth")(images[:, :3])


@pytest.mark.parametrize(
    ("name", "stored", "shown"),
    [
        ("full", (3, 8, 6), (3, 8, 6)),
        ("luminance", (3, 8, 6), (1, 8, 6)),
        ("chrominance", (3, 8, 6), (2, 8, 6)),
        ("grey", (1, 8, 6), (1, 8, 6)),
        ("edges", (1, 8, 6), (1, 8, 6)),
        ("low", (3, 8, 6), (3, 8, 6)),
        ("small2", (3, 8, 6), (3, 4, 3)),
        ("rgb", (4, 8, 6), (3, 8, 6)),
        ("depth", (4, 8, 6), (1, 8, 6)),
        ("sights:darker", (3, 8, 6), (3, 8, 6)),
        ("sights:LEFT", (3, 8, 6), (3, 8, 3)),
    ],
)
def test_a_modality_knows_what_it_shows_and_of_which_images(name: str, stored: tuple[int, int, int], shown: tuple[int, int, int]) -> None:
    modality = find_modality(name)
    assert modality.shape(stored) == shown
    seen_by = Spec(shape=shown, classes=5, mean=(0.5,) * shown[0])
    assert modality.stored(seen_by) == Spec(shape=stored, classes=5)


def test_every_name_is_tried_here() -> None:
    assert {"full", "luminance", "chrominance", "grey", "edges", "rgb", "depth", "low", "small"} == {*MODALITIES, *SCALED}


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("luminance", (3, 8, 8), r"view luminance: expected a model for images of shape \[1, 8, 8\], got one for \[3, 8, 8\]"),
        ("sights:mean", (1, 8, 8), "view sights:mean: images of 1, 2, 3, 4 channels all show .* whose `source` says which"),
        ("sights:left", (1, 8, 4), r"it shows \[1, 8, 2\] of an image of shape \[1, 8, 4\], the model expects \[1, 8, 4\]"),
        ("sights:wild", (1, 8, 8), r"expected values in \[0, 1\], got -0.5 to 0.5"),
    ],
)
def test_a_model_that_does_not_fit_a_view_is_refused(name: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_modality(name).stored(Spec(shape=shape, classes=5))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("luminence", "view: no view is called 'luminence'; did you mean 'luminance'"),
        ("infrared", "known: full, luminance, chrominance, grey, edges, rgb, depth, low, small"),
        ("low1", "expected a factor of at least 2, as low4, got 1"),
        ("edges3", "no view is called 'edges3'; did you mean 'edges'"),
        ("sights:WORDS", "sights:WORDS is a str, expected a tacit.Modality or a function of images"),
        ("sights:Seer", "sights:Seer is a type, expected a tacit.Modality"),
        ("sights:darkerr", "sights has no 'darkerr'; did you mean 'darker'"),
    ],
)
def test_what_is_no_view_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_modality(name)


def test_what_somebody_elses_view_does_wrong_is_said_in_one_line() -> None:
    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("no lens\nfound")

    for show, message in (
        (broken, r"view odd: it can't be made of images of shape \[1, 4, 4\]: no lens$"),
        (lambda images: images.mean(), r"expected a tensor of shape \(N, C, H, W\) for 2 images, got \[\]"),
        (lambda images: 3, "for 2 images, got a int"),
    ):
        with pytest.raises(InputError, match=message):
            Modality(name="odd", show=show).shape((1, 4, 4))  # type: ignore[arg-type]


def test_views_are_two_modalities_the_teachers_first() -> None:
    views = find_views("luminance-chrominance")
    assert (views.teacher.name, views.student.name) == ("luminance", "chrominance")
    assert find_views("full-low4").student.name == "low4"
    both = find_views("sights:darker-sights:LEFT")
    assert (both.teacher.name, both.student) == ("sights:darker", sights.LEFT)
    assert find_views("sights:SIDES") is sights.SIDES
    assert find_views(sights.SIDES) is sights.SIDES
    assert find_views(("grey", sights.darker)).student.name == "darker"
    for wrong in ("luminance", "a-b-c", "sights:darker"):
        with pytest.raises(InputError, match=r"views: expected the teacher's view and the student's, as luminance-chrominance"):
            find_views(wrong)


def test_a_student_is_expected_to_take_its_own_view_of_what_its_teacher_sees() -> None:
    teacher = Spec(shape=(1, 8, 8), classes=7, mean=(0.4,), std=(0.2,), names=tuple("abcdefg"))
    wanted = find_views("luminance-chrominance").student_spec(teacher)
    assert wanted == Spec(shape=(2, 8, 8), classes=7, names=tuple("abcdefg"))
    colour = Spec(shape=(3, 8, 8), classes=7)
    assert [find_views(f"full-{name}").student_spec(colour).shape for name in ("edges", "low4", "small4")] == [
        (1, 8, 8),
        (3, 8, 8),
        (3, 2, 2),
    ]
    assert Views(teacher=sights.LEFT, student=sights.LEFT).student_spec(teacher).shape == (1, 8, 8)


def test_batches_are_seen_with_their_labels_and_numbers_but_without_answers_to_other_images() -> None:
    batch = Batch(torch.rand(3, 3, 4, 4), torch.arange(3), torch.rand(3, 5), torch.arange(7, 10))
    (found,) = seen([batch], find_modality("luminance"))
    assert torch.equal(found.images, find_modality("luminance")(batch.images))
    assert found.targets is batch.targets
    assert found.index is batch.index
    assert found.logits is None
    assert next(seen([batch], None)) is batch

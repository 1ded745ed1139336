"""What is wanted of images: classes of images, maps of classes, and maps that move with their images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tacit.core.augment import shifted
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.network import Network, Teacher
from tacit.core.spec import VOID, Spec
from tacit.synthesize import NAYER, AdaptiveDeepInversion, DeepInversion, FastDFKD, Inception, Method, Synthesizer
from tacit.synthesize.deep_inversion import roll
from tacit.synthesize.wanted import CELLS, class_maps, drawn, moved_alike
from tacit.zoo import deeplab, lite_segmenter

SPEC = Spec(shape=(3, 16, 24), classes=5, task="segmentation")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_class_an_image_is_drawn_as_it_always_was() -> None:
    found = drawn(50, replace(SPEC, task="classification"), seeded())
    assert torch.equal(found, torch.randint(5, (50,), generator=seeded()))


def test_each_pixel_has_the_class_of_the_nearest_point() -> None:
    found = class_maps(4, SPEC, seeded(3), cells=(2, 6))
    draw = seeded(3)
    counts = torch.randint(2, 7, (4, 1), generator=draw)
    points = torch.rand(4, 6, 2, generator=draw)
    classes = torch.randint(5, (4, 6), generator=draw)
    for image in range(4):
        for y in range(16):
            for x in range(24):
                apart = [
                    (y + 0.5 - 16 * float(down)) ** 2 + (x + 0.5 - 24 * float(across)) ** 2
                    for down, across in points[image, : int(counts[image])].tolist()
                ]
                assert found[image, y, x] == classes[image, apart.index(min(apart))]


def test_no_class_is_more_frequent_and_none_has_a_place_of_its_own() -> None:
    found = drawn(2000, SPEC, seeded())
    share = torch.bincount(found.flatten(), minlength=5) / found.numel()
    assert float((share - 0.2).abs().max()) < 0.02
    upper = torch.bincount(found[:, :8].flatten(), minlength=5) / found[:, :8].numel()
    assert float((upper - share).abs().max()) < 0.02
    several = torch.tensor([len(set(image.flatten().tolist())) for image in found[:200]]).float()
    assert 2.0 < float(several.mean()) < CELLS[1]
    assert torch.equal(found, drawn(2000, SPEC, seeded()))


def test_cells_that_can_not_be_are_refused() -> None:
    for cells in ((0, 3), (4, 3)):
        with pytest.raises(InputError, match="cells: expected at least 1"):
            class_maps(1, SPEC, seeded(), cells=cells)


@pytest.mark.parametrize("flip", [False, True])
def test_a_map_moves_with_its_image(flip: bool) -> None:
    classes = class_maps(12, SPEC, seeded(1))
    images = (classes[:, None].float() + 1).expand(-1, 3, -1, -1) / 10  # what is wanted can be read off the pixels
    for augment in (partial(shifted, generator=seeded(2), flip=flip), lambda shown: roll(shown, (3, 5), flip, seeded(4))):
        shown, targets = moved_alike(images, classes, augment)
        assert targets is not None
        assert not torch.equal(targets, classes)
        wanted = torch.where(targets == VOID, torch.zeros(()), (targets + 1) / 10)
        torch.testing.assert_close(shown, wanted[:, None].expand(-1, 3, -1, -1), rtol=0, atol=1e-4)
    _, moved = moved_alike(images, classes, partial(shifted, generator=seeded(2)))
    assert moved is not None
    assert bool((moved == VOID).any()), "what comes in has no class"


def test_other_targets_stay_and_come_once_for_each_copy() -> None:
    images, numbers = torch.rand(3, 3, 4, 4), torch.arange(3)
    assert moved_alike(images, numbers, lambda shown: shown.flip(-1))[1] is numbers
    assert moved_alike(images, None, lambda shown: shown)[1] is None
    shown, copied = moved_alike(images, numbers, lambda seen: torch.cat([seen, seen]))
    assert len(shown) == 6
    assert copied is not None
    assert copied.tolist() == [0, 1, 2, 0, 1, 2]


METHODS = (
    DeepInversion(batch=4, steps=8, lr=0.2, warmup=1, bn=0.0, jitter=0.0),
    AdaptiveDeepInversion(batch=4, steps=3, warmup=1, every=2),
    FastDFKD(batch=4, steps=3, warmup=1, every=2, width=4, latent=8),
)


@pytest.fixture(scope="module")
def dense() -> Teacher:
    torch.manual_seed(0)
    return Teacher.of(Network(deeplab(classes=5, width=4), SPEC))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_methods_paint_what_is_wanted_of_each_pixel(method: Method, dense: Teacher, runtime: Runtime) -> None:
    student = Network(lite_segmenter(classes=5, width=4), SPEC)
    work = Synthesizer(dense, method, runtime=runtime, generator=seeded(), student=student)
    seen: list[Tensor] = []
    parts = work.objective.parts

    def watched(view: View) -> dict[str, Tensor]:
        found = parts(view)
        seen.append(found["ce"].detach())
        assert view.targets is not None
        assert view.targets.shape == (4, 16, 24)
        return found

    work.objective.parts = watched  # type: ignore[method-assign]
    batches = [work.round() for _ in range(2)]
    for batch in batches:
        assert batch.targets is not None
        assert batch.targets.shape == (4, 16, 24)
        assert len(set(batch.targets.flatten().tolist())) > 1
        assert batch.images.shape == (4, 3, 16, 24)
    assert not torch.equal(batches[0].images, batches[1].images)
    if isinstance(method, DeepInversion) and method.steps > 3:
        assert seen[method.steps - 1] < 0.9 * seen[0], "the teacher sees more of what is wanted"
    again = Synthesizer(dense, method, runtime=runtime, generator=seeded(), student=student)
    assert torch.equal(again.round().images, batches[0].images), "all draws come from the generator"


@pytest.mark.parametrize("method", [NAYER(batch=4), Inception(batch=4)], ids=lambda method: method.name)
def test_classes_in_turn_go_on_from_round_to_round(method: Method) -> None:
    teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(4, 6)), Spec(shape=(1, 2, 2), classes=6))
    wanted = [method.targets(4, teacher, seeded(), round) for round in range(3)]
    assert torch.cat([part for part in wanted if part is not None]).tolist() == [0, 1, 2, 3, 4, 5] * 2

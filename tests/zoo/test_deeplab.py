"""Segmentation networks of the zoo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tacit.core.match import match
from tacit.core.models import load, save
from tacit.core.network import Network, Origin, count_parameters, work_per_image
from tacit.core.norms import norms_of
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.core.taps import classifier_name
from tacit.zoo import deeplab, lite_segmenter

FACTORIES: dict[str, Callable[..., nn.Module]] = {"deeplab": deeplab, "lite_segmenter": lite_segmenter}


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(("channels", "classes", "size"), [(3, 11, (64, 64)), (1, 5, (33, 47)), (4, 2, (20, 64))])
def test_every_pixel_is_answered_for_images_of_any_size(name: str, channels: int, classes: int, size: tuple[int, int]) -> None:
    spec = Spec(shape=(channels, *size), classes=classes, task="segmentation")
    network = Network(FACTORIES[name](classes=classes, channels=channels, width=8), spec).check()
    assert network.train()(torch.rand(1, *spec.shape)).shape == (1, classes, *size), "one image is a batch too"


def test_the_student_has_at_most_a_third_of_the_teachers_parameters_and_work() -> None:
    spec = Spec(shape=(3, 64, 64), classes=11, task="segmentation")
    teacher, student = Network(deeplab(), spec), Network(lite_segmenter(width=24), spec)
    assert count_parameters(student) * 3 < count_parameters(teacher)
    assert work_per_image(student) * 3 < work_per_image(teacher) < 200e6


@pytest.mark.parametrize("name", FACTORIES)
def test_width_is_the_number_of_channels(name: str) -> None:
    counts = [count_parameters(FACTORIES[name](width=width)) for width in (8, 16, 32)]
    assert 2.5 < counts[1] / counts[0] < 4.5
    assert 2.5 < counts[2] / counts[1] < 4.5


@pytest.mark.parametrize("name", FACTORIES)
def test_a_stage_has_one_feature_map_and_the_last_is_dilated_not_shrunk(name: str) -> None:
    model = FACTORIES[name](width=8).eval()
    with Probe(model, taps=[f"stages.{number}" for number in range(3)]) as look:
        maps = look(torch.rand(1, 3, 64, 64)).features
    assert [value.shape[-1] for value in maps.values()] == [32, 16, 16]
    assert any(isinstance(part, nn.Conv2d) and part.dilation == (2, 2) for part in model.get_submodule("stages.2").modules())


@pytest.mark.parametrize("name", FACTORIES)
def test_all_of_the_image_can_change_the_answer_to_one_pixel(name: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(FACTORIES[name](width=8).eval()(images)[0, :, 5, 5].sum(), images)
    assert bool((gradient[0].abs().sum(dim=0) > 0)[-8:, -8:].any())


def test_stages_of_the_two_stand_beside_each_other_and_their_classifiers_are_found() -> None:
    spec = Spec(shape=(3, 64, 64), classes=11, task="segmentation")
    teacher, student = Network(deeplab(width=8), spec), Network(lite_segmenter(width=8), spec)
    beside = [(each.teacher.name, each.student.name) for each in match(teacher, student)]
    assert beside == [("stages.0", "stages.0"), ("pyramid", "stages.2")]
    assert [classifier_name(network) for network in (teacher, student)] == ["classifier", "classifier"]


@pytest.mark.parametrize("name", FACTORIES)
def test_batch_norm_can_be_matched(name: str) -> None:
    found = norms_of(Network(FACTORIES[name](width=8), Spec(shape=(3, 32, 32), classes=11, task="segmentation")))
    assert found.running > 5


@pytest.mark.parametrize("name", FACTORIES)
def test_a_few_steps_learn_an_image_by_heart(name: str) -> None:
    torch.manual_seed(0)
    model, images = FACTORIES[name](classes=4, width=8), torch.randn(4, 3, 32, 32)
    labels = torch.zeros(4, 32, 32, dtype=torch.long)
    labels[:, 8:20, 4:28], labels[:, 24:, :] = 1, 2
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        loss = F.cross_entropy(model.train()(images), labels)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("name", FACTORIES)
def test_a_saved_folder_builds_the_same_network(name: str, tmp_path: Path) -> None:
    kwargs, spec = {"classes": 4, "width": 8}, Spec(shape=(3, 32, 32), classes=4, task="segmentation", ignore=7)
    network = Network(FACTORIES[name](**kwargs).eval(), spec, origin=Origin(factory=f"tacit.zoo:{name}", kwargs=kwargs))
    save(network, tmp_path)
    again, images = load(tmp_path).eval(), torch.rand(2, *spec.shape)
    assert again.spec == spec
    assert torch.equal(again(images), network(images))

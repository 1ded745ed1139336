"""ShuffleNets against the figures and tables of their papers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import tacit
from tacit.core.network import Network
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.quantize.onnx import to_onnx
from tacit.zoo import shufflenetv1, shufflenetv2
from tacit.zoo.shufflenet import _Shuffle, _UnitV1, _UnitV2

SPEC = Spec(shape=(3, 32, 32), classes=100)


def test_shuffling_deals_out_the_channels_of_the_groups_in_turn() -> None:
    numbers = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 2, 3)
    assert _Shuffle(3)(numbers)[1, :, 0, 0].tolist() == [0, 2, 4, 1, 3, 5]
    assert _Shuffle(2)(numbers)[0, :, 1, 2].tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(("make", "widths"), [(shufflenetv1, (240, 480, 960)), (shufflenetv2, (116, 232, 464))])
def test_stages_have_four_eight_and_four_units_and_the_maps_of_the_tables(make: type[nn.Module], widths: tuple[int, ...]) -> None:
    model = make(classes=100).eval()
    taps = ["stem", "stages.0", "stages.1", "stages.2", "pool"]
    with Probe(Network(model, SPEC), taps=taps) as look:
        maps = look(torch.rand(1, 3, 32, 32)).features
    shapes = [(24, 32, 32), *((width, 16 >> number, 16 >> number) for number, width in enumerate(widths))]
    assert [tuple(maps[tap].shape[1:]) for tap in taps[:-1]] == shapes
    assert maps["pool"].shape == (1, 960 if widths[0] == 240 else 1024)
    assert [len(list(model.get_submodule(f"stages.{number}").children())) for number in range(3)] == [4, 8, 4]


def test_the_first_unit_of_v1_keeps_the_averaged_input_beside_what_it_makes_and_its_first_convolution_is_whole() -> None:
    unit = shufflenetv1().eval().get_submodule("stages.0.0")
    first, *others = (layer for layer in unit.modules() if isinstance(layer, nn.Conv2d))
    assert (first.groups, first.out_channels) == (1, (240 - 24) // 4)
    assert [layer.groups for layer in others] == [54, 3]
    x = torch.randn(2, 24, 8, 8)
    torch.testing.assert_close(unit(x)[:, :24], nn.functional.avg_pool2d(x, 3, 2, 1).relu())


def test_a_unit_of_v1_adds_to_its_input() -> None:
    unit, x = shufflenetv1().eval().get_submodule("stages.1.1"), torch.randn(2, 480, 4, 4)
    last = [layer for layer in unit.modules() if isinstance(layer, nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    torch.testing.assert_close(unit(x), x.relu())


def test_half_of_the_channels_pass_a_unit_of_v2_as_they_are() -> None:
    unit, x = shufflenetv2().eval().get_submodule("stages.0.1"), torch.randn(2, 116, 4, 4)
    assert torch.equal(unit(x)[:, ::2], x[:, :58])
    assert not torch.equal(unit(x)[:, 1::2], x[:, 58:])


def test_onnx_has_the_units_of_both_and_answers_alike_for_any_number_of_images(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    first = [_UnitV1(24, 240, 2), _UnitV1(240, 240, 1)]
    second = [_UnitV2(240, 116, 2), _UnitV2(116, 116, 1)]
    model = nn.Sequential(nn.Conv2d(3, 24, 1), *first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(116, 100)).eval()
    network, images = Network(model, SPEC), torch.rand(3, 3, 32, 32)
    to_onnx(network, tmp_path / "model.onnx")
    with torch.no_grad():
        torch.testing.assert_close(tacit.load(tmp_path / "model.onnx")(images), network(images), rtol=1e-4, atol=1e-5)

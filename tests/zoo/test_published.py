"""The networks of the CIFAR-100 tables of representation distillation: their parameters, counted by hand and as published."""

from __future__ import annotations

import pytest
import torch

from tacit import zoo
from tacit.core.network import count_parameters

CLASSES = 100
PUBLISHED = {
    "resnet8": 0.08,
    "resnet20": 0.28,
    "resnet32": 0.47,
    "resnet56": 0.86,
    "resnet110": 1.74,
    "resnet8x4": 1.23,
    "resnet32x4": 7.43,
    "resnet50": 23.71,
    "vgg8": 3.97,
    "vgg13": 9.46,
    "wrn16_2": 0.70,
    "wrn40_1": 0.57,
    "wrn40_2": 2.26,
    "mobilenetv2_half": 0.81,
    "shufflenetv1": 0.95,
    "shufflenetv2": 1.36,
}
"""Millions of parameters for 100 classes."""


def conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> int:
    """Weights of a convolution without bias."""
    return inputs // groups * outputs * kernel**2


def bn(channels: int) -> int:
    return 2 * channels


def linear(inputs: int) -> int:
    return inputs * CLASSES + CLASSES


def residual(blocks: int, stem: int, widths: tuple[int, ...]) -> int:
    total, inputs = conv(3, stem, 3) + bn(stem), stem
    for width in widths:
        changed = width != inputs
        total += conv(inputs, width, 3) + (2 * blocks - 1) * conv(width, width, 3) + 2 * blocks * bn(width)
        total += changed * (conv(inputs, width, 1) + bn(width))
        inputs = width
    return total + linear(inputs)


def bottlenecks() -> int:
    total, inputs = conv(3, 64, 3) + bn(64), 64
    for blocks, narrow in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True):
        wide = 4 * narrow
        total += conv(inputs, wide, 1) + bn(wide)
        total += conv(inputs, narrow, 1) + (blocks - 1) * conv(wide, narrow, 1)
        total += blocks * (bn(narrow) + conv(narrow, narrow, 3) + bn(narrow) + conv(narrow, wide, 1) + bn(wide))
        inputs = wide
    return total + linear(inputs)


def plain(each: int) -> int:
    total, inputs = 0, 3
    for width in (64, 128, 256, 512, 512):
        for _ in range(each):
            total += conv(inputs, width, 3) + width + bn(width)
            inputs = width
    return total + linear(inputs)


def wide(blocks: int, widen: int) -> int:
    total, inputs = conv(3, 16, 3), 16
    for width in (16 * widen, 32 * widen, 64 * widen):
        total += bn(inputs) + conv(inputs, width, 3) + bn(width) + conv(width, width, 3)
        total += (blocks - 1) * 2 * (bn(width) + conv(width, width, 3))
        total += (width != inputs) * conv(inputs, width, 1)
        inputs = width
    return total + bn(inputs) + linear(inputs)


def mobile() -> int:
    total, inputs = conv(3, 16, 3) + bn(16), 16
    for expansion, full, blocks in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)):
        outputs = full // 2
        for _ in range(blocks):
            middle = expansion * inputs
            total += conv(inputs, middle, 1) + conv(middle, middle, 3, middle) + conv(middle, outputs, 1) + 2 * bn(middle) + bn(outputs)
            inputs = outputs
    return total + conv(inputs, 1280, 1) + bn(1280) + linear(1280)


def shuffled() -> int:
    total, inputs = conv(3, 24, 1) + bn(24), 24
    for number, (width, units) in enumerate(((240, 4), (480, 8), (960, 4))):
        for unit in range(units):
            made = width - inputs if unit == 0 else width
            narrow = made // 4
            total += conv(inputs, narrow, 1, 1 if number == unit == 0 else 3) + conv(narrow, narrow, 3, narrow) + conv(narrow, made, 1, 3)
            total += 2 * bn(narrow) + bn(made)
            inputs = width
    return total + linear(inputs)


def split() -> int:
    total, inputs = conv(3, 24, 1) + bn(24), 24
    for width, units in ((116, 4), (232, 8), (464, 4)):
        half = width // 2
        total += conv(inputs, inputs, 3, inputs) + bn(inputs) + conv(inputs, half, 1) + bn(half)
        for unit in range(units):
            total += conv(half if unit else inputs, half, 1) + conv(half, half, 3, half) + conv(half, half, 1) + 3 * bn(half)
        inputs = width
    return total + conv(inputs, 1024, 1) + bn(1024) + linear(1024)


COUNTED = {
    **{f"resnet{depth}": residual((depth - 2) // 6, 16, (16, 32, 64)) for depth in (8, 14, 20, 32, 56, 110)},
    "resnet8x4": residual(1, 32, (64, 128, 256)),
    "resnet32x4": residual(5, 32, (64, 128, 256)),
    "resnet50": bottlenecks(),
    "vgg8": plain(1),
    "vgg13": plain(2),
    "wrn16_2": wide(2, 2),
    "wrn40_1": wide(6, 1),
    "wrn40_2": wide(6, 2),
    "mobilenetv2_half": mobile(),
    "shufflenetv1": shuffled(),
    "shufflenetv2": split(),
}


@pytest.mark.parametrize("name", COUNTED)
def test_a_network_has_the_parameters_that_its_architecture_has_by_hand(name: str) -> None:
    with torch.device("meta"):
        assert count_parameters(getattr(zoo, name)(classes=CLASSES)) == COUNTED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_rounded_that_is_the_published_number(name: str) -> None:
    assert round(COUNTED[name] / 1e6, 2) == PUBLISHED[name]

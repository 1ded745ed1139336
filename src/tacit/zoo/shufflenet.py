"""ShuffleNets for small images: grouped convolutions, between which channels are shuffled.

"ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", Zhang et al., 2018, https://arxiv.org/abs/1707.01083,
table 1, three groups: 240, 480 and 960 channels. "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", Ma et al.,
2018, https://arxiv.org/abs/1807.11164, table 5, 1x: 116, 232 and 464 channels, and 1024 in the last convolution. Distillation on CIFAR
(CRD, https://arxiv.org/abs/1910.10699) gives both a stem of 24 channels by a 1x1 convolution and no max pool: 32x32 images have maps of
16x16, 8x8 and 4x4. A bottleneck has a quarter of the channels that its unit makes: in the first unit of a stage, whose averaged input is
a part of what it gives, these are fewer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tacit.zoo.parts import average_pool, start_convolutions

__all__ = ["ShuffleNetV1", "ShuffleNetV2", "shufflenetv1", "shufflenetv2"]

STEM = 24
"""Channels of the stem."""
GROUPS = 3
"""Groups of the 1x1 convolutions of ShuffleNet V1."""


class _Shuffle(nn.Module):
    """Mixes the channels of groups: the first of each group, the second of each, and so on."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        number, channels, height, width = x.shape
        apart = x.reshape(number, self.groups, channels // self.groups, height, width)
        return apart.transpose(1, 2).reshape(number, channels, height, width)


def _pointwise(inputs: int, outputs: int, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels)]


class _UnitV1(nn.Module):
    """Figure 2, b and c: with a stride, the averaged input stands beside what is made, without one it is added to it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        made = outputs - inputs if stride > 1 else outputs
        narrow = made // 4
        self.layers = nn.Sequential(
            *_pointwise(inputs, narrow, 1 if inputs == STEM else GROUPS),
            nn.ReLU(inplace=True),
            _Shuffle(GROUPS),
            *_depthwise(narrow, stride),
            *_pointwise(narrow, made, GROUPS),
        )
        self.average = nn.AvgPool2d(3, stride, 1) if stride > 1 else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(x)
        active: Tensor = self.relu(out + x if self.average is None else torch.cat([self.average(x), out], dim=1))
        return active


class _UnitV2(nn.Module):
    """Figure 3, c and d: with a stride, both branches work on all of the input, without one the left half passes as it is."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        entering = inputs if stride > 1 else half
        self.right = nn.Sequential(
            *_pointwise(entering, half), nn.ReLU(inplace=True), *_depthwise(half, stride), *_pointwise(half, half), nn.ReLU(inplace=True)
        )
        self.left = nn.Sequential(*_depthwise(inputs, stride), *_pointwise(inputs, half), nn.ReLU(inplace=True)) if stride > 1 else None
        self.shuffle = _Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        if self.left is None:
            kept, entering = x.chunk(2, dim=1)
        else:
            kept, entering = self.left(x), x
        mixed: Tensor = self.shuffle(torch.cat([kept, self.right(entering)], dim=1))
        return mixed


def _stem(channels: int) -> nn.Sequential:
    return nn.Sequential(*_pointwise(channels, STEM), nn.ReLU(inplace=True))


def _stages(unit: type[_UnitV1] | type[_UnitV2], widths: tuple[int, ...]) -> nn.Sequential:
    """Return three stages of four, eight and four units, of which the first has stride 2."""
    made, inputs = [], STEM
    for count, outputs in zip((4, 8, 4), widths, strict=True):
        made.append(nn.Sequential(unit(inputs, outputs, 2), *(unit(outputs, outputs, 1) for _ in range(count - 1))))
        inputs = outputs
    return nn.Sequential(*made)


class ShuffleNetV1(nn.Module):
    """ShuffleNet of three groups; features can be tapped at ``stem``, ``stages.0`` to ``stages.2`` and ``pool``.

    Args:
        classes: Number of classes.
        channels: Channels of the images.
    """

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.stem = _stem(channels)
        self.stages = _stages(_UnitV1, (240, 480, 960))
        self.pool = average_pool()
        self.classifier = nn.Linear(960, classes)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.stages(self.stem(x))))
        return logits


class ShuffleNetV2(nn.Module):
    """ShuffleNet V2 1x; features can be tapped at ``stem``, ``stages.0`` to ``stages.2``, ``head`` and ``pool``.

    Args:
        classes: Number of classes.
        channels: Channels of the images.
    """

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.stem = _stem(channels)
        self.stages = _stages(_UnitV2, (116, 232, 464))
        self.head = nn.Sequential(*_pointwise(464, 1024), nn.ReLU(inplace=True))
        self.pool = average_pool()
        self.classifier = nn.Linear(1024, classes)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.head(self.stages(self.stem(x)))))
        return logits


def shufflenetv1(classes: int = 10, channels: int = 3) -> ShuffleNetV1:
    """Return a `ShuffleNetV1`."""
    return ShuffleNetV1(classes, channels)


def shufflenetv2(classes: int = 10, channels: int = 3) -> ShuffleNetV2:
    """Return a `ShuffleNetV2`."""
    return ShuffleNetV2(classes, channels)

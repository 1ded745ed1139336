"""Wide residual networks.

"Wide Residual Networks", Zagoruyko and Komodakis, 2016, https://arxiv.org/abs/1605.07146, table 1: a 3x3 convolution with 16 channels,
three stages of n blocks with 16k, 32k and 64k channels, BN and ReLU before each convolution; WRN-(6n+4)-k. No dropout. Where the shape
changes, the shortcut is a 1x1 convolution, without BN, of the activated input.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.zoo.parts import average_pool, start_convolutions

__all__ = ["WideResNet", "wrn", "wrn16_1", "wrn16_2", "wrn40_1", "wrn40_2"]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """A wide residual network; features can be tapped at ``stages.0``, ``stages.1``, ``stages.2`` (not yet activated) and ``pool``.

    The stages see the images at full, half and quarter size.

    Args:
        depth: 6n + 4 for three stages of n blocks.
        widen: How many times as wide as 16-32-64 channels.
        classes: Number of classes.
        channels: Channels of the images.

    Raises:
        InputError: Where there is no such depth, or `widen` is below 1.
    """

    def __init__(self, depth: int = 16, widen: int = 1, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise InputError(f"depth: expected 6n + 4 (10, 16, 22, 28, 40, ...), got {depth}")
        if widen < 1:
            raise InputError(f"widen: expected 1 or more, got {widen}")
        self.stem = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        made, inputs = [], 16
        for stage in range(3):
            outputs = 16 * widen * 2**stage
            first = _Block(inputs, outputs, 2 if stage else 1)
            made.append(nn.Sequential(first, *(_Block(outputs, outputs, 1) for _ in range((depth - 4) // 6 - 1))))
            inputs = outputs
        self.stages = nn.Sequential(*made)
        self.norm = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.pool = average_pool()
        self.classifier = nn.Linear(inputs, classes)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.norm(self.stages(self.stem(x)))))
        return logits


def wrn(depth: int = 16, widen: int = 1, classes: int = 10, channels: int = 3) -> WideResNet:
    """Return a `WideResNet`: ``wrn(40, 2)`` is WRN-40-2, ``wrn(28, 10)`` the paper's best on CIFAR."""
    return WideResNet(depth, widen, classes, channels)


def wrn16_1(classes: int = 10, channels: int = 3) -> WideResNet:
    """Return WRN-16-1: 16-32-64 channels, two blocks a stage."""
    return WideResNet(16, 1, classes, channels)


def wrn16_2(classes: int = 10, channels: int = 3) -> WideResNet:
    """Return WRN-16-2: 32-64-128 channels, two blocks a stage."""
    return WideResNet(16, 2, classes, channels)


def wrn40_1(classes: int = 10, channels: int = 3) -> WideResNet:
    """Return WRN-40-1: 16-32-64 channels, six blocks a stage."""
    return WideResNet(40, 1, classes, channels)


def wrn40_2(classes: int = 10, channels: int = 3) -> WideResNet:
    """Return WRN-40-2: 32-64-128 channels, six blocks a stage."""
    return WideResNet(40, 2, classes, channels)

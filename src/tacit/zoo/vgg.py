"""VGG-8, VGG-11 and VGG-13 for small images.

"Very Deep Convolutional Networks for Large-Scale Image Recognition", Simonyan and Zisserman, 2015, https://arxiv.org/abs/1409.1556,
table 1, columns A and B: eight and ten 3x3 convolutions in five stages. Distillation on CIFAR (CRD, https://arxiv.org/abs/1910.10699, and
the data-free methods after it) adds BN after each convolution, stops pooling at 4x4, averages what is left, and has one linear layer in
place of three. VGG-8 is CRD's: one convolution a stage.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.zoo.parts import average_pool, start_convolutions

__all__ = ["VGG", "vgg8", "vgg11", "vgg13"]


class _Halve(nn.Module):
    """A 2x2 max pool of maps whose shorter side is over `beyond` pixels; smaller ones stay as they are."""

    def __init__(self, beyond: int) -> None:
        super().__init__()
        self.beyond = beyond

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if min(x.shape[2:]) > self.beyond else x


class VGG(nn.Module):
    """A VGG with batch norm; features can be tapped at ``stages.0`` to ``stages.4`` and ``pool``.

    A stage begins with a max pool, but for the first. The last one does so only where its map is over 4 pixels: 32x32 images have a 4x4 map
    in both ``stages.3`` and ``stages.4``, 64x64 images one of 8x8 and one of 4x4.

    Args:
        classes: Number of classes.
        channels: Channels of the images.
        blocks: Convolutions of each of the five stages, which have 64, 128, 256, 512 and 512 channels.
    """

    def __init__(self, classes: int = 10, channels: int = 3, blocks: Sequence[int] = (1, 1, 2, 2, 2)) -> None:
        super().__init__()
        made, inputs = [], channels
        for stage, (count, outputs) in enumerate(zip(blocks, (64, 128, 256, 512, 512), strict=True)):
            steps: list[nn.Module] = [_Halve(4 if stage == 4 else 1)] if stage else []
            for _ in range(count):
                steps += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
                inputs = outputs
            made.append(nn.Sequential(*steps))
        self.stages = nn.Sequential(*made)
        self.pool = average_pool()
        self.classifier = nn.Linear(inputs, classes)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.stages(x)))
        return logits


def vgg8(classes: int = 10, channels: int = 3) -> VGG:
    """Return VGG-8: one convolution a stage."""
    return VGG(classes, channels, (1, 1, 1, 1, 1))


def vgg11(classes: int = 10, channels: int = 3) -> VGG:
    """Return VGG-11: one convolution in the first two stages, two in the others."""
    return VGG(classes, channels, (1, 1, 2, 2, 2))


def vgg13(classes: int = 10, channels: int = 3) -> VGG:
    """Return VGG-13: two convolutions a stage."""
    return VGG(classes, channels, (2, 2, 2, 2, 2))

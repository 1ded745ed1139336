"""Residual networks for small images.

"Deep Residual Learning for Image Recognition", He et al., 2016, https://arxiv.org/abs/1512.03385. Sec. 4.2: three stages of n blocks with
16, 32 and 64 channels make ResNet-(6n+2). Table 1: ResNet-18, ResNet-34 and ResNet-50, here with the stem that distillation gives them on
CIFAR (a 3x3 convolution of stride 1, no max pool: DAFL, https://arxiv.org/abs/1904.01186). The projection shortcut is a 1x1 convolution
with BN where the shape changes; in a bottleneck, the 3x3 convolution has the stride. ResNet-8x4 and ResNet-32x4 are those of CRD
(https://arxiv.org/abs/1910.10699, sec. 4.1): 64, 128 and 256 channels behind a stem of 32.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.zoo.parts import average_pool, start_convolutions

__all__ = [
    "ResNet",
    "resnet",
    "resnet8",
    "resnet8x4",
    "resnet14",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet32x4",
    "resnet34",
    "resnet50",
    "resnet56",
    "resnet110",
]


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()  # modules, so that what goes into them can be tapped
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        active: Tensor = self.relu2(self.bn2(self.conv2(out)) + self.shortcut(x))
        return active


class _Bottleneck(nn.Module):
    """As `_Block`, with a 3x3 convolution of a quarter of the channels between two 1x1 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        narrow = outputs // 4
        self.conv1 = nn.Conv2d(inputs, narrow, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))
        active: Tensor = self.relu3(self.bn3(self.conv3(out)) + self.shortcut(x))
        return active


class ResNet(nn.Module):
    """A residual network; features can be tapped at ``stem``, ``stages.0``, ``stages.1``, ... and ``pool``.

    The first stage sees the images at full size, each further one at half the size of the one before.

    Args:
        depth: 6n + 2 for three stages of n blocks.
        classes: Number of classes.
        channels: Channels of the images.
        width: Channels of the first stage; they double at each further one.
        stages: Number of stages; with other than three the depth counts as if there were three.
        blocks: Blocks of each stage, with `widths` in place of `depth`, `width` and `stages`.
        widths: Channels of each stage.
        stem: Channels of the stem; 0: as many as a block of the first stage works with.
        bottleneck: Whether blocks are bottlenecks, which work with a quarter of the channels that they give.

    Raises:
        InputError: Where there is no such depth or number of stages, or `blocks` and `widths` don't describe the same stages.
    """

    def __init__(
        self,
        depth: int = 8,
        classes: int = 10,
        channels: int = 3,
        width: int = 16,
        stages: int = 3,
        *,
        blocks: Sequence[int] = (),
        widths: Sequence[int] = (),
        stem: int = 0,
        bottleneck: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise InputError(f"depth: expected 6n + 2 (8, 14, 20, 32, 44, 56, ...), got {depth}")
        if stages < 1:
            raise InputError(f"stages: expected 1 or more, got {stages}")
        if len(blocks) != len(widths):
            raise InputError(f"blocks, widths: expected one number a stage in both, got {list(blocks)} and {list(widths)}")
        if not blocks:
            blocks, widths = [(depth - 2) // 6] * stages, [width * 2**stage for stage in range(stages)]
        kind = _Bottleneck if bottleneck else _Block
        inputs = stem or (widths[0] // 4 if bottleneck else widths[0])
        self.stem = nn.Sequential(nn.Conv2d(channels, inputs, 3, 1, 1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        made = []
        for stage, (count, outputs) in enumerate(zip(blocks, widths, strict=True)):
            steps = [kind(inputs if block == 0 else outputs, outputs, 2 if stage and block == 0 else 1) for block in range(count)]
            made.append(nn.Sequential(*steps))
            inputs = outputs
        self.stages = nn.Sequential(*made)
        self.pool = average_pool()
        self.classifier = nn.Linear(inputs, classes)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.stages(self.stem(x))))
        return logits


def resnet(depth: int = 8, classes: int = 10, channels: int = 3, width: int = 16, stages: int = 3) -> ResNet:
    """Return a `ResNet`: ``resnet(20)`` is ResNet-20, ``resnet(8, width=4, channels=1)`` a tiny grey one."""
    return ResNet(depth, classes, channels, width, stages)


def resnet8(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-8: 16-32-64 channels, one block a stage."""
    return resnet(8, classes, channels)


def resnet14(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-14: 16-32-64 channels, two blocks a stage."""
    return resnet(14, classes, channels)


def resnet20(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-20: 16-32-64 channels, three blocks a stage."""
    return resnet(20, classes, channels)


def resnet32(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-32: 16-32-64 channels, five blocks a stage."""
    return resnet(32, classes, channels)


def resnet56(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-56: 16-32-64 channels, nine blocks a stage."""
    return resnet(56, classes, channels)


def resnet110(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-110: 16-32-64 channels, eighteen blocks a stage."""
    return resnet(110, classes, channels)


def resnet8x4(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-8x4: a stem of 32 channels, 64-128-256 channels, one block a stage."""
    return ResNet(classes=classes, channels=channels, blocks=(1, 1, 1), widths=(64, 128, 256), stem=32)


def resnet32x4(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-32x4: a stem of 32 channels, 64-128-256 channels, five blocks a stage."""
    return ResNet(classes=classes, channels=channels, blocks=(5, 5, 5), widths=(64, 128, 256), stem=32)


def resnet18(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-18 for small images: 64-128-256-512 channels, two blocks a stage."""
    return ResNet(classes=classes, channels=channels, blocks=(2, 2, 2, 2), widths=(64, 128, 256, 512))


def resnet34(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-34 for small images: 64-128-256-512 channels; 3, 4, 6 and 3 blocks."""
    return ResNet(classes=classes, channels=channels, blocks=(3, 4, 6, 3), widths=(64, 128, 256, 512))


def resnet50(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-50 for small images: 256-512-1024-2048 channels; 3, 4, 6 and 3 bottlenecks."""
    return ResNet(classes=classes, channels=channels, blocks=(3, 4, 6, 3), widths=(256, 512, 1024, 2048), bottleneck=True)

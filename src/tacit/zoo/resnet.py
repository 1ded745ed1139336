"""Residual networks for small images.

"Deep Residual Learning for Image Recognition", He et al., 2016, https://arxiv.org/abs/1512.03385, sec. 4.2: three stages of n blocks with
16, 32 and 64 channels make ResNet-(6n+2). The projection shortcut is a 1x1 convolution with BN where the shape changes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError

__all__ = ["ResNet", "resnet"]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network; features can be tapped at ``stem``, ``stages.0``, ``stages.1``, ... and ``pool``.

    Args:
        depth: 6n + 2 for three stages of n blocks.
        classes: Number of classes.
        channels: Channels of the images.
        width: Channels of the first stage; they double at each further one.
        stages: Number of stages; with other than three the depth counts as if there were three.
    """

    def __init__(self, depth: int = 8, classes: int = 10, channels: int = 3, width: int = 16, stages: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise InputError(f"depth: expected 6n + 2 (8, 14, 20, 32, 44, 56, ...), got {depth}")
        blocks = (depth - 2) // 6
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        made, inputs = [], width
        for stage in range(stages):
            outputs = width * 2**stage
            steps = [_Block(inputs if block == 0 else outputs, outputs, 2 if stage and block == 0 else 1) for block in range(blocks)]
            made.append(nn.Sequential(*steps))
            inputs = outputs
        self.stages = nn.Sequential(*made)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.stages(self.stem(x))))
        return logits


def resnet(depth: int = 8, classes: int = 10, channels: int = 3, width: int = 16, stages: int = 3) -> ResNet:
    """Return a `ResNet`: ``resnet(20)`` is ResNet-20, ``resnet(8, width=4, channels=1)`` a tiny grey one."""
    return ResNet(depth, classes, channels, width, stages)

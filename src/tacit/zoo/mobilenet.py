"""MobileNetV2 for small images: depthwise convolutions, which are the hardest to quantize.

"MobileNetV2: Inverted Residuals and Linear Bottlenecks", Sandler et al., 2018, https://arxiv.org/abs/1801.04381, table 2, here with the
strides that are usual for 32x32 images: 1 in the stem and the second stage, so that the last map is 4x4.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.zoo.parts import average_pool, start_convolutions

__all__ = ["MobileNetV2", "mobilenetv2"]

GROUPS = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
"""Expansion, channels and blocks of each stage, as in table 2."""
STRIDES = (1, 1, 2, 2, 1, 2, 1)
"""Stride of the first block of each stage."""
LAST = 1280
"""Channels of the last convolution; of widths over 1, as many times more."""


def _whole(channels: float) -> int:
    """Return the nearest multiple of 8, at least 8 and never below nine tenths."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 * (rounded < 0.9 * channels)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.layers = nn.Sequential(
            *(_convolution(inputs, wide, 1) if expansion > 1 else []),
            *_convolution(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """A MobileNetV2; features can be tapped at ``stem``, ``stages.0`` to ``stages.6``, ``head`` and ``pool``.

    Args:
        classes: Number of classes.
        channels: Channels of the images.
        width: By which all numbers of channels are multiplied; below 1 not those of the last convolution, as in the paper.
        last: Channels of the last convolution.
        strides: Of the first block of each stage; (1, 2, 2, 2, 1, 1, 1) takes a fraction of the time.

    Raises:
        InputError: Where `strides` are not seven.
    """

    def __init__(
        self, classes: int = 10, channels: int = 3, width: float = 1.0, last: int = LAST, strides: Sequence[int] = STRIDES
    ) -> None:
        super().__init__()
        if len(strides) != len(GROUPS):
            raise InputError(f"strides: expected {len(GROUPS)}, one a stage, got {list(strides)}")
        inputs = _whole(32 * width)
        self.stem = nn.Sequential(*_convolution(channels, inputs, 3))
        made = []
        for (expansion, wanted, blocks), stride in zip(GROUPS, strides, strict=True):
            outputs, steps = _whole(wanted * width), list[nn.Module]()
            for number in range(blocks):
                steps.append(_Block(inputs, outputs, 1 if number else stride, expansion))
                inputs = outputs
            made.append(nn.Sequential(*steps))
        self.stages = nn.Sequential(*made)
        final = _whole(last * max(1.0, width))
        self.head = nn.Sequential(*_convolution(inputs, final, 1))
        self.pool = average_pool()
        self.classifier = nn.Linear(final, classes)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.head(self.stages(self.stem(x)))))
        return logits


def mobilenetv2(
    classes: int = 10, channels: int = 3, width: float = 1.0, last: int = LAST, strides: Sequence[int] = STRIDES
) -> MobileNetV2:
    """Return a `MobileNetV2`."""
    return MobileNetV2(classes, channels, width, last, strides)

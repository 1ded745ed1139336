"""MobileNetV2 for small images: depthwise convolutions, which are the hardest to quantize.

"MobileNetV2: Inverted Residuals and Linear Bottlenecks", Sandler et al., 2018, https://arxiv.org/abs/1801.04381, table 2, here with the
strides that are usual for 32x32 images: 1 in the stem and the second stage, so that the last map is 4x4. The network of half the width in
the tables of CRD (https://arxiv.org/abs/1910.10699) is smaller and differs in details, of which the count of its parameters tells.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.zoo.parts import average_pool, start_convolutions

__all__ = ["MobileNetV2", "mobilenetv2", "mobilenetv2_half"]

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


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, crd: bool = False) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True) if crd else nn.ReLU6(inplace=True)]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, crd: bool) -> None:
        super().__init__()
        wide = inputs * expansion
        self.layers = nn.Sequential(
            *(_convolution(inputs, wide, 1, crd=crd) if crd or expansion > 1 else []),
            *_convolution(wide, wide, 3, stride, groups=wide, crd=crd),
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
        crd: As in the tables of CRD: a stem of stride 2, numbers of channels that are cut to whole numbers and not to multiples of 8, a
            1x1 convolution in the first block too, whose expansion is 1, and ReLU in place of ReLU6.

    Raises:
        InputError: Where `strides` are not seven.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        width: float = 1.0,
        last: int = LAST,
        strides: Sequence[int] = STRIDES,
        *,
        crd: bool = False,
    ) -> None:
        super().__init__()
        if len(strides) != len(GROUPS):
            raise InputError(f"strides: expected {len(GROUPS)}, one a stage, got {list(strides)}")
        whole = int if crd else _whole
        inputs = whole(32 * width)
        self.stem = nn.Sequential(*_convolution(channels, inputs, 3, 2 if crd else 1, crd=crd))
        made = []
        for (expansion, wanted, blocks), stride in zip(GROUPS, strides, strict=True):
            outputs, steps = whole(wanted * width), list[nn.Module]()
            for number in range(blocks):
                steps.append(_Block(inputs, outputs, 1 if number else stride, expansion, crd))
                inputs = outputs
            made.append(nn.Sequential(*steps))
        self.stages = nn.Sequential(*made)
        final = whole(last * max(1.0, width))
        self.head = nn.Sequential(*_convolution(inputs, final, 1, crd=crd))
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


def mobilenetv2_half(classes: int = 10, channels: int = 3) -> MobileNetV2:
    """Return the MobileNetV2 of half the width that is in the tables of CRD."""
    return MobileNetV2(classes, channels, 0.5, crd=True)

"""DeepLab for small images, and a light network of the same kind: a class for every pixel.

`DeepLab`: "Rethinking Atrous Convolution for Semantic Image Segmentation", Chen et al., 2017, https://arxiv.org/abs/1706.05587, sec. 3
(a residual backbone whose last stage is dilated and not shrunk, and a pyramid of dilated convolutions beside the mean of the image), with
the decoder of "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", Chen et al., 2018,
https://arxiv.org/abs/1802.02611, sec. 3.1.
`LiteSegmenter`: inverted residuals ("MobileNetV2", Sandler et al., 2018, https://arxiv.org/abs/1801.04381) under the head of "Searching for
MobileNetV3", Howard et al., 2019, https://arxiv.org/abs/1905.02244, sec. 6.4.
Not theirs: the sizes. For images of 64x64 the backbones shrink by 4 in place of 16 or 8, the pyramid's rates are 2, 4 and 6, and there is
no batch norm on the image's mean, which in a batch of one image has no statistics.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.zoo.parts import start_convolutions

__all__ = ["DeepLab", "LiteSegmenter", "deeplab", "lite_segmenter"]

RATES = (2, 4, 6)
"""Of the pyramid's dilated convolutions, in pixels of the last map."""


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


def _active(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def _grown(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.first = _active(*_convolution(inputs, outputs, 3, stride, dilation))
        self.second = nn.Sequential(*_convolution(outputs, outputs, 3, 1, dilation))
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential() if same else nn.Sequential(*_convolution(inputs, outputs, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.second(self.first(x)) + self.shortcut(x))
        return out


class _Pyramid(nn.Module):
    """A 1x1 convolution, dilated ones, and the image's mean, side by side; and what mixes them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        branches = [_active(*_convolution(inputs, outputs, 1)), *(_active(*_convolution(inputs, outputs, dilation=r)) for r in RATES)]
        self.branches = nn.ModuleList(branches)
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.mix = _active(*_convolution((len(branches) + 1) * outputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        seen = [branch(x) for branch in self.branches]
        mixed: Tensor = self.mix(torch.cat([*seen, self.mean(x).expand_as(seen[0])], dim=1))
        return mixed


class DeepLab(nn.Module):
    """A residual segmentation network; features can be tapped at ``stem``, ``stages.0`` to ``stages.2``, ``pyramid`` and ``decoder``.

    Args:
        classes: Number of classes.
        channels: Channels of the images.
        width: Channels of the first stage; the others have two and four times as many.
        blocks: Residual blocks of a stage.
    """

    def __init__(self, classes: int = 11, channels: int = 3, width: int = 24, blocks: int = 2) -> None:
        super().__init__()
        self.stem = _active(*_convolution(channels, width, stride=2))
        made, inputs = [], width
        for factor, stride, dilation in ((1, 1, 1), (2, 2, 1), (4, 1, 2)):
            steps = list[nn.Module]()
            for number in range(blocks):
                steps.append(_Residual(inputs, factor * width, 1 if number else stride, dilation))
                inputs = factor * width
            made.append(nn.Sequential(*steps))
        self.stages = nn.Sequential(*made)
        self.pyramid = _Pyramid(inputs, 2 * width)
        self.detail = _active(*_convolution(width, width // 2, 1))
        self.decoder = _active(*_convolution(2 * width + width // 2, 2 * width))
        self.classifier = nn.Conv2d(2 * width, classes, 1)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (N, classes, H, W) for normalised images (N, C, H, W)."""
        fine = self.stages[0](self.stem(x))
        coarse = self.pyramid(self.stages[2](self.stages[1](fine)))
        both = torch.cat([_grown(coarse, fine.shape[2:]), self.detail(fine)], dim=1)
        return _grown(self.classifier(self.decoder(both)), x.shape[2:])


class _Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.layers = nn.Sequential(
            _active(*_convolution(inputs, wide, 1)),
            _active(*_convolution(wide, wide, 3, stride, dilation, groups=wide)),
            *_convolution(wide, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class LiteSegmenter(nn.Module):
    """A light segmentation network; features can be tapped at ``stem``, ``stages.0`` to ``stages.2``, and ``head``.

    Args:
        classes: Number of classes.
        channels: Channels of the images.
        width: Channels of the first stage; the others have one and a half and two times as many.
    """

    def __init__(self, classes: int = 11, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem = _active(*_convolution(channels, width, stride=2))
        made, inputs = [], width
        for outputs, stride, dilation, expansion, blocks in (
            (width, 1, 1, 2, 1),
            (3 * width // 2, 2, 1, 4, 2),
            (2 * width, 1, 2, 4, 2),
        ):
            steps = list[nn.Module]()
            for number in range(blocks):
                steps.append(_Inverted(inputs, outputs, 1 if number else stride, dilation, expansion))
                inputs = outputs
            made.append(nn.Sequential(*steps))
        self.stages = nn.Sequential(*made)
        self.head = _active(*_convolution(inputs, 4 * width, 1))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, 4 * width, 1), nn.Sigmoid())
        self.detail = nn.Conv2d(width, classes, 1)
        self.classifier = nn.Conv2d(4 * width, classes, 1)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (N, classes, H, W) for normalised images (N, C, H, W)."""
        fine = self.stages[0](self.stem(x))
        corrected, coarse = self.detail(fine), self.stages[2](self.stages[1](fine))
        named = self.classifier(self.head(coarse) * self.gate(coarse))
        return _grown(_grown(named, fine.shape[2:]) + corrected, x.shape[2:])


def deeplab(classes: int = 11, channels: int = 3, width: int = 24, blocks: int = 2) -> DeepLab:
    """Return a `DeepLab`."""
    return DeepLab(classes, channels, width, blocks)


def lite_segmenter(classes: int = 11, channels: int = 3, width: int = 16) -> LiteSegmenter:
    """Return a `LiteSegmenter`."""
    return LiteSegmenter(classes, channels, width)

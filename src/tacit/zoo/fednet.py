"""FedNet: the small classifier that federated algorithms are compared on.

"Data-Free Knowledge Distillation for Heterogeneous Federated Learning", Zhu et al., 2021, https://arxiv.org/abs/2105.10056, as in the
authors' code: convolutions of stride 2 with batch norm and ReLU, then two linear layers with no non-linearity between them, so that what
the first makes is a latent without bounds, which a generator can aim at. Parameters: MNIST 26,434, EMNIST's letters 26,962, CelebA 25,954.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["FedNet", "fednet", "fednet_celeba"]


class FedNet(nn.Module):
    """A stack of small convolutions; features can be tapped at ``stages`` and ``encode``.

    Args:
        classes: Number of classes.
        channels: Channels of the images.
        side: Height and width of the images.
        maps: Maps of each convolution.
        pool: Whether a max pooling of 2 follows each convolution.
        width: Length of the latent, the output of ``encode``.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        side: int = 28,
        maps: Sequence[int] = (6, 16),
        *,
        pool: bool = False,
        width: int = 32,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for outputs in maps:
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2)] if pool else []
            side = math.ceil(side / 2) // (2 if pool else 1)
            inputs = outputs
        self.stages = nn.Sequential(*layers, nn.Flatten())
        self.encode = nn.Linear(inputs * side * side, width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (N, classes) for normalised images of shape (N, channels, side, side)."""
        logits: Tensor = self.classifier(self.encode(self.stages(x)))
        return logits


def fednet(classes: int = 10, channels: int = 1, side: int = 28, width: int = 32) -> FedNet:
    """Return the network for MNIST (10 classes), EMNIST's letters (26), or any small square image."""
    return FedNet(classes, channels, side, width=width)


def fednet_celeba(classes: int = 2, channels: int = 3, side: int = 84, width: int = 32) -> FedNet:
    """Return the network for CelebA's faces: three convolutions, each with a pooling."""
    return FedNet(classes, channels, side, (16, 32, 64), pool=True, width=width)

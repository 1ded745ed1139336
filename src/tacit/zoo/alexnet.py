"""AlexNet for 32x32 images, and its half.

"Zero-Shot Knowledge Distillation in Deep Networks", Nayak et al., 2019, https://arxiv.org/abs/1905.08114, supplement; after "ImageNet
Classification with Deep Convolutional Neural Networks", Krizhevsky et al., 2012. AlexNet-half has half the maps and units.

Certain, from the layers that the authors published: kernels, widths, pools, and the order convolution, ReLU, local response normalisation,
max pool, BN; linear, ReLU, dropout 0.5, BN. Not theirs: the start (theirs is N(0, 0.01) with biases of 1 in convolutions 2, 4 and 5; here
it is PyTorch's, which BN makes much the same), and eps and momentum of BN (theirs are 1e-3 and 1e-3; here PyTorch's 1e-5 and 0.1, with
which running statistics settle within a short training).
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["AlexNet", "alexnet", "alexnet_half"]


def _convolution(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]


def _response_norm() -> nn.LocalResponseNorm:
    """Return x / (1 + 1e-4 * sum of the squares of 5 neighbouring channels) ** 0.75; torch divides alpha by those 5."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=1.0)


def _pool(channels: int) -> list[nn.Module]:
    return [nn.MaxPool2d(3, 2), nn.BatchNorm2d(channels)]


def _linear(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.BatchNorm1d(outputs)]


class AlexNet(nn.Module):
    """An AlexNet for 32x32 images; features can be tapped at ``stages.0`` (32x32), ``stages.1`` (15x15), ``stages.2`` (7x7), ``hidden``.

    Images of another size, at least 15x15, are taken too: the last map is averaged to 3x3.

    Args:
        classes: Number of classes.
        channels: Channels of the images.
        half: 24-64-96-96-64 maps and 256-128 units in place of 48-128-192-192-128 and 512-256.
    """

    def __init__(self, classes: int = 10, channels: int = 3, half: bool = False) -> None:
        super().__init__()
        first, second, third, fourth, fifth, wide, narrow = (width // (1 + half) for width in (48, 128, 192, 192, 128, 512, 256))
        self.stages = nn.Sequential(
            nn.Sequential(*_convolution(channels, first, 5), _response_norm()),
            nn.Sequential(*_pool(first), *_convolution(first, second, 5), _response_norm()),
            nn.Sequential(
                *_pool(second),
                *_convolution(second, third, 3),
                nn.BatchNorm2d(third),
                *_convolution(third, fourth, 3),
                nn.BatchNorm2d(fourth),
                *_convolution(fourth, fifth, 3),
            ),
        )
        self.hidden = nn.Sequential(*_pool(fifth), nn.AdaptiveAvgPool2d(3), nn.Flatten(), *_linear(9 * fifth, wide), *_linear(wide, narrow))
        self.classifier = nn.Linear(narrow, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.hidden(self.stages(x)))
        return logits


def alexnet(classes: int = 10, channels: int = 3, half: bool = False) -> AlexNet:
    """Return an `AlexNet`, or its half."""
    return AlexNet(classes, channels, half)


def alexnet_half(classes: int = 10, channels: int = 3) -> AlexNet:
    """Return AlexNet-half."""
    return AlexNet(classes, channels, half=True)

"""What several networks of the zoo share."""

from __future__ import annotations

from torch import nn

__all__ = ["average_pool", "start_convolutions"]


def average_pool() -> nn.Sequential:
    """Return what makes a feature map of any size, (N, C, H, W), one vector an image, (N, C): its mean over the pixels."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def start_convolutions(model: nn.Module) -> None:
    """Draw the weights of all convolutions of `model` anew, so that gradients keep their size through ReLUs.

    "Delving Deep into Rectifiers", He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 14.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

"""Fake quantization: floats that take only the values that a few bits can hold, with gradients for values and scales.

"Learned Step Size Quantization", Esser et al., 2020, https://arxiv.org/abs/1902.08153: the gradient of the scale is eq. 3, scaled by
``1 / sqrt(N Qp)`` (sec. 2.2); values get the straight-through gradient inside the range and none outside (eq. 5).
What is trained is the logarithm of a scale, as thresholds are in "Trained Quantization Thresholds for Accurate and Efficient Fixed-Point
Inference of Deep Neural Networks", Jain et al., 2020, https://arxiv.org/abs/1903.08066 (sec. 4): an optimiser as Adam moves whatever it
trains by about its learning rate a step, and so took small scales, as those of 8 bits, through 0 in ten steps, where they stayed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Quantizer", "fake_quantize", "levels"]

PACE = 10.0
"""How much faster than the optimiser's rate the logarithm of a scale moves: Adam at 3e-4 changes it by 0.3 % a step."""
REACH = math.log(16)
"""Farther than that the logarithm of a scale does not go, up or down."""
LEAST = 1e-8
"""Of a scale: a range of no width has one."""
SYMMETRIC = 4
"""Bits from which on weights are symmetric, as integer kernels want them. With fewer, each channel has a zero point of its own, as in "The
Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274: the levels -2 to 1
hold half of what a channel needs whose larger weights are positive, -1 to 2 all of it. A ResNet-20 of CIFAR-10, calibrated on 512 images
and not trained: W2A4 80.0 in place of 55.2 %, W3A3 85.3 and 83.9, W4A4 89.5 and 89.8 (2,000 test images, one trial, no file kept)."""


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int, factor: float) -> Tensor:
        wanted = torch.addcdiv(zero, x.float(), scale)
        level = wanted.round().clamp_(low, high)
        inside = (wanted > low) & (wanted < high)
        if scale.requires_grad:
            ctx.save_for_backward(inside, torch.where(inside, level.sub(wanted), level.sub(zero)))  # at the ends: -Qn and Qp
        else:
            ctx.save_for_backward(inside)
        ctx.factor, ctx.shape = factor, scale.shape
        return level.sub_(zero).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        inside, *rest = ctx.saved_tensors
        for_scale = None
        if rest:
            for_scale = (gradient * rest[0]).sum_to_size(ctx.shape) * ctx.factor
        return gradient * inside, for_scale, None, None, None, None


def fake_quantize(x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int, *, factor: float = 1.0) -> Tensor:
    """Return ``(clamp(round(x / scale + zero), low, high) - zero) * scale``, halves rounded to even.

    Args:
        x: Of any shape.
        scale: Positive, of a shape that broadcasts to that of `x`; gets eq. 3 of LSQ as its gradient, where it asks for one.
        zero: The level that stands for 0, a whole number in [low, high], of the scale's shape.
        low: Lowest level.
        high: Highest level.
        factor: By which the gradient of the scale is multiplied.
    """
    quantized: Tensor = _FakeQuantize.apply(x, scale, zero, low, high, factor)  # type: ignore[no-untyped-call]
    return quantized


def levels(least: Tensor, most: Tensor, low: int, high: int, *, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Return scale and zero point of the levels that reach from `least` to `most`.

    Args:
        least: At most 0, of any shape.
        most: At least 0, of the same shape.
        low: Lowest level.
        high: Highest level.
        symmetric: Whether the level 0 stands for 0, so that one of the ends may lie farther out than asked for.
    """
    if symmetric:
        return torch.maximum(least / low, most / high).clamp_min(LEAST), torch.zeros_like(least)
    scale = ((most - least) / (high - low)).clamp_min(LEAST)
    return scale, (low - least / scale).round().clamp(low, high)


class Quantizer(nn.Module):
    """A fake quantizer with one scale, or one a channel; passes all through until its range is set.

    Args:
        bits: Of a level.
        weights: Whether it is of weights, whose levels are -2^(bits-1) to 2^(bits-1) - 1, and symmetric from `SYMMETRIC` bits on; those of
            activations are 0 to 2^bits - 1. All others have a zero point.
        shape: Of the scale: () for one, (channels, 1, 1, 1) for one a channel of a convolution's weights.
    """

    base: Tensor
    zero: Tensor
    ready: Tensor

    def __init__(self, bits: int, *, weights: bool, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.bits, self.weights, self.symmetric = bits, weights, weights and bits >= SYMMETRIC
        self.low: int = -(2 ** (bits - 1)) if weights else 0
        self.high: int = self.low + 2**bits - 1
        self.growth = nn.Parameter(torch.zeros(shape))
        """What is trained: about the logarithm of how much larger the scale has become than its range asked for, over `PACE`."""
        self.register_buffer("base", torch.ones(shape))
        self.register_buffer("zero", torch.zeros(shape))
        self.register_buffer("ready", torch.tensor(False))
        self.enabled = True
        self._known = False
        """Whether `ready` was found set: on a GPU, to look there means to wait."""

    @property
    def scale(self) -> Tensor:
        """The width of a step, positive."""
        return self.base * torch.exp(REACH * torch.tanh(self.growth * (PACE / REACH)))

    @torch.no_grad()
    def set_range(self, least: Tensor, most: Tensor) -> None:
        """Take scale and zero point from a range, widened to hold 0, which is always a level.

        Args:
            least: Of the scale's shape.
            most: The same.
        """
        scale, zero = levels(least.clamp(max=0.0), most.clamp(min=0.0), self.low, self.high, symmetric=self.symmetric)
        self.base.copy_(scale.view_as(self.base))
        self.growth.zero_()
        self.zero.copy_(zero.view_as(self.zero))
        self.ready.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        if not self._known:
            self._known = bool(self.ready)
            if not self._known:
                return x
        share = x.numel() // self.base.numel() if self.weights else x[0].numel()
        factor = 1 / math.sqrt(max(1, share) * self.high)
        with torch._C.DisableTorchFunction():  # what is done here is not the network's, whoever counts its calls
            return fake_quantize(x, self.scale, self.zero, self.low, self.high, factor=factor)

    def extra_repr(self) -> str:
        return f"{self.bits} bits, {'symmetric' if self.symmetric else 'with a zero point'}, {self.base.numel()} scales"

"""Acceptance without data: how far a compressed network is from the one it was made of, on samples made for that.

Both figures are proxies: they say whether the two networks agree on such images, not how often either is right. Judged on noise every
network looks sound, so that the images should be those of a method that makes the network see classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.batch import as_floats
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.core.state import evaluation_mode

__all__ = ["Acceptance", "accept"]


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """A proxy for the loss of accuracy."""

    agreement: float
    """Share of images on which both name the same class."""
    cosine: float
    """Mean cosine of the angle between both networks' logits, each less its own mean over classes; 1: the same but for scale."""
    images: int
    """How many images were shown."""


@torch.no_grad()
def _logits(network: Network, images: Tensor, device: torch.device, size: int) -> Tensor:
    with evaluation_mode(network):
        shown = (some.to(device) for some in torch.split(images, size))
        parts = [network(as_floats(some)).float().cpu() for some in shown]
    return torch.cat(parts)


def accept(network: Network, compressed: Network, images: Tensor, runtime: Runtime, *, size: int = 256) -> Acceptance:
    """Return how `compressed` agrees with `network`; both in fp32, whatever the run's precision.

    Args:
        network: What was compressed.
        compressed: What came of it.
        images: That played no part in it, uint8 or in [0, 1], of shape (N, C, H, W).
        runtime: Device.
        size: Images of one pass.
    """
    if not len(images):
        raise InputError("acceptance: expected images, got none")
    before, after = (_logits(one, images, runtime.device, size) for one in (network, compressed))
    same = float((before.argmax(1) == after.argmax(1)).double().mean())
    cosine = F.cosine_similarity(before - before.mean(1, keepdim=True), after - after.mean(1, keepdim=True), dim=1)
    return Acceptance(agreement=same, cosine=float(cosine.mean()), images=len(images))

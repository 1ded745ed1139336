"""Features of images as a classifier sees them: what its last layer reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.core.batch import as_floats
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, members
from tacit.core.probe import Probe
from tacit.core.spec import VOID
from tacit.core.state import evaluation_mode
from tacit.core.taps import penultimate_tap

__all__ = ["AT_ONCE", "Seen", "as_vector", "images_by_class", "penultimate", "watch"]

AT_ONCE = 64
"""Images that checks look at in one pass: no more than most trainings have in a batch, whose memory is then enough."""


def as_vector(feature: Tensor) -> Tensor:
    """Return a feature as fp32 vectors of shape (N, D): the mean over the places of a map (N, D, H, W), anything else flattened."""
    return feature.float().mean(dim=(2, 3)) if feature.ndim == 4 else feature.float().flatten(1)


def images_by_class(named: Tensor, classes: int) -> list[int]:
    """Return in how many images each class is named, by what is named in N images: one class (N,), or one a pixel (N, H, W) or `VOID`."""
    there = torch.zeros(len(named), max(classes, VOID + 1), dtype=torch.long, device=named.device)
    found: list[int] = there.scatter_(1, named.reshape(len(named), -1).long(), 1).sum(dim=0)[:classes].tolist()
    return found


@dataclass(frozen=True)
class Seen:
    """What a network makes of N images, in fp32: penultimate `features` of shape (N, D), `logits` of shape (N, classes, ...)."""

    features: Tensor
    logits: Tensor

    @property
    def labels(self) -> Tensor:
        """The class that the network names, int64 of shape (N, ...)."""
        return self.logits.argmax(dim=1)


@torch.no_grad()
def watch(network: Network, images: Tensor, runtime: Runtime, *, tap: str | None = None, size: int = 256) -> Seen:
    """Return features and logits of `images`, in evaluation mode and in fp32 whatever the run's precision; modes are put back.

    Where no tap is named, the features are the input of the last linear layer or convolution that has as many outputs as there are classes.
    Of a map of shape (N, D, H, W) the mean over the positions is taken, as the logits of such networks are the mean over them; other shapes
    are flattened. Of an ensemble these are the features of all members, side by side.

    Args:
        network: A classifier.
        images: uint8, or float in [0, 1], of shape (N, C, H, W).
        runtime: Where the network is.
        tap: As `Probe` takes it.
        size: Images a pass.

    Raises:
        InputError: Where there are no images, or the network has no such layer.
    """
    if not len(images):
        raise InputError("expected at least one image, got none")
    taps = [tap] if tap else [f"{prefix}{penultimate_tap(member)}" for prefix, member in members(network).items()]
    features, logits = [], []
    with evaluation_mode(network), Probe(network, taps=taps) as probe:
        for part in torch.split(images, size):
            signals = probe(as_floats(part).to(runtime.device))
            missing = next((each for each in taps if each not in signals.features), None)
            if missing is not None:
                raise InputError(f"tap {missing!r}: the module is never called in a forward pass; tap one that is")
            features.append(torch.cat([as_vector(signals.features[each]) for each in taps], dim=1))
            logits.append(signals.logits)
    return Seen(torch.cat(features), torch.cat(logits))


def penultimate(network: Network, images: Tensor, runtime: Runtime) -> Tensor:
    """Return the penultimate features of `images`, fp32 of shape (N, D); see `watch`."""
    return watch(network, images, runtime).features

"""Work: what an algorithm sees of one client's training, and how that training goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.federate.head import Split
from tacit.federate.messages import Download, Number

__all__ = ["Local", "Work"]


@dataclass(frozen=True, kw_only=True)
class Local:
    """How a client learns in one round; the same for every algorithm, so that comparisons are fair."""

    steps: int = 20
    """Optimisation steps."""
    batch: int = 32
    """Images in a step."""
    lr: float = 0.05
    """Learning rate of plain SGD in the first round."""
    decay: float = 0.99
    """What the learning rate is multiplied by after each round."""
    momentum: float = 0.0
    """Of SGD; it starts anew each round."""
    weight_decay: float = 0.0
    """Of SGD."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("lr", 0.0), ("momentum", 0.0), ("weight_decay", 0.0)):
            if not getattr(self, name) >= least:
                raise InputError(f"{name}: expected at least {least:g}, got {getattr(self, name)}")
        if not 0 < self.decay <= 1:
            raise InputError(f"lr_decay: expected more than 0 and at most 1, got {self.decay}")

    def numbers(self, round: int) -> dict[str, Number]:
        """Return what a download says of the local training in this round."""
        rates = {"lr": self.lr * self.decay**round, "momentum": self.momentum, "weight_decay": self.weight_decay}
        return {"steps": self.steps, "batch": self.batch, **rates}


@dataclass
class Work:
    """One client's training in one round, as an algorithm sees it.

    Args:
        network: The client's network, in training mode, with the weights of the download.
        split: The same in two, for algorithms that ask for that.
        download: All that came from the server.
        generator: The server's generator with the weights of the download, in evaluation mode; None where none came.
        tensors: Those of the download, on the device.
        rng: Source of every draw.
        anchor: What the parameters that travel were when the download came, by parameter.
        step: Steps of this round that are done.
        notes: For the algorithm to keep what it wants to remember from step to step.
    """

    network: Network
    split: Split | None
    download: Download
    generator: nn.Module | None
    tensors: Mapping[str, Tensor]
    rng: torch.Generator
    anchor: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)
    step: int = 0
    notes: dict[str, Tensor] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.network.spec.classes

    @property
    def head(self) -> Split:
        """The network in two; only for algorithms with `splits`."""
        assert self.split is not None
        return self.split

    def number(self, name: str) -> float:
        """Return a number of the download; 0 where it is not there."""
        return float(self.download.config.get(name, 0.0))

"""Contrast: a part of an image must be nearer to its own whole than to any other image, of the batch or made before.

"Contrastive Model Inversion for Data-Free Knowledge Distillation", Fang et al., 2021, https://arxiv.org/abs/2105.08584, sec. 3.3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.augment import resized_crop
from tacit.core.errors import InputError
from tacit.core.gather import gather
from tacit.core.loss import Loss, Needs, View, positive_temperature
from tacit.core.network import Network, dry_run
from tacit.core.norms import NoStatisticsError, norm_layers
from tacit.core.probe import INPUT, Signals

__all__ = ["InstanceContrast", "instance_contrast"]

WIDEST = 4096
"""Most numbers that tell one image from another; WRN-40-2 has 2,704, ResNet-34 would have 8,512."""


def instance_contrast(local: Tensor, whole: Tensor, fresh: int, temperature: float) -> Tensor:
    """Return the mean cross-entropy of the first `fresh` rows, plus that of the others where there are any, of shape ().

    Row i of ``local whole^T / temperature`` must name column i. The two means keep the gradient of the new images from fading as the bank
    grows, as in the authors' code.

    Args:
        local: Of shape (N + M, d), of L2 norm 1; the N = `fresh` rows of the batch first, then M from the bank.
        whole: Of the same shape; no gradient should flow through it.
        fresh: N.
        temperature: tau > 0.
    """
    losses = F.cross_entropy(local @ whole.T / temperature, torch.arange(len(local), device=local.device), reduction="none")
    return losses[:fresh].mean() + (losses[fresh:].mean() if len(local) > fresh else 0.0)


class InstanceContrast(Loss):
    """Tells images apart by a learned head over the teacher's features, which are the means over places of every batch-norm input.

    Where these are more than `WIDEST` numbers, only the first batch norm of each resolution is asked: the head has as many weights as
    their square, and the bank as many columns (the authors narrow ResNet-34 by hand, to the inputs of its four stages).

    The whole image is what the teacher is shown of the canvas; the part, a random window of it. Only the parts pass a gradient on.

    Args:
        network: The teacher, whose batch-norm layers give the features.
        width: Length of an embedding.
        temperature: tau.
        bank: Most kept images that are remembered, as features, at least 1; the oldest go first. Of several processes, those of all.
        negatives: Remembered images drawn for each step; 0: none, images are told apart from those of their batch alone.
        flip: Whether parts are mirrored.

    Raises:
        InputError: Where `bank` or `negatives` is out of range.
        NoStatisticsError: Where the teacher has no batch norm with running statistics.
    """

    def __init__(
        self, network: Network, *, width: int = 256, temperature: float = 0.1, bank: int = 40960, negatives: int = 4096, flip: bool = False
    ) -> None:
        super().__init__()
        for name, value, least in (("bank", bank, 1), ("negatives", negatives, 0)):
            if value < least:
                raise InputError(f"{name}: expected at least {least}, got {value}")
        given: dict[str, torch.Size] = {}
        dry_run(network, lambda name, _, shown, __: given.update({name: shown.shape} if shown is not None else {}))
        norms = {name: norm for name, norm in norm_layers(network.model).items() if name in given}  # not those that training alone has
        if not norms:
            raise NoStatisticsError.of(network.model)
        if sum(given[name][1] for name in norms) > WIDEST:
            first = {given[name][2:]: name for name in reversed(norms)}
            norms = {name: norms[name] for name in reversed(first.values())}
        self.taps = [f"{name}{INPUT}" for name in norms]
        self.needs = Needs(teacher_taps=tuple(self.taps))
        self.temperature, self.capacity, self.negatives, self.flip = positive_temperature(temperature), bank, negatives, flip
        features = sum(len(norm.get_buffer("running_mean")) for norm in norms.values())
        self.head = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, width))
        self.register_buffer("bank", torch.empty(0, 2, features))

    def features(self, signals: Signals) -> Tensor:
        """Return the features of a pass, of shape (N, features)."""
        inputs = [signals.features[tap].float() for tap in self.taps]
        return torch.cat([x.flatten(2).mean(dim=2) if x.ndim > 2 else x for x in inputs], dim=1)

    def _embed(self, features: Tensor) -> Tensor:
        return F.normalize(self.head(features), dim=1)

    def _part(self, view: View) -> Tensor:
        assert view.look is not None
        assert view.generator is not None
        return self.features(view.look(resized_crop(view.canvas, view.generator, flip=self.flip)))

    def forward(self, view: View) -> Tensor:
        part, whole, bank = self._part(view), self.features(view.teacher), self.get_buffer("bank")
        count = min(self.negatives, len(bank))
        if count:
            chosen = bank[torch.randperm(len(bank), generator=view.generator, device=bank.device)[:count]]
            part, whole = torch.cat([part, chosen[:, 0]]), torch.cat([whole, chosen[:, 1]])
        with torch.no_grad():
            wholes = self._embed(whole)
        return instance_contrast(self._embed(part), wholes, len(view.canvas), self.temperature)

    def remember(self, view: View) -> None:
        kept = torch.stack([self._part(view), self.features(view.teacher)], dim=1).detach()
        self.bank = torch.cat([self.get_buffer("bank"), gather(kept)])[-self.capacity :]

"""FedDistill: clients share no weights, only what they say of each class on average.

"Communication-Efficient On-Device Machine Learning: Federated Distillation and Augmentation under Non-IID Private Data", Jeong et al.,
2018, https://arxiv.org/abs/1811.11479, sec. 3, as the baseline of FedGen (https://arxiv.org/abs/2105.10056) has it: the mean logits of each
label over the round's steps go up, the server takes their plain mean, and clients are drawn towards it by a KL divergence.
Of a class, only clients that were shown it in the round have a say; one that nobody was shown keeps the mean that it had.
The divergence is a mean over the images of classes of which there is a mean. FedGen's authors divide by all images of the batch, and have
clients without a class say zeros of it; the two divisors differ as long as there are classes that nobody was shown yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.federate.algorithms.base import Algorithm
from tacit.federate.central import Central
from tacit.federate.checks import Expected
from tacit.federate.latent import agreement_loss
from tacit.federate.messages import Upload
from tacit.federate.sharing import Part
from tacit.federate.work import Work

__all__ = ["FedDistill"]


@dataclass(frozen=True, kw_only=True)
class FedDistill(Algorithm):
    """Mean logits of each class are shared, and no weights: clients may have any architecture, and there is no global model."""

    weight: float = 1.0
    """Weight of the KL divergence from the mean logits of the label."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(weight=0)

    @property
    def part(self) -> Part:
        return "none"

    def begin(self, central: Central) -> None:
        super().begin(central)
        classes, device = central.classes, central.runtime.device
        central.tensors["logits"] = torch.zeros(classes, classes, device=device)
        central.tensors["known"] = torch.zeros(classes, device=device)

    def tensors(self, central: Central) -> dict[str, Tensor]:
        return {name: central.tensors[name] for name in ("logits", "known")}

    def loss(self, work: Work, labels: Tensor, logits: Tensor) -> Tensor:
        loss = super().loss(work, labels, logits)
        known = work.tensors["known"][labels] > 0
        if not self.weight or not bool(known.any()):
            return loss
        wanted = F.softmax(work.tensors["logits"][labels[known]], dim=1)
        return loss + self.weight * agreement_loss(logits[known], wanted)

    def observe(self, work: Work, labels: Tensor, logits: Tensor) -> None:
        super().observe(work, labels, logits)
        if "sums" not in work.notes:
            work.notes["sums"] = logits.new_zeros(work.classes, work.classes)
            work.notes["times"] = logits.new_zeros(work.classes)
        work.notes["sums"].index_add_(0, labels, logits)
        work.notes["times"].index_add_(0, labels, torch.ones_like(logits[:, 0]))

    def report(self, work: Work) -> dict[str, Tensor]:
        times = work.notes["times"]
        return {"logits": work.notes["sums"] / times.clamp(min=1)[:, None], "seen": (times > 0).float()}

    def expected(self, central: Central, kind: int) -> Expected:
        classes = central.classes
        return replace(super().expected(central, kind), tensors={"logits": (classes, classes), "seen": (classes,)})

    def learn(self, central: Central, replies: Mapping[int, Upload]) -> dict[str, float]:
        numbers = super().learn(central, replies)
        device = central.runtime.device
        said = torch.stack([reply.tensors["logits"] for reply in replies.values()]).to(device)
        seen = (torch.stack([reply.tensors["seen"] for reply in replies.values()]).to(device) > 0).float()
        told = seen.sum(dim=0)
        mean = (said * seen[:, :, None]).sum(dim=0) / told.clamp(min=1)[:, None]
        central.tensors["logits"] = torch.where((told > 0)[:, None], mean, central.tensors["logits"])
        central.tensors["known"] = torch.maximum(central.tensors["known"], (told > 0).float())
        return numbers | {"classes_known": float(central.tensors["known"].sum())}

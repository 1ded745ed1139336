"""DENSE: one round, and then a student learns from the ensemble of the clients' models, on images made of these.

"DENSE: Data-Free One-Shot Federated Learning", Zhang et al., 2022, https://arxiv.org/abs/2112.12371, eqs. 2-6: a generator with class
prior, BN alignment and an adversarial term against the student (its images are kept), then distillation. Clients may have any
architecture; the student has the first. Any method of tacit can take the generator's place.

The paper's ensemble is the mean of the clients' logits, and no student gets far beyond its teacher. Where clients hold few classes each,
that ensemble is hardly better than the mean of the weights, however long they learn: those who never saw a class outvote those who did.
So clients tell their label counts here, and each is believed by its share of a class (`Believed`); ``counts="withheld"`` is the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tacit.core.errors import InputError
from tacit.core.network import Ensemble, Network, Teacher
from tacit.distill import Training
from tacit.federate.aggregate import average
from tacit.federate.algorithms.base import Counting
from tacit.federate.believed import Believed, beliefs
from tacit.federate.central import Central
from tacit.federate.checks import FederationError
from tacit.federate.messages import Upload
from tacit.federate.teaching import check_method, ensemble_of, pool_of, teach
from tacit.synthesize import Method

__all__ = ["DENSE"]

BELIEFS = "beliefs"
"""What the server keeps of the label counts: how much each client is believed about each class."""


@dataclass(frozen=True, kw_only=True)
class DENSE(Counting):
    """One round: clients train for long, the server distils their ensemble without data. With `counts` withheld it is the paper's."""

    method: Method | None = None
    """How images are made of the ensemble; not given: a generator as in the paper, whose images are kept."""
    training: Training = field(default_factory=lambda: Training(steps=1000, batch=128, lr=0.05, weight_decay=5e-4))
    """How the student learns from the ensemble."""
    temperature: float = 4.0
    """Divides logits."""

    mixes: ClassVar[bool] = True
    keeps: ClassVar[bool] = True
    rounds: ClassVar[int | None] = 1
    local_steps: ClassVar[int] = 400

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise InputError(f"{self.name}.temperature: expected more than 0, got {self.temperature}")

    def check(self, central: Central) -> None:
        super().check(central)
        if self.method is not None:
            check_method(central, [central.network], self.method)

    def learn(self, central: Central, replies: Mapping[int, Upload]) -> dict[str, float]:
        """Teach the student, which starts from its first weights, not from a mean.

        Raises:
            FederationError: Where its training broke, since nothing else is learned here.
        """
        networks = [central.model_of(client, reply.weights) for client, reply in replies.items()]
        weights = beliefs(replies)
        central.tensors = {} if weights is None else {BELIEFS: weights}
        teacher = ensemble_of(networks) if weights is None else Teacher.of(Believed.by(networks, weights))
        method = self.method or pool_of(teacher)
        told = teach(
            central, central.network, teacher, self.training, method=method, images=None, temperature=self.temperature, role="teach"
        )
        if told.get("skipped"):
            raise FederationError("the student's training broke: a lower training.lr may help")
        return told

    def beside(self, central: Central) -> dict[str, Network]:
        """The ensemble that taught, that of plain means where it is another and, of one architecture, the mean by numbers of images."""
        models = {client: central.model_of(client, weights) for client, weights in sorted(central.latest.items())}
        networks, weights = list(models.values()), central.tensors.get(BELIEFS)
        found = {"ensemble": Ensemble.of(networks).eval()}
        if weights is not None:
            found = {"ensemble": Believed.by(networks, weights).eval(), "plain ensemble": found["ensemble"]}
        if len(central.networks) == 1:
            mean = average([central.latest[client] for client in models], [central.examples[client] for client in models])
            found["mean"] = central.model_of(next(iter(models)), mean)
        return found

"""FedFTG: after averaging, the server fine-tunes the mean on images that a generator makes where it differs from the clients' models.

"Fine-tuning Global Model via Data-Free Knowledge Distillation for Non-IID Federated Learning", Zhang et al., 2022,
https://arxiv.org/abs/2203.09249, eqs. 4-11: classes are drawn by how many images clients have of them, each client's model is believed
about a class by its share of that class, and the generator looks for hard images that the clients' models are sure of and that differ from
each other. The paper compares answers by a KL divergence, its authors' code by the absolute difference of logits, the default here.
The mean is in evaluation mode throughout, so that generated images do not move its batch norms' statistics.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.network import Network, Teacher
from tacit.federate.algorithms.base import Averaging, Counting
from tacit.federate.believed import held
from tacit.federate.central import Central
from tacit.federate.checks import not_finite
from tacit.federate.latent import class_weights, latent_diversity, teacher_loss
from tacit.federate.messages import Upload
from tacit.synthesize.generators import ConvGenerator, initialise

__all__ = ["FedFTG"]


def _absolute(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).abs().mean(dim=-1)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    said, taught = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return (taught.exp() * (taught - said)).sum(dim=-1)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": _absolute, "kl": _divergence}


@dataclass(frozen=True, kw_only=True)
class FedFTG(Counting, Averaging):
    """FedAvg, and then fine-tuning at the server on hard images that a generator makes."""

    distance: Literal["l1", "kl"] = "l1"
    """How answers are compared: the mean absolute difference of logits, or the KL divergence from the client's."""
    steps: int = 10
    """Times that generator and mean take turns in a round."""
    generator_steps: int = 1
    """Steps of the generator in a turn."""
    student_steps: int = 5
    """Steps of the mean in a turn."""
    batch: int = 64
    """Images in a step."""
    latent: int = 100
    """Length of the generator's noise."""
    width: int = 32
    """Maps of the generator's last hidden layer."""
    generator_lr: float = 1e-2
    """Learning rate of the generator (Adam)."""
    server_lr: float = 1e-2
    """Learning rate of the mean (SGD)."""
    adversarial: float = 1.0
    """Weight by which the generator looks for images on which mean and clients differ."""
    sure: float = 1.0
    """Weight of the clients' cross-entropy to the wanted class."""
    diversity: float = 1.0
    """Weight of the diversity of images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share != "all" or self.bn != "aggregate":
            raise InputError(f"{self.name} asks the clients' models, so that whole ones must be sent: leave out `share` and `bn`")
        if self.distance not in DISTANCES:
            raise InputError(f"{self.name}.distance: expected {' or '.join(DISTANCES)}, got {self.distance!r}")
        self.at_least(steps=1, generator_steps=0, student_steps=0, batch=2, latent=1, width=1)
        self.at_least(generator_lr=0, server_lr=0, adversarial=0, sure=0, diversity=0)

    def begin(self, central: Central) -> None:
        super().begin(central)
        spec = central.network.spec
        generator = ConvGenerator(self.latent + spec.classes, spec.shape, self.width, spec=spec)
        initialise(generator, central.rng("generator"))
        central.generator = generator.to(central.runtime.device)  # it stays here: nothing says that it is ready to be sent
        central.optimizer = torch.optim.Adam(generator.parameters(), lr=self.generator_lr)

    def learn(self, central: Central, replies: Mapping[int, Upload]) -> dict[str, float]:
        """Average and fine-tune; where that breaks, the mean stays as it was averaged, the generator as it was before."""
        numbers = super().learn(central, replies)
        generator, optimizer, student = central.generator, central.optimizer, central.network
        assert generator is not None
        assert optimizer is not None
        told = held(replies)
        counts = (torch.ones(len(replies), central.classes) if told is None else told.float()).to(central.runtime.device)
        if not bool(counts.any()):
            return numbers
        before = copy.deepcopy((generator.state_dict(), optimizer.state_dict(), student.model.state_dict()))
        teachers = [Teacher.of(central.model_of(client, reply.weights)) for client, reply in replies.items()]
        turns = _Turns(self, central, teachers, counts)
        for _ in range(self.steps):
            for _ in range(self.generator_steps):
                turns.make()
            for _ in range(self.student_steps):
                turns.tune()
        if turns.broken or not_finite(generator.state_dict()) is not None or central.broken(student) is not None:
            generator.load_state_dict(before[0])
            optimizer.load_state_dict(before[1])
            student.model.load_state_dict(before[2])
            return numbers | {"skipped": 1.0}
        return numbers | turns.numbers


class _Turns:
    """Generator and mean in turn; a step whose loss is not finite is left out."""

    def __init__(self, config: FedFTG, central: Central, teachers: Sequence[Teacher], counts: Tensor) -> None:
        self.config, self.teachers, self.counts = config, teachers, counts
        self.weights, self.prior, self.rng = class_weights(counts), counts.sum(dim=0), central.rng("server")
        self.student: Network = central.network.eval()
        assert central.generator is not None
        assert central.optimizer is not None
        self.generator, self.maker = central.generator.train(), central.optimizer
        self.tuner = torch.optim.SGD(self.student.parameters(), lr=config.server_lr)
        self.numbers: dict[str, float] = {"skipped_steps": 0.0}
        self._lame: set[int] = set()

    @property
    def broken(self) -> bool:
        """Whether the last step of generator or mean was left out: it can't go on from where it is."""
        return bool(self._lame)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return noise, wanted classes, and images."""
        config = self.config
        labels = torch.multinomial(self.prior, config.batch, replacement=True, generator=self.rng)
        noise = torch.randn(config.batch, config.latent, generator=self.rng, device=self.rng.device)
        asked = torch.cat([noise, F.one_hot(labels, len(self.prior)).float()], dim=1)
        return noise, labels, self.generator(asked)

    def apart(self, images: Tensor, said: Tensor, labels: Tensor) -> Tensor:
        """Return how much mean and clients differ, each client weighted by its share of the class, of shape ()."""
        far = DISTANCES[self.config.distance](self.student(images)[None], said)
        return (self.weights[:, labels] * far).sum(dim=0).mean()

    def make(self) -> None:
        """One step of the generator."""
        config = self.config
        noise, labels, images = self.draw()
        said = torch.stack([teacher(images) for teacher in self.teachers])
        parts = {
            "adversarial": -config.adversarial * self.apart(images, said, labels),
            "sure": config.sure * teacher_loss(said, labels, self.weights),
            "diversity": config.diversity * latent_diversity(noise, images),
        }
        self._step(torch.stack(list(parts.values())).sum(), self.maker)
        self.numbers |= {f"loss/{name}": float(part.detach()) for name, part in parts.items() if bool(torch.isfinite(part))}

    def tune(self) -> None:
        """One step of the mean."""
        with torch.no_grad():
            _, labels, images = self.draw()
            said = torch.stack([teacher(images) for teacher in self.teachers])
        loss = self.apart(images, said, labels)
        self._step(loss, self.tuner)
        self.numbers |= {"loss/teaching": float(loss.detach())} if bool(torch.isfinite(loss)) else {}

    def _step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        if not math.isfinite(float(loss.detach())):
            self.numbers["skipped_steps"] += 1
            self._lame.add(id(optimizer))
            return
        self._lame.discard(id(optimizer))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

"""Fast-DFKD: a generator that learns, over rounds, from where a few steps make good images.

"Up to 100x Faster Data-free Knowledge Distillation", Fang et al., 2022, https://arxiv.org/abs/2112.06253, algorithm 1.
Each round a copy of the meta-generator and new latents take a few steps; the meta-generator then follows the copy's gradients, summed
over these steps (first-order MAML), or goes towards the copy (Reptile).
The authors' settings for CIFAR (220 rounds of 256 images, 400 student steps each, 20 rounds of warm-up): bn 10 with momentum 0.9; ce 0.4
and adv 1.1 for WRNs (0.5 and 1.33 for ResNet-34, 0.5 and 1.0 for VGG-11); steps, lr and lr_latent of 2, 5e-3, 0.015, or 5, 3e-3, 0.01, or
10, 2e-3, 0.01. Once, 120 rounds after the warm-up, the first linear layer and the first batch norm of the meta-generator start again.
Where the teacher names a class for every pixel, the class prior is dense: a map of classes that are drawn (`tacit.synthesize.wanted`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from tacit.core.gather import average_gradients, share
from tacit.core.network import Teacher
from tacit.synthesize.canvas import Canvas, Round
from tacit.synthesize.generative_inversion import GenerativeInversion
from tacit.synthesize.generators import ConvGenerator, TransposedGenerator, fitting_generator, initialise

__all__ = ["FastDFKD", "MetaGenerator"]

Meta = Literal["fomaml", "reptile"]


class MetaGenerator(Canvas):
    """A generator, and its copy of the round, which is what paints; of several processes, each has a copy, and all one generator.

    Args:
        net: Takes (N, width) and gives images in [0, 1].
        width: Length of a latent.
        meta: How the generator follows its copy.
        lr: Adam's learning rate for the generator.
        reset: Round before which its first layers are drawn anew; 0: never.
    """

    fresh = True

    def __init__(self, net: ConvGenerator | TransposedGenerator, width: int, *, meta: Meta, lr: float, reset: int) -> None:
        super().__init__()
        self.net, self.width, self.meta, self.reset = net.requires_grad_(False), width, meta, reset
        self.work = copy.deepcopy(net).requires_grad_(True)
        self.latent: nn.Parameter = nn.Parameter(torch.empty(0))
        self.optimizer = Adam(self.net.parameters(), lr=lr, betas=(0.5, 0.999))

    def common(self) -> nn.Module:
        return self.net

    def begin(self, round: Round) -> None:
        if self.reset and round.number == self.reset:
            for first in (self.net.project, self.net.blocks[0]):
                initialise(first, round.generator)
                share(first)
        self.work.load_state_dict(self.net.state_dict())
        self.latent = nn.Parameter(torch.randn(round.images, self.width, generator=round.generator, device=round.device))
        self.optimizer.zero_grad()

    def forward(self) -> Tensor:
        images: Tensor = self.work(self.latent)
        return images

    @torch.no_grad()
    def project(self) -> None:
        if self.meta == "fomaml":
            for parameter, copied in zip(self.net.parameters(), self.work.parameters(), strict=True):
                gradient = copied.grad if copied.grad is not None else torch.zeros_like(copied)
                parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient

    @torch.no_grad()
    def finish(self) -> None:
        if self.meta == "reptile":
            for parameter, copied in zip(self.net.parameters(), self.work.parameters(), strict=True):
                parameter.grad = parameter - copied
        average_gradients(self.net.parameters())
        self.optimizer.step()
        for buffer, followed in zip(self.net.buffers(), self.work.buffers(), strict=True):
            buffer.copy_(followed)

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


@dataclass(frozen=True, kw_only=True)
class FastDFKD(GenerativeInversion):
    """A growing pool: each round a few steps of a meta-generator's copy, with class prior, BN alignment and an adversarial term."""

    steps: int = 5
    lr: float = 3e-3
    warmup: int = 20
    ce: float = 0.4
    bn: float = 10.0
    momentum: float = 0.9
    adv: float = 1.1
    latent: int = 256
    """Length of a latent."""
    lr_latent: float = 0.01
    """Learning rate of the latents."""
    meta: Meta = "fomaml"
    """How the generator follows its copy: fomaml sums the copy's gradients, reptile goes towards it; at `steps` times the rate `lr`."""
    reset: int = 120
    """Rounds after the warm-up when the generator's first layers start again, once; 0: never."""

    dense: ClassVar[bool] = True
    minimum: ClassVar[dict[str, float]] = {**GenerativeInversion.minimum, "latent": 1, "lr_latent": 0.0, "reset": 0}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"meta": get_args(Meta)}

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        net = fitting_generator(self.latent, teacher.spec.shape, self.width)
        initialise(net, generator)
        reset = self.warmup + self.reset if self.reset else 0
        return MetaGenerator(net, self.latent, meta=self.meta, lr=self.lr * self.steps, reset=reset)

    def canvas_optimizer(self, canvas: Canvas) -> Optimizer:
        assert isinstance(canvas, MetaGenerator)
        groups: list[dict[str, Any]] = [{"params": canvas.work.parameters()}, {"params": [canvas.latent], "lr": self.lr_latent}]
        return Adam(groups, lr=self.lr, betas=self.betas)

"""NAYER: what an image is of comes from the name of its class; how it differs from others, from a noisy layer.

"NAYER: Noisy Layer Data Generation for Efficient and Effective Data-free Knowledge Distillation", Tran et al., 2024,
https://arxiv.org/abs/2310.00258, sec. 3. The generator's input is an embedding of the wanted class, batch-normalised, and passed through
a linear layer whose weights are drawn from N(0, 1) in every round, one layer for as many images as there are classes; layers and generator
are optimised together. Targets are balanced. Every `restart` rounds the generator starts again.
The embeddings are of class names by a text encoder (CLIP ViT-B/32, "a image of <class>", in the paper) where the user gives them, else the
rows of the teacher's own classifier, which need nothing but the teacher.
The authors' settings for CIFAR-10: batch 400, 30 steps at lr 4e-3, bn 10 with momentum 0.9, ce 0.5, adv 1.33, two rounds to 400 student
steps, a new generator every 20 rounds, 1,000 units in the noisy layer (40 layers of 512 x 1,000: `noise` of 100 to 250 suits a CPU).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.files import read_tensors
from tacit.core.network import Teacher
from tacit.core.taps import classifier_rows, no_classifier
from tacit.synthesize.canvas import Canvas, Round
from tacit.synthesize.generative_inversion import GenerativeInversion
from tacit.synthesize.generators import fitting_generator, initialise

__all__ = ["NAYER", "NoisyLayers"]


class NoisyLayers(Canvas):
    """Embeddings of the wanted classes, through linear layers drawn anew each round, to a generator.

    Args:
        embeddings: One row a class, of shape (classes, length).
        net: Takes (N, units) and gives images in [0, 1].
        units: Outputs of a noisy layer.
    """

    fresh = True

    def __init__(self, embeddings: Tensor, net: nn.Module, units: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", embeddings.clone())
        self.norm = nn.BatchNorm1d(embeddings.shape[1])
        self.net, self.units = net, units
        self.weight, self.bias = nn.Parameter(torch.empty(0)), nn.Parameter(torch.empty(0))
        self._wanted = torch.empty(0, dtype=torch.long)

    def begin(self, round: Round) -> None:
        assert round.targets is not None
        classes, length = self.get_buffer("embeddings").shape
        layers, self._wanted = -(-round.images // classes), round.targets
        self.weight = nn.Parameter(torch.randn(layers, length, self.units, generator=round.generator, device=round.device))
        self.bias = nn.Parameter(torch.zeros(layers, 1, self.units, device=round.device))

    def forward(self) -> Tensor:
        embedded = self.norm(self.get_buffer("embeddings")[self._wanted])
        layers, classes = len(self.weight), len(self.get_buffer("embeddings"))
        padded = torch.cat([embedded, embedded.new_zeros(layers * classes - len(embedded), embedded.shape[1])])
        noisy = torch.baddbmm(self.bias, padded.view(layers, classes, -1), self.weight)
        images: Tensor = self.net(noisy.flatten(0, 1)[: len(embedded)])
        return images


@dataclass(frozen=True, kw_only=True)
class NAYER(GenerativeInversion):
    """A growing pool: class embeddings through noisy layers and a generator, with class prior, BN alignment and an adversarial term."""

    batch: int = 400
    steps: int = 30
    lr: float = 4e-3
    warmup: int = 20
    every: int = 200
    ce: float = 0.5
    bn: float = 10.0
    momentum: float = 0.9
    adv: float = 1.33
    noise: int = 1000
    """Units of a noisy layer."""
    restart: int = 20
    embeddings: str | None = None
    """A safetensors file with one tensor of shape (classes, length), the embeddings of the class names; not given: the rows of the
    teacher's classifier."""

    takes_turns: ClassVar[bool] = True
    pull: ClassVar[str] = ""  # a class is what an image is made of, whatever pulls it there
    minimum: ClassVar[dict[str, float]] = {**GenerativeInversion.minimum, "batch": 2, "noise": 1}

    def refusal(self, teacher: Teacher) -> str | None:
        refused = super().refusal(teacher)
        if refused or self.embeddings is not None:
            return refused
        return no_classifier(teacher, "for embeddings of the classes: give `embeddings` of their names")

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        rows = classifier_rows(teacher) if self.embeddings is None else _read(Path(self.embeddings), teacher.spec.classes)
        net = fitting_generator(self.noise, teacher.spec.shape, self.width)
        initialise(net, generator)
        return NoisyLayers(rows.float(), net, self.noise)


def _read(path: Path, classes: int) -> Tensor:
    tensors = list(read_tensors(path).values())
    if len(tensors) != 1 or tensors[0].ndim != 2 or len(tensors[0]) != classes:
        shapes = [list(tensor.shape) for tensor in tensors]
        raise InputError(f"NAYER.embeddings: expected one tensor of shape [{classes}, length] in {path}, got {shapes}")
    return tensors[0]

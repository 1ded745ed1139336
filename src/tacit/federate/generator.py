"""LatentGenerator: a small network from noise and a class to features, as FedGen's server trains and sends it.

"Data-Free Knowledge Distillation for Heterogeneous Federated Learning", Zhu et al., 2021, https://arxiv.org/abs/2105.10056, eq. 3. The
shape is that of the authors' code: noise beside the class, one hidden layer with batch norm, no activation at the end. Their noise is
uniform in [0, 1), that of the paper normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.synthesize.generators import initialise

__all__ = ["LatentGenerator", "Noise"]

Noise = Literal["uniform", "normal"]


class LatentGenerator(nn.Module):
    """Linear, batch norm, ReLU, linear; its input is noise and the wanted class.

    Args:
        classes: Number of classes.
        shape: Of the features of one image.
        noise: Length of the noise.
        hidden: Units of the hidden layer.
        embedding: Whether a class is put in as a learned vector as long as the noise, or as a one-hot one.
        prior: What the noise is drawn from: uniform in [0, 1), or normal.
    """

    def __init__(
        self,
        classes: int,
        shape: Sequence[int],
        *,
        noise: int = 32,
        hidden: int = 256,
        embedding: bool = False,
        prior: Noise = "uniform",
    ) -> None:
        super().__init__()
        self.classes, self.shape, self.noise, self.prior = classes, tuple(shape), noise, prior
        self.embedding = nn.Embedding(classes, noise) if embedding else None
        self.layers = nn.Sequential(
            nn.Linear(noise + (noise if embedding else classes), hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, math.prod(self.shape)),
        )

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return features of shape (N, *shape) for noise of shape (N, noise) and class numbers of shape (N,)."""
        wanted = self.embedding(labels) if self.embedding is not None else F.one_hot(labels, self.classes).to(noise.dtype)
        features: Tensor = self.layers(torch.cat([noise, wanted], dim=1)).view(-1, *self.shape)
        return features

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return noise of shape (count, noise)."""
        sample = torch.rand if self.prior == "uniform" else torch.randn
        return sample(count, self.noise, generator=generator, device=generator.device)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew, by torch's usual rules."""
        initialise(self, generator)
        if self.embedding is not None:
            with torch.no_grad():
                self.embedding.weight.normal_(generator=generator)

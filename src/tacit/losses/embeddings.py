"""Embeddings: a student and a teacher on one sphere, and what is remembered of images seen before, for CRD."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SIDES", "Embeddings", "sphere_log_mean"]

SIDES = ("student", "teacher")


def sphere_log_mean(width: int, temperature: float) -> float:
    """Return ln of the mean of exp(t / T), for the cosines t of a unit vector with random ones, uniform on the sphere in d dimensions.

    The mean is ``sum over m of (1 / (2 T))^(2m) Gamma(d / 2) / (m! Gamma(m + d / 2))``, all of whose terms are positive; those around the
    largest are summed, in doubles. For d far above 1 / T it is near exp(1 / (2 d T^2)), the mean of a normal distribution of variance
    1 / d.

    Args:
        width: d, at least 1.
        temperature: T, above 0.
    """
    half, log_half = width / 2, -math.log(2 * temperature)
    largest = (math.hypot(half, 1 / temperature) - half) / 2
    spread = 12 * math.sqrt(largest + 1) + 60
    m = torch.arange(max(0, math.floor(largest - spread)), math.ceil(largest + spread), dtype=torch.float64)
    terms = 2 * m * log_half - torch.lgamma(m + 1) - torch.lgamma(m + half) + math.lgamma(half)
    return float(terms.logsumexp(dim=0))


class Embeddings(nn.Module):
    """Heads of one teacher and the student, and what is remembered: embeddings of both (a memory), or the teacher's features (a queue).

    Args:
        teacher: Length of the teacher's features.
        student: Length of the student's.
        width: Length of an embedding.
    """

    def __init__(self, teacher: int, student: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.heads = nn.ModuleList([nn.Linear(student, width), nn.Linear(teacher, width)])
        self.register_buffer("student", torch.empty(0, width))
        self.register_buffer("teacher", torch.empty(0, teacher))
        self.register_buffer("labels", torch.empty(0, dtype=torch.long))
        self.register_buffer("numbers", torch.empty(0, dtype=torch.long))
        self.register_buffer("log_mean", torch.full((2,), -math.inf))

    def held(self, side: int) -> Tensor:
        """Return what is remembered of one side, of shape (rows, width) or (rows, features)."""
        return self.get_buffer(SIDES[side])

    def embed(self, side: int, features: Tensor) -> Tensor:
        """Return features of one side, of shape (N, features), on the sphere, of shape (N, width)."""
        return F.normalize(self.heads[side](features), dim=1)

    def fill(self, rows: int) -> None:
        """Remember random embeddings of length about 1, of no known class."""
        most, device = math.sqrt(3 / self.width), self.get_buffer("labels").device
        self.student, self.teacher = (side.clone() for side in torch.empty(2, rows, self.width).uniform_(-most, most).to(device))
        self.labels = torch.full((rows,), -1, device=device)
        self.numbers = torch.arange(rows, device=device)

    def move(self, embedded: Sequence[Tensor], labels: Tensor, numbers: Tensor, momentum: float) -> None:
        """Move the rows of these images towards their embeddings of now."""
        for side, new in enumerate(embedded):
            rows = self.held(side)
            rows[numbers] = F.normalize(momentum * rows[numbers] + (1 - momentum) * new, dim=1)
        self.get_buffer("labels")[numbers] = labels

    def push(self, features: Tensor, labels: Tensor, numbers: Tensor, most: int) -> None:
        """Remember what the teacher said of these images, and of `most` images in all."""
        for name, new in (("teacher", features), ("labels", labels), ("numbers", numbers)):
            setattr(self, name, torch.cat([self.get_buffer(name), new])[-most:])

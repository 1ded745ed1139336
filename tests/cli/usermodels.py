"""Models and data of a user, outside the package: given to tacit by import path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tacit.synthesize import Gaussian


@dataclass(frozen=True, kw_only=True)
class Unmakeable(Gaussian):
    """A method with a mistake in it."""

    def __post_init__(self) -> None:
        raise TypeError("no such thing")


def grey_groupnorm(width: int = 8) -> nn.Module:
    """1x28x28, 7 classes, GroupNorm only."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), nn.GroupNorm(2, width), nn.ReLU(),
        nn.Conv2d(width, width, 3, 2, 1), nn.GroupNorm(2, width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 7),
    )  # fmt: skip


class Answering(nn.Module):
    """3x48x40, BN, 5 classes; answers with a dict, a tuple, or an object."""

    def __init__(self, form: str = "dict", width: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.form = form
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> object:
        features = self.body(x)
        logits = self.head(features)
        return {"features": features, "out": logits} if self.form == "dict" else (features, logits)


def compiled() -> nn.Module:
    return torch.compile(grey_groupnorm())  # type: ignore[return-value]


def scripted() -> nn.Module:
    return torch.jit.script(grey_groupnorm())


class Blocks(Dataset[tuple[Tensor, int]]):
    """Coloured blocks in any shape: the class is where the block is."""

    def __init__(self, shape: tuple[int, int, int], classes: int, count: int = 40) -> None:
        self.shape, self.classes, self.count = shape, classes, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        if number >= self.count:
            raise IndexError
        label = number % self.classes
        image = torch.zeros(self.shape)
        image[:, label * 4 : label * 4 + 4] = 0.5 + 0.5 * (number % 7) / 7
        return image, label


def grey_blocks(split: str) -> Blocks:
    return Blocks((1, 28, 28), 7, 70 if split == "train" else 35)


def blocks() -> Blocks:
    return Blocks((3, 48, 40), 5)


def bad_labels() -> Blocks:
    return Blocks((3, 48, 40), 9)


def not_a_model() -> int:
    return 3

"""Models, losses and sets of somebody else, found by import path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tacit.core.loss import Loss, Needs, View

NUMBER = 3


class BNNet(nn.Module):
    """Two convolutions with batch norm, any size of image."""

    def __init__(self, channels: int = 1, classes: int = 5, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width, classes)

    def features(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(hidden))).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


class GroupNet(nn.Module):
    """Group norm only."""

    def __init__(self, channels: int = 1, classes: int = 7) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).flatten(1))
        return logits


class DictNet(BNNet):
    """Gives its logits by a key."""

    def forward(self, x: Tensor) -> Any:
        return {"features": self.features(x), "logits": super().forward(x)}


class TupleNet(BNNet):
    """Gives its logits last of two."""

    def forward(self, x: Tensor) -> Any:
        return self.features(x), super().forward(x)


@dataclass
class Answer:
    """An object with an attribute."""

    said: Tensor


class ObjectNet(BNNet):
    """Gives its logits as an attribute."""

    def forward(self, x: Tensor) -> Any:
        return Answer(super().forward(x))


class Named(NamedTuple):
    """A tuple with names."""

    features: Tensor
    scores: Tensor


class NamedNet(BNNet):
    """Gives its logits in a named tuple."""

    def forward(self, x: Tensor) -> Any:
        return Named(self.features(x), super().forward(x))


def no_model() -> int:
    return NUMBER


class Reach(Loss):
    """Mean absolute logit of the student."""

    needs = Needs(teacher=False, student=True)

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, view: View) -> Tensor:
        return view.student.logits.abs().pow(self.power).mean()


class Squares(Dataset[tuple[Tensor, int]]):
    """Ten grey pictures; the number of lit pixels is the label."""

    def __init__(self, split: str = "train", images: int = 10) -> None:
        if split not in ("train", "test"):
            raise ValueError(split)
        self.split, self.images = split, images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        picture = torch.zeros(1, 4, 4)
        picture.view(-1)[: number % 5] = 1.0
        return picture, number % 5


class PixelNet(nn.Module):
    """Names a class for every pixel; three convolutions with batch norm, any size of image."""

    def __init__(self, channels: int = 3, classes: int = 4, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Any:
        coarse = self.classifier(self.body(self.stem(x)))
        return nn.functional.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=False)


class QuarterNet(nn.Module):
    """Answers as torchvision's segmentation networks do, by a dict with ``out``, and, unlike them, at a quarter of the size."""

    def __init__(self, channels: int = 3, classes: int = 4, width: int = 6) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(channels, width, 3, 4, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Conv2d(width, classes, 1)
        self.aux = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Any:
        features = self.backbone(x)
        return {"aux": self.aux(features), "out": self.classifier(features)}

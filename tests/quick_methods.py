"""What the tests of methods share: short settings of every method, in one place, and a student and teacher to use them on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tacit.core.device import Runtime
from tacit.core.network import Network, Teacher
from tacit.synthesize import (
    BNS,
    CMI,
    DAFL,
    DFAD,
    DFQ,
    MSKD,
    NAYER,
    RDSKD,
    ZSKD,
    ZSKT,
    AdaptiveDeepInversion,
    DeepInversion,
    FastDFKD,
    Gaussian,
    Inception,
    Method,
    Synthesizer,
)
from tacit.zoo import resnet

__all__ = ["QUICK", "plain_net", "quick", "synthesizer"]

LIVE: dict[str, Any] = {"batch": 16, "width": 4, "latent": 8, "lr": 5e-3}

QUICK: dict[type[Method], dict[str, Any]] = {
    DeepInversion: {"batch": 16, "steps": 3, "warmup": 2},
    AdaptiveDeepInversion: {"batch": 16, "steps": 3, "warmup": 1, "every": 2},
    FastDFKD: {"batch": 16, "steps": 3, "warmup": 1, "every": 2, "width": 4, "latent": 8, "reset": 1},
    CMI: {
        "batch": 16,
        "steps": 3,
        "warmup": 1,
        "every": 2,
        "width": 4,
        "latent": 8,
        "negatives": 20,
        "bank": 40,
        "embedding": 8,
        "restart": 2,
    },
    NAYER: {"batch": 23, "steps": 3, "warmup": 1, "every": 2, "width": 4, "noise": 8, "restart": 2},
    DFQ: {**LIVE, "every": 2},
    DFAD: {**LIVE, "every": 2},
    RDSKD: {**LIVE, "warmup": 8, "epoch": 3},
    DAFL: LIVE,
    MSKD: LIVE,
    ZSKT: {**LIVE, "every": 2},
    ZSKD: {"batch": 16, "steps": 3, "warmup": 2},
    BNS: {"batch": 16, "steps": 3, "warmup": 2, "logit": 1.0, "smooth": 1.0, "copies": 2, "rounding": 2},
    Inception: {"batch": 16, "steps": 3, "warmup": 2, "copies": 2, "rounding": 2},
    Gaussian: {"batch": 16, "warmup": 2},
}
"""So few and small steps that whatever is not about quality can be tried on every method. CMI's bank is full after three rounds, NAYER's
batch is no multiple of the classes, Fast-DFKD's generator starts again before the third round."""


def quick(kind: type[Method], **fields: Any) -> Method:
    """Return a method of few, quick steps."""
    return kind(**{**QUICK[kind], **fields})


def plain_net() -> nn.Module:
    """Return a small student without batch norm, for images of 8 x 8."""
    first, second = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 24, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 10))


def synthesizer(method: Method, teacher: Teacher, runtime: Runtime, seed: int = 0) -> Synthesizer:
    """Return a synthesizer against a fresh ResNet-8 of width 2."""
    torch.manual_seed(0)
    student = Network(resnet(8, channels=1, width=2), teacher.spec)
    return Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(seed), student=student)

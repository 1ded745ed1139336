"""Checks of what comes back: one bad answer is dropped with its reason, and harms nothing."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.federate.messages import Lost, Tensors, Upload, brief

__all__ = ["Expected", "FederationError", "Rules", "fault", "not_finite", "sift"]


class FederationError(RuntimeError):
    """Too little came back, or something broke; the last checkpoint is kept."""


LARGE = 1e30
"""Largest magnitude of a metric, or of a value beside the weights: sums of such are far from what fp32 can hold."""
FAR = 1e6
"""How many times the largest magnitude of a tensor that was sent (or of 1) one that comes back can have: no training gets there in a round,
and a single such answer would be the mean."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a round counts, and when the federation gives up."""

    replies: int = 1
    """Sound answers that a round must have; with fewer, nothing is learned in it."""
    failures: float = 0.5
    """Share of answers that may fail, from 0 to 1; where it is more in `patience` rounds in a row, the run stops."""
    patience: int = 3
    """Such rounds in a row after which the run stops."""
    images: int = 2**31
    """Most images that a client may say it has, since means go by these numbers: an answer that says more is dropped."""

    def __post_init__(self) -> None:
        if self.replies < 1 or self.patience < 1:
            raise InputError(f"rules: expected replies and patience of at least 1, got {self.replies} and {self.patience}")
        if self.images < 1:
            raise InputError(f"rules.images: expected at least 1, got {self.images}")
        if not 0 <= self.failures <= 1:
            raise InputError(f"rules.failures: expected a share from 0 to 1, got {self.failures}")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a sound answer looks like.

    Args:
        weights: Shape and type of each tensor of the weights.
        reach: Largest magnitude of those that hold numbers.
        positive: Those that can't hold less than 0, as running variances.
        tensors: Shape of each further tensor, in fp32.
        classes: Number of label counts, where they are asked for; None: they may be withheld, or are not looked at.
        most: Largest sum of label counts that can be: images that a client is shown in a round, and what its noise may add.
        images: Largest number of images that a client can have.
        shares: Whether its metrics are shares, from 0 to 1, as those of an answer that only measures.
    """

    weights: Mapping[str, tuple[tuple[int, ...], torch.dtype]] = field(default_factory=dict)
    reach: Mapping[str, float] = field(default_factory=dict)
    positive: Collection[str] = ()
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    classes: int | None = None
    most: float = math.inf
    images: int = Rules.images
    shares: bool = False

    @staticmethod
    def like(state: Tensors) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and type of each tensor."""
        return {key: (tuple(value.shape), value.dtype) for key, value in state.items()}

    @staticmethod
    def reach_of(state: Tensors) -> dict[str, float]:
        """Return the largest magnitude that each tensor can have after a round that began with these."""
        numbers = {key: value for key, value in state.items() if value.dtype != torch.bool and value.numel()}
        return {key: FAR * max(1.0, _reach(value)) for key, value in numbers.items()}


def _reach(tensor: Tensor) -> float:
    """Return the largest magnitude in `tensor`, which has one number at least; the least whole number has none in its own type."""
    return float(tensor.detach().double().abs().max())


def not_finite(state: Tensors) -> str | None:
    """Return the name of the first tensor that holds NaN or infinite values; None where all are finite."""
    floats = [(key, value) for key, value in state.items() if value.is_floating_point()]
    if not floats or bool(torch.isfinite(torch.stack([value.detach().double().sum() for _, value in floats])).all()):
        return None  # a sum of finite fp32 values is finite in fp64, and one NaN or infinite value makes it NaN or infinite
    return next((key for key, value in floats if not bool(torch.isfinite(value).all())), None)


def fault(upload: Upload, expected: Expected) -> str | None:
    """Return why an answer can't be used, or None where it can."""
    wanted = dict(expected.weights) | {f"tensors.{key}": (shape, torch.float32) for key, shape in expected.tensors.items()}
    given: dict[str, Tensor] = dict(upload.weights) | {f"tensors.{key}": value for key, value in upload.tensors.items()}
    if missing := [key for key in wanted if key not in given]:
        return f"lacks {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    if unknown := [key for key in given if key not in wanted]:
        return f"has unknown {unknown[0]}" + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else "")
    for key, (shape, dtype) in wanted.items():
        if tuple(given[key].shape) != tuple(shape):
            return f"{key} has shape {list(given[key].shape)}, expected {list(shape)}"
        if given[key].dtype != dtype:
            return f"{key} is {given[key].dtype}, expected {dtype}"
    if (key_ := not_finite(given)) is not None:
        return f"{key_} holds NaN or infinite values"
    if negative := [key for key in expected.positive if bool((given[key] < 0).any())]:
        return f"{negative[0]} holds values below 0"
    if far := [key for key, most in expected.reach.items() if _reach(given[key]) > most]:
        return f"{far[0]} holds values beyond {expected.reach[far[0]]:g}, which no training of a round makes of what was sent"
    if large := [key for key in upload.tensors if bool((upload.tensors[key].abs() > LARGE).any())]:
        return f"tensors.{large[0]} holds values beyond {LARGE:g}"
    return _numbers_fault(upload, expected) or _counts_fault(upload.counts, expected)


def _numbers_fault(upload: Upload, expected: Expected) -> str | None:
    if isinstance(upload.examples, bool) or not isinstance(upload.examples, int) or upload.examples < 1:
        return f"its number of images is {upload.examples!r}, expected a whole number of at least 1"
    if upload.examples > expected.images:
        return f"its number of images is more than {expected.images:,}"
    if not all(abs(value) <= LARGE for value in upload.metrics.values()):
        return f"its metrics hold NaN, infinite values or such beyond {LARGE:g}"
    if expected.shares and (wrong := [name for name, value in upload.metrics.items() if not 0 <= value <= 1]):
        return f"its {wrong[0]} is {upload.metrics[wrong[0]]:g}, expected a share from 0 to 1"
    return None


def _counts_fault(counts: tuple[float, ...] | None, expected: Expected) -> str | None:
    if counts is None:
        return None if expected.classes is None else "its label counts are missing"
    if expected.classes is None:
        return "it has label counts, and none were asked for"
    if len(counts) != expected.classes:
        return f"it has {len(counts)} label counts, expected {expected.classes}"
    if not all(math.isfinite(count) and count >= 0 for count in counts):
        return "its label counts are not all finite and 0 or more"
    if sum(counts) > expected.most:
        return f"its label counts add up to {sum(counts):g}, at most {expected.most:g} images can have been seen"
    return None


def sift(replies: Mapping[int, Upload | Lost], expected: Mapping[int, Expected]) -> tuple[dict[int, Upload], dict[int, str]]:
    """Return the sound answers in the order of their clients, and why each of the others is dropped.

    Args:
        replies: By client; one that is missing did not answer.
        expected: What each client that was asked should have answered. An answer of anybody else is dropped.
    """
    kept: dict[int, Upload] = {}
    dropped: dict[int, str] = {}
    for client in sorted({*replies, *expected}):
        reply = replies.get(client, Lost("no answer in time"))
        if client not in expected:
            dropped[client] = "it was not asked"
        elif isinstance(reply, Lost):
            dropped[client] = brief(reply.reason)
        elif (why := fault(reply, expected[client])) is not None:
            dropped[client] = brief(why)
        else:
            kept[client] = reply
    return kept, dropped

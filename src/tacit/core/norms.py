"""Norms: which batch-norm layers of a model keep statistics of the training data, and what there is where none does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from tacit.core.errors import InputError
from tacit.core.state import evaluation_mode

__all__ = ["NoStatisticsError", "Norms", "hold_statistics", "norm_layers", "norms_of"]


class NoStatisticsError(InputError):
    """Running statistics of batch norm are asked of a model that has none."""

    @classmethod
    def of(cls, model: nn.Module) -> NoStatisticsError:
        """Return the error that says what `model` has instead."""
        return cls(f"the model has no batch-norm layer with running statistics to go by; found: {norms_of(model).found}")


@dataclass(frozen=True, kw_only=True)
class Norms:
    """How a model normalises in evaluation mode, in numbers of layers."""

    running: int = 0
    """Batch norms that normalise by running statistics."""
    initial: int = 0
    """Those among them whose statistics are as they were made: mean 0, variance 1, of no batch."""
    unkept: int = 0
    """Batch norms that keep no running statistics."""
    training: int = 0
    """Batch norms that keep them and yet stay in training mode after ``eval()``."""
    others: Mapping[str, int] = field(default_factory=dict)
    """All other norms, by class."""
    convolutions: int = 0
    """Convolutions."""
    biased: int = 0
    """Those of them that have a bias."""

    @property
    def total(self) -> int:
        """Batch norms of any kind."""
        return self.running + self.unkept + self.training

    @property
    def may_be_folded(self) -> bool:
        """Whether there is no norm at all, and every convolution has the bias that folding a batch norm into it leaves behind.

        That batch norm was there once can't be known: networks that never had one look the same.
        """
        return not (self.total or self.others) and 0 < self.convolutions == self.biased

    @property
    def found(self) -> str:
        """What there is of batch norm, or in its place; a fragment of a sentence."""
        if self.total:
            kinds = {
                "with running statistics": self.running - self.initial,
                "with running statistics that are still 0 and 1, of no batch: never trained, or reset": self.initial,
                "without running statistics, normalising by the batch": self.unkept,
                "in training mode even after `eval()`, normalising by the batch": self.training,
            }
            if self.total == 1:
                return f"1 batch-norm layer, {next(kind for kind, count in kinds.items() if count)}"
            said = [f"{'all' if count == self.total else count} {kind}" for kind, count in kinds.items() if count]
            return f"{self.total} batch-norm layers, {'; '.join(said)}"
        if self.others:
            return f"no batch norm, but {', '.join(f'{count} {name}' for name, count in self.others.items())}"
        if self.may_be_folded:
            which = "its convolution has a bias" if self.convolutions == 1 else f"its {self.convolutions} convolutions all have biases"
            return f"no norm of any kind; {which}, so that batch norm may have been folded in: give the checkpoint before that"
        return "no norm of any kind"


def norm_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the batch-norm layers of `model` that normalise by running statistics in evaluation mode, by dotted name."""
    with evaluation_mode(model):
        return {name: module for name, module in model.named_modules() if _kept(module) and not module.training}


def hold_statistics(model: nn.Module) -> None:
    """Put the batch norms of `model` that keep running statistics into evaluation mode, where these don't move."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.eval()


def norms_of(model: nn.Module) -> Norms:
    """Return what there is of norms in `model`; nothing is run, and modes stay as they are."""
    leaves = [module for module in model.modules() if not list(module.children())]
    batch = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    running = list(norm_layers(model).values())
    convolutions = [module for module in model.modules() if isinstance(module, _ConvNd)]
    others = [type(module).__name__ for module in leaves if not isinstance(module, _BatchNorm) and _is_norm(module)]
    return Norms(
        running=len(running),
        initial=sum(map(_initial, running)),
        unkept=sum(not _kept(module) for module in batch),
        training=sum(_kept(module) for module in batch) - len(running),
        others=dict(Counter(others)),
        convolutions=len(convolutions),
        biased=sum(module.bias is not None for module in convolutions),
    )


def _kept(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None


def _initial(norm: nn.Module) -> bool:
    batches = getattr(norm, "num_batches_tracked", None)
    mean, var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    return isinstance(batches, Tensor) and not int(batches) and not bool(mean.any()) and bool((var == torch.ones_like(var)).all())


def _is_norm(leaf: nn.Module) -> bool:
    """Whether a layer calls itself a norm: those of torch do, and so do other people's."""
    return "norm" in type(leaf).__name__.lower()

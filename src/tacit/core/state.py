"""Modules put back to where they were: after a checkpoint, after painting, after a measurement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["evaluation_mode", "forgetful", "frozen_as_critic", "load_state"]


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load `state` into `module`; tensors take the shapes of the checkpoint."""
    for key, value in state.items():
        path, _, name = key.rpartition(".")
        owner = module.get_submodule(path)
        present = getattr(owner, name, None)
        if not isinstance(present, Tensor) or present.shape == value.shape:
            continue
        fresh = value.detach().clone().to(present.device)
        setattr(owner, name, nn.Parameter(fresh, requires_grad=present.requires_grad) if isinstance(present, nn.Parameter) else fresh)
    module.load_state_dict(state)


@contextmanager
def frozen_as_critic(student: nn.Module | None, mode: Literal["train", "eval"], *, buffers_move: bool) -> Iterator[None]:
    """Hold a student still while images are painted against it; put modes, gradient flags and (unless `buffers_move`) buffers back."""
    if student is None:
        yield
        return
    flags = {parameter: parameter.requires_grad for parameter in student.parameters()}
    buffers = {} if buffers_move or mode == "eval" else {buffer: buffer.detach().clone() for buffer in student.buffers()}
    student.requires_grad_(False)
    try:
        with _mode(student, training=mode == "train"):
            yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
        for buffer, before in buffers.items():
            buffer.copy_(before)


def evaluation_mode(network: nn.Module) -> AbstractContextManager[None]:
    """Put `network` into evaluation mode; each module has its own mode back afterwards, also after an exception."""
    return _mode(network, training=False)


@contextmanager
def _mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.train(training)
    try:
        yield
    finally:
        for module, before in modes.items():
            module.training = before


@contextmanager
def forgetful(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Keep those of `modules` that are norms in training mode from remembering the statistics of what they are shown."""
    norms = [module for module in modules if isinstance(module, _NormBase) and module.training and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True

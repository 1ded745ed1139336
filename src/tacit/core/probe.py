"""Probe and Signals: read features and batch statistics of any module, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from tacit.core.errors import InputError, nearest
from tacit.core.layout import MAP, as_map
from tacit.core.moments import batch_moments
from tacit.core.norms import NoStatisticsError, norm_layers
from tacit.core.parts import find_part, first_tensor, only_tensor, outline, tensor_parts

__all__ = ["COPY", "INPUT", "BNStat", "Probe", "Signals"]

INPUT = ":in"
"""Behind the name of a tap: what goes into the module. Anything else behind a colon is a part of what the module returns."""
COPY = ":copy"
"""Last of all behind the name of a tap: what is found there is copied, since what follows in the network overwrites it."""


@dataclass(frozen=True)
class BNStat:
    """Batch statistics of the input of one batch-norm layer, beside those it was trained with; each of shape (channels,)."""

    name: str
    mean: Tensor
    var: Tensor
    running_mean: Tensor
    running_var: Tensor


@dataclass(frozen=True)
class Signals:
    """All that one forward pass said. A new object for each pass: nothing is overwritten."""

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    bn: tuple[BNStat, ...] = ()


def _place(tap: str) -> str:
    """Return which tensor is tapped, without what is to be done with it."""
    return tap.removesuffix(COPY).removesuffix(MAP)


class Probe:
    """Calls a module and returns all that it said; a context manager that takes its hooks off, also after an exception.

    Args:
        model: Any module; a `Network` for images in [0, 1].
        taps: Dotted names of the modules whose outputs are wanted, as ``stages.1``; with ``:in`` behind, what goes into the module is meant
            (its first argument, or the first tensor by keyword; of a module that works in place, a copy). Of a module that returns several
            tensors, the part is named as ``encoder:hidden_states.2`` or ``cell:0``: keys, indices and attributes. With ``:map`` behind
            all that, tokens (N, L, D) or a map with channels last (N, H, W, C) are read as a map (N, C, H, W). A `Network`'s own module
            starts with ``model.``, which may be left out. What a later part overwrites, as an activation in place, must be copied:
            ``features:copy``.
        bn: Whether to measure the input of every batch-norm layer that carries running statistics.

    Raises:
        NoStatisticsError: Where `bn` is asked of a module that keeps no running statistics; it says what there is instead.
        InputError: Where a tap does not exist (the nearest name is offered).
    """

    def __init__(self, model: nn.Module, *, taps: Iterable[str] = (), bn: bool = False) -> None:
        self.model = model
        modules = dict(model.named_modules(remove_duplicate=False))
        self._tapped: dict[str, nn.Module] = {}
        for tap in taps:
            name = tap.partition(":")[0]
            found = modules.get(name, modules.get(f"model.{name}"))
            if found is None or not name:
                raise InputError(f"no module is called {name!r}{nearest(name, [key.removeprefix('model.') for key in modules if key])}")
            self._tapped[tap] = found
        self._norms = norm_layers(model) if bn else {}
        if bn and not self._norms:
            raise NoStatisticsError.of(model)
        self._handles: list[RemovableHandle] = []
        self._features: dict[str, Tensor] = {}
        self._versions: dict[str, tuple[Tensor, int]] = {}
        self.overwritten: set[str] = set()
        self._bn: list[BNStat] = []

    def __enter__(self) -> Self:
        for tap, module in self._tapped.items():
            if _place(tap).endswith(INPUT):
                self._handles.append(module.register_forward_pre_hook(self._tap_input(tap), with_kwargs=True))
            else:
                self._handles.append(module.register_forward_hook(self._tap(tap)))
        for name, norm in self._norms.items():
            self._handles.append(norm.register_forward_pre_hook(self._stat(name), with_kwargs=True))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __call__(self, images: Tensor) -> Signals:
        self._features, self._versions, self._bn = {}, {}, []
        logits = self.model(images)
        if self._norms and not self._bn:
            raise InputError("the model's forward pass goes round its batch-norm layers, so that what they would see can't be measured")
        self.overwritten = {tap for tap, (said, version) in self._versions.items() if said._version != version}
        self._versions = {}
        for tap in self.overwritten:
            if not tap.endswith(COPY):
                raise InputError(f"tap {tap!r}: what is found there is overwritten before the pass ends, as by a ReLU: write `{tap}{COPY}`")
        features = {tap: self._read(tap, value, images) for tap, value in self._features.items()}
        self._features = {}  # what the module is asked later must not change what was said
        return Signals(logits.float(), features, tuple(self._bn))

    def in_parts(self, images: Tensor, size: int) -> Signals:
        """Return what one pass over all of `images` would say, holding the activations of `size` images at a time.

        Logits, features and statistics are those of the whole batch, and so are their gradients, which must be taken before the context
        is left: a second forward pass pays for it.
        """
        if len(images) <= size:
            return self(images)
        taps, order = list(self._tapped), list[BNStat]()

        def part(some: Tensor) -> tuple[Tensor, ...]:
            said = self(some)
            order[:] = said.bn
            return (said.logits, *(said.features[tap] for tap in taps), *(value for s in said.bn for value in (s.mean, s.var)))

        cut = torch.split(images, size)
        columns = list(zip(*(checkpoint(part, some, use_reentrant=False) for some in cut), strict=True))
        shares = torch.tensor([len(some) / len(images) for some in cut], device=images.device)
        logits, *features = (torch.cat(column) for column in columns[: 1 + len(taps)])
        moments = [torch.stack(column) for column in columns[1 + len(taps) :]]
        stats = []
        for one, means, variances in zip(order, moments[::2], moments[1::2], strict=True):
            mean = shares @ means
            stats.append(replace(one, mean=mean, var=shares @ (variances + (means - mean).square())))
        return Signals(logits, dict(zip(taps, features, strict=True)), tuple(stats))

    def _keep(self, tap: str, found: Tensor) -> None:
        self._features[tap] = found.clone() if tap.endswith(COPY) else found
        self._versions[tap] = found, found._version

    def _read(self, tap: str, found: Tensor, images: Tensor) -> Tensor:
        """Return what is found at a tap, as a map where the tap says so."""
        read = as_map(found, tuple(images.shape[2:])) if tap.removesuffix(COPY).endswith(MAP) else found
        if read is None:
            raise InputError(
                f"tap {tap.removesuffix(COPY)!r}: expected tokens (N, L, D) that fill the image, or a map (N, H, W, C), got "
                f"{list(found.shape)}: leave {MAP} out, or tap another module"
            )
        return read

    def _tap(self, tap: str) -> Callable[[nn.Module, tuple[Any, ...], object], None]:
        name, _, part = _place(tap).partition(":")

        def hook(_: nn.Module, __: tuple[Any, ...], output: object) -> None:
            found = find_part(output, part) if part else only_tensor(output)
            if not isinstance(found, Tensor):
                known = [f"{name}:{path}" for path in tensor_parts(output) if path]
                hint = f": say which part, as {' or '.join(known[:4])}" if known else "; tap one that returns a tensor"
                raise InputError(f"tap {tap.removesuffix(COPY)!r}: this module returns {outline(output)}{hint}")
            self._keep(tap, found)

        return hook

    def _tap_input(self, tap: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = first_tensor(args, kwargs)
            if given is None:
                raise InputError(f"tap {tap.removesuffix(COPY)!r}: this module's first argument is no tensor; tap one that takes a tensor")
            self._keep(tap, given.clone() if getattr(module, "inplace", False) else given)  # else it would be overwritten

        return hook

    def _stat(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if norm.training and not self.model.training:
                raise InputError(f"{name} normalises by the batch, since the model's own forward pass puts it into training mode")
            given = first_tensor(args, kwargs)
            assert given is not None
            mean, var = batch_moments(given)
            self._bn.append(BNStat(name, mean, var, norm.get_buffer("running_mean"), norm.get_buffer("running_var")))

        return hook

"""Split: any classifier in two, features and head, at a named module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from tacit.core.errors import InputError, nearest
from tacit.core.network import Network
from tacit.core.probe import INPUT
from tacit.core.state import evaluation_mode, forgetful
from tacit.core.taps import classifier_name

__all__ = ["Split"]

DRAWS = 3
"""Times that weights are drawn, to find paths that go round the features."""


@dataclass
class _Trail:
    """What a pass does once the features are there."""

    calls: int = 0
    started: list[str] = field(default_factory=list)
    leaves: list[tuple[str, tuple[Any, ...], object]] = field(default_factory=list)


class Split:
    """A classifier in two: all that is done up to a module's output are the features, what comes after is the head.

    The head is run by replacing that output during a full pass over a dummy image. Where all that follows is a plain chain of layers,
    each given what the one before made (as the tail of an ``nn.Sequential``), those alone are run; that both say the same was checked.

    Args:
        network: Any classifier; looked at in evaluation mode, and left as it was.
        at: Dotted name of a module that makes a tensor; with ``:in`` behind, what goes into it is meant. None: what goes into the layer
            that makes the logits.

    Raises:
        InputError: Where there is no such module (the nearest name is offered), it makes no tensor, is called more than once, or another
            path goes round it: the logits depend on the image although the features are held, with the weights of now or with others.
            Where a tensor of the head is tied to another.
    """

    def __init__(self, network: Network, at: str | None = None) -> None:
        if network.spec.task != "classification":
            raise InputError("a network can be split into features and head for classification alone")
        self.network = network
        self.at = at or f"{classifier_name(network)}{INPUT}"
        modules = dict(network.model.named_modules())
        name = self.at.removesuffix(INPUT)
        if not name or name not in modules:
            raise InputError(f"head: no module is called {name!r}{nearest(name, [key for key in modules if key])}")
        self.module = modules[name]
        with evaluation_mode(network):
            self.shape = self._features_shape()
            trail = self._check()
        self.keys: tuple[str, ...] = self._keys(set(trail.started))
        """Keys of the head in the state dict of the network's module, in its order."""
        self._check_ties()
        self._trunk = [module for key, module in modules.items() if key not in trail.started and not list(module.children())]
        self._parts = [module for key, module in modules.items() if key in trail.started]
        self._tail, self._places, self._overwrites, self._together = nn.Sequential(), dict[str, str](), False, False
        self.chain: tuple[str, ...] | None = None
        """Names of the layers that are the head, where it is a plain chain; None: it is run by a full pass."""
        self._find_chain(trail, modules)

    def logits(self, features: Tensor) -> Tensor:
        """Return what the head says, of shape (N, classes), in the modes that its layers are in; no statistics of the network move.

        Norms of a head that trains normalise by these features' own statistics, and do not remember them: what they remember is of real
        features alone.

        Args:
            features: Of shape (N, *shape).
        """
        with forgetful(self._parts):
            if self.chain is None:
                with self._still():
                    return self._through(features).float()
            said: Tensor = self._tail(features.clone() if self._overwrites else features)
            return said.float()

    def heads(self, states: Sequence[Mapping[str, Tensor]]) -> Callable[[Tensor], Tensor]:
        """Return what heads of other weights say, in evaluation mode: features (N, *shape) become logits (heads, N, classes).

        Args:
            states: The weights of each head by `keys`; further keys are not looked at.
        """
        stacked = {ours: torch.stack([state[key] for state in states]) for ours, key in self._places.items()} if self._together else {}

        def said(features: Tensor) -> Tensor:
            with evaluation_mode(self._tail if self._together else self.network):
                if not self._together:
                    return torch.stack([self._with(state, features) for state in states]).float()
                given = features.clone() if self._overwrites else features
                together: Tensor = vmap(lambda one: functional_call(self._tail, one, (given,)))(stacked)
                return together.float()

        return said

    @property
    def remembers(self) -> str | None:
        """The first key of the head that is a running statistic; None: it has none."""
        return next((key for key in self.keys if key.rpartition(".")[2] in ("running_mean", "running_var")), None)

    def part(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the head's part of a state dict of the network's module."""
        return {key: state[key] for key in self.keys}

    @property
    def layout(self) -> tuple[Any, ...]:
        """What two heads must have in common so that one's weights fit the other: shapes, and the layers where they are a chain."""
        state = self.network.model.state_dict()
        layers = tuple(str(module) for module in self._tail) if self.chain is not None else None
        return (self.shape, tuple((tuple(state[key].shape), str(state[key].dtype)) for key in self.keys), layers)

    def _with(self, state: Mapping[str, Tensor], features: Tensor) -> Tensor:
        weights = {f"model.{key}": state[key] for key in self.keys}
        with self._swap(features.clone()):
            said: Tensor = functional_call(self.network, weights, (self._dummy(len(features)),))
        return said

    def _dummy(self, count: int, *, sloped: bool = False) -> Tensor:
        shape, device = (count, *self.network.spec.shape), self.network.mean.device
        if not sloped:
            return torch.full(shape, 0.5, device=device)
        return torch.linspace(0, 1, int(torch.Size(shape).numel()), device=device).view(shape)

    def _features_shape(self) -> tuple[int, ...]:
        found: list[Tensor] = []

        def look(made: object) -> None:
            if not isinstance(made, Tensor):
                raise InputError(f"head: {self.at!r} is a {type(made).__name__}, expected a tensor: split at another module")
            found.append(made)

        with self._watched(look), torch.no_grad():
            self.network(self._dummy(2))
        if len(found) != 1:
            raise InputError(
                f"head: {self.at!r} is called {len(found)} times in a pass, expected once: split at a module that stands before the head"
            )
        if found[0].ndim < 2 or len(found[0]) != 2:
            raise InputError(f"head: {self.at!r} makes a tensor of shape {list(found[0].shape)} of 2 images: expected one row an image")
        return tuple(found[0].shape[1:])

    def _check(self) -> _Trail:
        """Return what follows the features; `InputError` where a path goes round them, or they are not listened to."""
        trail, draws = _Trail(), torch.Generator().manual_seed(0)
        features, others = (torch.randn(2, *self.shape, generator=draws).to(self.network.mean.device) for _ in range(2))
        with torch.no_grad():
            given = features.clone()  # which a layer that works in place overwrites
            with self._swap(given, trail):
                said: Tensor = self.network(self._dummy(2))
            again = self._through(features, images=self._dummy(2, sloped=True))
            other = self._through(others)
            goes_round = not torch.equal(said, again) or any(self._goes_round(features, draws) for _ in range(DRAWS))
        if torch.equal(said, other):
            raise InputError(f"head: the logits do not depend on {self.at!r}: split at a module that they are made of")
        if goes_round:
            raise InputError(
                f"head: the logits depend on the image even where what {self.at!r} makes is held, since another path goes round it: split "
                f"at a module that everything goes through, as {classifier_name(self.network)}{INPUT}"
            )
        trail.leaves.append(("", (given,), said))
        return trail

    def _goes_round(self, features: Tensor, draws: torch.Generator) -> bool:
        """Return whether a path goes round the features where weights are others: one that is silent now may speak up later."""
        moved = [(name, value) for name, value in self.network.named_parameters() if value.requires_grad]
        inputs = [value[0].numel() if value.ndim > 1 else 1 for _, value in moved]
        drawn = [torch.randn(value.shape, generator=draws) / width**0.5 for (_, value), width in zip(moved, inputs, strict=True)]
        weights = {name: one.to(value) for (name, value), one in zip(moved, drawn, strict=True)}
        said = []
        for images in (self._dummy(2), self._dummy(2, sloped=True)):
            with self._swap(features.clone()):
                said.append(functional_call(self.network, weights, (images,)))
        return bool(torch.isfinite(torch.stack(said)).all()) and not torch.equal(*said)

    def _keys(self, started: set[str]) -> tuple[str, ...]:
        """Return the keys of what makes the logits of given features: by their gradient, and by the modules that begin after these."""
        named = list(self.network.model.named_parameters(remove_duplicate=False))
        wanted = [parameter.requires_grad for _, parameter in named]
        self.network.model.requires_grad_(True)
        try:
            with evaluation_mode(self.network), torch.enable_grad():
                said = self._through(torch.zeros(2, *self.shape, device=self.network.mean.device))
                used = (
                    torch.autograd.grad(said.sum(), [parameter for _, parameter in named], allow_unused=True) if said.requires_grad else []
                )
        finally:
            for (_, parameter), flag in zip(named, wanted, strict=True):
                parameter.requires_grad_(flag)
        reached = {key for (key, _), gradient in zip(named, used, strict=False) if gradient is not None}
        return tuple(key for key in self.network.model.state_dict() if key in reached or key.rpartition(".")[0] in started)

    def _check_ties(self) -> None:
        """Raise `InputError` where a tensor of the head has another name too, in the head or before it."""
        state = self.network.model.state_dict(keep_vars=True)
        for key in self.keys:
            other = next((each for each, value in state.items() if each != key and value is state[key]), None)
            if other is not None:
                raise InputError(f"head: {key!r} is tied to {other!r}, so that the head has no weights of its own: split behind these")

    def _find_chain(self, trail: _Trail, modules: Mapping[str, nn.Module]) -> None:
        *leaves, (_, (features,), said) = trail.leaves
        at: object = features
        for _, given, made in leaves:
            if len(given) != 1 or given[0] is not at:
                return
            at = made
        names = [name for name, _, _ in leaves]
        places = {f"{place}.{key.rpartition('.')[2]}": key for place, name in enumerate(names) for key in self.keys if _owner(key) == name}
        if at is not said or not names or set(places.values()) != set(self.keys):
            return
        self._tail = nn.Sequential(*(modules[name] for name in names))
        self._overwrites, self._places = bool(getattr(modules[names[0]], "inplace", False)), places
        self.chain = tuple(names)
        with torch.no_grad(), evaluation_mode(self.network):
            full, short = self._through(features), self.logits(features)
            if not torch.equal(full.float(), short):
                self.chain = None
                return
            state = self.network.model.state_dict()
            try:
                self._together = True
                self._together = torch.allclose(self.heads([state, state])(features), torch.stack([short, short]), rtol=1e-4, atol=1e-5)
            except RuntimeError:  # a layer that vmap can't take
                self._together = False

    def _through(self, features: Tensor, *, images: Tensor | None = None) -> Tensor:
        """Return the logits of a full pass in which the features are replaced."""
        with self._swap(features.clone()):
            said: Tensor = self.network(self._dummy(len(features)) if images is None else images)
        return said

    @contextmanager
    def _swap(self, features: Tensor, trail: _Trail | None = None) -> Iterator[None]:
        seen = trail or _Trail()

        def given(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            seen.calls += 1
            return (features, *args[1:])

        def made(_: nn.Module, __: tuple[Any, ...], ___: object) -> Tensor:
            seen.calls += 1
            return features

        def begin(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            return lambda _, __: seen.started.append(name) if seen.calls else None

        def end(name: str) -> Callable[[nn.Module, tuple[Any, ...], object], None]:
            return lambda _, args, output: seen.leaves.append((name, args, output)) if name in seen.started else None

        enters = self.at.endswith(INPUT)
        handles = [self.module.register_forward_pre_hook(given) if enters else self.module.register_forward_hook(made)]
        for name, module in self.network.model.named_modules() if trail is not None else ():
            handles.append(module.register_forward_pre_hook(begin(name)))
            if not list(module.children()):
                handles.append(module.register_forward_hook(end(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _watched(self, look: Callable[[object], None]) -> Iterator[None]:
        if self.at.endswith(INPUT):
            handle = self.module.register_forward_pre_hook(lambda _, args: look(args[0] if args else None))
        else:
            handle = self.module.register_forward_hook(lambda _, __, output: look(output))
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Keep the layers before the head in evaluation mode, so that the dummy image moves no statistics."""
        with ExitStack() as stack:
            for module in self._trunk:
                if module.training:
                    stack.enter_context(evaluation_mode(module))
            yield


def _owner(key: str) -> str:
    return key.rpartition(".")[0]

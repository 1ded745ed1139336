"""Network, Teacher, Ensemble: any module, fed with images in [0, 1]."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from tacit.core.errors import InputError
from tacit.core.parts import find_part, first_tensor, only_tensor, outline
from tacit.core.spec import Spec, check_names
from tacit.core.state import evaluation_mode

__all__ = [
    "Ensemble",
    "Network",
    "Origin",
    "Teacher",
    "count_parameters",
    "dry_run",
    "members",
    "stored_bytes",
    "work_per_image",
]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How a model can be built again: ``package.module:callable`` and its arguments."""

    factory: str
    kwargs: Mapping[str, Any]


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters of `model`; shared ones count once."""
    return sum(p.numel() for p in model.parameters())


def stored_bytes(model: nn.Module) -> int:
    """Return the bytes of the parameters and buffers of `model`, as they are stored; shared ones count once."""
    values = {id(value): value for value in model.state_dict(keep_vars=True).values()}
    return sum(value.numel() * value.element_size() for value in values.values())


@torch.no_grad()
def work_per_image(network: Network) -> int:
    """Return the multiply-adds that convolutions and linear layers do for one image: how large a model is at work."""
    done = 0

    def count(_: str, module: nn.Module, __: Tensor | None, output: Tensor | None) -> None:
        nonlocal done
        if isinstance(module, nn.Conv2d | nn.Linear) and output is not None:
            done += output.numel() * module.weight[0].numel()

    dry_run(network, count)
    return done


@torch.no_grad()
def dry_run(
    network: Network,
    note: Callable[[str, nn.Module, Tensor | None, Tensor | None], None],
    begin: Callable[[str, Tensor | None], None] = lambda name, given: None,
) -> None:
    """Show `network` one grey image, in evaluation mode, and call `note` as each part of its module returns.

    Args:
        network: Left as it was.
        note: Is given the dotted name of a part ("" for the whole), the part, the tensor that it was given first, and the only one that it
            made, alone or in a tuple or a dict; None where that is no tensor, or there are several.
        begin: Is given the dotted name of a part, and the tensor that it is given first, before it reads that.
    """

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], object], None]:
        return lambda module, args, kwargs, made: note(name, module, first_tensor(args, kwargs), only_tensor(made))

    def beginning(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        return lambda module, args, kwargs: begin(name, first_tensor(args, kwargs))

    shown = [(name, module) for name, module in network.model.named_modules() if not isinstance(module, ParametrizationList)]
    handles = [module.register_forward_hook(hook(name), with_kwargs=True) for name, module in shown]
    handles += [module.register_forward_pre_hook(beginning(name), with_kwargs=True) for name, module in shown]
    try:
        with evaluation_mode(network):
            network(torch.full((1, *network.spec.shape), 0.5, device=network.mean.device))
    finally:
        for handle in handles:
            handle.remove()


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the module behind `torch.compile`; refuse what can't be hooked."""
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            "this is a TorchScript module: its layers can't be watched, nor its input differentiated safely; "
            "give the nn.Module it was scripted from"
        )
    inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else model


class Network(nn.Module):
    """Any module, fed with images in [0, 1]; the only place that normalises.

    Args:
        model: Any `nn.Module` that takes a batch of shape (N, C, H, W). A compiled module is unwrapped; a scripted one is refused.
        spec: What the model expects and says.
        origin: How the model can be built again, if known; a saved folder needs it.
        normalise: Whether to subtract `spec.mean` and divide by `spec.std`; an ensemble of networks does so inside.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, spec: Spec, *, origin: Origin | None = None, normalise: bool = True) -> None:
        super().__init__()
        self.model = _unwrapped(model)
        self.spec = spec
        self.origin = origin
        self.normalise = normalise
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.register_buffer("mean", torch.tensor(spec.mean, device=device).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std, device=device).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (N, classes) for images of shape (N, C, H, W) in [0, 1]; for segmentation (N, classes, H, W)."""
        shown = (images - self.mean) / self.std if self.normalise else images
        logits = self._logits(self.model(shown))
        how, size = self.spec.upsample, images.shape[2:]
        if how is None or logits.ndim != 4 or logits.shape[2:] == size:
            return logits
        return F.interpolate(logits, size, mode=how, align_corners=None if how == "nearest" else False)

    def _logits(self, output: object) -> Tensor:
        key, name = self.spec.output, type(self.model).__name__
        if key is None:
            if isinstance(output, Tensor):
                return output
            named = find_part(output, "logits")
            main = named if isinstance(named, Tensor) else find_part(output, "0")
            if self.training and isinstance(main, Tensor):
                return main  # with heads that only training has, as torchvision's GoogLeNet: alone it comes in evaluation mode
            raise InputError(f"{name} returns {outline(output)}: say which part holds the logits with the option `output`")
        part = find_part(output, key)
        if not isinstance(part, Tensor):
            raise InputError(f"output: {name} returns {outline(output)}, which has no tensor called {key!r}")
        return part

    @torch.no_grad()
    def check(self) -> Self:
        """Run two images through the model; raise `InputError` where weights or answers are not what `spec` promises."""
        for key, value in self.model.state_dict().items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise InputError(f"the model's weights hold NaN or infinite values, first in {key!r}: load sound weights")
        spec = self.spec
        images = torch.full((2, *spec.shape), 0.5, device=self.mean.device)
        images[1] = torch.linspace(0, 1, images[1].numel(), device=images.device).view(spec.shape)
        try:
            with evaluation_mode(self):
                logits = self(images)
        except InputError:
            raise
        except Exception as error:  # a model may raise anything at images that it was not made for
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            others = {str(p.dtype).removeprefix("torch.") for p in self.model.parameters() if p.is_floating_point()} - {"float32"}
            hint = f"; its weights are {' and '.join(sorted(others))}: give it in float32, as `model.float()`" if others else ""
            raise InputError(f"{type(self.model).__name__} can't take images of shape {list(spec.shape)}: {reason}{hint}") from error
        wanted = (2, spec.classes) if spec.task == "classification" else (2, spec.classes, *spec.shape[1:])
        if tuple(logits.shape) != wanted:
            coarse = len(wanted) == logits.ndim == 4 and tuple(logits.shape[:2]) == wanted[:2]
            hint = "check `classes`, `shape` and `output`"
            if coarse:
                hint = "say how they grow to the size of the image, as `upsample: bilinear`"
            raise InputError(
                f"expected logits of shape {list(wanted)} for 2 images of {spec.classes} classes, got {list(logits.shape)}: {hint}"
            )
        if not bool(torch.isfinite(logits).all()):
            raise InputError(f"{type(self.model).__name__} answers ordinary images with NaN or infinite logits")
        return self


class Teacher(Network):
    """A network that stays frozen and in evaluation mode, whoever calls `train()`.

    `Teacher.of(network)` works on a copy, so that the caller's module keeps its modes, gradients and hooks.
    """

    def __init__(self, model: nn.Module, spec: Spec, *, origin: Origin | None = None, normalise: bool = True) -> None:
        super().__init__(model, spec, origin=origin, normalise=normalise)
        self.requires_grad_(False)
        self.zero_grad(set_to_none=True)
        self.eval()

    @classmethod
    def of(cls, network: Network) -> Teacher:
        """Return a frozen copy of `network`."""
        model = copy.deepcopy(network.model)
        return cls(model, network.spec, origin=network.origin, normalise=network.normalise)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class Ensemble(nn.Module):
    """Several networks as one: the mean of their logits. Each normalises its own way; all take the same shape and classes."""

    def __init__(self, networks: Iterable[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean logits, of shape (N, classes, ...), for images in [0, 1]."""
        return torch.stack([network(images) for network in self.networks]).mean(dim=0)

    @staticmethod
    def of(networks: Sequence[Network]) -> Network:
        """Return the ensemble of `networks` as one `Network`; `InputError` where they disagree on shape, classes, names or task."""
        first, names = networks[0].spec, next((network.spec.names for network in networks if network.spec.names), ())
        for network in networks[1:]:
            theirs = network.spec
            if (theirs.shape, theirs.classes, theirs.task) != (first.shape, first.classes, first.task):
                raise InputError(
                    f"an ensemble must agree on shape, classes and task: {list(first.shape)}, {first.classes}, {first.task} "
                    f"against {list(theirs.shape)}, {theirs.classes}, {theirs.task}"
                )
            check_names(names, theirs.names, "the members of an ensemble")
        mean, std = (
            tuple(sum(values) / len(networks) for values in zip(*(getattr(n.spec, key) for n in networks), strict=True))
            for key in ("mean", "std")
        )
        return Network(Ensemble(networks), replace(first, mean=mean, std=std, names=names, output=None, upsample=None), normalise=False)


def members(network: Network) -> dict[str, Network]:
    """Return the networks that `network` is made of, by what the names of their modules begin with: ``networks.0.model.``, ...

    A network that is no ensemble is its own only member, by the name ``""``; ensembles of ensembles are taken apart.
    """
    if not isinstance(network.model, Ensemble):
        return {"": network}
    found: dict[str, Network] = {}
    for number, member in enumerate(network.model.networks):
        assert isinstance(member, Network)
        found |= {f"networks.{number}.model.{inner}": each for inner, each in members(member).items()}
    return found

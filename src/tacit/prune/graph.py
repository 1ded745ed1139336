"""Graph: which layers must lose the same channels, and the cut itself; all that Torch-Pruning is asked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError, import_extra
from tacit.core.network import Network
from tacit.core.parts import tensor_parts

__all__ = ["Importance", "Ranking", "last_layers", "make_ranking", "named", "take_out"]

Importance = Literal["magnitude", "bn-scale", "random"]
"""What ranks the channels of a group: the squared weights that make and read a channel, in the mean over the group's layers; the scale of
its batch norm (https://arxiv.org/abs/1708.06519; where a group has none, as `magnitude`); or chance."""

Ranking = Callable[[Any], Tensor | None]


def make_ranking(importance: Importance, generator: torch.Generator) -> Ranking:
    """Return what ranks channels; chance draws from `generator`."""
    kinds = import_extra("torch_pruning", "prune", "pruning").importance
    magnitude: Ranking = kinds.GroupMagnitudeImportance(p=2)
    scale: Ranking = kinds.BNScaleImportance()

    def by_scale(group: Any) -> Tensor | None:
        found = scale(group)
        return magnitude(group) if found is None else found

    def by_chance(group: Any) -> Tensor | None:
        return torch.rand(len(group[0].idxs), generator=generator)

    return {"magnitude": magnitude, "bn-scale": by_scale, "random": by_chance}[importance]


def take_out(network: Network, share: float, ranking: Ranking) -> int:
    """Prune in place; return how many groups of layers lost channels.

    Args:
        network: On the CPU, with parameters that take gradients; its modules' modes change.
        share: Of its channels that each group of layers loses.
        ranking: Gives a score to each channel of a group, of shape (channels,); the least are taken.
    """
    tools = import_extra("torch_pruning", "prune", "pruning")
    images = torch.full((2, *network.spec.shape), 0.5)
    name, taken = type(network.model).__name__, 0
    with torch.enable_grad(), warnings.catch_warnings(), named(network.model, f"{name} can't be pruned"):
        warnings.simplefilter("ignore")  # of parameters outside known layers, which are cut as well, and checked by a pass
        hold = _with_heads if _training_heads(network, images) else Network.eval
        keep = last_layers(hold(network), images)
        answers: Callable[..., list[Tensor]] = lambda _, shown: _answers(hold(network), shown)  # Torch-Pruning calls eval() before
        graph = tools.DependencyGraph().build_dependency(network, example_inputs=images, forward_fn=answers, verbose=False)
        groups = list(graph.get_all_groups(ignored_layers=keep))
        ranked = [(group, ranking(group)) for group in groups]  # all of them while the network is whole
        for group, scores in ranked:
            index = _least(scores, share, _parts([item.dep.target.module for item in group])) if scores is not None else []
            chosen = graph.get_pruning_group(group[0].dep.target.module, group[0].dep.handler, index) if index else None
            if chosen is not None and graph.check_pruning_group(chosen):
                chosen.prune()
                taken += 1
    return taken


def _least(scores: Tensor, share: float, parts: int) -> list[int]:
    """Return which channels go: the same of each part, those with the least scores in the mean over parts; never all."""
    each = scores.detach().view(parts, -1).mean(dim=0)
    count = min(round(share * len(each)), len(each) - 1)
    least = each.argsort(stable=True)[:count].tolist()
    return sorted(place + part * len(each) for part in range(parts) for place in least)


def _parts(modules: Sequence[Any]) -> int:
    """Return into how many equal parts the channels of a group of layers fall."""
    grouped = [int(module.groups) for module in modules if getattr(module, "groups", 1) not in (1, getattr(module, "out_channels", 1))]
    return max([1, *grouped, *(int(module.num_groups) for module in modules if isinstance(module, nn.GroupNorm))])


def _training_heads(network: Network, images: Tensor) -> bool:
    """Whether layers are called in training mode that are not in evaluation mode, as heads that help to train: they read what is cut."""
    used = _called(network.eval(), images)
    return not _called(_with_heads(network), images) <= used


def _with_heads(network: Network) -> Network:
    """Put what holds other modules into training mode, and all else, as batch norm, dropout and stochastic depth, into evaluation mode."""
    for module in network.modules():
        module.training = next(module.children(), None) is not None
    return network


@torch.no_grad()
def _called(network: Network, images: Tensor) -> set[nn.Module]:
    """Return the modules that `network` calls."""
    found: set[nn.Module] = set()
    handles = [module.register_forward_pre_hook(lambda module, _: found.add(module)) for module in network.modules()]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def last_layers(network: Network, images: Tensor) -> list[nn.Module]:
    """Return the layers with weights that come last before the answers; several where there are several heads.

    Args:
        network: With parameters that take gradients.
        images: In [0, 1], of shape (N, C, H, W).
    """
    logits, *beside = _answers(network, images)
    known = set(_behind(network, logits))
    found = _behind(network, logits, nearest=True)
    if not found:
        raise InputError("no convolution or linear layer leads to the logits")
    return found + [layer for answer in beside for layer in _behind(network, answer, nearest=True) if layer not in known]


def _answers(network: Network, images: Tensor) -> list[Tensor]:
    """Return the logits, and those answers of the module beside them that have layers of their own, as an auxiliary head has."""
    made: list[object] = []
    handle = network.model.register_forward_hook(lambda _, __, output: made.append(output))
    try:
        logits = network(images)
    finally:
        handle.remove()
    known, answers = set(_behind(network, logits)), list(tensor_parts(made[0]).values())
    return [logits, *(answer for answer in answers if not known.issuperset(_behind(network, answer, nearest=True)))]


def _behind(network: Network, answer: Tensor, *, nearest: bool = False) -> list[nn.Module]:
    """Return the layers with weights that lead to an answer, or the nearest ones alone; all that share a weight."""
    layers: dict[int, list[nn.Module]] = {}
    for module in network.model.modules():
        if _weight(module) is not None:
            layers.setdefault(id(module.weight), []).append(module)
    found, todo, seen = [], [answer.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        behind = [following for following, _ in node.next_functions if following is not None]
        near = [*behind, *(far for step in behind if len(step.next_functions) == 1 for far, _ in step.next_functions)]  # behind a transpose
        read = [module for step in near if step is not None for module in layers.get(id(getattr(step, "variable", None)), [])]
        found.extend(read)
        todo.extend([] if read and nearest else behind)
    return found


def _weight(module: nn.Module) -> Tensor | None:
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, nn.Parameter) and weight.ndim > 1 else None


@contextmanager
def named(model: nn.Module, said: str) -> Iterator[None]:
    """Turn any error inside into an `InputError` of one line, with the name of the module whose pass was under way."""
    under_way: list[str] = []
    handles = []

    def leave(*_: Any) -> None:
        under_way.pop()

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, __, name=name: under_way.append(name)))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    except InputError as error:
        where = f" at {under_way[-1]!r}" if under_way and under_way[-1] else ""
        raise InputError(f"{said}{where}: {error}") from error
    except Exception as error:  # Torch-Pruning, and a module that is cut at the wrong place, may raise anything
        where = f" at {under_way[-1]!r}" if under_way and under_way[-1] else ""
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{said}{where}: {reason}") from error
    finally:
        for handle in handles:
            handle.remove()

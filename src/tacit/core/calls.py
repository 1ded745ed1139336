"""Calls: which part of a network made what another one read, by a dry run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from tacit.core.network import Network, dry_run

__all__ = ["Call", "calls_of"]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module that was given a tensor and made one; the same, where it works in place.

    Args:
        name: Dotted name of the module.
        module: The module.
        given: What went in first.
        made: What came out.
        came: How often `given` had been overwritten when it went in.
        went: How often `made` had been overwritten when it came out.
        again: Whether the module is called once more, so that a tap would find that instead.
    """

    name: str
    module: nn.Module
    given: Tensor
    made: Tensor
    came: int
    went: int
    again: bool


def calls_of(network: Network, wanted: Callable[[nn.Module], bool] = lambda module: True) -> list[Call]:
    """Return the calls of the modules in `network` that are `wanted`, in the order in which they return, in evaluation mode."""
    came: dict[str, int] = {}
    found: list[tuple[str, nn.Module, Tensor, Tensor, int, int]] = []

    def begin(name: str, given: Tensor | None) -> None:
        if given is not None:
            came[name] = given._version

    def note(name: str, module: nn.Module, given: Tensor | None, made: Tensor | None) -> None:
        if name and given is not None and made is not None and wanted(module):
            found.append((name, module, given, made, came.get(name, 0), made._version))

    dry_run(network, note, begin)
    final = {name: place for place, (name, *_) in enumerate(found)}
    return [Call(*call, again=final[call[0]] != place) for place, call in enumerate(found)]

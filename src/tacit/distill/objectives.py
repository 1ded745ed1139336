"""Objectives for the student, as they are written on the command line and in YAML."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.nn import ModuleDict

from tacit.core.errors import InputError, nearest
from tacit.core.loss import Loss, Objective
from tacit.core.models import import_object
from tacit.distill.arguments import check_arguments
from tacit.distill.phases import Phase, opened
from tacit.losses import (
    CRD,
    FSP,
    KD,
    L1,
    MSE,
    ActivationBoundary,
    AttentionTransfer,
    CorrelationCongruence,
    CrossEntropy,
    DecoupledKD,
    Dist,
    FactorTransfer,
    FeatureOverhaul,
    FitNet,
    Intermediate,
    NeuronSelectivity,
    ProbabilisticTransfer,
    RelationalKD,
    ReviewKD,
    SimilarityPreserving,
    SingularVectors,
    SoftCrossEntropy,
    VariationalInformation,
)

__all__ = ["DISTILLERS", "Terms", "build_objective", "build_phases"]

DISTILLERS: dict[str, type[Loss]] = {
    "kd": KD,
    "l1": L1,
    "mse": MSE,
    "soft-ce": SoftCrossEntropy,
    "at": AttentionTransfer,
    "crd": CRD,
    "intermediate": Intermediate,
    "dkd": DecoupledKD,
    "dist": Dist,
    "fitnet": FitNet,
    "sp": SimilarityPreserving,
    "cc": CorrelationCongruence,
    "vid": VariationalInformation,
    "rkd": RelationalKD,
    "pkt": ProbabilisticTransfer,
    "nst": NeuronSelectivity,
    "kdsvd": SingularVectors,
    "reviewkd": ReviewKD,
    "ofd": FeatureOverhaul,
    "ab": ActivationBoundary,
    "fsp": FSP,
    "ft": FactorTransfer,
    "ce": CrossEntropy,
}
"""What a student can learn by, by the name it has in an objective."""

Terms = str | Sequence[Mapping[str, Any]]
"""``kd=1,ce=0.1``, or ``[{loss: kd, weight: 1, temperature: 4}, ...]``, with a ``name`` where a loss is there twice; several phases as
``ab=0.003 @0.25; kd=1,ce=1``, or ``[{phase: ab=0.003, share: 0.25}, {phase: [{loss: kd}, {loss: ce}]}]``."""

_Made = list[tuple[tuple[str, str, dict[str, Any]], Loss]]
"""Losses by the name that they have in the sum, their own, and their arguments."""


def build_phases(terms: Terms) -> tuple[Phase, ...]:
    """Build the phases that `terms` describes, with the openings that their losses ask for; most often there is one.

    A loss that is named in several phases, with the same arguments and `name`, is one loss, whose modules and memory go on.

    Args:
        terms: As for `build_objective`, where there is one phase. Several are joined by semicolons, or are mappings with ``phase`` (terms)
            and ``share``. Behind an ``@`` stands a phase's share of the steps; those without share equally what is left. An objective
            that is written as a phase (``ab=0.003,ce=1 @1``) is taken as written: no loss is split off to teach alone.

    Raises:
        InputError: As for `build_objective`, or shares that are none.
    """
    written = _written(terms)
    made: _Made = []
    objectives = [_weighted(entries, made) for entries, _ in written]
    shares = _shares([share for _, share in written])
    phases = [Phase.of(objective, share=share) for objective, share in zip(objectives, shares, strict=True)]
    return opened(phases, split=len(written) == 1 and written[0][1] is None)


def build_objective(terms: Terms) -> Objective:
    """Build the weighted sum that `terms` describes, as it stands: one phase, and no openings.

    Args:
        terms: ``name=weight`` joined by commas (``kd=1,ce=0.1``; a name alone weighs 1), or a list of mappings with ``loss``, ``weight``
            (default 1), ``name`` and the loss's own arguments. A loss is a name of `DISTILLERS` or an import path ``package.module:Class``;
            of one that is there twice, ``name`` tells the terms apart, in logs too (default: that of the loss).

    Raises:
        InputError: Unknown loss or argument (the nearest name is offered), an argument of another type, a weight that is no number or below
            0, a name that is no word or is given twice, or several phases.
    """
    written = _written(terms)
    if len(written) > 1:
        raise InputError(f"objective: expected one weighted sum, got {len(written)} phases")
    return _weighted(written[0][0], [])


def _written(terms: Terms) -> list[tuple[list[dict[str, Any]], float | None]]:
    """Return the terms of each phase, and its share where one is given."""
    if isinstance(terms, str):
        return [(_split(words), _share(share) if at else None) for words, at, share in (part.partition("@") for part in terms.split(";"))]
    if not isinstance(terms, list | tuple) or not all(isinstance(entry, Mapping) for entry in terms):
        raise InputError(f"objective: expected `kd=1,ce=0.1`, or a list of mappings as {{loss: kd, weight: 1}}, got {terms!r}")
    if not any("phase" in entry for entry in terms):
        return [([dict(entry) for entry in terms], None)]
    found: list[tuple[list[dict[str, Any]], float | None]] = []
    for entry in terms:
        if "phase" not in entry or set(entry) - {"phase", "share"}:
            raise InputError(f"objective: expected phases of `phase` (terms) and `share` alone, got one of {', '.join(entry) or 'nothing'}")
        inside, share = entry["phase"], entry.get("share", 1.0 if len(terms) == 1 else None)
        parts = _written(inside)
        if len(parts) > 1 or parts[0][1] is not None or (not isinstance(inside, str) and any("phase" in term for term in inside)):
            raise InputError("objective: a phase has terms, not phases of its own; its share stands beside it, as `share: 0.25`")
        found.append((parts[0][0], None if share is None else _share(share)))
    return found


def _share(given: Any) -> float:
    try:
        share = float(given)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share <= 1:
        raise InputError(f"objective: the share of a phase must be a number above 0 and at most 1, as `@0.25`, got {given!r}")
    return share


def _shares(given: Sequence[float | None]) -> list[float]:
    """Return the shares of all phases, where those that are None share equally what the others leave."""
    named = sum(share for share in given if share is not None)
    unnamed = sum(share is None for share in given)
    if (unnamed and not named < 1) or (not unnamed and not math.isclose(named, 1, abs_tol=1e-6)):
        hint = "the phases without one would have no steps" if unnamed else "leave the last one out, and it is what remains"
        raise InputError(f"objective: the shares of the phases sum to {named:g}, expected {'less than ' if unnamed else ''}1: {hint}")
    return [(1 - named) / unnamed if share is None else share for share in given]


def _weighted(entries: list[dict[str, Any]], made: _Made) -> Objective:
    """Return the weighted sum of `entries`; losses that are in `made` already are those, and new ones are added."""
    if not entries:
        raise InputError("objective: expected at least one loss, as `kd=1`")
    built: dict[str, tuple[float, Loss]] = {}
    for entry in entries:
        name, weight, called = str(entry.pop("loss", "")), entry.pop("weight", 1.0), entry.pop("name", None)
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not math.isfinite(weight):
            raise InputError(f"objective: the weight of {name} must be a number, got {weight!r}")
        if weight < 0:
            raise InputError(f"objective: the weight of {name} must be 0 or more, got {weight!r}")
        if called is not None and not (isinstance(called, str) and called.isidentifier() and not hasattr(ModuleDict(), called)):
            raise InputError(f"objective: the name of {name} must be a word of its own, of letters, digits and `_`, got {called!r}")
        key = called or name.rpartition(":")[2].replace(".", "_").replace("-", "_")
        if key in built:
            raise InputError(f"objective: {key} is given twice: in YAML, `name` gives each a name of its own")
        loss = next((loss for known, loss in made if known == (key, name, entry)), None)
        if loss is None:
            loss = _make(name, entry)
            made.append(((key, name, entry), loss))
        built[key] = (float(weight), loss)
    if not any(weight for weight, _ in built.values()):
        raise InputError("objective: all weights are zero, so that nothing would be learned")
    return Objective(**built)


def _split(text: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        name, _, weight = term.partition("=")
        try:
            entries.append({"loss": name.strip(), "weight": float(weight) if weight else 1.0})
        except ValueError as error:
            raise InputError(f"objective: the weight of {name} must be a number, got {weight!r}") from error
    return entries


def _make(name: str, arguments: Mapping[str, Any]) -> Loss:
    found = import_object(name) if ":" in name else DISTILLERS.get(name)
    if found is None:
        raise InputError(f"objective: no loss is called {name!r}{nearest(name, DISTILLERS)}")
    if not (isinstance(found, type) and issubclass(found, Loss)):
        raise InputError(f"objective: {name} is no tacit Loss")
    known = [parameter for parameter in inspect.signature(found).parameters if parameter not in ("args", "kwargs")]
    for argument in arguments:
        if argument not in known:
            raise InputError(f"objective: {name} has no option {argument!r}{nearest(argument, known)}")
    check_arguments(name, found, arguments)
    try:
        made: Loss = found(**arguments)
    except TypeError as error:
        raise InputError(f"objective: {name} can't be made with {dict(arguments)}: {error}") from error
    return made

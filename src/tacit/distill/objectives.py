"""Objectives for the student, as they are written on the command line and in YAML."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tacit.core.errors import InputError, nearest
from tacit.core.loss import Loss, Objective
from tacit.core.models import import_object
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

__all__ = ["DISTILLERS", "Terms", "build_objective"]

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
"""``kd=1,ce=0.1``, or ``[{loss: kd, weight: 1, temperature: 4}, ...]``."""


def build_objective(terms: Terms) -> Objective:
    """Build the weighted sum that `terms` describes.

    Args:
        terms: ``name=weight`` joined by commas (``kd=1,ce=0.1``; a name alone weighs 1), or a list of mappings with ``loss``, ``weight``
            (default 1) and the loss's own arguments. A loss is a name of `DISTILLERS` or an import path ``package.module:Class``.

    Raises:
        InputError: Unknown loss or argument (the nearest name is offered), or a weight that is no number.
    """
    entries = _split(terms) if isinstance(terms, str) else [dict(entry) for entry in terms]
    if not entries:
        raise InputError("objective: expected at least one loss, as `kd=1`")
    built: dict[str, tuple[float, Loss]] = {}
    for entry in entries:
        name, weight = str(entry.pop("loss", "")), entry.pop("weight", 1.0)
        if not isinstance(weight, int | float) or not math.isfinite(weight):
            raise InputError(f"objective: the weight of {name} must be a number, got {weight!r}")
        key = name.rpartition(":")[2].replace(".", "_").replace("-", "_")
        if key in built:
            raise InputError(f"objective: {key} is given twice")
        built[key] = (float(weight), _make(name, entry))
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
    try:
        made: Loss = found(**arguments)
    except TypeError as error:
        raise InputError(f"objective: {name} can't be made with {dict(arguments)}: {error}") from error
    return made

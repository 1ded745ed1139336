"""No field is for show: changing any one changes what two rounds lead to."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from tacit.core.device import Runtime
from tacit.distill import Training
from tacit.federate import ALGORITHMS, DENSE, Algorithm, FedDF, FedEnsemble, FedFTG, FedGen
from tacit.synthesize import Gaussian
from toyfed import digest, network, server

QUICK: dict[type[Algorithm], dict[str, Any]] = {
    FedDF: {"method": Gaussian(batch=16, warmup=1), "steps": 2, "batch": 8},
    FedGen: {"noise": 4, "hidden": 6, "steps": 2, "batch": 8, "student": 0.5},
    FedFTG: {"steps": 1, "student_steps": 1, "batch": 8, "latent": 4, "width": 2},
    DENSE: {"method": Gaussian(batch=16, warmup=1), "training": Training(steps=2, batch=8)},
}
OTHER: dict[str, Any] = {
    "adversarial": 2.0,
    "average": "equal",
    "batch": 7,
    "bn": "local",
    "count_noise": 9.0,
    "counts": "withheld",
    "decay": 0.5,
    "distance": "kl",
    "diversity": 2.0,
    "embedding": True,
    "generated": 3.0,
    "generator_decay": 0.1,
    "generator_lr": 0.02,
    "generator_steps": 2,
    "head": "stages",
    "hidden": 5,
    "latent": 3,
    "method": Gaussian(batch=12, warmup=1),
    "noise": 5,
    "objective": "paper",
    "proximal": 3.0,
    "proxy": "digits",
    "proxy_split": "test",
    "server_lr": 0.02,
    "share": "head",
    "steps": 3,
    "student": 0.0,
    "student_steps": 2,
    "sure": 2.0,
    "temperature": 2.0,
    "training": Training(steps=2, batch=8, lr=0.01),
    "until": 0,
    "weight": 3.0,
    "width": 3,
}
"""For every field of every algorithm, a value that none has in the quick settings."""
BESIDE: dict[str, dict[str, Any]] = {
    "head": {"share": "head"},
    "proxy": {"method": None},
    "proxy_split": {"method": None, "proxy": "digits"},
}
"""What else must be set, where a field says something about another."""
WHOLE = (FedEnsemble, FedDF, FedFTG)
"""Those that refuse other values of `share` and `bn`, so that there is no head either."""
CASES = [
    (kind, field.name) for kind in ALGORITHMS for field in fields(kind) if not (kind in WHOLE and field.name in ("share", "bn", "head"))
]


def outcome(kind: type[Algorithm], runtime: Runtime, **changed: Any) -> Tensor:
    """Return all numbers that two quick rounds of two clients led to; of a one-shot algorithm, its one."""
    algorithm = kind(**{**QUICK.get(kind, {}), **changed})
    running = server(algorithm, runtime, networks=[network(width=4)], clients=2, steps=2, batch=8, rounds=3, every=0)
    for _ in range(kind.rounds or 2):
        assert running.round().learned
    return digest(running)


@pytest.fixture(scope="module")
def baselines(runtime: Runtime) -> dict[type[Algorithm], Tensor]:
    return {kind: outcome(kind, runtime) for kind in ALGORITHMS}


def test_the_same_settings_give_the_same_outcome(baselines: dict[type[Algorithm], Tensor], runtime: Runtime) -> None:
    for kind, found in baselines.items():
        assert torch.equal(found, outcome(kind, runtime)), kind.__name__


@pytest.mark.parametrize(("kind", "field"), CASES, ids=[f"{kind.__name__}.{field}" for kind, field in CASES])
def test_every_field_matters(kind: type[Algorithm], field: str, baselines: dict[type[Algorithm], Tensor], runtime: Runtime) -> None:
    beside = BESIDE.get(field, {})
    before = outcome(kind, runtime, **beside) if beside else baselines[kind]
    assert getattr(kind(**{**QUICK.get(kind, {}), **beside}), field) != OTHER[field]
    found = outcome(kind, runtime, **{**beside, field: OTHER[field]})
    assert found.shape != before.shape or not torch.equal(found, before)

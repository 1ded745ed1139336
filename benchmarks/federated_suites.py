"""The suites of federated learning: what is compared, as plain data. An algorithm joins by one `FederatedRow`.

The setting is that of "Data-Free Knowledge Distillation for Heterogeneous Federated Learning", Zhu et al., 2021,
https://arxiv.org/abs/2105.10056, sec. 4, as the authors' code has it.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.federated_plans import FederatedRow, FederatedSuite
from tacit.distill import Training
from tacit.federate import DENSE, FedAvg, FedDF, FedDistill, FedDistillPlus, FedEnsemble, FedGen, FedProx
from tacit.synthesize import DeepInversion

__all__ = ["PROXY", "RATES", "SELDOM", "SUITES"]

RATES = (0.01, 0.05, 0.1, 0.2)
"""Learning rates that every algorithm is tried with."""
SELDOM = 20
"""Rounds between two tests of as many networks as there are clients."""
PROXY = 5_000
"""Images that the server of FedDF is given."""

_FEW = DeepInversion(batch=4, steps=2, warmup=1)
_ONCE = {"method": _FEW, "training": Training(steps=2, batch=8, lr=0.05)}

_FEDAVG = FederatedRow(label="FedAvg", algorithm=FedAvg())
_FEDPROX = FederatedRow(label="FedProx", algorithm=FedProx())
_FEDENSEMBLE = FederatedRow(label="FedEnsemble", algorithm=FedEnsemble(), every=SELDOM, rate_of="FedAvg")  # it learns as FedAvg does
_FEDDISTILL = FederatedRow(label="FedDistill", algorithm=FedDistill(), every=SELDOM)
_FEDDISTILLPLUS = FederatedRow(label="FedDistillPlus", algorithm=FedDistillPlus())
_FEDDF = FederatedRow(label="FedDF", algorithm=FedDF(steps=50), proxy=PROXY)
_FEDDF_MADE = FederatedRow(label="FedDF, made images", algorithm=FedDF(steps=50), seeds=(0,), smoke={"method": _FEW})
_FEDGEN = FederatedRow(label="FedGen", algorithm=FedGen())
_FEDGEN_PAPER = FederatedRow(label="FedGen, paper", algorithm=FedGen(objective="paper"))
_FEDGEN_LIGHT = FederatedRow(label="FedGen, weights 1", algorithm=FedGen(generated=1.0, latent=1.0))

_TUNED = (_FEDAVG, _FEDPROX, _FEDDISTILL, _FEDDISTILLPLUS, _FEDDF, _FEDGEN, _FEDGEN_LIGHT, _FEDGEN_PAPER)

SUITES = {
    suite.name: suite
    for suite in (
        FederatedSuite(
            name="mnist",
            title="the paper's setting, learning rate 0.01 for all",
            rows=(_FEDAVG, _FEDGEN, _FEDPROX, _FEDENSEMBLE, _FEDDISTILL, _FEDDISTILLPLUS, _FEDDF, _FEDGEN_PAPER, _FEDDF_MADE),
        ),
        FederatedSuite(
            name="learning-rates",
            title="which learning rate is best for whom, on images that clients set aside",
            rows=tuple(
                replace(row, label=f"{row.label}, {rate:g}", lr=rate, rate_of=row.label, every=SELDOM) for rate in RATES for row in _TUNED
            ),
            alphas=(0.1,),
            held=0.2,
            seeds=(0,),
        ),
        FederatedSuite(
            name="best",
            title="every algorithm at its own best learning rate",
            rows=(_FEDAVG, _FEDGEN, _FEDGEN_LIGHT, _FEDPROX, _FEDENSEMBLE, _FEDDISTILL, _FEDDISTILLPLUS, _FEDDF, _FEDGEN_PAPER),
            tuned=True,
        ),
        FederatedSuite(
            name="ablation",
            title="FedGen without each of its parts",
            rows=(
                _FEDGEN,
                _FEDAVG,
                FederatedRow(label="FedGen, no generated data", algorithm=FedGen(generated=0.0)),
                FederatedRow(label="FedGen, no latent term", algorithm=FedGen(latent=0.0)),
                FederatedRow(label="FedGen, no diversity", algorithm=FedGen(diversity=0.0)),
                FederatedRow(label="FedGen, BN local", algorithm=FedGen(bn="local"), every=SELDOM),
            ),
            alphas=(0.1,),
            folder="mnist",
        ),
        FederatedSuite(
            name="head",
            title="only the head travels",
            rows=(
                FederatedRow(label="FedAvg", algorithm=FedAvg(share="head")),
                FederatedRow(label="FedGen", algorithm=FedGen(share="head")),
                FederatedRow(label="FedDistillPlus", algorithm=FedDistillPlus(share="head")),
            ),
            every=SELDOM,
        ),
        FederatedSuite(
            name="dense",
            title="one round, five clients",
            rows=(
                FederatedRow(label="DENSE", algorithm=DENSE(), smoke=_ONCE),
                FederatedRow(label="DENSE, paper", algorithm=DENSE(counts="withheld"), smoke=_ONCE),
            ),
            alphas=(0.1,),
            momentum=0.9,
            rounds=1,
            clients=5,
            active=5,
            local_steps=2000,
            share=0.25,
        ),
    )
}

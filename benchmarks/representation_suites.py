"""The suites of representation distillation: all that is measured, as plain data.

Objectives have the weights of RepDistiller's tables (https://github.com/HobbitLong/RepDistiller, scripts/run_cifar_distill.sh), of the
authors where those have none, and 1 where nobody says; AB and FSP teach alone first (that code weighs FSP by 1 then), and FT's
paraphraser learns first, as their openings say. Here an opening goes through the whole schedule, there it had one learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.representation_plans import RepresentationPair, RepresentationRow, RepresentationSuite
from benchmarks.suites import DATASETS, PART_IMAGES, PART_TRAINING
from tacit.distill import Training
from tacit.distill.objectives import Terms

__all__ = ["KD", "SUITES"]

KD: Terms = [{"loss": "ce", "weight": 0.1}, {"loss": "kd", "weight": 0.9, "temperature": 4.0}]
CRD = "ce=1,crd=0.8"
BOTH = "ce=1,crd=0.8,kd=1"


def _terms(*terms: tuple[str, float, Mapping[str, Any]], ce: float = 1.0) -> Terms:
    """Return cross-entropy and `terms`, each a loss, its weight and its options."""
    return [{"loss": "ce", "weight": ce}, *({"loss": name, "weight": weight, **more} for name, weight, more in terms)]


def _rising(steps: int) -> int:
    """Return the warm-up that DKD and ReviewKD give their terms: 20 of 240 epochs."""
    return steps // 12


def _distillers(steps: int, *, review: float = 5.0, width: int = 512) -> tuple[RepresentationRow, ...]:
    """Return a row for every distiller but KD and CRD."""
    usual = {"AT": "at=1000", "FitNet": "fitnet=100", "SP": "sp=3000", "CC": "cc=0.02", "VID": "vid=1", "RKD": "rkd=1", "PKT": "pkt=30000"}
    usual |= {"NST": "nst=50", "KD-SVD": "kdsvd=1", "OFD": "ofd=0.001", "AB": "ab=0.003", "FT": "ft=200", "FSP": "fsp=1"}
    rows = [RepresentationRow(label=name, objective=f"ce=1,{term}") for name, term in usual.items()]
    own = {
        "KD, standardised": _terms(("kd", 9.0, {"temperature": 2.0, "standardise": True}), ce=0.1),
        "DKD": _terms(("dkd", 1.0, {"beta": 8.0, "temperature": 4.0, "warmup": _rising(steps)})),
        "DIST": _terms(("dist", 2.0, {"temperature": 4.0})),
        "ReviewKD": _terms(("reviewkd", review, {"warmup": _rising(steps), "width": width})),
    }
    return (*rows, *(RepresentationRow(label=name, objective=terms) for name, terms in own.items()))


def _main(pairs: tuple[str, ...] = (), *, probed: bool = False) -> tuple[RepresentationRow, ...]:
    """Return the rows that a claim is about."""
    told: Mapping[str, Terms] = {"student alone": "ce=1", "KD": KD, "CRD": CRD, "CRD+KD": BOTH}
    return tuple(RepresentationRow(label=name, objective=terms, pairs=pairs, probed=probed) for name, terms in told.items())


_BEST = ("KD, lr 0.1", "CRD, batch, lr 0.1", "CRD+KD, batch")
"""The best of their row's settings on the first seed."""
_BANKS: tuple[tuple[str, float, Mapping[str, Any]], ...] = (
    ("queue", 0.8, {"bank": "queue"}),
    ("queue of 16384", 0.8, {"bank": "queue", "rows": 16384}),
    ("batch", 0.8, {"bank": "batch"}),
    ("batch, 2.4", 2.4, {"bank": "batch"}),
)
"""Other banks, their weights and options: a row of the memory moves once an epoch, and its first positive is a random vector."""


def _settings() -> tuple[RepresentationRow, ...]:
    """Return other settings of the main rows, and smaller weights of others, most of which ended below the student alone."""
    weights: Mapping[str, tuple[str, Terms]] = {
        "KD, ce=1,kd=1": ("KD", "ce=1,kd=1"),
        "CRD, 0.3": ("CRD", "ce=1,crd=0.3"),
        "CRD+KD, 0.3": ("CRD+KD", "ce=1,crd=0.3,kd=1"),
        "AT, 300": ("AT", "ce=1,at=300"),
        "RKD, 0.3": ("RKD", "ce=1,rkd=0.3"),
        "SP, 1000": ("SP", "ce=1,sp=1000"),
        "VID, 0.3": ("VID", "ce=1,vid=0.3"),
        "KD-SVD, 0.3": ("KD-SVD", "ce=1,kdsvd=0.3"),
        "FT, 60": ("FT", "ce=1,ft=60"),
        "CRD, queue, analytic": ("CRD", _terms(("crd", 0.8, {"bank": "queue", "form": "nce", "normaliser": "analytic"}))),
    }
    with_kd: Mapping[str, tuple[tuple[str, float, Mapping[str, Any]], ...]] = {"CRD": (), "CRD+KD": (("kd", 1.0, {}),)}
    banks = {
        f"{name}, {label}": (name, _terms(("crd", weight, {**options, "form": "infonce"}), *more))
        for label, weight, options in _BANKS
        for name, more in with_kd.items()
    }
    rates = {row.label: row.objective for row in _main()} | {f"{name}, batch": banks[f"{name}, batch"][1] for name in with_kd}
    rows = (
        *(RepresentationRow(label=label, objective=terms, setting_of=of) for label, (of, terms) in weights.items()),
        *(RepresentationRow(label=label, objective=terms, setting_of=of, probed=True) for label, (of, terms) in banks.items()),
        *(
            RepresentationRow(label=f"{name}, lr 0.1", objective=terms, lr=0.1, setting_of=name.partition(",")[0])
            for name, terms in rates.items()
        ),
    )
    return tuple(replace(row, confirmed=row.label in _BEST) for row in rows)


_SMALLER = RepresentationPair(
    name="resnet20-resnet8",
    title="ResNet-20 -> ResNet-8",
    teachers=("cifar10-resnet20-long",),
    student="tacit.zoo:resnet",
    kwargs={"depth": 8},
    images=PART_IMAGES,
    probes={f"{count} labels a class": (DATASETS["mnist"], count) for count in (10, 100)},
)
_EQUAL = RepresentationPair(
    name="resnet20-resnet20",
    title="ResNet-20 -> ResNet-20, the teacher trained on the same images for as many steps",
    teachers=("cifar10-resnet20-part",),
    student="tacit.zoo:resnet",
    kwargs={"depth": 20},
    images=PART_IMAGES,
)
_CPU = RepresentationSuite(
    name="cpu",
    title="every distiller, CIFAR-10 on a CPU",
    pairs=(_SMALLER, _EQUAL),
    rows=(
        *(replace(row, pairs=(_SMALLER.name, _EQUAL.name)) for row in _main(probed=True)),
        *_distillers(PART_TRAINING.steps, width=32),
        *_settings(),
        RepresentationRow(label="untrained", probed=True),
        RepresentationRow(label="teacher", network="teacher", probed=True),
    ),
    training=PART_TRAINING,
    minutes=5,
)
_AGAIN = ("student alone", "KD", "CRD", "CRD+KD", "CRD, batch", "CRD+KD, batch")
_LONGER = RepresentationSuite(
    name="longer",
    title="four times the steps: whether CRD's memory wants epochs",
    pairs=(replace(_SMALLER, probes={}),),
    rows=(
        *(replace(row, probed=False, pairs=()) for row in _CPU.rows if row.label in _AGAIN),
        *(row for row in _distillers(4 * PART_TRAINING.steps, width=32) if row.label == "ReviewKD"),
    ),
    training=replace(PART_TRAINING, steps=4 * PART_TRAINING.steps),
    seeds=(0,),
)
_ENSEMBLE = RepresentationSuite(
    name="ensemble",
    title="error against the number of teachers",
    pairs=(
        RepresentationPair(
            name="resnet14-resnet8",
            title="1, 2 or 4 ResNet-14 -> ResNet-8",
            teachers=tuple(f"cifar10-resnet14-{number}" for number in range(4)),
            student="tacit.zoo:resnet",
            kwargs={"depth": 8},
            images=PART_IMAGES,
        ),
    ),
    rows=(
        RepresentationRow(label="student alone", objective="ce=1"),
        *(
            RepresentationRow(label=f"{row.label}, {count}", objective=row.objective, teachers=count)
            for count in (1, 2, 4)
            for row in _main()[1:]
        ),
        *(
            RepresentationRow(
                label=f"CRD+KD, {count}, averaged",
                objective=_terms(("crd", 0.8, {"average": True}), ("kd", 1.0, {})),
                teachers=count,
                setting_of=f"CRD+KD, {count}",
            )
            for count in (2, 4)
        ),
    ),
    training=PART_TRAINING,
)
_CROSS = ("luminance-chrominance", "grey-edges", "rgb-depth")
_UNLABELLED: Mapping[str, Terms] = {
    "L2": [{"loss": "benchmarks.pooled:PooledL2"}],
    "AT": "at=1000",
    "KD": "kd=1",
    "CRD": "crd=1",
    "CRD, batch": [{"loss": "crd", "bank": "batch", "form": "infonce"}],
}
_CROSS_MODAL = RepresentationSuite(
    name="cross-modal",
    title="from one modality to another, without labels",
    pairs=(
        RepresentationPair(
            name=_CROSS[0],
            title="CIFAR-10, luminance -> chrominance: ResNet-14 -> ResNet-8",
            teachers=("cifar10-luminance",),
            student="tacit.zoo:resnet",
            kwargs={"depth": 8, "channels": 2},
            images=PART_IMAGES,
            views=_CROSS[0],
            probes={"500 labels a class": (DATASETS["cifar10"], 500)},
        ),
        RepresentationPair(
            name=_CROSS[1],
            title="MNIST, grey -> edges: ResNet-8 -> ResNet-8",
            teachers=("mnist-resnet8",),
            student="tacit.zoo:resnet",
            kwargs={"depth": 8, "channels": 1},
            dataset=DATASETS["mnist"],
            images=PART_IMAGES,
            augmentation="shift",
            views=_CROSS[1],
            probes={"10 labels a class": (DATASETS["mnist"], 10)},
        ),
        RepresentationPair(
            name=_CROSS[2],
            title="solids, colour -> depth: ResNet-14 -> ResNet-8",
            teachers=("solids-rgb",),
            student="tacit.zoo:resnet",
            kwargs={"depth": 8, "channels": 1},
            dataset=DATASETS["solids"],
            views=_CROSS[2],
            probes={"100 labels a class": (DATASETS["solids"], 100)},
        ),
    ),
    rows=(
        RepresentationRow(label="untrained", probed=True, pairs=_CROSS),
        *(
            RepresentationRow(label=label, objective=terms, labelled=False, probed=True, pairs=_CROSS)
            for label, terms in _UNLABELLED.items()
        ),
        RepresentationRow(label="supervised", objective="ce=1", probed=True, pairs=_CROSS),
        RepresentationRow(label="teacher", network="teacher", probed=True, pairs=_CROSS),
    ),
    training=Training(steps=1500, batch=64, optimizer="adam", lr=1e-3, weight_decay=0.0),  # the scale of a loss plays no part
)
_DATA_FREE = RepresentationSuite(
    name="data-free",
    title="CRD on images that CMI made",
    pairs=(replace(_SMALLER, images=None, probes={}),),
    rows=(
        RepresentationRow(label="KD", objective="kd=1"),
        RepresentationRow(label="CRD+KD", objective="kd=1,crd=0.8"),
        RepresentationRow(label="CRD+KD, 0.2", objective="kd=1,crd=0.2", setting_of="CRD+KD"),
        RepresentationRow(label="CRD+KD, 0.05", objective="kd=1,crd=0.05", setting_of="CRD+KD"),
        RepresentationRow(
            label="CRD+KD, batch",
            objective=[{"loss": "kd"}, {"loss": "crd", "weight": 0.8, "bank": "batch"}],
            setting_of="CRD+KD",
            confirmed=True,
        ),
    ),
    training=PART_TRAINING,
    pool="CMI, 2560 images",
)
_GPU = RepresentationSuite(
    name="gpu",
    title="every distiller, CIFAR-10 on a GPU",
    pairs=(
        RepresentationPair(
            name="wrn40-2-wrn16-2", title="WRN-40-2 -> WRN-16-2", teachers=("cifar10-wrn40-2",), student="tacit.zoo:wrn16_2"
        ),
        RepresentationPair(
            name="resnet32x4-resnet8x4",
            title="ResNet-32x4 -> ResNet-8x4",
            teachers=("cifar10-resnet32x4",),
            student="tacit.zoo:resnet8x4",
        ),
    ),
    rows=tuple(
        replace(row, pairs=("wrn40-2-wrn16-2", "resnet32x4-resnet8x4"))
        for row in (*_main(), *(row for row in _settings() if row.label in ("CRD, batch", "CRD+KD, batch")), *_distillers(7800))
    ),  # forty epochs are few for a memory
    training=Training(  # 40 epochs in place of 240, in larger batches; the rate falls where it does in the paper
        steps=7_800, batch=256, lr=0.1, weight_decay=5e-4, schedule="steps", milestones=(0.625, 0.75, 0.875)
    ),
    device="cuda",
    precision="auto",
    seeds=(0,),
)
SUITES = {
    suite.name: suite
    for suite in (
        _CPU,
        replace(
            _CPU,
            name="transfer",
            title="what students know of MNIST",
            pairs=(_SMALLER,),
            rows=tuple(row for row in _CPU.rows if row.probed),
            folder="cpu",
            minutes=None,
        ),
        _LONGER,
        _ENSEMBLE,
        _CROSS_MODAL,
        _DATA_FREE,
        _GPU,
    )
}
"""`transfer` is those runs of `cpu` that are probed; `cost` is in `benchmarks.cost`."""

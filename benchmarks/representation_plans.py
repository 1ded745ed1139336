"""What the suites of representation distillation are made of: pairs, rows and suites, as plain data.

Objectives have the weights of RepDistiller's tables (https://github.com/HobbitLong/RepDistiller, scripts/run_cifar_distill.sh), of the
authors where those have none, and 1 where nobody says; AB and FSP teach alone first, FT's paraphraser learns first, as their openings say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from benchmarks.compression_plans import SMALL
from benchmarks.plans import Dataset
from benchmarks.suites import DATASETS, PART_IMAGES, PART_TRAINING
from tacit.core.device import Precision
from tacit.data import Augmentation
from tacit.distill import Training
from tacit.distill.objectives import Terms

__all__ = ["CRD", "KD", "SUITES", "RepresentationPair", "RepresentationRow", "RepresentationSuite"]

KD: Terms = [{"loss": "ce", "weight": 0.1}, {"loss": "kd", "weight": 0.9, "temperature": 4.0}]
CRD = "ce=1,crd=0.8"
BOTH = "ce=1,crd=0.8,kd=1"
IMAGES_SMALL = 24
"""Training images of a smoke run."""


@dataclass(frozen=True, kw_only=True)
class RepresentationPair:
    """Teachers, and the student that learns from them."""

    name: str
    title: str
    """Both in words."""
    teachers: tuple[str, ...]
    """Names of folders under teachers/; a row takes as many as it says, beginning with the one whose number is its seed."""
    student: str
    """``package.module:factory``."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    """Other steps than the suite's, for all rows."""


@dataclass(frozen=True, kw_only=True)
class RepresentationRow:
    """One way of teaching the student."""

    label: str
    objective: Terms | None = None
    """What the student minimises; None: nothing, the network is only measured."""
    network: Literal["student", "teacher"] = "student"
    """Which network is measured, where nothing is minimised."""
    teachers: int = 1
    """How many of the pair's teach."""
    lr: float | None = None
    """Another learning rate than the suite's."""
    setting_of: str = ""
    """Label of the row of which this is another setting, tried on the first seed; "": a row of its own."""
    probed: bool = False
    """Whether other tasks are read from what it sees."""
    pairs: tuple[str, ...] = ()
    """The pairs it is run on; empty: the first."""


@dataclass(frozen=True, kw_only=True)
class RepresentationSuite:
    """Rows that can be compared: the same teachers, student, images, optimiser and steps for all."""

    name: str
    title: str
    dataset: Dataset
    pairs: tuple[RepresentationPair, ...]
    rows: tuple[RepresentationRow, ...]
    training: Training
    images: int | None = None
    """So many images of the training set are learned from, its first; None: all."""
    pool: str = ""
    """Name of the pool that is learned from in place of them, as in `benchmarks.compression_plans.POOLS`."""
    probes: Mapping[str, int] = field(default_factory=dict)
    """Labelled images a class of MNIST, as RGB, that a linear probe learns from, by the name of the probe."""
    augmentation: Augmentation = "shift-flip"
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "bf16-mixed"
    seeds: tuple[int, ...] = (0, 1, 2)
    folder: str = ""
    """Of its results, where it shares another suite's; "": its name."""

    def on(self, pair: RepresentationPair) -> tuple[RepresentationRow, ...]:
        """Return the rows that are run on `pair`."""
        return tuple(row for row in self.rows if pair.name in (row.pairs or (self.pairs[0].name,)))

    def seeds_of(self, row: RepresentationRow) -> tuple[int, ...]:
        """Return the seeds of a row."""
        return self.seeds[:1] if row.setting_of else self.seeds

    def training_of(self, pair: RepresentationPair, row: RepresentationRow) -> Training:
        """Return how the student of `pair` is trained in `row`."""
        return replace(self.training, steps=pair.steps or self.training.steps, lr=row.lr or self.training.lr)

    def probes_of(self, pair: RepresentationPair, row: RepresentationRow) -> Mapping[str, int]:
        """Return how a run is probed: that of the first pair alone."""
        return self.probes if row.probed and pair.name == self.pairs[0].name else {}

    def teachers_of(self, pair: RepresentationPair, row: RepresentationRow, seed: int) -> list[str]:
        """Return who teaches: the teachers take turns, so that no figure hangs on one of them."""
        return [pair.teachers[(seed + number) % len(pair.teachers)] for number in range(row.teachers)]

    def shrunk(self) -> RepresentationSuite:
        """Return the suite with one seed and two or three student steps on small batches; on a CPU where there is no GPU."""
        training = replace(self.training, **{**SMALL, "steps": 3})  # a phase has a step at least
        device = self.device if torch.cuda.is_available() else "cpu"
        pairs = tuple(replace(pair, steps=None) for pair in self.pairs)
        images = self.images and IMAGES_SMALL
        return replace(self, training=training, pairs=pairs, images=images, seeds=self.seeds[:1], device=device)


def _terms(*terms: tuple[str, float, Mapping[str, Any]], ce: float = 1.0) -> Terms:
    """Return cross-entropy and `terms`, each a loss, its weight and its options."""
    return [{"loss": "ce", "weight": ce}, *({"loss": name, "weight": weight, **more} for name, weight, more in terms)]


def _rising(steps: int) -> int:
    """Return the warm-up that DKD and ReviewKD give their terms: 20 of 240 epochs."""
    return steps // 12


def _distillers(steps: int, *, review: float = 5.0, width: int = 512) -> tuple[RepresentationRow, ...]:
    """Return a row for every distiller but KD and CRD."""
    usual = {"AT": "at=1000", "FitNet": "fitnet=100", "SP": "sp=3000", "CC": "cc=0.02", "VID": "vid=1", "RKD": "rkd=1", "PKT": "pkt=30000"}
    usual |= {"NST": "nst=50", "KD-SVD": "kdsvd=1", "OFD": "ofd=0.001", "AB": "ab=0.003", "FT": "ft=200", "FSP": "fsp=50"}
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


def _settings() -> tuple[RepresentationRow, ...]:
    """Return other settings of the main rows, and of those that come near them in the published tables."""
    weights: Mapping[str, tuple[str, Terms]] = {
        "KD, ce=1,kd=1": ("KD", "ce=1,kd=1"),
        "CRD, 0.3": ("CRD", "ce=1,crd=0.3"),
        "CRD+KD, 0.3": ("CRD+KD", "ce=1,crd=0.3,kd=1"),
        "AT, 300": ("AT", "ce=1,at=300"),
        "RKD, 0.3": ("RKD", "ce=1,rkd=0.3"),
        "SP, 1000": ("SP", "ce=1,sp=1000"),
    }
    rates = {row.label: row.objective for row in _main()}
    return (
        *(RepresentationRow(label=label, objective=terms, setting_of=of) for label, (of, terms) in weights.items()),
        *(RepresentationRow(label=f"{name}, lr 0.1", objective=terms, lr=0.1, setting_of=name) for name, terms in rates.items()),
    )


_SMALLER = RepresentationPair(
    name="resnet20-resnet8",
    title="ResNet-20 -> ResNet-8",
    teachers=("cifar10-resnet20-long",),
    student="tacit.zoo:resnet",
    kwargs={"depth": 8},
)
_EQUAL = RepresentationPair(
    name="resnet20-resnet20",
    title="ResNet-20 -> ResNet-20, the teacher trained on the same images for as many steps",
    teachers=("cifar10-resnet20-part",),
    student="tacit.zoo:resnet",
    kwargs={"depth": 20},
)
_CPU = RepresentationSuite(
    name="cpu",
    title="every distiller, CIFAR-10 on a CPU",
    dataset=DATASETS["cifar10"],
    pairs=(_SMALLER, _EQUAL),
    rows=(
        *(replace(row, pairs=(_SMALLER.name, _EQUAL.name)) for row in _main(probed=True)),
        *_distillers(PART_TRAINING.steps, width=32),
        *_settings(),
        RepresentationRow(label="untrained", probed=True),
        RepresentationRow(label="teacher", network="teacher", probed=True),
    ),
    training=PART_TRAINING,
    images=PART_IMAGES,
    probes={"10 labels a class": 10, "100 labels a class": 100},
)
_ENSEMBLE = RepresentationSuite(
    name="ensemble",
    title="error against the number of teachers",
    dataset=DATASETS["cifar10"],
    pairs=(
        RepresentationPair(
            name="resnet14-resnet8",
            title="1, 2 or 4 ResNet-14 -> ResNet-8",
            teachers=tuple(f"cifar10-resnet14-{number}" for number in range(4)),
            student="tacit.zoo:resnet",
            kwargs={"depth": 8},
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
    images=PART_IMAGES,
)
_DATA_FREE = RepresentationSuite(
    name="data-free",
    title="CRD on images that CMI made",
    dataset=DATASETS["cifar10"],
    pairs=(_SMALLER,),
    rows=(
        RepresentationRow(label="KD", objective="kd=1"),
        RepresentationRow(label="CRD+KD", objective="kd=1,crd=0.8"),
        RepresentationRow(label="CRD+KD, 0.2", objective="kd=1,crd=0.2", setting_of="CRD+KD"),
        RepresentationRow(label="CRD+KD, 0.05", objective="kd=1,crd=0.05", setting_of="CRD+KD"),
    ),
    training=PART_TRAINING,
    pool="CMI, 2560 images",
)
_GPU = RepresentationSuite(
    name="gpu",
    title="every distiller, CIFAR-10 on a GPU",
    dataset=DATASETS["cifar10"],
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
    rows=tuple(replace(row, pairs=("wrn40-2-wrn16-2", "resnet32x4-resnet8x4")) for row in (*_main(), *_distillers(7800))),
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
        ),
        _ENSEMBLE,
        _DATA_FREE,
        _GPU,
    )
}
"""`transfer` is those runs of `cpu` that are probed; `cost` is in `benchmarks.cost`."""

"""What the suites of compression are made of: networks, pools and rows, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from benchmarks.suites import DATASETS
from tacit.data import Augmentation
from tacit.distill import Training
from tacit.quantize import Scheme
from tacit.synthesize import BNS, CMI, Gaussian, Inception, Method

__all__ = ["NETWORKS", "POOLS", "SMALL", "SUITES", "CompressionRow", "CompressionSuite", "PoolPlan"]

NETWORKS = {"resnet20": "cifar10-resnet20-long", "mobilenetv2": "cifar10-mobilenetv2"}
"""Teachers, by the name that results have."""


@dataclass(frozen=True, kw_only=True)
class PoolPlan:
    """A set of images that is painted once a network.

    Args:
        method: How.
        images: How many; a fifth is set aside for acceptance.
        seed: Of every draw.
    """

    method: Method
    images: int = 1280
    seed: int = 0


_BNS = BNS(batch=256, steps=200, lr=0.1, copies=0)
_MOVED = replace(_BNS, copies=1, views="shift-flip")
_I = Inception(batch=256, steps=20, lr=0.05, copies=1)
_CMI = CMI(batch=128, steps=60, lr=5e-3, restart=4, negatives=512, flip=True, width=32, adv=0.0)
POOLS = {
    "BNS": PoolPlan(method=_BNS),
    "BNS, moved": PoolPlan(method=_MOVED),
    "BNS, moved, pool 1": PoolPlan(method=_MOVED, seed=1),
    "BNS, moved, pool 2": PoolPlan(method=_MOVED, seed=2),
    "BNS+I": PoolPlan(method=replace(_BNS, logit=1.0, smooth=1.0)),
    "BNS+I, moved": PoolPlan(method=replace(_MOVED, logit=1.0, smooth=1.0)),
    "I": PoolPlan(method=_I),
    "I, balanced": PoolPlan(method=Inception.balanced(DATASETS["cifar10"].spec, batch=256, steps=20, lr=0.05, copies=1)),
    "I, 200 steps": PoolPlan(method=replace(_I, steps=200)),
    "G": PoolPlan(method=Gaussian(batch=256)),
    "CMI": PoolPlan(method=_CMI),
    "CMI, 2560 images": PoolPlan(method=replace(_CMI, steps=30), images=2560),
}
"""Those of The Knowledge Within, one of CMI for pruning, and one that students learn from. One look at each image a step: the authors' four
augmented copies cost four times as much, and the network has seen no holes. What is fine-tuned on is painted moved and mirrored, as
fine-tuning will show it. I ends after the number of steps, of 10, 20, 30, 50 and 200, at which its images are nearest to what the network
remembers, which takes no data: driven on, their logits rise far above those of any real image. "I, balanced" is what `tacit quantize` makes
of networks without batch norm: smoothness counts less, as images are smaller."""


@dataclass(frozen=True, kw_only=True)
class CompressionRow:
    """One way of making a network smaller."""

    label: str
    pools: tuple[str, ...] = ()
    """Names of the pools that it learns from; none: real training images."""
    images: int = 1024
    """Of them, how many."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Options of the verb."""
    training: Training | None = None
    augmentation: Augmentation = "shift-flip"
    seeds: tuple[int, ...] | None = None
    """Other seeds than the suite's."""
    networks: tuple[str, ...] = ()
    """Those that it is run on; empty: all of the suite's."""

    def options(self, small: bool) -> dict[str, Any]:
        """Return the verb's options; for a smoke run, of two steps."""
        if not self.fixed:
            return {}
        found: dict[str, Any] = {"images": self.images, "acceptance": 256, "augmentation": self.augmentation, **self.fixed}
        if self.training is not None:
            found["training"] = self.training
        if small:
            found |= {"images": 24, "acceptance": 8}
            found |= {"training": replace(self.training, **SMALL)} if self.training else {}
        return found


SMALL: Mapping[str, Any] = {"steps": 2, "batch": 8, "warmup": 0}


@dataclass(frozen=True, kw_only=True)
class CompressionSuite:
    """Rows that are set beside each other."""

    name: str
    title: str
    verb: Literal["quantize", "prune", "similarity"]
    networks: tuple[str, ...]
    rows: tuple[CompressionRow, ...]
    seeds: tuple[int, ...]
    say: Callable[[Mapping[str, Any]], str]
    """Puts a result into a few words."""
    timed: bool = False
    """Whether runs say how long inference takes."""

    def on(self, network: str) -> tuple[CompressionRow, ...]:
        """Return the rows that are run on `network`."""
        return tuple(row for row in self.rows if not row.networks or network in row.networks)


SOURCES: Mapping[str, tuple[str, ...]] = {"real": (), "BNS": ("BNS",), "BNS+I": ("BNS+I",), "I": ("I",), "G": ("G",)}
_TUNED = {**SOURCES, "BNS": ("BNS, moved",), "BNS+I": ("BNS+I, moved",)}
_LOW = {4: 4, 2: 4}
"""Bits of activations by bits of weights, of what every source is tried with."""
_RATES = {4: 3e-4, 3: 1e-3, 2: 1e-3}
"""Learning rate of Adam by bits of weights, for every source but those in `_LOWERED`."""
_LOWERED = {(2, "I"): 3e-4, (2, "G"): 3e-4}
"""The rate where 1e-3 ended at chance. On I `tacit quantize` warned of that: fine-tuning left less agreement on fresh images of its own
than calibration had. On G it can't: on noise the networks agree to the end."""


def _low_bits() -> tuple[CompressionRow, ...]:
    rows: list[CompressionRow] = []

    def add(
        label: str,
        bits: int,
        pools: tuple[str, ...],
        *,
        ends: int | None = None,
        tuned: bool = True,
        frozen: bool | None = None,
        rate: float | None = None,
        **more: Any,
    ) -> None:
        scheme = Scheme(weights=bits, activations=_LOW.get(bits, bits), ends=ends)
        training = Training(steps=300, batch=64, optimizer="adam", lr=rate or _RATES[bits], weight_decay=0.0) if tuned else None
        fixed = {"scheme": scheme, "finetune": tuned, "baselines": False, "mixup": 0.5 if tuned else 0.0}
        fixed |= {} if frozen is None else {"freeze_bn": frozen}
        rows.append(CompressionRow(label=f"{scheme.name}{label}", pools=pools, fixed=fixed, training=training, **more))

    for bits in _LOW:
        for name, pools in _TUNED.items():
            add(f" {name}", bits, pools, rate=_LOWERED.get((bits, name)))
            add(f" {name}, calibrated only", bits, SOURCES[name], tuned=False, seeds=(0,))
        add(" BNS, painted unmoved", bits, ("BNS",), seeds=(0,))
        add(" I, balanced", bits, ("I, balanced",), rate=_LOWERED.get((bits, "I")))
    for name in ("real", "BNS"):
        add(f" {name}", 3, _TUNED[name])
    add(" BNS, batch norm live", 4, _TUNED["BNS"], frozen=False, seeds=(0,))
    add(" BNS, batch norm frozen", 2, _TUNED["BNS"], frozen=True, seeds=(0,))
    add(" I, rate 1e-3", 2, _TUNED["I"], seeds=(0,))
    add(" G, rate 1e-3", 2, _TUNED["G"])
    for name in ("I", "G"):
        add(f" {name}, batch norm live", 2, _TUNED[name], frozen=False, seeds=(0,))
    for bits in _LOW:
        for name in ("real", "BNS"):
            add(f" {name}, 8-bit ends", bits, _TUNED[name], ends=8)
        for number in (1, 2):
            add(f" BNS, pool {number}", bits, (f"BNS, moved, pool {number}",), seeds=(0,))
        for count in (16, 64, 256):
            add(f" BNS, {count} images", bits, _TUNED["BNS"], images=count, seeds=(0,))
    return tuple(rows)


def _eight_bits() -> tuple[CompressionRow, ...]:
    fixed: dict[str, Any] = {"scheme": Scheme(), "baselines": False}
    sources = {**SOURCES, "I, balanced": ("I, balanced",)}
    rows = [CompressionRow(label=name, pools=pools, fixed=fixed) for name, pools in sources.items()]
    return (*rows, CompressionRow(label="without images", pools=("BNS",), fixed={**fixed, "baselines": True}, seeds=(0,)))


def _pruned() -> tuple[CompressionRow, ...]:
    training = Training(steps=600, batch=64, lr=0.05, warmup=50, weight_decay=1e-4, clip=1.0)
    fixed = {"share": 0.3}
    return tuple(
        CompressionRow(label=name, pools=pools, fixed=fixed, training=training)
        for name, pools in {"real": (), "BNS": _TUNED["BNS"], "CMI": ("CMI",)}.items()
    )


def _said(result: Mapping[str, Any]) -> str:
    metrics = result["metrics"]
    return f"{100 * metrics['student_accuracy']:.2f} % of {100 * metrics['teacher_accuracy']:.2f} %"


def _ranked(result: Mapping[str, Any]) -> str:
    return " < ".join(sorted(result["similarity"], key=lambda name: float(result["similarity"][name]["divergence"])))


SUITES = {
    suite.name: suite
    for suite in (
        CompressionSuite(
            name="w8a8",
            title="int8 files for ONNX Runtime",
            verb="quantize",
            networks=("resnet20", "mobilenetv2"),
            rows=_eight_bits(),
            seeds=(0, 1, 2),
            say=_said,
            timed=True,
        ),
        CompressionSuite(
            name="low-bit",
            title="W4A4, W3A3 and W2A4, fine-tuned",
            verb="quantize",
            networks=("resnet20",),
            rows=_low_bits(),
            seeds=(0, 1, 2),
            say=_said,
        ),
        CompressionSuite(
            name="similarity",
            title="Which sets are like the training data",
            verb="similarity",
            networks=("resnet20", "mobilenetv2"),
            rows=(CompressionRow(label="all", pools=("BNS", "BNS+I", "I", "G")),),
            seeds=(0,),
            say=_ranked,
        ),
        CompressionSuite(
            name="pruning",
            title="30 % of the channels pruned",
            verb="prune",
            networks=("resnet20",),
            rows=_pruned(),
            seeds=(0, 1, 2),
            say=_said,
        ),
    )
}

"""The rows of the suites: each method with the settings that its budget allows.

A suite's budget is thousands of times smaller than a paper's, so that these are not the papers' settings (recipes/ has those): fewer and
smaller batches, narrower generators (16 or 32 maps), larger learning rates. They were chosen by a few trials on seed 0 that saw test
accuracy, alike for all methods; what is drawn from the comparison has to be larger than that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.plans import Row
from benchmarks.published import published
from tacit.synthesize import (
    CMI,
    DAFL,
    DFAD,
    DFQ,
    MSKD,
    NAYER,
    RDSKD,
    ZSKD,
    ZSKT,
    AdaptiveDeepInversion,
    DeepInversion,
    FastDFKD,
    Gaussian,
    Method,
)

__all__ = ["CIFAR10_CPU", "CIFAR10_GPU", "MNIST", "MNIST_SECONDS", "MNIST_TEACHERS"]


def _baselines(dataset: str, noise: Gaussian) -> tuple[Row, ...]:
    """Return the rows without which no figure can be read."""
    return (
        Row(label="real", labels=True, published=published(dataset, "real")),
        Row(label="kd-real", published=published(dataset, "kd-real")),
        Row(label="noise", method=noise, published=published(dataset, "noise")),
    )


def _row(dataset: str, method: Method, **more: Any) -> Row:
    return Row(label=method.name, method=method, published=published(dataset, method.name), **more)


MNIST_SECONDS = 300.0
"""Budget of a run on MNIST."""


_WITH_BN = ("resnet8",)
_WITHOUT_BN = ("lenet5-resnet8", "lenet5")


def _long(row: Row, *pairs: str, times: int = 4, **fields: Any) -> Row:
    """Return the row with `times` the budget and steps, one seed: for those that miss 95 %, or their aim, within the suite's budget."""
    assert row.method is not None
    assert row.steps is not None
    more: dict[str, Any] = {"method": replace(row.method, **fields), "steps": times * row.steps, "max_seconds": MNIST_SECONDS * times}
    return replace(row, label=f"{row.label}, {times} x", seeds=(0,), pairs=pairs, published=(), **more)


_SHORT = {
    row.label: row
    for row in (
        _row("mnist", DFAD(batch=64, lr=5e-3, latent=100, width=16), objective="l1=1", lr=0.1, steps=8000, pairs=_WITHOUT_BN),
        _row("mnist", DAFL(batch=64, lr=2e-3, latent=100, width=16), steps=8000),
        _row("mnist", MSKD(batch=64, lr=2e-3, latent=100, width=16), steps=8000),
        _row("mnist", RDSKD(batch=64, warmup=1200, width=16), steps=8000),
        _row("mnist", ZSKT(batch=64, lr=5e-3, width=16, clip=5.0), steps=8000, pairs=_WITHOUT_BN),
        _row("mnist", ZSKD(batch=128, steps=40, lr=0.05, warmup=220, rescale=False, start="normal"), steps=8000, pairs=_WITHOUT_BN),
    )
}
"""Those that are run on a LeNet-5, which has no batch norm."""

_ZSKD_WITH_BN = _row(
    "mnist",
    ZSKD(batch=192, steps=40, lr=0.2, temperature=6.7, warmup=40, rescale=False, start="normal"),
    steps=4000,
    pairs=_WITH_BN,
)

_NOISE = Gaussian(batch=128, warmup=40)

MNIST = (
    *_baselines("mnist", _NOISE),
    _row("mnist", DeepInversion(batch=128, steps=80, lr=0.1, warmup=24), pairs=_WITH_BN),
    _row("mnist", AdaptiveDeepInversion(batch=128, steps=80, lr=0.1, warmup=12, every=330), pairs=_WITH_BN),
    _row("mnist", FastDFKD(batch=128, steps=5, warmup=10, every=25, width=32), pairs=_WITH_BN),
    _row("mnist", CMI(batch=128, steps=30, lr=5e-3, warmup=4, every=330, restart=4, negatives=512, width=32), pairs=_WITH_BN),
    _row("mnist", NAYER(batch=130, steps=10, warmup=5, every=50, noise=100, width=32), pairs=_WITH_BN),
    _row("mnist", DFQ(batch=64, every=5, latent=100, width=16), pairs=_WITH_BN, steps=8000),
    _row("mnist", DFAD(batch=64, lr=5e-3, latent=100, width=16), objective="l1=1", steps=8000, pairs=_WITH_BN),
    _row("mnist", ZSKT(batch=64, width=16, clip=5.0), steps=8000, pairs=_WITH_BN),
    _ZSKD_WITH_BN,
    *_SHORT.values(),
    Row(label="kd-real, 2 x", steps=8000),  # as many as the live generators have
    Row(label="noise, 2 x", method=_NOISE, steps=8000),
    _long(_ZSKD_WITH_BN, *_WITH_BN, warmup=160),
    _long(_SHORT["RDSKD"], *_WITHOUT_BN, warmup=4800),
    _long(_SHORT["DAFL"], *_WITHOUT_BN),
    _long(_SHORT["DFAD"], "lenet5"),
)

MNIST_TEACHERS = tuple(replace(row, pairs=()) for row in (*_baselines("mnist", _NOISE), _SHORT["DFAD"]))
"""Rows that show how much a teacher tells of what it saw; to be held against pair `lenet5` of the suite `mnist`."""

CIFAR10_CPU = (
    *_baselines("cifar10", Gaussian(batch=128, warmup=40)),
    _row("cifar10", FastDFKD(batch=128, steps=5, warmup=20, every=36, width=32, flip=True)),
    _row("cifar10", CMI(batch=128, steps=30, lr=5e-3, warmup=4, every=330, restart=4, negatives=512, flip=True, width=32)),
    _row("cifar10", NAYER(batch=130, steps=10, warmup=10, every=70, noise=200, width=32, flip=True)),
    _row("cifar10", DFAD(batch=128, lr=5e-3, width=32), objective="l1=1"),
    _row("cifar10", DFQ(batch=128, every=5, width=32)),
)

CIFAR10_GPU = (  # a GPU is lent for minutes: what the suite is for goes first
    _row("cifar10", FastDFKD(steps=10, lr=2e-3, every=80, flip=True)),
    _row("cifar10", CMI(steps=200, every=400, flip=True)),
    _row("cifar10", NAYER(every=200, flip=True)),
    _row("cifar10", DFAD(), objective="l1=1"),
    *_baselines("cifar10", Gaussian(warmup=100)),
)

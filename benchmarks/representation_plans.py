"""What the suites of representation distillation are made of: pairs, rows and suites, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from benchmarks.compression_plans import SMALL
from benchmarks.plans import Dataset, seen_as
from benchmarks.suites import DATASETS
from tacit.core.device import Precision
from tacit.core.spec import Spec
from tacit.data import Augmentation
from tacit.distill import Training
from tacit.distill.objectives import Terms

__all__ = ["RepresentationPair", "RepresentationRow", "RepresentationSuite"]

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
    dataset: Dataset = DATASETS["cifar10"]
    images: int | None = None
    """So many images of the training set are learned from, its first; None: all."""
    augmentation: Augmentation = "shift-flip"
    views: str | None = None
    """What teacher and student see of an image, as luminance-chrominance; None: both the image itself."""
    probes: Mapping[str, tuple[Dataset, int]] = field(default_factory=dict)
    """By name, what a linear probe of probed rows reads, and from how many labelled images a class."""

    @property
    def spec(self) -> Spec:
        """What the student expects."""
        return seen_as(self.dataset.spec, self.view_of("student"))

    def view_of(self, network: Literal["student", "teacher"]) -> str | None:
        """Return what a network sees."""
        return None if self.views is None else self.views.split("-")[network == "student"]


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
    labelled: bool = True
    """Whether losses are shown labels."""
    lr: float | None = None
    """Another learning rate than the suite's."""
    setting_of: str = ""
    """Label of the row of which this is another setting, tried on the first seed; "": a row of its own."""
    confirmed: bool = False
    """Of another setting: whether it is run on every seed, since the first seed put it before the others of its row."""
    probed: bool = False
    """Whether other tasks are read from what it sees."""
    pairs: tuple[str, ...] = ()
    """The pairs it is run on; empty: the first."""


@dataclass(frozen=True, kw_only=True)
class RepresentationSuite:
    """Rows that can be compared: on a pair, the same teachers, student, images, optimiser and steps for all."""

    name: str
    title: str
    pairs: tuple[RepresentationPair, ...]
    rows: tuple[RepresentationRow, ...]
    training: Training
    pool: str = ""
    """Name of the pool that is learned from in place of them, as in `benchmarks.compression_plans.POOLS`."""
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "bf16-mixed"
    seeds: tuple[int, ...] = (0, 1, 2)
    folder: str = ""
    """Of its results, where it shares another suite's; "": its name."""
    minutes: int | None = None
    """How long a run is meant to train at most; None: as long as it takes."""

    def on(self, pair: RepresentationPair) -> tuple[RepresentationRow, ...]:
        """Return the rows that are run on `pair`."""
        return tuple(row for row in self.rows if pair.name in (row.pairs or (self.pairs[0].name,)))

    def seeds_of(self, row: RepresentationRow) -> tuple[int, ...]:
        """Return the seeds of a row."""
        return self.seeds[:1] if row.setting_of and not row.confirmed else self.seeds

    def training_of(self, row: RepresentationRow) -> Training:
        """Return how the student is trained in `row`."""
        return replace(self.training, lr=row.lr or self.training.lr)

    def teachers_of(self, pair: RepresentationPair, row: RepresentationRow, seed: int) -> list[str]:
        """Return who teaches: the teachers take turns, so that no figure hangs on one of them."""
        return [pair.teachers[(seed + number) % len(pair.teachers)] for number in range(row.teachers)]

    def shrunk(self) -> RepresentationSuite:
        """Return the suite with one seed and two or three student steps on small batches; on a CPU where there is no GPU."""
        training = replace(self.training, **{**SMALL, "steps": 3})  # a phase has a step at least
        device = self.device if torch.cuda.is_available() else "cpu"
        pairs = tuple(replace(pair, images=pair.images and IMAGES_SMALL) for pair in self.pairs)
        return replace(self, training=training, pairs=pairs, seeds=self.seeds[:1], device=device)

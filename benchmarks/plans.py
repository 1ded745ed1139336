"""What a suite is made of: plain data, no work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tacit.core.device import Precision
from tacit.core.models import ModelRef
from tacit.core.spec import Spec
from tacit.data import Augmentation, find_modality
from tacit.distill import Training
from tacit.distill.objectives import Terms
from tacit.synthesize import Method

__all__ = ["Dataset", "Pair", "Published", "Row", "Suite", "TeacherPlan", "part_of_train", "reference", "seen_as", "slug"]


def slug(text: str) -> str:
    """Return `text` as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def part_of_train(images: int | None) -> str:
    """Return the split that is the first `images` of the training set, or all of it."""
    return "train" if images is None else f"train[:{images}]"


def seen_as(spec: Spec, view: str | None) -> Spec:
    """Return what a network expects that sees `view` of images of `spec`."""
    return spec if view is None else replace(spec, shape=find_modality(view).shape(spec.shape), mean=(), std=())


def reference(factory: str, kwargs: Mapping[str, Any], spec: Spec) -> ModelRef:
    """Return where an untrained network is, and what it expects."""
    return ModelRef(
        path=factory, kwargs=dict(kwargs), **{name: getattr(spec, name) for name in ("shape", "classes", "mean", "std", "names", "task")}
    )


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Real data: only teachers and the rows that say so learn from them, and all are measured on ``test``."""

    folder: str
    """Name of the folder, under the folder of all data, that holds train.parquet and test.parquet."""
    column: str
    """Name of the column of images, as on the hub."""
    spec: Spec
    train: str
    """The training images in words."""
    test: str
    """The test images in words."""
    rendered: bool = False
    """Whether tacit renders it: its folder is then the name that tacit knows, and nothing needs to be there."""

    def at(self, data: Path) -> str:
        """Return where it is, or the name it has, under the folder of all data."""
        return self.folder if self.rendered and not (data / self.folder).is_dir() else str(data / self.folder)


@dataclass(frozen=True, kw_only=True)
class TeacherPlan:
    """How a teacher is trained."""

    factory: str
    kwargs: Mapping[str, Any]
    dataset: Dataset
    training: Training
    augmentation: Augmentation
    aim: float
    """Test accuracy below which it is not good enough to be measured against, in %."""
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "auto"
    max_seconds: float | None = None
    start: str = ""
    """Name of the teacher whose weights it starts from; "": none, it is trained from scratch."""
    seed: int = 0
    images: int | None = None
    """So many images of the training set are learned from, its first; None: all."""
    view: str | None = None
    """What it sees of them, as luminance; None: the images as they are."""
    half: bool = False
    """Whether its weights are kept in 16 bits, rounded, in half the room."""

    @property
    def split(self) -> str:
        """The split that is learned from."""
        return part_of_train(self.images)

    @property
    def spec(self) -> Spec:
        """What it expects, and says."""
        return seen_as(self.dataset.spec, self.view)

    @property
    def model(self) -> ModelRef:
        """The untrained network."""
        return reference(self.factory, self.kwargs, self.spec)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher and the student that learns from it."""

    name: str
    teacher: str
    """Name of its folder under teachers/."""
    student: str
    """``package.module:factory``."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the student's factory."""
    title: str
    """Both in words."""
    lr: float | None = None
    """Learning rate of this student, where it needs another than the suite's."""
    seeds: tuple[int, ...] | None = None
    """Other seeds than the suite's, of all rows that have none of their own."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure that somebody else reports."""

    value: float
    """Test accuracy in %."""
    pair: str
    """Teacher -> student."""
    source: str
    """Who reports it, and where."""
    mark: Literal["", "[M]", "[U]"] = ""
    """[M]: remembered and not verified; [U]: unverified."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of teaching the student; the same everywhere but where a field says otherwise."""

    label: str
    method: Method | None = None
    """How samples are made; None: the student learns from real data."""
    labels: bool = False
    """With real data: whether it learns from their labels, without the teacher."""
    shown: Dataset | None = None
    """With real data: other images, whose labels nobody sees; None: the suite's own."""
    objective: Terms | None = None
    """What the student minimises, where the paper has its own; None: the suite's."""
    augmentation: Augmentation | None = None
    """None: the suite's."""
    keep_images: int | None = None
    """Most images that a growing pool keeps."""
    max_seconds: float | None = None
    """Another budget than the suite's; the table says so."""
    steps: int | None = None
    """Other student steps than the suite's; the table says so."""
    lr: float | None = None
    """Another learning rate of the student than the pair's, as its objective needs."""
    pairs: tuple[str, ...] = ()
    """The pairs it is run on; empty: all."""
    seeds: tuple[int, ...] | None = None
    """Other seeds than the suite's."""
    published: tuple[Published, ...] = ()
    smoke: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the method in a smoke run, over the usual small ones."""

    @property
    def longer(self) -> bool:
        """Whether it has a budget of its own, so that it is not ranked among the others, nor judged with them."""
        return self.max_seconds is not None

    @property
    def budgeted(self) -> bool:
        """Whether the budget of seconds holds; real data are only there to compare, for all of the steps."""
        return self.method is not None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Rows that can be compared: the same teacher, student, optimiser and budget for all."""

    name: str
    title: str
    dataset: Dataset
    pairs: tuple[Pair, ...]
    rows: tuple[Row, ...]
    max_seconds: float
    """Seconds of synthesis and training together. A run ends with them or with the last of `training.steps`, whichever comes first."""
    training: Training
    objective: Terms = "kd=1"
    augmentation: Augmentation = "shift"
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "auto"
    """In which every row is run, whatever the size of its networks."""
    seeds: tuple[int, ...] = (0, 1, 2)
    evaluations: int = 20
    """Points of a curve, were all of the steps taken."""
    checks: int = 5
    """How often the health of a run is looked at; not counted in the budget."""
    score: str = "student_accuracy"
    """Name of the measure that curves show."""
    least: float = 0.0
    """What every method is to reach, in %."""
    aims: Mapping[str, float] = field(default_factory=dict)
    """What single ones are to reach, in %, by label."""
    best: tuple[float, ...] = ()
    """What the best is to reach, in %: at least, and as an aim."""
    over_noise: float = 0.0
    """By how many points every method is to be above noise."""

    def training_of(self, pair: Pair, row: Row) -> Training:
        """Return how the student of `pair` is trained in `row`."""
        return replace(self.training, steps=row.steps or self.training.steps, lr=row.lr or pair.lr or self.training.lr)

    def on(self, pair: Pair) -> tuple[Row, ...]:
        """Return the rows that are run on `pair`, with their seeds where those are not the suite's."""
        return tuple(replace(row, seeds=row.seeds or pair.seeds) for row in self.rows if not row.pairs or pair.name in row.pairs)

"""Sources: where the student's batches come from. The distillation loop never asks."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from tacit.core.batch import Batch, as_floats
from tacit.core.device import derived_seed
from tacit.core.errors import InputError
from tacit.data.images import Augmentation, augmented
from tacit.data.load import StreamedSet
from tacit.data.modalities import Modality

__all__ = ["Indexed", "Mixed", "Source", "Stored", "Streamed", "Unlabelled", "Viewed"]


class Source(Protocol):
    """Gives the batch of a student step, and can be put back to where it was.

    One whose set does not change says in an attribute `population` how many images there are; `Batch.index` numbers them from 0.
    One whose images, by that number, are the same whenever they come says so in an attribute `fixed`.
    """

    most_steps: int | None = None
    """Student steps after which a budget of images is used up and there is nothing left to show; None: there always is."""
    gives_targets: bool
    """Whether batches come with targets."""
    pieces: int
    """How many pieces of work `prepare` has."""

    def prepare(self) -> Iterator[int]:
        """Do what must be done before the student's first step; yield how many pieces are done; a checkpoint may be taken then."""

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        """Return the batch for student step number `step` (0, 1, ...), taken at the share `rate` of the learning rate; called in order."""

    def save(self, folder: Path) -> None:
        """Write stored images that are new into the run folder."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next batch depends on, but stored images."""

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        """Go on from where `state_dict` was taken, with the stored images of the run folder."""


class Indexed(Protocol):
    """A set whose samples can be had by number: an `ImageSet` or a `Pool`."""

    def __len__(self) -> int: ...

    def batch(self, index: torch.Tensor) -> Batch:
        """Return the samples at `index`."""


def _shared_out(samples: Sized, size: int, ranks: int) -> int:
    """Return how many images a batch of one process has, at most `size`; `InputError` where there is none for each of `ranks` processes."""
    if not len(samples):
        raise InputError("there are no images to learn from: the set is empty")
    if len(samples) < ranks:
        raise InputError(f"the set has {len(samples)} images for {ranks} processes, which learn from different ones: use fewer devices")
    return min(size, len(samples) // ranks)


class Stored:
    """A set that does not grow, shuffled anew each epoch; real data, or a pool made before.

    The order depends on (seed, epoch) alone, the augmentation of a batch on (seed, epoch, place of the batch).

    Args:
        samples: The set.
        size: Images a batch; the last, smaller batch of an epoch is dropped unless it is the only one.
        seed: Of order and augmentation.
        device: Where the draws are made.
        augmentation: What is done to each image; the teacher's stored logits are not used then.
        part: Number of this process and number of all: each learns from every so-manieth image of the common order.
    """

    most_steps: int | None = None

    def __init__(
        self,
        samples: Indexed,
        *,
        size: int,
        seed: int,
        device: torch.device,
        augmentation: Augmentation = "none",
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.samples, self.size, self.augmentation = samples, _shared_out(samples, size, part[1]), augmentation
        self.seed, self.part, self.generator = seed, part, torch.Generator(device)
        self.fixed = augmentation == "none"
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)
        self.population = len(samples)
        self.gives_targets = samples.batch(torch.zeros(1, dtype=torch.long, device=device)).targets is not None
        self.pieces = 0

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        first, ranks = self.part
        epoch, place = divmod(step, len(self.samples) // ranks // self.size)
        if epoch != self._epoch:
            self._epoch = epoch
            self.generator.manual_seed(derived_seed(self.seed, "order", epoch))
            self._order = torch.randperm(len(self.samples), generator=self.generator, device=self.generator.device)[first::ranks]
        found = self.samples.batch(self._order[place * self.size : (place + 1) * self.size])
        if self.augmentation == "none":
            return found
        self.generator.manual_seed(derived_seed(self.seed, "augmentation", epoch, place, first))
        return augmented(found, self.augmentation, self.generator)

    def prepare(self) -> Iterator[int]:
        yield from ()

    def save(self, folder: Path) -> None:
        """Nothing to do: the set was there before."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        self._epoch = -1


class Streamed:
    """A large set on disk, shuffled anew each epoch and decoded by worker processes; otherwise as `Stored`."""

    most_steps: int | None = None

    def __init__(
        self,
        samples: StreamedSet,
        *,
        size: int,
        seed: int,
        device: torch.device,
        augmentation: Augmentation = "none",
        part: tuple[int, int] = (0, 1),
        workers: int = 2,
    ) -> None:
        self.samples, self.size, self.augmentation = samples, _shared_out(samples, size, part[1]), augmentation
        self.seed, self.part, self.generator, self.workers = seed, part, torch.Generator(device), workers
        self.fixed = augmentation == "none"
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)
        self.population = len(samples)
        self.gives_targets, self.pieces = True, 0
        self._batches: Iterator[tuple[torch.Tensor, torch.Tensor]] = iter(())

    def prepare(self) -> Iterator[int]:
        yield from ()

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        first, ranks = self.part
        batches = len(self.samples) // ranks // self.size
        epoch, place = divmod(step, batches)
        if epoch != self._epoch:
            self._epoch = epoch
            draw = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
            self._order = torch.randperm(len(self.samples), generator=draw)[first::ranks]
            rows = [self._rows(number).tolist() for number in range(place, batches)]
            self._batches = iter(self.samples.loader(rows, workers=self.workers))
        images, labels = self._read()
        device = self.generator.device
        self.generator.manual_seed(derived_seed(self.seed, "augmentation", epoch, place, first))
        shown = Batch(as_floats(images.to(device)), labels.to(device).long(), index=self._rows(place).to(device))
        return augmented(shown, self.augmentation, self.generator)

    def _read(self) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            return next(self._batches)
        except InputError as error:  # one of a worker process tells where that was in the code, line by line
            raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error

    def _rows(self, place: int) -> torch.Tensor:
        return self._order[place * self.size : (place + 1) * self.size]

    def save(self, folder: Path) -> None:
        """Nothing to do: the set was there before."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        self._epoch = -1


class _Around:
    """A source that makes something else of another one's batches; where that stands is all that it must know."""

    def __init__(self, inner: Source) -> None:
        self.inner, self.most_steps, self.pieces = inner, inner.most_steps, inner.pieces
        self.gives_targets = inner.gives_targets
        self.population: int | None = getattr(inner, "population", None)
        self.fixed: bool = getattr(inner, "fixed", False)

    def prepare(self) -> Iterator[int]:
        yield from self.inner.prepare()

    def save(self, folder: Path) -> None:
        self.inner.save(folder)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        self.inner.load_state_dict(state, folder)


class Mixed(_Around):
    """A source whose images are mixed, each with another of its batch; only a teacher can say what they show.

    "mixup: Beyond Empirical Risk Minimization", Zhang et al., 2018, https://arxiv.org/abs/1710.09412, eq. 1, on the images alone, each with
    a share of its own.

    Args:
        inner: Gives the batches.
        alpha: Of the Beta(alpha, alpha) distribution of the shares.
        seed: Of shares and partners, which depend on (seed, step) alone.
    """

    def __init__(self, inner: Source, alpha: float, *, seed: int) -> None:
        if not alpha > 0:
            raise InputError(f"mixup: expected a positive number, got {alpha}")
        super().__init__(inner)
        self.alpha, self.seed = alpha, seed
        self.gives_targets, self.population, self.fixed = False, None, False

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        images = self.inner.batch(step, rate).images
        draw = torch.Generator().manual_seed(derived_seed(self.seed, "mixup", step))
        both = torch._sample_dirichlet(torch.full((len(images), 2), self.alpha), draw)
        shares = both[:, 0].to(images).view(-1, *[1] * (images.ndim - 1))
        partners = torch.randperm(len(images), generator=draw).to(images.device)
        return Batch(torch.lerp(images[partners], images, shares))


class Viewed(_Around):
    """A source of which each network sees a view of its own; both are made of the very same image, after its augmentation.

    Labels and numbers of images pass; a teacher's stored answers, which are of other images, do not. Images whose view is drawn at random
    are not `fixed`.

    Args:
        inner: Gives the batches.
        teacher: What the teacher sees.
        student: What the student sees; not given: the same.
    """

    def __init__(self, inner: Source, teacher: Modality, student: Modality | None = None) -> None:
        super().__init__(inner)
        self.teacher, self.student = teacher, student
        if self.fixed and isinstance(inner, Stored | Streamed):
            some = torch.arange(min(8, len(inner.samples)), device=inner.generator.device)
            self.fixed = teacher.repeats(inner.samples.batch(some).images)

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        found = self.inner.batch(step, rate)
        theirs = self.student(found.images) if self.student is not None else None
        return Batch(self.teacher(found.images), found.targets, index=found.index, student_images=theirs)


class Unlabelled(_Around):
    """A source whose labels nobody is shown."""

    def __init__(self, inner: Source) -> None:
        super().__init__(inner)
        self.gives_targets = False

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        return replace(self.inner.batch(step, rate), targets=None)

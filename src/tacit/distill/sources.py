"""Sources: where the student's batches come from. The distillation loop never asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, Protocol

import torch

from tacit.core.batch import Batch
from tacit.core.device import Clock, derived_seed
from tacit.core.errors import InputError
from tacit.data.images import Augmentation, augment
from tacit.data.load import StreamedSet
from tacit.synthesize.loop import Synthesizer
from tacit.synthesize.pool import Pool

__all__ = ["Indexed", "Source", "Stored", "Streamed", "Synthetic"]


class Source(Protocol):
    """Gives the batch of a student step, and can be put back to where it was."""

    gives_targets: bool
    """Whether batches come with targets."""
    pieces: int
    """How many pieces of work `prepare` has."""

    def prepare(self) -> Iterator[None]:
        """Do what must be done before the student's first step; a checkpoint may be taken after each piece."""

    def batch(self, step: int) -> Batch:
        """Return the batch for student step number `step` (0, 1, ...); called once for each, in order."""

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


def _filled(samples: Sized) -> int:
    """Return the number of samples; `InputError` where there are none."""
    if not len(samples):
        raise InputError("there are no images to learn from: the set is empty")
    return len(samples)


class Stored:
    """A set that does not grow, shuffled anew each epoch; real data, or a pool made before.

    The order and the augmentation of every image depend on (seed, epoch, number of the image) alone.

    Args:
        samples: The set.
        size: Images a batch; the last, smaller batch of an epoch is dropped unless it is the only one.
        seed: Of order and augmentation.
        device: Where the draws are made.
        augmentation: What is done to each image; the teacher's stored logits are not used then.
        part: Number of this process and number of all: each learns from every so-manieth image of the common order.
    """

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
        self.samples, self.size, self.augmentation = samples, min(size, max(1, _filled(samples) // part[1])), augmentation
        self.seed, self.part, self.generator = seed, part, torch.Generator(device)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)
        self.gives_targets, self.pieces = samples.batch(torch.zeros(1, dtype=torch.long, device=device)).targets is not None, 0

    def batch(self, step: int) -> Batch:
        first, ranks = self.part
        epoch, place = divmod(step, max(1, len(self.samples) // ranks // self.size))
        if epoch != self._epoch:
            self._epoch = epoch
            self.generator.manual_seed(derived_seed(self.seed, "order", epoch))
            self._order = torch.randperm(len(self.samples), generator=self.generator, device=self.generator.device)[first::ranks]
        found = self.samples.batch(self._order[place * self.size : (place + 1) * self.size])
        if self.augmentation == "none":
            return found
        self.generator.manual_seed(derived_seed(self.seed, "augmentation", epoch, place, first))
        return Batch(augment(found.images, self.augmentation, self.generator), found.targets, index=found.index)

    def prepare(self) -> Iterator[None]:
        yield from ()

    def save(self, folder: Path) -> None:
        """Nothing to do: the set was there before."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        self._epoch = -1


class Streamed:
    """A large set on disk, shuffled anew each epoch and decoded by worker processes; otherwise as `Stored`."""

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
        self.samples, self.size, self.augmentation = samples, min(size, max(1, _filled(samples) // part[1])), augmentation
        self.seed, self.part, self.generator, self.workers = seed, part, torch.Generator(device), workers
        self._epoch = -1
        self.gives_targets, self.pieces = True, 0
        self._batches: Iterator[tuple[torch.Tensor, torch.Tensor]] = iter(())

    def prepare(self) -> Iterator[None]:
        yield from ()

    def batch(self, step: int) -> Batch:
        first, ranks = self.part
        batches = max(1, len(self.samples) // ranks // self.size)
        epoch, place = divmod(step, batches)
        if epoch != self._epoch:
            self._epoch = epoch
            draw = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
            order = torch.randperm(len(self.samples), generator=draw)[first::ranks]
            rows = [order[number * self.size : (number + 1) * self.size].tolist() for number in range(place, batches)]
            self._batches = iter(self.samples.loader(rows, workers=self.workers))
        images, labels = next(self._batches)
        device = self.generator.device
        self.generator.manual_seed(derived_seed(self.seed, "augmentation", epoch, place, first))
        return Batch(augment(images.to(device).float().div(255), self.augmentation, self.generator), labels.to(device))

    def save(self, folder: Path) -> None:
        """Nothing to do: the set was there before."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        self._epoch = -1


class Synthetic:
    """A synthesizer at work: rounds before the student starts, then a round every so many student steps.

    The method says whether painted batches grow a pool that the student draws from, or the canvas is a live generator that shows fresh
    images at every step. One image in sixteen of a pool is held out, for a measure of agreement that the student was not trained on.

    Args:
        synthesizer: What paints.
        size: Images in a student's batch.
        clock: Counts the seconds of synthesis.
        cap: Most images that the pool keeps.
        augmentation: What is done to pooled images.
        provenance: Where the images come from; written beside a pool.
        on_round: Called after each round.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        *,
        size: int,
        clock: Clock,
        cap: int | None = None,
        augmentation: Augmentation = "none",
        provenance: Mapping[str, Any] | None = None,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        self.synthesizer, self.method = synthesizer, synthesizer.method
        self.size, self.clock, self.augmentation = size, clock, augmentation
        self.provenance, self.on_round = dict(provenance or {}), on_round
        spec, device = synthesizer.teacher.spec, synthesizer.runtime.device
        self.pool, self.held_out = Pool(spec, device=device, cap=cap), Pool(spec, device=device, cap=1024)
        self.generator = synthesizer.runtime.generator(synthesizer.generator.initial_seed(), "draws from the pool")
        self.gives_targets, self.pieces = synthesizer.gives_targets, self.method.warmup
        self.drawn = 0
        self._shown: Batch | None = None

    @property
    def images_made(self) -> int:
        """Images painted in rounds, or drawn from a live generator."""
        return self.synthesizer.rounds * self.method.batch if self.method.pooled else self.drawn

    def prepare(self) -> Iterator[None]:
        while self.synthesizer.rounds < self.method.warmup:
            self._round()
            yield

    def batch(self, step: int) -> Batch:
        method = self.method
        if method.every and step % method.every == 0 and (step or not method.warmup):
            self._round()
        return self._from_pool() if self.method.pooled else self._live()

    def _round(self) -> None:
        with self.clock("synthesis"):
            painted = self.synthesizer.round()
        if not self.method.pooled and self.method.shows != "fresh":
            self._shown = painted
            self.drawn += len(painted.images)
        if self.method.pooled:
            count = len(painted.images)
            order = torch.randperm(count, generator=self.generator, device=self.generator.device)
            for pool, part in ((self.held_out, order[: count // 16]), (self.pool, order[count // 16 :])):
                if len(part):
                    pool.add(painted.at(part))
        self.on_round()

    def _from_pool(self) -> Batch:
        if not len(self.pool):
            raise RuntimeError("the pool is empty: go through `prepare()` before the first batch")
        index = torch.randint(len(self.pool), (self.size,), generator=self.generator, device=self.generator.device)
        found = self.pool.batch(index)
        if self.augmentation == "none":
            return found
        return Batch(augment(found.images, self.augmentation, self.generator), found.targets, index=found.index)

    def _live(self) -> Batch:
        if self._shown is None or self.method.shows == "fresh":
            with self.clock("synthesis"):
                self._shown = self.synthesizer.sample(self.size)
            self.drawn += self.size
        return self._shown

    def unseen(self, images: int = 512) -> Batch:
        """Return synthetic images that no student step saw: held out of the pool, or fresh from the live generator."""
        if not self.method.pooled:
            return self.synthesizer.sample(images)
        return self.held_out.batch(torch.arange(min(images, len(self.held_out)), device=self.held_out.device))

    def save(self, folder: Path) -> None:
        if self.method.pooled:
            self.pool.save(folder / "pool", self.provenance)
            self.held_out.save(folder / "held-out", self.provenance)

    def state_dict(self) -> dict[str, Any]:
        return {
            "pools": [self.pool.state_dict(), self.held_out.state_dict()],
            "synthesizer": self.synthesizer.state_dict(),
            "generator": self.generator.get_state(),
            "drawn": self.drawn,
            "shown": (self._shown.images, self._shown.logits) if self._shown is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        if self.method.pooled:
            self.pool, self.held_out = (
                Pool.load(folder / name, device=pool.device, cap=pool.cap, state=kept)
                for name, pool, kept in zip(("pool", "held-out"), (self.pool, self.held_out), state["pools"], strict=True)
            )
        self.synthesizer.load_state_dict(state["synthesizer"])
        self.generator.set_state(state["generator"])
        self.drawn = state["drawn"]
        images, logits = state["shown"] or (None, None)
        self._shown = Batch(images, logits=logits) if images is not None else None

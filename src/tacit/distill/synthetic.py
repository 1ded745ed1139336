"""Synthetic: the source that paints on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tacit.core.batch import Batch
from tacit.core.device import Clock
from tacit.core.errors import InputError
from tacit.data.images import Augmentation, augmented
from tacit.synthesize.loop import Synthesizer
from tacit.synthesize.method import Method
from tacit.synthesize.pool import Pool

__all__ = ["Synthetic", "rounds_within"]


def rounds_within(method: Method, budget: int | None) -> int | None:
    """Return how many whole rounds of `method` a budget of images pays for; None where there is no budget.

    Raises:
        InputError: Where it does not pay for one.
    """
    if budget is not None and budget < method.batch:
        raise InputError(f"max_images: expected at least one round of {method.name}, {method.batch} images (its `batch`), got {budget}")
    return budget // method.batch if budget is not None else None


class Synthetic:
    """A synthesizer at work: rounds before the student starts, then a round every so many student steps.

    The method says whether painted batches grow a pool that the student draws from, or the canvas is a live generator that shows fresh
    images at every step. One image in sixteen of a pool is held out, for a measure of agreement that the student was not trained on.

    Args:
        synthesizer: What paints.
        size: Images in a student's batch; one that is shown what was painted against it sees the method's own `batch`.
        clock: Counts the seconds of synthesis.
        keep: Most images that the pool keeps; the oldest are forgotten. None: all.
        budget: Most images that are made. A pool goes on teaching when it is used up; a live generator's training ends. None: no limit.
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
        keep: int | None = None,
        budget: int | None = None,
        augmentation: Augmentation = "none",
        provenance: Mapping[str, Any] | None = None,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        self.synthesizer, self.method = synthesizer, synthesizer.method
        self.size, self.clock, self.augmentation = size, clock, augmentation
        self.provenance, self.on_round = dict(provenance or {}), on_round
        spec, device = synthesizer.teacher.spec, synthesizer.runtime.device
        self.pool, self.held_out = Pool(spec, device=device, cap=keep), Pool(spec, device=device, cap=1024)
        self.drawn_fresh = not self.method.pooled and self.method.shows == "fresh"
        self.most_rounds = None if self.drawn_fresh else rounds_within(self.method, budget)
        self.most_steps = self._most_steps(budget)
        self.generator = synthesizer.runtime.generator(synthesizer.generator.initial_seed(), "draws from the pool")
        self.gives_targets = synthesizer.gives_targets
        self.pieces = self.method.warmup if self.most_rounds is None else min(self.method.warmup, self.most_rounds)
        self.drawn = 0
        self._shown: Batch | None = None

    def _most_steps(self, budget: int | None) -> int | None:
        """Return the student steps that a live generator may show images at within `budget`."""
        method = self.method
        if self.drawn_fresh and budget is not None:
            if budget < self.size:
                raise InputError(f"max_images: expected at least one batch of the student, {self.size} images, got {budget}")
            return budget // self.size
        if method.pooled or self.most_rounds is None or not method.every:
            return None
        return method.every * max(1, self.most_rounds - max(method.warmup - 1, 0))

    @property
    def images_made(self) -> int:
        """Images painted in rounds, or drawn from a live generator."""
        return self.synthesizer.rounds * self.method.batch if self.method.pooled else self.drawn

    def prepare(self) -> Iterator[int]:
        while self.synthesizer.rounds < self.pieces:
            self._round()
            yield self.synthesizer.rounds

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        method = self.method
        due = method.every and step % method.every == 0 and (step or not method.warmup)
        if due and (self.most_rounds is None or self.synthesizer.rounds < self.most_rounds):
            self._round(rate)
        return self._from_pool() if self.method.pooled else self._live()

    def _round(self, rate: float = 1.0) -> None:
        with self.clock("synthesis"):
            # A generator that is in evaluation mode later is looked at twice: with half of the looks, its statistics lagged behind its
            # weights so far that it taught nothing in short runs.
            painted = self.synthesizer.round(rate, asked=not self.drawn_fresh or not self.method.every)
        if not self.method.pooled and not self.drawn_fresh:
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
        found = replace(found, index=index + self.pool.first)  # an image keeps its number when older ones are forgotten
        return augmented(found, self.augmentation, self.generator)

    def _live(self) -> Batch:
        if self._shown is None or self.drawn_fresh:
            with self.clock("synthesis"):
                self._shown = self.synthesizer.sample(self.size)
            self.drawn += self.size
        return self._shown

    def unseen(self, images: int = 512) -> Batch:
        """Return synthetic images that no student step saw: held out of the pool, or fresh from the live generator."""
        if not self.method.pooled:
            sizes = [min(self.size, images - done) for done in range(0, images, self.size)]  # as in training, whose memory is then enough
            return Batch(torch.cat([self.synthesizer.sample(size).images for size in sizes]))
        held = len(self.held_out)
        wanted = min(images, held)  # where there are more, they are taken from all ages alike
        return self.held_out.batch(torch.arange(wanted, device=self.held_out.device) * held // max(1, wanted))

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
            "shown": (self._shown.images, self._shown.logits, self._shown.targets) if self._shown is not None else None,
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
        images, logits, targets = state["shown"] or (None, None, None)
        self._shown = Batch(images, targets, logits=logits) if images is not None else None

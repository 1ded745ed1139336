"""Answers: what a teacher said of images that come again unchanged, kept by their number, so that it is asked once.

What is recalled is what was said, bit for bit: of the same type and laid out alike in memory. What lies there with gaps, as the token of a
transformer's class, is always copied without them, whether answers are kept or not. Where one image of a batch is new, the teacher is asked
about all of them, so that the batches that it sees stay of one size: a network's answer does not depend on an image's place in its batch,
but on many devices, in the last digits, on how many there are.

A step that recalls takes 0.55 of the time of one that asks, where a ResNet-20 teaches a ResNet-8 by `kd`, and 0.59 by `at`, in batches of
128 images of 32x32 (one CPU thread, fp32, median of 12 steps; one trial, no file kept).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.loss import Needs
from tacit.core.network import Teacher
from tacit.core.probe import Probe, Signals
from tacit.distill.sources import Source

__all__ = ["BUDGET", "Answers"]

BUDGET = 2**30
"""Bytes of the device that answers may take, where nobody asked for them to be kept."""
LOGITS = ""


def _named(said: Signals) -> dict[str, Tensor]:
    return {LOGITS: said.logits, **said.features}


def _has_rows(value: Tensor, images: int) -> bool:
    """Whether `value` has one row an image, each of one element at least."""
    return value.ndim > 0 and len(value) == images and value.numel() > 0


def _dense(value: Tensor) -> Tensor:
    """Return `value`, of which each row lies in a stretch of memory of its own without gaps; a copy, where that is not so."""
    if not _has_rows(value, len(value) if value.ndim else 0):
        return value
    one, size = value[0], value[0].numel()
    last = sum((length - 1) * step for length, step in zip(one.shape, one.stride(), strict=True))
    return value if value.stride(0) == size and last == size - 1 else value.clone(memory_format=torch.contiguous_format)


def _laid_out(said: Signals) -> Signals:
    """Return what is said as it would be recalled."""
    return replace(said, logits=_dense(said.logits), features={name: _dense(value) for name, value in said.features.items()})


class Answers:
    """A teacher's answers to a set of images that stay as they are; elsewhere it is asked each time.

    Args:
        teacher: Who is asked; None: nobody will be.
        source: Where images come from. Those of one whose `fixed` is true, with a `population`, can be known again.
        runtime: Device and precision.
        wanted: Whether answers are kept; None: where images are shown at least twice, and `BUDGET` holds what is said of them.
    """

    def __init__(self, teacher: Teacher | None, source: Source, runtime: Runtime, *, wanted: bool | None = None) -> None:
        self.teacher, self.runtime, self.wanted = teacher, runtime, wanted
        self.population: int | None = getattr(source, "population", None) if getattr(source, "fixed", False) else None
        self.keeps = False
        self.asked = self.recalled = 0
        self._rows: dict[str, Tensor] = {}
        self._layouts: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._forget()

    def _forget(self) -> None:
        self._rows, self._layouts, self._filled, self._whole = {}, {}, 0, False
        self._known = torch.zeros(0, dtype=torch.bool)

    @property
    def bytes(self) -> int:
        """Memory that is taken."""
        return sum(rows.numel() * rows.element_size() for rows in self._rows.values())

    def check(self, needs: Needs) -> None:
        """Raise `InputError` where answers are wanted and can't be kept."""
        if self.wanted and needs.teacher and (reason := self._reason(needs)):
            raise InputError(f"cache_teacher: {reason}; leave the option out")

    def _reason(self, needs: Needs) -> str:
        """Return why answers can't be kept; "" where they can."""
        if self.population is None:
            return "expected images that stay as they are, got a source that changes them or makes new ones (use `--augmentation none`)"
        if needs.bn:
            return "the objective wants statistics of each batch of the teacher, which are of no single image"
        return "" if self._sample(needs.teacher_taps) else "what the teacher says of an image depends on the others in its batch"

    def begin(self, needs: Needs, looks: int) -> None:
        """Decide for a new phase, before the last `looks` images of the run; what is known and of use stays."""
        possible = self.wanted is not False and needs.teacher and self.population is not None and not needs.bn
        self.keeps = possible and (self.wanted is True or self._pays(needs, looks)) and not self._reason(needs)
        used = {LOGITS, *needs.teacher_taps}
        if not self.keeps or not used <= set(self._rows):
            self._forget()
        self._rows = {name: rows for name, rows in self._rows.items() if name in used}

    def _pays(self, needs: Needs, looks: int) -> bool:
        population = self.population or 0
        if looks < 2 * population or self.runtime.fabric.world_size > 1:  # each process would learn what all of them know
            return False
        sample = self._sample(needs.teacher_taps)
        return population * sum(value[0].numel() * value.element_size() for value in sample.values()) <= BUDGET

    @torch.no_grad()
    def _sample(self, taps: tuple[str, ...]) -> Mapping[str, Tensor]:
        """Return what is said of two images, in a dry run; nothing where it can't be kept, since company or chance play a part."""
        assert self.teacher is not None
        shape, device = self.teacher.spec.shape, self.teacher.mean.device
        image = torch.linspace(0, 1, math.prod(shape), device=device).view(shape)
        said = []
        with torch.random.fork_rng([device] if device.type == "cuda" else []), Probe(self.teacher, taps=taps) as ask:
            for company in (0.0, 0.5):
                with self.runtime.autocast():
                    said.append(_named(ask(torch.stack([image, torch.full_like(image, company)]))))
        one, two = said
        alike = all(_has_rows(value, 2) and torch.equal(value[0], two[name][0]) for name, value in one.items())
        return one if alike and set(one) == {LOGITS, *taps} else {}

    def __call__(self, index: Tensor | None, ask: Callable[[], Signals]) -> Signals:
        """Return what the teacher says of the images numbered `index`: as it did before, or by asking it."""
        if not self.keeps or index is None or self.population is None:
            return _laid_out(ask())
        begun = self._filled + len(index) > self.population  # before that, on a first tour, there is nothing to look for
        if self._whole or (begun and bool(self._known[index].all())):
            self.recalled += len(index)
            return self._recall(index)
        said = _laid_out(ask())
        self._keep(index, said)
        self.asked += len(index)
        self._filled += len(index)
        if self._filled >= self.population:
            self._whole = bool(self._known.all())
        return said

    def _keep(self, index: Tensor, said: Signals) -> None:
        assert self.population is not None
        if not self._rows:
            self._known = torch.zeros(self.population, dtype=torch.bool, device=index.device)
        for name, value in _named(said).items():
            size = value[0].numel()
            if name not in self._rows:
                self._rows[name] = value.new_empty(self.population, size)
                self._layouts[name] = tuple(value.shape[1:]), value.stride()
            self._rows[name][index] = value.as_strided((len(value), size), (size, 1))
        self._known[index] = True

    def _recall(self, index: Tensor) -> Signals:
        found = {}
        for name, rows in self._rows.items():
            shape, strides = self._layouts[name]
            found[name] = rows[index].as_strided((len(index), *shape), strides)
        return Signals(found.pop(LOGITS), found)

    def state_dict(self) -> dict[str, int]:
        """Return the counts alone: what was said is asked again after a resume."""
        return {"asked": self.asked, "recalled": self.recalled}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on counting from where `state_dict` was taken."""
        self.asked, self.recalled = state["asked"], state["recalled"]

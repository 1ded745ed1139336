"""Learner: the only loop in which a student learns, from a teacher, from labels, or both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.gather import average_gradients, share
from tacit.core.loss import Needs, Objective, View
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe, Signals
from tacit.core.state import load_state
from tacit.distill.answers import Answers
from tacit.distill.phases import Phase, Timetable, all_losses
from tacit.distill.sources import Source

__all__ = ["Learner", "Training"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a student is optimised; the same for every method, so that comparisons are fair."""

    steps: int = 2000
    """Optimisation steps of the student, all phases together."""
    batch: int = 128
    """Images in one step; a live generator that shows the student what was just painted shows its own `batch` instead."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """sgd has Nesterov momentum 0.9."""
    lr: float = 0.1
    """Peak learning rate."""
    weight_decay: float = 1e-4
    """Weight decay."""
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    """Learning rate after the warm-up: falls to zero along a cosine, stays, or is multiplied by `gamma` at each of the `milestones`. Each
    phase of an objective that has several goes through all of it, but an opening that is `steady`."""
    milestones: tuple[float, ...] = ()
    """For the schedule `steps`: shares of the training, or of a phase, above 0 and below 1, in rising order."""
    gamma: float = 0.1
    """For the schedule `steps`: the factor at a milestone."""
    warmup: int = 0
    """Steps in which the learning rate rises linearly."""
    clip: float = 0.0
    """Largest norm of the gradient; 0: no limit."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("warmup", 0), ("lr", 0.0), ("weight_decay", 0.0), ("gamma", 0.0), ("clip", 0.0)):
            if not getattr(self, name) >= least:
                raise InputError(f"training.{name}: expected at least {least:g}, got {getattr(self, name)}")
        object.__setattr__(self, "milestones", tuple(float(share) for share in self.milestones))
        if any(not 0 < share < 1 for share in self.milestones) or list(self.milestones) != sorted(set(self.milestones)):
            raise InputError(f"training.milestones: expected rising shares between 0 and 1, as [0.4, 0.8], got {list(self.milestones)}")
        if (self.schedule == "steps") != bool(self.milestones):
            raise InputError(
                f"training.milestones: expected some with the schedule `steps` and none with another, got {list(self.milestones)} with "
                f"`{self.schedule}`"
            )

    def build(self, parameters: list[torch.nn.Parameter]) -> Optimizer:
        """Build the optimiser."""
        if self.optimizer == "sgd":
            return SGD(parameters, lr=self.lr, momentum=0.9, nesterov=True, weight_decay=self.weight_decay)
        return (Adam if self.optimizer == "adam" else AdamW)(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def rate(self, step: int, progress: float) -> float:
        """Return the learning rate at `step` of a phase, when the share `progress` of its work is done."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "cosine":
            return self.lr * rise * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return self.lr * rise * self.gamma ** sum(progress >= share for share in self.milestones)


class Learner:
    """A student, its optimiser, and a source; `step()` is one step of learning.

    Args:
        student: What learns.
        source: Where batches come from.
        objective: What is minimised, or several phases: a new one begins with a fresh optimiser, at the start of its schedule.
        training: How.
        runtime: Device and precision.
        generator: Source of the objective's random draws.
        teacher: Who is asked, where the objective wants a teacher and the batch does not bring its answer.
        cache_teacher: Whether it is asked once of an image that comes again unchanged; None: where that pays (`Answers`).
    """

    def __init__(
        self,
        student: Network,
        source: Source,
        objective: Objective | Sequence[Phase],
        training: Training,
        *,
        runtime: Runtime,
        generator: torch.Generator,
        teacher: Teacher | None = None,
        cache_teacher: bool | None = None,
    ) -> None:
        self.student, self.source, self.training = student, source, training
        self.runtime, self.generator, self.teacher = runtime, generator, teacher
        if not any(parameter.requires_grad for parameter in student.parameters()):
            raise InputError("student: no parameter takes a gradient, so that it can't learn: `model.requires_grad_()` undoes that")
        self.phases = (Phase.of(objective),) if isinstance(objective, Objective) else tuple(objective)
        self.timetable, self.losses = Timetable(self.phases, training.steps), all_losses(self.phases)
        self.answers = Answers(teacher, source, runtime, wanted=cache_teacher)
        self.losses.fit(teacher, student)
        population: int | None = getattr(source, "population", None)
        self.losses.attach(population, training.steps * training.batch / population if population else None)
        for phase in self.phases:
            phase.objective.add_needs()
            self._check(phase.objective.needs)
        runtime.place(self.losses)
        share(self.losses)  # heads and memories must start alike in all processes
        self.begun: list[int] = []
        self.parameters: list[torch.nn.Parameter] = []
        self._enter(0)
        self.done = 0
        self.lr = training.lr
        self.parts: dict[str, Tensor] = {}
        self.loss = torch.zeros(())

    def _check(self, needs: Needs) -> None:
        if needs.teacher and self.teacher is None:
            raise InputError("this objective asks a teacher, and none was given; learning from labels alone is `ce=1`")
        if needs.targets and not self.source.gives_targets:
            raise InputError("the objective learns from labels (`ce`), and this source gives none: use `kd` or `l1`")
        Probe(self.student, taps=needs.student_taps)
        if self.teacher is not None:
            Probe(self.teacher, taps=needs.teacher_taps, bn=needs.bn)
        self.answers.check(needs)

    @property
    def phase(self) -> Phase:
        """The phase of the last step, or of the first one to come."""
        return self.phases[len(self.begun) - 1]

    @property
    def place(self) -> dict[str, str]:
        """Which phase that is, for logs, as ``{"phase": "1/2 ab"}``; nothing where there is only one."""
        return {"phase": f"{len(self.begun)}/{len(self.phases)} {self.phase.name}"} if len(self.phases) > 1 else {}

    @property
    def told(self) -> dict[str, Any]:
        """What a result says beside its measures: the steps that each of several phases took; how often answers were recalled, if ever."""
        ends = [*self.begun[1:], self.done]
        took = [
            {"name": phase.name, "steps": end - begun, "student_learns": not phase.still}
            for phase, begun, end in zip(self.phases, self.begun, ends, strict=False)
        ]
        recalled = {"teacher_answers": self.answers.state_dict()} if self.answers.recalled else {}
        return {**({"phases": took} if len(self.phases) > 1 else {}), **recalled}

    def _enter(self, begun: int) -> None:
        """Begin the next phase, after `begun` steps."""
        for parameter in self.parameters:
            parameter.grad = None
        self.begun.append(begun)
        self.objective, self.needs = self.phase.objective, self.phase.objective.needs
        self.parameters = [*([] if self.phase.still else self.student.parameters()), *self.objective.parameters()]
        self.optimizer = self.training.build(self.parameters)
        self.answers.begin(self.needs, (self.training.steps - begun) * self.training.batch)

    def _proceed(self, progress: float | None) -> None:
        """Go to the phase that the next step belongs to, and to its learning rate."""
        while len(self.begun) <= self.timetable.number(self.done, progress):
            self._enter(self.done)
        share = self.timetable.progress(len(self.begun) - 1, self.done, progress)
        step, steady = self.done - self.begun[-1], self.phase.steady
        self.lr = self.training.rate(step, share) if steady is None else steady * self.training.rate(step, 0.0)

    def step(self, progress: float | None = None) -> None:
        """Take one step; `progress` is the share of the work done, where that is not the share of steps."""
        self._proceed(progress)
        batch = self.source.batch(self.done, self.lr / self.training.lr if self.training.lr else 1.0)
        images = batch.images.to(self.runtime.device)
        self.student.train()
        with (
            self.runtime.autocast(),
            Probe(self.teacher or self.student, taps=self.needs.teacher_taps if self.teacher else (), bn=self.needs.bn) as ask,
            Probe(self.student, taps=self.needs.student_taps) as look,
        ):
            taught: Signals | None = None
            if self.needs.teacher and batch.logits is not None and not (self.needs.teacher_taps or self.needs.bn):
                taught = Signals(batch.logits.to(self.runtime.device))
            elif self.needs.teacher:
                with torch.no_grad():
                    taught = self.answers(batch.index, partial(ask, images))
            shown = images if batch.student_images is None else batch.student_images.to(self.runtime.device)
            answered = None if self.phase.still else look(shown)
        targets = batch.targets.to(self.runtime.device) if batch.targets is not None else None
        step = self.done - self.begun[-1]
        view = View(images, targets, teacher=taught, student=answered, index=batch.index, step=step, generator=self.generator)
        self.parts = self.objective.parts(view)
        self.runtime.guard(self.parts, f"student step {self.done}", self.done)
        self.loss = self.objective.total(self.parts, view)
        if self.parts:
            self._descend()
        with torch.no_grad():
            self.objective.remember(view)
        self.done += 1

    def _descend(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.zero_grad()
        self.runtime.fabric.backward(self.loss)
        average_gradients(self.parameters)
        if self.training.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.training.clip)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, but stored images."""
        return {
            "done": self.done,
            "student": self.student.model.state_dict(),
            "begun": self.begun,
            "answers": self.answers.state_dict(),
            "objective": self.losses.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "global_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.runtime.device) if self.runtime.device.type == "cuda" else None,
            "source": self.source.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        """Go on from where `state_dict` was taken, with the stored images of the run folder."""
        self.done = state["done"]
        for begun in state["begun"][len(self.begun) :]:
            self._enter(begun)
        self.student.model.load_state_dict(state["student"])
        load_state(self.losses, state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["global_rng"])
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.runtime.device)
        self.source.load_state_dict(state["source"], folder)
        self.answers.load_state_dict(state["answers"])

"""Synthesizer: the only synthesis loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tacit.core.batch import Batch, as_bytes, as_floats
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.gather import average_gradients, share, whole_moments
from tacit.core.loss import View, own_modules
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe, Signals
from tacit.core.state import frozen_as_critic, load_state
from tacit.synthesize.canvas import Round
from tacit.synthesize.generators import draw_weights
from tacit.synthesize.method import Method
from tacit.synthesize.wanted import moved_alike

__all__ = ["Synthesizer"]


class Synthesizer:
    """Runs one method against one teacher. `round()` paints one batch; canvas, banks and heads stay between rounds.

    Args:
        teacher: The network that the images are made for.
        method: How.
        student: The network that adversarial methods paint against.
        runtime: Device and precision.
        generator: Source of every random draw.

    Raises:
        InputError: Before any work, where the method needs a student or batch-norm statistics and there are none.
    """

    def __init__(
        self, teacher: Teacher, method: Method, *, runtime: Runtime, generator: torch.Generator, student: Network | None = None
    ) -> None:
        self.teacher, self.method, self.student = teacher, method, student
        self.runtime, self.generator = runtime, generator
        if refused := method.refusal(teacher):
            raise InputError(f"{method.name} {refused}: `tacit inspect` says which methods can be used")
        self.objective = method.objective(teacher)
        self.objective.fit(teacher, student)
        runtime.place(self.objective)
        draw_weights(own_modules(self.objective, [network for network in (teacher, student) if network is not None]), generator)
        self.needs = self.objective.needs
        if self.needs.student and student is None:
            raise InputError(f"{method.name} paints against a student: give `student`, or use `tacit distill --method {method.name}`")
        try:
            Probe(teacher, taps=self.needs.teacher_taps, bn=self.needs.bn)
            Probe(student or teacher, taps=self.needs.student_taps if student is not None else ())
        except InputError as error:
            raise type(error)(f"{method.name}: {error}") from error
        share(self.objective)  # what learns in it is drawn by each process for itself
        self.gives_targets = method.targets(2, teacher, runtime.generator(0, "a look at the targets"), 0) is not None
        self._new_canvas()
        self.loss_optimizer = method.loss_optimizer(self.objective)
        self.rounds = 0
        self.parts: dict[str, Tensor] = {}

    def round(self, rate: float = 1.0, *, asked: bool = True) -> Batch:
        """Paint one batch, learn from it, and return it: for a pool, as 8-bit images with the teacher's logits; else as it stands.

        Args:
            rate: The share of its own learning rate that the student is at, for canvases whose rate falls with it.
            asked: Whether the batch is looked at; where not, a live generator that shows fresh images later makes none of the round's
                latents as it is after the round, and those that it learned from are returned.
        """
        method = self.method
        targets = method.targets(method.batch, self.teacher, self.generator, self.rounds)
        if self.rounds and method.renew(self.rounds):
            self._new_canvas()
        self.canvas.begin(Round(self.rounds, method.batch, targets, self.generator))
        if self.canvas.fresh:
            self._remake_optimizer()
        best: Tensor | None = None
        least = torch.full((), float("inf"), device=self.runtime.device)
        student_taps = self.needs.student_taps if self.student is not None else ()
        with (
            frozen_as_critic(self.student, method.student_mode, buffers_move=method.student_buffers_move),
            Probe(self.teacher, taps=self.needs.teacher_taps, bn=self.needs.bn) as look,
            Probe(self.student or self.teacher, taps=student_taps) as watch,
        ):
            for step in range(method.iterations):
                view = self._view(look, watch, targets, step)
                self.parts = self.objective.parts(view)
                self.runtime.guard(self.parts, f"{method.name}, round {self.rounds}, step {step}", self.rounds * method.iterations + step)
                loss = self.objective.total(self.parts, view)
                if method.keep == "best":
                    better = loss.detach() < least
                    least = torch.where(better, loss.detach(), least)
                    shown = view.canvas.detach()
                    best = shown.clone() if best is None else torch.where(better, shown, best)
                if self.parts:
                    self._step(loss, method.rate(step, rate))
            self.canvas.finish()
            self.runtime.settle(f"{method.name}, round {self.rounds}")
            with torch.no_grad(), self.runtime.autocast():
                if method.pooled:
                    if method.iterations:
                        self.objective.remember(view)
                    batch = self._kept(best, targets)
                elif method.shows == "painted" or (method.iterations and not asked):
                    batch = Batch(view.images.detach().float(), targets, view.teacher.logits.detach())
                else:
                    again = self.canvas.again()
                    batch = Batch(again.float(), targets, self.teacher(again).float())  # asked once for all student steps
        self.parts = {name: part.detach() for name, part in self.parts.items()}
        self.rounds += 1
        return batch

    def _kept(self, best: Tensor | None, targets: Tensor | None) -> Batch:
        images = as_floats(as_bytes((self.canvas() if best is None else best).float()))
        return Batch(images, targets, self.teacher(images).float())

    def _new_canvas(self) -> None:
        self.canvas = self.method.canvas(self.teacher, self.generator)
        self.runtime.place(self.canvas)
        self.canvas_optimizer: Optimizer | None = None
        share(self.canvas.common())
        if not self.canvas.fresh:
            self._remake_optimizer()

    @property
    def finished(self) -> bool:
        """Whether a generator that is made first, and then shows its images, is made."""
        return not self.method.gives_rounds and self.rounds >= self.method.warmup

    def paint(self) -> tuple[Batch, bool]:
        """Return the next batch, of a round or of a generator that is made, and whether it is to be had: some rounds only train one."""
        batch = self.show() if self.finished else self.round()
        return batch, self.method.gives_rounds or self.finished

    @torch.no_grad()
    def show(self) -> Batch:
        """Return a batch that no round painted, from a live generator, with the teacher's logits."""
        images = self.sample().images
        with self.runtime.autocast():
            return Batch(images, logits=self.teacher(images).float())

    @torch.no_grad()
    def sample(self, images: int | None = None) -> Batch:
        """Return images that no round painted, from a live generator; `TypeError` where the canvas has none.

        A generator whose rounds are over, of a method that has no later ones, is in evaluation mode.
        """
        self.canvas.train(bool(self.method.every))
        with self.runtime.autocast():
            shown = self.canvas.sample(Round(self.rounds, images or self.method.batch, None, self.generator))
        self.canvas.train()
        return Batch(shown.float())

    @torch.no_grad()
    def peek(self, images: int, generator: torch.Generator, *, size: int | None = None) -> Batch:
        """Return what `sample` would, by draws of the caller's `generator`; later rounds and samples don't notice.

        Args:
            images: How many.
            generator: Source of the draws.
            size: Images that are made at once, as many as in training, whose memory is then enough; None: all.
        """
        latent, size = self.canvas.latent, size or images
        with frozen_as_critic(self.canvas, "train" if self.method.every else "eval", buffers_move=False), self.runtime.autocast():
            rounds = [Round(self.rounds, min(size, images - done), None, generator) for done in range(0, images, size)]
            shown = torch.cat([self.canvas.sample(round).float() for round in rounds])
        self.canvas.latent = latent
        return Batch(shown)

    def _view(self, look: Probe, watch: Probe, targets: Tensor | None, step: int) -> View:
        def see(images: Tensor) -> Signals:
            with self.runtime.autocast():
                seen = look.in_parts(images, self.runtime.at_once or len(images))
                return replace(seen, bn=whole_moments(seen.bn))

        with self.runtime.autocast():
            canvas = self.canvas()
            images, targets = moved_alike(canvas, targets, lambda shown: self.method.augment(shown, self.generator))
            taught = see(images)
            answered = watch(images) if self.needs.student else None
        return View(
            images,
            targets,
            teacher=taught,
            student=answered,
            latent=self.canvas.latent,
            look=see,
            canvas=canvas,
            step=step,
            round=self.rounds,
            generator=self.generator,
        )

    def _step(self, loss: Tensor, rate: float) -> None:
        optimizers = [o for o in (self.canvas_optimizer, self.loss_optimizer) if o is not None]
        for group in self.canvas_optimizer.param_groups if self.canvas_optimizer is not None else ():
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * rate
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.runtime.fabric.backward(loss)
        if not self.canvas.fresh:
            average_gradients(self.canvas.parameters())
        average_gradients(self.objective.parameters())
        self.method.clip_gradients([p for p in self.canvas.parameters() if p.requires_grad])
        for optimizer in optimizers:
            optimizer.step()
        self.canvas.project()

    def _remake_optimizer(self) -> None:
        self.canvas_optimizer = self.method.canvas_optimizer(self.canvas)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next round depends on."""
        keep_optimizer = self.canvas_optimizer is not None and not self.canvas.fresh
        return {
            "rounds": self.rounds,
            "generator": self.generator.get_state(),
            "canvas": self.canvas.state_dict(),
            "objective": self.objective.state_dict(),
            "canvas_optimizer": self.canvas_optimizer.state_dict() if keep_optimizer and self.canvas_optimizer else None,
            "loss_optimizer": self.loss_optimizer.state_dict() if self.loss_optimizer else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.rounds = state["rounds"]
        self.generator.set_state(state["generator"])
        load_state(self.canvas, state["canvas"])
        load_state(self.objective, state["objective"])
        if state["canvas_optimizer"] is not None:
            self._remake_optimizer()
            assert self.canvas_optimizer is not None
            self.canvas_optimizer.load_state_dict(state["canvas_optimizer"])
        if self.loss_optimizer is not None:
            self.loss_optimizer.load_state_dict(state["loss_optimizer"])

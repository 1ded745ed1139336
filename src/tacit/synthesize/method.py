"""Method: the hyper-parameters of one way of making samples, and what they build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tacit.core.chosen import Chosen
from tacit.core.errors import InputError
from tacit.core.loss import Objective, own_modules
from tacit.core.network import Teacher
from tacit.synthesize.canvas import Canvas
from tacit.synthesize.wanted import drawn, turns

__all__ = ["IterativeMethod", "Method"]


@dataclass(frozen=True, kw_only=True)
class Method(Chosen):
    """A recipe for synthesis. Holds no state: it *is* the config, and builds canvas, objective and optimisers.

    A subclass sets the class variables, adds fields, and overrides what it does its own way; the loop never asks for its name.
    """

    batch: int = 256
    """Images painted in one round."""
    warmup: int = 0
    """Rounds made before the student's first step."""
    every: int = 0
    """Student steps between two later rounds; 0: no later rounds."""

    pooled: ClassVar[bool] = True
    """Whether painted batches are kept in a pool that the student draws from, or shown once (a live generator)."""
    shows: ClassVar[Literal["fresh", "again", "painted"]] = "fresh"
    """What a live generator shows the student between two rounds: images of fresh latents at each step; those of the round's latents, as
    they are after it, at every step (ZSKT); or the painted batch as it was before the generator's step, once (DAFL)."""
    student_mode: ClassVar[Literal["train", "eval"]] = "eval"
    """Mode of the student while images are painted against it; its parameters get no gradient then."""
    student_buffers_move: ClassVar[bool] = False
    """Whether painting may move the student's batch-norm buffers; otherwise they are put back after each round."""
    dense: ClassVar[bool] = False
    """Whether it can be used where the teacher names a class for every pixel."""
    takes_turns: ClassVar[bool] = False
    """Whether classes are wanted in turn, from round to round, as many images of each; otherwise they are drawn."""
    pull: ClassVar[str] = ""
    """Name of the weight that pulls images to what is wanted of them; where it is 0 nothing is wanted, and images carry no labels."""
    keep: ClassVar[Literal["last", "best"]] = "last"
    """Which iterate of a round is kept: the last, or the one of least total loss (the whole batch)."""
    minimum: ClassVar[dict[str, float]] = {"batch": 1, "warmup": 0, "every": 0}
    """Smallest allowed value of the fields that have one."""
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Allowed values of the fields that name one of a few."""

    def __post_init__(self) -> None:
        for name, known in self.choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{type(self).__name__}.{name}: expected {' or '.join(known)}, got {getattr(self, name)!r}")
        self.at_least(**self.minimum)
        if not (self.warmup or self.every):
            raise InputError(f"{type(self).__name__}: warmup and every are both 0, so that no image would ever be made")

    @property
    def iterations(self) -> int:
        """Optimisation steps in one round."""
        return 0

    def refusal(self, teacher: Teacher) -> str | None:
        """Return why the method can't be used for the task of `teacher`; None where it can."""
        if self.dense or teacher.spec.task == "classification":
            return None
        return "makes images of one class each, and this teacher names a class for every pixel"

    @property
    def gives_rounds(self) -> bool:
        """Whether the batches painted in rounds are the images to be had; otherwise rounds only train a generator, which shows its own."""
        return self.pooled or self.every > 0

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        """Build what the optimiser paints on; called at the start, and again whenever `renew` says so."""
        raise NotImplementedError

    def objective(self, teacher: Teacher) -> Objective:
        """Build what is minimised; called once, so that banks and heads stay.

        The loop draws the weights that its losses have to learn; a `Network` in a loss, and what is frozen, it leaves alone.
        """
        raise NotImplementedError

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        """Return what is wanted of `n` images: class numbers (N,), drawn uniformly or in turn; or soft or dense labels; or nothing.

        Where the teacher names a class for every pixel, that is a map of classes, of shape (N, H, W); see `tacit.synthesize.wanted`.
        """
        if self.pull and not getattr(self, self.pull):
            return None
        if self.takes_turns:
            return turns(n, round, generator.device) % teacher.spec.classes
        return drawn(n, teacher.spec, generator)

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the networks are shown of the canvas: as many images, or several copies of the whole batch, one after the other.

        Wanted classes of pixels are moved with them, as one more channel: where they are, an image must be moved by whole pixels.
        """
        return images

    def renew(self, round: int) -> bool:
        """Whether the canvas is built anew before round number `round` (> 0)."""
        return False

    def canvas_optimizer(self, canvas: Canvas) -> Optimizer | None:
        """Build the optimiser of the canvas; called again when `begin` makes new parameters or `renew` a new canvas."""
        return None

    def rate(self, step: int, student: float) -> float:
        """Return the share of the canvas's learning rate that holds.

        Args:
            step: Steps done in this round.
            student: The share of its own learning rate that the student is at; 1 before its first step.
        """
        return 1.0

    def loss_optimizer(self, objective: Objective) -> Optimizer | None:
        """Build the optimiser of the objective's own parameters, if it has any; called once."""
        return None

    def clip_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Limit the gradients of the canvas before its optimiser's step."""


@dataclass(frozen=True, kw_only=True)
class IterativeMethod(Method):
    """A method whose rounds are steps of an optimiser."""

    steps: int = 1
    """Optimisation steps in one round."""
    lr: float = 1e-3
    """Learning rate of the canvas (Adam)."""
    clip: float = 0.0
    """Largest norm of the canvas's gradient; 0: no limit."""

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    """Of Adam, for the canvas."""
    minimum: ClassVar[dict[str, float]] = {**Method.minimum, "steps": 1, "lr": 0.0, "clip": 0.0}

    @property
    def iterations(self) -> int:
        return self.steps

    def canvas_optimizer(self, canvas: Canvas) -> Optimizer | None:
        return torch.optim.Adam(canvas.parameters(), lr=self.lr, betas=self.betas)

    def loss_optimizer(self, objective: Objective) -> Optimizer | None:
        parameters = [weight for module in own_modules(objective) for weight in module.parameters(recurse=False)]
        return torch.optim.Adam(parameters, lr=self.lr) if parameters else None

    def clip_gradients(self, parameters: list[nn.Parameter]) -> None:
        if self.clip:
            nn.utils.clip_grad_norm_(parameters, self.clip)

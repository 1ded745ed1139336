"""View, Needs, Loss, Objective: what a loss sees, what it asks for, and how losses add up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.core.probe import Signals

__all__ = [
    "ADVICE", "Loss", "Needs", "NonFiniteLossError", "Objective", "Opening", "View", "Weight", "all_finite", "check_finite",
    "own_modules", "positive_temperature", "risen",
]  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """What a loss must be shown. The loops add these up, so that nothing else is computed."""

    teacher: bool = True
    student: bool = False
    targets: bool = False
    bn: bool = False
    teacher_taps: tuple[str, ...] = ()
    student_taps: tuple[str, ...] = ()

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.teacher or other.teacher,
            self.student or other.student,
            self.targets or other.targets,
            self.bn or other.bn,
            tuple(dict.fromkeys(self.teacher_taps + other.teacher_taps)),
            tuple(dict.fromkeys(self.student_taps + other.student_taps)),
        )


class View:
    """One step, as a loss sees it.

    Args:
        images: What the networks were shown, in [0, 1], of shape (N, C, H, W); where each has a view of its own, the teacher.
        targets: What is wanted: class numbers (N,), soft labels (N, classes), dense labels (N, H, W), or nothing.
        teacher: What the teacher said of `images`.
        student: What the student said of `images`, or of its own view of them.
        latent: The noise behind the images, of shape (N, width), for losses that ask for diversity.
        index: Which stored samples these are, of shape (N,), for losses with a bank.
        look: Shows other images to the teacher, for losses with crops of their own.
        canvas: The images before augmentation, for priors on pixels.
        step: Optimisation steps done in this round (synthesis) or in this phase (distillation).
        round: Rounds of synthesis done; 0 in distillation.
        generator: Source of every random draw that a loss makes.
    """

    __slots__ = ("_student", "_teacher", "canvas", "generator", "images", "index", "latent", "look", "round", "step", "targets")

    def __init__(
        self,
        images: Tensor,
        targets: Tensor | None = None,
        *,
        teacher: Signals | None = None,
        student: Signals | None = None,
        latent: Tensor | None = None,
        index: Tensor | None = None,
        look: Callable[[Tensor], Signals] | None = None,
        canvas: Tensor | None = None,
        step: int = 0,
        round: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.images, self.targets = images, targets
        self._teacher, self._student = teacher, student
        self.latent, self.index, self.look = latent, index, look
        self.canvas = images if canvas is None else canvas
        self.step, self.round, self.generator = step, round, generator

    @property
    def teacher(self) -> Signals:
        """What the teacher said; `ValueError` where there is none."""
        if self._teacher is None:
            raise ValueError("this objective compares with a teacher, and there is none")
        return self._teacher

    @property
    def student(self) -> Signals:
        """What the student said; `ValueError` where there is none."""
        if self._student is None:
            raise ValueError("this objective compares with a student: pass `student=`")
        return self._student


@dataclass(frozen=True)
class Opening:
    """What comes before the phase of learning in which a loss is named.

    Args:
        loss: What is minimised then, by itself: the loss that says so, which has done its part when the phase proper begins, or another one
            on modules that the two share, from which they learn while the student stays as it is.
        share: Of the steps of that phase, above 0 and below 1.
        steady: Share of the peak learning rate that holds throughout, behind a warm-up; None: it goes through the whole schedule.
        asked: Options that were asked for, by name, where the loss teaches alone first: they are refused where it can't.
    """

    loss: Loss
    share: float
    steady: float | None = None
    asked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"opening: expected a share of the steps, 0 (none) or more and below 1, got {self.share}")
        if self.steady is not None and not self.steady > 0:
            raise InputError(f"steady: expected a share of the learning rate above 0, got {self.steady}")

    @staticmethod
    def of(loss: Loss, share: float | None, steady: float | None) -> Opening | None:
        """Return the opening in which `loss` itself teaches, alone; None where it has no share.

        Args:
            loss: Which goes by what it was asked for.
            share: 0 for none; None, where it was not asked for: a tenth.
            steady: None, where it was not asked for.
        """
        if share == 0:
            if steady is not None:
                raise InputError(f"steady: it plays no part with `opening: 0`, got {steady}: leave it out")
            return None
        asked = tuple(name for name, value in (("opening", share), ("steady", steady)) if value is not None)
        return Opening(loss, 0.1 if share is None else share, steady, asked)


class Loss(nn.Module):
    """A 0-d scalar of a view. Its own parameters, if any, are found by `parameters()`."""

    needs: Needs = Needs()

    def forward(self, view: View) -> Tensor:
        """Return the loss, of shape (), in fp32."""
        raise NotImplementedError

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        """Learn what depends on the networks, as names of layers; called once, before `needs` is read."""

    def opening(self) -> Opening | None:
        """Return what comes before the phase in which this loss is named; None: nothing. It is fitted after the loss itself."""
        return None

    def attach(self, population: int | None, looks: float | None = None) -> None:
        """Make room for a memory of images, which `View.index` tells apart; called once, after `fit`, by loops that have a set of them.

        Args:
            population: How many images there are; None: the set has no fixed number.
            looks: How often each will be shown, about; None: that is not known.
        """

    def remember(self, view: View) -> None:
        """Take note of the last look of a round or step, of images as they were shown; for losses with a memory."""


Weight = float | Callable[[View], float]
"""A number, or a function of the view: ``lambda view: 0.0 if view.round < 20 else 1.0`` is a warm-up by rounds of synthesis.
In distillation `round` is 0 throughout, so that such a weight would stay 0 there: `view.step` is what rises."""


class NonFiniteLossError(RuntimeError):
    """A term of the loss became NaN or infinite; raised before the optimiser's step."""


def own_modules(loss: Loss, networks: Iterable[nn.Module] = ()) -> Iterator[nn.Module]:
    """Give the modules of a loss whose weights are its own to learn, as heads; neither what is frozen, nor a network that it looks through.

    Args:
        loss: Itself the first, where it is not frozen.
        networks: Others, whose modules are not its own wherever they are found in it; a `Network` never is.
    """
    others = {id(module) for network in networks for module in network.modules()}

    def walk(module: nn.Module) -> Iterator[nn.Module]:
        weights = list(module.parameters())
        if id(module) in others or isinstance(module, Network) or (weights and not any(weight.requires_grad for weight in weights)):
            return
        yield module
        for child in module.children():
            yield from walk(child)

    return walk(loss)


class Objective(Loss):
    """A weighted sum of named losses: ``Objective(ce=(1.0, ClassPrior()), bn=(10.0, BNAlignment()))``.

    A term whose weight is zero at a step is not computed, and does not appear among the parts; one whose weight is always zero asks for
    nothing and is told nothing. Where no part is left at a step, the loops change no weight there.
    """

    def __init__(self, **terms: tuple[Weight, Loss]) -> None:
        super().__init__()
        self.weights: dict[str, Weight] = {name: weight for name, (weight, _) in terms.items()}
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in terms.items()})
        self.add_needs()

    def add_needs(self) -> None:
        """Add up what the losses ask for, which may have changed where they were fitted by themselves."""
        self.needs = Needs(teacher=False)
        for loss in self._used():
            self.needs |= loss.needs

    def _used(self) -> list[Loss]:
        return [cast("Loss", loss) for name, loss in self.losses.items() if self.weights[name] != 0.0]

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        for loss in self._used():
            loss.fit(teacher, student)
        self.add_needs()

    def attach(self, population: int | None, looks: float | None = None) -> None:
        for loss in self._used():
            loss.attach(population, looks)

    def weight(self, name: str, view: View) -> float:
        """Return the weight of the term `name` at this step."""
        weight = self.weights[name]
        return weight(view) if callable(weight) else weight

    def parts(self, view: View) -> dict[str, Tensor]:
        """Return every term, unweighted, by name."""
        return {name: loss(view) for name, loss in self.losses.items() if self.weight(name, view) != 0.0}

    def total(self, parts: Mapping[str, Tensor], view: View) -> Tensor:
        """Return the weighted sum of `parts`, of shape (); without parts a zero that has no gradient."""
        if not parts:
            return view.images.new_zeros(())
        return torch.stack([self.weight(name, view) * part for name, part in parts.items()]).sum()

    def forward(self, view: View) -> Tensor:
        return self.total(self.parts(view), view)

    def remember(self, view: View) -> None:
        for loss in self._used():
            loss.remember(view)


ADVICE = "try a smaller learning rate, or `--precision 32-true`"


def all_finite(parts: Mapping[str, Tensor]) -> Tensor:
    """Return whether every term is finite, as a bool of shape () on their device."""
    values = torch.stack([part.detach() for part in parts.values()]) if parts else torch.zeros(1)
    return torch.isfinite(values).all()


def check_finite(parts: Mapping[str, Tensor], where: str) -> None:
    """Raise `NonFiniteLossError` with the names of the terms that are NaN or infinite."""
    if not bool(all_finite(parts)):
        bad = ", ".join(f"{name} = {float(part.detach()):g}" for name, part in parts.items() if not bool(torch.isfinite(part)))
        raise NonFiniteLossError(f"{where}: the loss became {bad}; {ADVICE}")


def positive_temperature(temperature: float) -> float:
    """Return `temperature`; `InputError` where it is not a positive number."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InputError(f"temperature: expected a positive number, got {temperature}")
    return temperature


def risen(view: View, warmup: int) -> float:
    """Return the share of its weight that a loss has at this step, which rises linearly to 1 within `warmup` steps; 0: no warm-up."""
    return min(1.0, (view.step + 1) / warmup) if warmup else 1.0

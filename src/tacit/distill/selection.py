"""Selection: which of a network's weights are handed over, chosen without data.

The average of weights is Polyak's, with the warm-up ``min(decay, (1 + t) / (10 + t))`` of step t = 0, 1, ..., so that a short run is not
an average of its first weights. Everything that is a floating-point number is averaged, the running statistics of batch norm too (a
weighted mean of variances leaves out the variance of the means, which is small once the means have settled); counters are copied.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.network import Network

__all__ = ["Average", "Select", "Selection", "wearing"]

Select = Literal["last", "ema", "agreement"]
Weights = dict[str, Any]
DECAY = 0.999
"""Of the average where it is selected and no other is given."""


def _copied(weights: Mapping[str, Any]) -> Weights:
    return {key: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value) for key, value in weights.items()}


@contextmanager
def wearing(network: Network, weights: Mapping[str, Any]) -> Iterator[None]:
    """Lend `network` other weights; it has its own back afterwards, bit for bit, also after an exception."""
    own = _copied(network.model.state_dict())
    try:
        network.model.load_state_dict(weights)
        yield
    finally:
        network.model.load_state_dict(own)


class Average:
    """The exponential moving average of a network's weights.

    Args:
        network: Whose weights; their present values are the start.
        decay: In (0, 1): what is kept of the average at each step, once the warm-up is over.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network, self.decay, self.steps = network, decay, 0
        self.weights = _copied(network.model.state_dict())

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of one more step."""
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        ours: list[Tensor] = []
        theirs: list[Tensor] = []
        for key, value in self.network.model.state_dict().items():
            if isinstance(value, Tensor) and value.is_floating_point():
                ours.append(self.weights[key])
                theirs.append(value)
            else:
                self.weights |= _copied({key: value})
        torch._foreach_lerp_(ours, theirs, share)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the average and how many steps are in it."""
        return {"steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.steps = state["steps"]
        for key, value in state["weights"].items():
            self.weights[key] = value.to(self.weights[key].device) if isinstance(value, Tensor) else value


class Selection:
    """Which weights a run hands over: the last, their average, or those that agreed best with the teacher on held-out samples.

    Agreements are compared on the same held-out set: at each judgement, the present weights and the best so far are asked again, since
    the set grows and moves on with the synthesis. Of equals the later is kept.

    Args:
        network: What learns.
        select: What is handed over.
        ema: Decay of the average, in [0, 1); 0: none is kept, or, where it is selected, `DECAY`.
        patience: Judgements in a row without a better agreement after which training should stop; 0: never.
    """

    def __init__(self, network: Network, *, select: Select = "last", ema: float = 0.0, patience: int = 0) -> None:
        self.network, self.select, self.patience = network, select, patience
        decay = ema or (DECAY if select == "ema" else 0.0)
        self.average = Average(network, decay) if decay else None
        self.judges = select == "agreement" or patience > 0
        self.waited = 0
        self.best: Weights | None = None
        self.best_step = 0
        self.best_agreement: float | None = None

    @property
    def stopped(self) -> bool:
        """Whether patience is at its end."""
        return 0 < self.patience <= self.waited

    def step(self) -> None:
        """Take note of one more step of learning."""
        if self.average is not None:
            self.average.update()

    def judge(self, step: int, agreement: Callable[[], float]) -> dict[str, float]:
        """Hold the present weights against the best so far; return the agreements of both, by name.

        Args:
            step: Steps done.
            agreement: Measures the network with the weights that it has, on a set that no evaluation data are in.
        """
        now = agreement()
        before = -1.0
        if self.best is not None:
            with wearing(self.network, self.best):
                before = agreement()
        self.waited = 0 if now > before else self.waited + 1
        if now >= before:
            self.best, self.best_step = _copied(self.network.model.state_dict()), step
        self.best_agreement = max(now, before)
        return {"agreement_held_out": now, "agreement_best": self.best_agreement}

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The weights that are handed over; those of the last step where nothing was judged."""
        if self.select == "ema" and self.average is not None:
            return self.average.weights
        if self.select == "agreement" and self.best is not None:
            return self.best
        weights: dict[str, Any] = self.network.model.state_dict()
        return weights

    @property
    def name(self) -> str:
        """What chose the weights, as it stands in result.json."""
        return "agreement_synthetic" if self.select == "agreement" else self.select

    def hand_over(self) -> None:
        """Put the chosen weights into the network."""
        if self.select != "last":
            self.network.model.load_state_dict(_copied(self.chosen))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next judgement depends on."""
        return {
            "average": self.average.state_dict() if self.average is not None else None,
            "best": self.best,
            "best_step": self.best_step,
            "best_agreement": self.best_agreement,
            "waited": self.waited,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best, self.best_step = state["best"], state["best_step"]
        self.best_agreement, self.waited = state["best_agreement"], state["waited"]

    @staticmethod
    def check(*, ema: float, patience: int = 0, checks: int = 1, select: Select = "last") -> None:
        """Raise `InputError` where options can't be, or don't go together."""
        if not 0.0 <= ema < 1.0:
            raise InputError(f"ema: expected a decay of 0 or more and less than 1, as 0.999, got {ema}")
        if patience < 0 or checks < 0:
            raise InputError(f"patience and checks: expected 0 or more, got {patience} and {checks}")
        if not checks and (patience or select == "agreement"):
            option = "select: agreement" if select == "agreement" else "patience"
            raise InputError(f"{option}: agreement is measured at the checks, and `checks` is 0; give more")

"""Schedules: weights that change with time."""

from __future__ import annotations

from tacit.core.loss import View, Weight

__all__ = ["after"]


def after(rounds: int, weight: float) -> Weight:
    """Return a weight that is zero in the first `rounds` rounds, while the student knows nothing yet."""

    def schedule(view: View) -> float:
        return weight if view.round >= rounds else 0.0

    return schedule if weight and rounds else weight

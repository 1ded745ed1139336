"""Row: what runs that differ in nothing but the seed have in common, and what they reached. Plain values, kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tacit.core.errors import InputError
from tacit.report.federation import Federation
from tacit.report.spread import Spread

__all__ = ["Curve", "Row", "Spread"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Accuracy on the way, over the runs of a row: at each step that all of them logged, mean, least and most; and the last step."""

    steps: tuple[float, ...]
    seconds: tuple[float, ...]
    """Mean seconds of synthesis and training up to that step; evaluation is left out."""
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    bytes: tuple[float, ...] = ()
    """Of federated runs: mean bytes sent up to that round, down and up together; empty for others."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a comparison. Accuracies are shares from 0 to 1; what was not measured is None."""

    name: str
    verb: str
    runs: tuple[str, ...]
    """Names of the runs, in order of their seeds."""
    options: Mapping[str, Any]
    """What they share, flat: ``training.lr``, ``method.steps``."""
    seeds: tuple[int | None, ...]
    student_accuracy: Spread | None
    """Of the last step."""
    student_accuracy_ema: Spread | None
    student_accuracy_selected: Spread | None
    """Of the weights that `selection` names, where those are not the last step's."""
    agreement: Spread | None
    teacher_accuracy: Spread | None
    teacher: str | None
    """sha256 of the teacher's weights, where the run tells."""
    params_teacher: int | None
    student: str
    """How the student was made, in words."""
    params_student: int | None
    evaluated_on: str
    """Data and split of the evaluation; empty for none."""
    evaluation_images: int | None
    sees_data: bool
    """Whether the student learned from real data."""
    images_synthesized: Spread | None
    steps: Spread | None
    """Steps of the student, by the log."""
    steps_exact: bool
    """False where a budget ended a run between two lines of the log: there were a few steps more."""
    max_seconds: float | None
    synthesis_seconds: Spread | None
    training_seconds: Spread | None
    devices: tuple[str, ...]
    precision: str
    selection: str | None
    curve: Curve | None
    student_miou: Spread | None = None
    """Mean IoU of the last step, where a class a pixel is named; accuracy is of pixels then."""
    teacher_miou: Spread | None = None
    federation: Federation | None = None
    """What the rounds cost, and who took part; None where the runs are not federated."""

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> Row:
        """Return the row that ``dataclasses.asdict`` and JSON made plain; `InputError` where it is none."""
        try:
            return cls(**{key: _restored(key, value) for key, value in plain.items()})
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            raise InputError(f"this is no row of a comparison, or one of another version: {error}") from error


def _restored(key: str, value: Any) -> Any:
    if isinstance(value, Mapping) and key == "federation":
        return Federation.load(value)
    if isinstance(value, Mapping) and key != "options":
        kind = Curve if key == "curve" else Spread
        return kind(**{name: _restored(name, item) for name, item in value.items()})
    return tuple(value) if isinstance(value, list) else value

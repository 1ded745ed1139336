"""Pairs of feature maps, one of the teacher and one of the student, for losses that compare them."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs

__all__ = ["PairedTaps"]


class PairedTaps(Loss):
    """A loss on pairs of taps.

    Args:
        teacher: Taps of the teacher; not given: `fit` finds them.
        student: Taps of the student, as many.
    """

    def __init__(self, teacher: Sequence[str] | None = None, student: Sequence[str] | None = None) -> None:
        super().__init__()
        if (teacher is None) != (student is None) or len(teacher or ()) != len(student or ()):
            raise InputError(
                f"{type(self).__name__}: give taps for both teacher and student, as many for the one as for the other, or for neither"
            )
        self.pair(list(teacher or ()), list(student or ()))

    def pair(self, teacher: list[str], student: list[str]) -> None:
        """Compare these taps, in order."""
        self.pairs = list(zip(teacher, student, strict=True))
        self.needs = Needs(student=True, teacher_taps=tuple(teacher), student_taps=tuple(student))

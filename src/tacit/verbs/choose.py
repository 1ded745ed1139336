"""Which methods a teacher can be used with, and which one is recommended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tacit.core.errors import InputError
from tacit.core.network import Network, Teacher
from tacit.core.norms import NoStatisticsError
from tacit.core.probe import Probe
from tacit.synthesize import METHODS, Method

__all__ = ["choose_method", "method_named", "naming_what_remains", "obstacle", "remaining"]


def obstacle(method: Method, teacher: Teacher, student: Network | None) -> str | None:
    """Return why `method` can't be used with this teacher, or None where it can."""
    if refused := method.refusal(teacher):
        return refused
    try:
        needs = method.objective(teacher).needs
        Probe(teacher, taps=needs.teacher_taps, bn=needs.bn)
    except InputError as error:
        return str(error)
    return "needs a student to paint against" if needs.student and student is None else None


def remaining(teacher: Teacher, student: Network | None) -> list[str]:
    """Return the names of the methods that can be used with this teacher, recommended first to last."""
    return [kind.__name__ for kind in METHODS if obstacle(kind(), teacher, student) is None]


@contextmanager
def naming_what_remains(teacher: Teacher, student: Network | None) -> Iterator[None]:
    """Add the methods that remain to the error of one that asks for running statistics which the teacher does not keep."""
    try:
        yield
    except NoStatisticsError as error:
        *names, last = remaining(teacher, student)
        raise InputError(f"{error}; use {', '.join(names)} or {last}, which need none") from error


def choose_method(teacher: Teacher, *, student: Network | None) -> Method:
    """Return the recommended method, with its default settings."""
    return next(method for method in (kind() for kind in METHODS) if obstacle(method, teacher, student) is None)


def method_named(name: str) -> Method | None:
    """Return the method called `name` (upper and lower case alike) with its default settings, or None."""
    return next((kind() for kind in METHODS if kind.__name__.lower() == name.lower()), None)

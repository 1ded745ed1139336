"""The budget of a source that paints on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.network import Teacher
from tacit.distill import Synthetic
from tacit.distill.synthetic import rounds_within
from tacit.synthesize import DAFL, DFAD, ZSKT, Gaussian, Method, Synthesizer

LIVE: dict[str, Any] = {"batch": 8, "latent": 8, "width": 4}


@dataclass(frozen=True, kw_only=True)
class Warm(ZSKT):
    """A live generator that begins before the student, and shows its last images again."""

    warmup: int = 2
    shows: ClassVar[Literal["fresh", "again", "painted"]] = "again"


def source(teacher: Teacher, runtime: Runtime, method: Method, budget: int | None) -> Synthetic:
    synthesizer = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(0), student=teacher)
    return Synthetic(synthesizer, size=5, clock=Clock(), budget=budget)


@pytest.mark.parametrize(("budget", "rounds"), [(16, 1), (31, 1), (32, 2), (1000, 5), (None, 5)])
def test_a_pool_grows_within_its_budget_and_teaches_on(budget: int | None, rounds: int, teacher: Teacher, runtime: Runtime) -> None:
    painted = source(teacher, runtime, Gaussian(batch=16, warmup=2, every=2), budget)
    list(painted.prepare())
    for step in range(8):
        assert len(painted.batch(step).images) == 5
    assert painted.synthesizer.rounds == rounds
    assert painted.most_steps is None
    assert budget is None or painted.images_made <= budget


@pytest.mark.parametrize(("method", "budget", "steps", "made"), [
    (DFAD(**LIVE), 24, 4, 20),
    (DAFL(**LIVE), 24, 3, 24),
    (ZSKT(every=3, **LIVE), 20, 6, 16),
    (Warm(every=3, **LIVE), 24, 6, 24),
], ids=["fresh", "painted", "again", "warm"])  # fmt: skip
def test_a_live_generator_ends_when_the_next_step_would_go_beyond(
    method: Method, budget: int, steps: int, made: int, teacher: Teacher, runtime: Runtime
) -> None:
    shown = source(teacher, runtime, method, budget)
    list(shown.prepare())
    assert shown.most_steps == steps
    for step in range(steps):
        shown.batch(step)
    assert shown.images_made == made
    free = source(teacher, runtime, method, None)
    assert free.most_steps is None
    list(free.prepare())
    for step in range(steps + 1):
        free.batch(step)
    assert free.images_made > budget


def test_a_budget_that_pays_for_nothing_is_refused(teacher: Teacher, runtime: Runtime) -> None:
    with pytest.raises(InputError, match="at least one round of Gaussian, 16 images"):
        source(teacher, runtime, Gaussian(batch=16), 15)
    with pytest.raises(InputError, match="at least one batch of the student, 5 images"):
        source(teacher, runtime, DFAD(**LIVE), 4)
    assert rounds_within(Gaussian(batch=16), None) is None

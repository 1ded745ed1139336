"""The budget of a source that paints on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
import torch

from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.features import AT_ONCE
from tacit.core.network import Network, Teacher
from tacit.distill import Synthetic
from tacit.distill.health import StudentMonitor
from tacit.distill.synthetic import rounds_within
from tacit.synthesize import DAFL, DFAD, ZSKT, Gaussian, Method, Synthesizer
from toy import BNNet

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


def counted(usual: Callable[..., Any], seen: list[Any], read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the same, and tells `seen` what `read` finds of what it is given."""

    def call(*given: Any) -> Any:
        seen.append(read(*given))
        return usual(*given)

    return call


def test_a_live_generator_makes_no_batch_that_nobody_looks_at(teacher: Teacher, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    for method, again in ((DFAD(**LIVE), 0), (Warm(every=3, **LIVE), 3)):
        made, looks = source(teacher, runtime, method, None), list[int]()
        monkeypatch.setattr(made.synthesizer.canvas, "again", counted(made.synthesizer.canvas.again, looks, lambda: 1))
        list(made.prepare())
        for step in range(4):
            made.batch(step)
        assert len(looks) == again
        assert len(made.synthesizer.round().images) == 8  # where it is asked for
        assert len(looks) == again + 1


@pytest.mark.parametrize("method", [DFAD(**LIVE), Gaussian(batch=16, warmup=2)])
def test_what_is_looked_at_is_made_in_parts_no_larger_than_a_step(
    method: Method, teacher: Teacher, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sizes = source(teacher, runtime, method, None), list[int]()
    list(made.prepare())
    made.batch(0)
    torch.manual_seed(0)
    student, asked = Network(BNNet(channels=1, classes=10), teacher.spec), list[int]()
    monkeypatch.setattr(student.model, "forward", counted(student.model.forward, asked, len))
    if not method.pooled:
        monkeypatch.setattr(made.synthesizer.canvas, "sample", counted(made.synthesizer.canvas.sample, sizes, lambda one: one.images))
    StudentMonitor(made, student, checks=2, seed=0).observe(0.5)
    assert max(asked) <= AT_ONCE
    assert len(made.unseen(12).images) == (2 if method.pooled else 12)
    assert max(sizes, default=0) <= made.size

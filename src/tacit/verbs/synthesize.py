"""`tacit synthesize`: samples out of a trained network."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from tacit.core.device import Clock
from tacit.core.errors import InputError
from tacit.core.input_range import input_fault
from tacit.core.models import model_hash
from tacit.core.network import Teacher, count_parameters
from tacit.core.progress import Progress
from tacit.distill.advice import pool_faults
from tacit.distill.health import IMAGES, Monitor
from tacit.distill.synthetic import rounds_within
from tacit.synthesize import Method, Pool, Synthesizer
from tacit.verbs.base import LaunchVerb, ModelLike, Outcome, as_function, check_pair, find_model, model_option
from tacit.verbs.choose import choose_method, naming_what_remains
from tacit.verbs.pictures import pool_metrics, save_samples

__all__ = ["Synthesize", "synthesize"]


@dataclass(frozen=True, kw_only=True)
class Synthesize(LaunchVerb):
    """Make samples from a trained network, without its training data, and store them."""

    teacher: ModelLike = model_option(required=True)
    """The network that the samples are made from."""
    student: ModelLike | None = model_option()
    """The network that an adversarial method paints against; it is not trained."""
    method: Method | None = None
    """How samples are made; not given: what `tacit inspect` recommends."""
    images: int = 1024
    """How many samples; what the last round paints beyond is left out."""
    max_images: int | None = None
    """Budget of painted images: no round is begun that would go beyond it."""
    checks: int = 20
    """How often the health of the samples is measured on the way, on the batch just painted; 0: never. Its time counts as evaluation."""
    name: ClassVar[str] = "synthesize"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 1:
            raise InputError(f"images: expected at least 1, got {self.images}")
        if self.max_images is not None and self.max_images < 1:
            raise InputError(f"max_images: expected at least 1, got {self.max_images}")
        if self.checks < 0:
            raise InputError(f"checks: expected 0 or more, got {self.checks}")

    def run(self) -> Outcome:
        """Make the samples; return the run folder with its pool."""
        run = self.plan_run()
        teacher = Teacher.of(find_model(self.teacher, seed=self.seed))
        student = copy.deepcopy(find_model(self.student, teacher.spec, seed=self.seed)) if self.student is not None else None
        if student is not None:
            check_pair(teacher.spec, student.spec)
        method = self.method or choose_method(teacher, student=student)
        run.config = replace(self, method=method).config()  # what was chosen, so that the config repeats the run
        runtime = self.open_runtime(teacher, student)
        with naming_what_remains(teacher, student):
            synthesizer = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(self.seed), student=student)
        clock, pool = Clock(), Pool(teacher.spec, device=runtime.device)
        wanted = min(self.images, self.max_images) if self.max_images is not None and not method.gives_rounds else self.images
        most_rounds = rounds_within(method, self.max_images) if method.gives_rounds else None
        monitor = Monitor(teacher, method, checks=self.checks, runtime=runtime)
        provenance = {"teacher_sha256": model_hash(teacher), "method": method.config(), "seed": self.seed}
        monitor.advice.give(input_fault(teacher))
        state = self.open_run(run, runtime)
        if state is not None:
            synthesizer.load_state_dict(state["synthesizer"])
            pool = Pool.load(run.folder / "pool", device=runtime.device, state=state["pool"])
            clock.seconds = dict(state["seconds"])
            monitor.load_state_dict(state["health"])
            torch.set_rng_state(state["global_rng"])
            if student is not None:
                student.load_state_dict(state["student"])

        def checkpoint() -> None:
            pool.save(run.folder / "pool", provenance)
            held: dict[str, Any] = {"synthesizer": synthesizer.state_dict(), "pool": pool.state_dict(), "seconds": clock.seconds}
            held |= {"student": student.state_dict() if student is not None else None, "global_rng": torch.get_rng_state()}
            held |= {"health": monitor.state_dict()}
            run.checkpoint(synthesizer.rounds, held)

        def share() -> float:
            spent = clock.budgeted / self.max_seconds if self.max_seconds is not None else 0.0
            made, trained = pool.made / wanted, synthesizer.rounds / max(1, method.warmup)
            work = made if method.gives_rounds or made >= 1 else 0.9 * trained + 0.1 * made  # a generator is trained first
            return max(work, spent, synthesizer.rounds / most_rounds if most_rounds else 0.0)

        saved = 0.0
        with Progress(
            f"synthesize {method.name}", self.images, "images", quiet=not runtime.main, done=pool.made, share=share()
        ) as progress:
            while share() < 1.0:
                with clock("synthesis"):
                    painted, given = synthesizer.paint()
                    if given:
                        pool.add(painted.at(slice(0, wanted - pool.made)))
                parts = {name: float(part) for name, part in synthesizer.parts.items()}
                run.log(synthesizer.rounds, {"seconds": clock.budgeted, **{f"loss/{k}": v for k, v in parts.items()}}, kind="synthesis")
                done = share()
                if monitor.due(done):
                    with clock("evaluation"), torch.random.fork_rng():
                        monitor.check(painted.images[-IMAGES:].clamp(0, 1), done)
                    run.log(synthesizer.rounds, {"seconds": clock.budgeted, **monitor.logged}, kind="health")
                training = {} if len(pool) else {"round": f"{synthesizer.rounds}/{method.warmup}"}
                progress.update(pool.made, {**training, **parts, **monitor.notes}, share=done)
                if time.monotonic() - saved >= self.checkpoint_seconds:
                    checkpoint()
                    saved = time.monotonic()
        checkpoint()
        if not len(pool):
            raise InputError(f"max_seconds: {self.max_seconds:g} s went by before the first image; give more, or a smaller `warmup`")
        save_samples(run.folder / "samples", pool)
        monitor.advice.give(pool_faults(pool, method))
        metrics = {
            "params_teacher": count_parameters(teacher),
            "method": method.name,
            **pool_metrics(pool),
            "warnings": monitor.advice.texts,
            "health": monitor.values or None,
        }
        result = self.result(runtime, clock, metrics, images=pool.made, selection=None)
        run.finish(result)
        return Outcome(folder=run.folder, result=result, rows=_rows(pool, method, run.folder, clock))


def _rows(pool: Pool, method: Method, folder: Path, clock: Clock) -> list[tuple[str, str]]:
    counts = pool.class_counts
    made = sum(1 for count in counts if count)
    return [
        ("method", method.name),
        ("images", f"{len(pool):,}"),
        ("classes the teacher sees", f"{made} of {pool.spec.classes}"),
        ("seconds", f"{clock.report()['total']:.1f}"),
        ("run", str(folder)),
    ]


synthesize = as_function(Synthesize)

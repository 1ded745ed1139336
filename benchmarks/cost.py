"""Suite `cost` of representation distillation: a step with CRD beside a step with KD, and the memory that its scores take.

All learners take a step in turn, so that whatever else the machine does befalls them alike; times are of the process on its one thread.
Images are generated: what they show costs nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import tacit
from benchmarks import runner, smoke
from benchmarks.places import HOME, found, with_teachers
from benchmarks.plans import reference
from benchmarks.representation_suites import KD
from benchmarks.suites import DATASETS, TEACHERS
from tacit.core.device import Precision, Runtime
from tacit.core.loss import View
from tacit.core.network import Teacher
from tacit.core.probe import Signals
from tacit.data import ImageSet
from tacit.distill import Learner, Stored, Training, build_objective
from tacit.distill.objectives import Terms

__all__ = ["NAME", "ROWS", "TERMS", "jobs", "main", "measure"]

NAME = "cost"
TEACHER, DEPTH, IMAGES, BATCH = "cifar10-resnet20-long", 8, 50_000, 64
ROUNDS, WARM = 60, 3
ROWS: Mapping[str, Precision] = {"fp32": "32-true", "bf16": "bf16-mixed"}


def _crd(negatives: int, **more: Any) -> Terms:
    return [{"loss": "ce"}, {"loss": "crd", "weight": 0.8, "negatives": negatives, **more}]


TERMS: Mapping[str, Terms] = {
    "KD": KD,
    "CRD, 4096": _crd(4096),
    "CRD, 16384": _crd(16_384),
    "CRD, 4096 each": _crd(4096, shared=False),
}
"""What is compared; negatives are shared by the batch, or each image's own."""


def main(options: argparse.Namespace, home: Path) -> int:
    """Run what is missing under `home`; return the number of runs that failed."""
    made = jobs(home=home, seeds=options.seeds, small=options.smoke, rows=options.rows)
    if options.list:
        return runner.show(made)
    if options.smoke:
        smoke.prepare(DATASETS["cifar10"], [TEACHER], home)
    ready = with_teachers(made)
    side_by_side = runner.side_by_side(options, timed=True)
    return len(made) - len(ready) + runner.run(ready, side_by_side=side_by_side, say=_say, again=options.again)


def jobs(
    *, home: Path = HOME, seeds: Sequence[int] | None = None, small: bool = False, rows: Sequence[str] | None = None
) -> list[runner.Job]:
    """Return a run for each precision and seed; `InputError` where there is no such row."""
    wanted = runner.chosen(NAME, rows, ROWS)
    return [
        runner.Job(
            title=f"{NAME} {row}, seed {seed}",
            file=(home / "results" / "representation" / NAME / f"{row}-seed{seed}.json").resolve(),
            work="benchmarks.cost:measure",
            arguments={**found(home, None, small=small), "row": row, "seed": seed, "taught_by": [TEACHER]},
            settings=_settings(row, small),
        )
        for seed in ((0,) if small else (0, 1, 2) if seeds is None else seeds)
        for row in wanted
    ]


def _settings(row: str, small: bool) -> dict[str, Any]:
    return {
        "teacher": TEACHER,
        "student": {"depth": DEPTH},
        "terms": dict(TERMS),
        "precision": ROWS[row],
        "images": 100 if small else IMAGES,
        "batch": 8 if small else BATCH,
        "rounds": 2 if small else ROUNDS,
    }


def measure(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run; return what is kept of it."""
    settings, seed = _settings(arguments["row"], bool(arguments["smoke"])), int(arguments["seed"])
    teacher = Teacher.of(tacit.load(Path(arguments["teachers"]) / TEACHER))
    runtime = Runtime("cpu", settings["precision"])
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (settings["images"], *teacher.spec.shape), generator=draw, dtype=torch.uint8)
    shown = ImageSet(images, torch.randint(teacher.spec.classes, (len(images),), generator=draw))
    learners = {name: _learner(terms, teacher, shown, runtime, int(settings["batch"]), seed) for name, terms in TERMS.items()}
    spent: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(WARM + int(settings["rounds"])):
        for name, learner in learners.items():
            start = time.process_time()
            learner.step()
            spent[name].append(time.process_time() - start)
    late = {name: [round(1000 * seconds, 2) for seconds in each[WARM:]] for name, each in spent.items()}
    over_kd = {name: median(ours / kd for ours, kd in zip(each, late["KD"], strict=True)) for name, each in late.items()}
    return {
        "suite": NAME,
        "row": arguments["row"],
        "seed": seed,
        "device": runtime.name,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "median_ms": {name: median(each) for name, each in late.items()},
        "over_kd": over_kd,
        "memory_bytes": {name: _memory(learner) for name, learner in learners.items() if name != "KD"},
        "bank_bytes": 2 * settings["images"] * 128 * 4,
        "ms": late,
        "settings": settings,
    }


def _learner(terms: Terms, teacher: Teacher, shown: ImageSet, runtime: Runtime, batch: int, seed: int) -> Learner:
    student = reference(TEACHERS[TEACHER].factory, {"depth": DEPTH}, teacher.spec).load(seed=seed)
    source = Stored(shown, size=batch, seed=seed, device=runtime.device)
    training, draw = Training(steps=1000, batch=batch, lr=0.05), torch.Generator().manual_seed(seed)
    return Learner(student, source, build_objective(terms), training, runtime=runtime, generator=draw, teacher=teacher)


def _memory(learner: Learner) -> int:
    """Return the most bytes that CRD's forward and backward hold at once over what was there: scores, gathered rows, all between."""
    loss, seen = learner.objective.losses["crd"], list[View]()
    handle = loss.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    learner.step()
    handle.remove()
    view = seen[0]
    ours = {tap: feature.detach().requires_grad_() for tap, feature in view.student.features.items()}
    student, teacher = Signals(view.student.logits.detach(), ours), view.teacher
    again = View(view.images, view.targets, teacher=teacher, student=student, index=view.index, generator=view.generator)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        loss(again).backward()
    assert watched.profiler is not None
    assert watched.profiler.kineto_results is not None
    held = most = 0
    for event in sorted(watched.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return int(most)


def _say(outcome: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {ratio:.2f} x KD" for name, ratio in outcome["over_kd"].items() if name != "KD")

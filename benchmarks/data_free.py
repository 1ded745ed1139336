"""Suites of data-free distillation: every method with the same teacher, student, optimiser and budget."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import tacit
from benchmarks import runner, smoke
from benchmarks.places import HOME, checked_data, found, with_teachers
from benchmarks.plans import Pair, Row, Suite, reference, slug
from benchmarks.suites import SUITES
from tacit.core.device import Clock
from tacit.core.files import read_json
from tacit.core.models import model_hash

__all__ = ["OWN", "add_arguments", "jobs", "main", "measure", "measured", "outcome_of", "record", "settings", "steps_of"]

OWN = ("suite", "pair", "row", "student_steps", "paced", "curve", "teacher", "settings", "code")
"""What a kept run has over tacit's own result.json."""
NEVER = 1e9
"""Seconds between checkpoints: a run that is killed starts anew, so only the last one is of use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    runner.add_suites(parser, list(SUITES))
    parser.add_argument("--pairs", nargs="+", metavar="PAIR", help="pairs of teacher and student; not given: all")
    runner.add_arguments(parser, rows=("--rows", "--methods"))


def main(options: argparse.Namespace, home: Path) -> int:
    """Run what is missing under `home`; return the number of runs that failed, or could not be started."""
    suite = SUITES[options.suite]
    site: dict[str, Any] = {"home": home, "data": options.data, "small": options.smoke}
    made = jobs(suite, **site, seeds=options.seeds, rows=options.rows, pairs=options.pairs)
    if options.list:
        return runner.show(made)
    if options.smoke:
        smoke.prepare(suite.dataset, [pair.teacher for pair in suite.pairs], home)
    else:
        checked_data(options.data, suite.dataset)
        runner.check_device(suite.name, suite.device)
    ready = with_teachers(made)
    side_by_side = runner.side_by_side(options, suite.device)
    return len(made) - len(ready) + runner.run(ready, side_by_side=side_by_side, say=_say, again=options.again)


def jobs(
    suite: Suite,
    *,
    home: Path = HOME,
    data: Path | None = None,
    seeds: Sequence[int] | None = None,
    small: bool = False,
    rows: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    part: str = "data_free",
) -> list[runner.Job]:
    """Return every run of a suite: the first seed of everything, then the second.

    Args:
        suite: What is measured.
        home: Where ``results/`` is, and for a smoke run all else.
        data: The folder of all data.
        seeds: Not given: the suite's.
        small: Whether it is a smoke run.
        rows: Labels; not given: all. `InputError` where there is no such row.
        pairs: Names; not given: all. `InputError` where there is no such pair.
        part: Of the benchmarks: the module whose `measure` does the work, and the folder of the results.
    """
    place = home / "results" / part / suite.name
    site = found(home, data, small=small)
    labels = runner.chosen(suite.name, rows, (row.label for row in suite.rows))
    names = runner.chosen(suite.name, pairs, (pair.name for pair in suite.pairs), option="--pairs", what="pair")

    def file(pair: Pair, row: Row, seed: int) -> Path:
        return (place / pair.name / f"{slug(row.label)}-seed{seed}.json").resolve()

    def first(pair: Pair, row: Row, seed: int) -> str:
        """Return where the run is whose steps are taken: on a CPU, where a second is worth more or less by the hour."""
        known = (row.seeds or suite.seeds)[0]
        return str(file(pair, row, known)) if row.budgeted and suite.device == "cpu" and seed != known else ""

    return [
        runner.Job(
            title=f"{suite.name}/{pair.name} {row.label}, seed {seed}",
            file=file(pair, row, seed),
            work=f"benchmarks.{part}:measure",
            arguments={
                **site,
                "suite": suite.name,
                "pair": pair.name,
                "row": row.label,
                "seed": seed,
                "first": first(pair, row, seed),
                "taught_by": [pair.teacher],
            },
            settings=settings(smoke.shrunk(suite) if small else suite, pair, smoke.small(row) if small else row),
            threads=1 if suite.device == "cpu" else None,
        )
        for seed in ((smoke.shrunk(suite) if small else suite).seeds if seeds is None else seeds)
        for pair in suite.pairs
        for row in suite.on(pair)
        if pair.name in names and row.label in labels and (row.seeds is None or seed in row.seeds)
    ]


def measure(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run; return what is kept of it."""
    return measured(SUITES[arguments["suite"]], arguments, folder)


def measured(suite: Suite, arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run of `suite`, in the empty `folder`, where it leaves ``run/``; return what is kept of it."""
    pair = next(pair for pair in suite.pairs if pair.name == arguments["pair"])
    row = next(row for row in suite.on(pair) if row.label == arguments["row"])
    if arguments["smoke"]:
        suite, row = smoke.shrunk(suite), smoke.small(row)
    data, teacher = Path(arguments["data"]), Path(arguments["teachers"]) / pair.teacher
    steps = steps_of(arguments["first"], settings(suite, pair, row))
    outcome = outcome_of(suite, pair, row, seed=arguments["seed"], data=data, teacher=teacher, folder=folder / "run", steps=steps)
    return record(outcome, suite, pair, row, teacher, paced=steps is not None)


def steps_of(first: str, settings: Mapping[str, Any]) -> int | None:
    """Return how a later seed of a row is bounded: by the student steps that the first took, not by seconds, where that run is there.

    A core that is shared gets less done in a second: later seeds would differ by what ran beside them, not by their draws alone.

    Args:
        first: The file of the first seed; empty: this is the first, or nothing bounds it but its steps.
        settings: Of the run to come; a file of others bounds nothing.

    Returns:
        The steps; None: the budget of seconds holds.
    """
    if not first or not Path(first).is_file():
        return None
    kept = read_json(Path(first))
    return int(kept["student_steps"]) if kept["settings"] == json.loads(json.dumps(settings)) else None


def outcome_of(
    suite: Suite, pair: Pair, row: Row, *, seed: int, data: Path, teacher: Path, folder: Path, steps: int | None = None
) -> tacit.Outcome:
    """Run one row.

    Args:
        suite: Gives training, budget, and whatever the row has not of its own.
        pair: Teacher and student.
        row: What is done.
        seed: Of every random draw.
        data: The folder of all data.
        teacher: Its folder.
        folder: The run folder; the pool, where one was made, is in ``pool/``.
        steps: The student's, however long they take; None: the suite's, within its budget of seconds.
    """
    training = suite.training_of(pair, row)
    shared: dict[str, Any] = {
        "data": (row.shown or suite.dataset).at(data),
        "training": replace(training, steps=steps) if steps else training,
        "augmentation": row.augmentation or suite.augmentation,
        "evaluations": suite.evaluations,
        "device": suite.device,
        "precision": suite.precision,
        "seed": seed,
        "checkpoint_seconds": NEVER,
        "out": folder,
    }
    student = reference(pair.student, pair.kwargs, suite.dataset.spec)
    if row.labels:
        return tacit.train(model=student, **shared)
    taught = {**shared, "teacher": str(teacher), "student": student, "objective": row.objective or suite.objective}
    if row.method is None:
        unlabelled: dict[str, Any] = {"unlabelled": True, "eval_split": None} if row.shown else {}
        return tacit.distill(source="data", **taught, **unlabelled)
    seconds = None if steps else row.max_seconds or suite.max_seconds
    with _counted(suite):
        return tacit.distill(method=row.method, keep_images=row.keep_images, max_seconds=seconds, checks=suite.checks, **taught)


@contextmanager
def _counted(suite: Suite) -> Iterator[None]:
    """On a CPU, let the budget count this process's own seconds: what else the machine does must cost no row its steps."""
    wall = Clock.now
    Clock.now = staticmethod(time.process_time if suite.device == "cpu" else wall)
    try:
        yield
    finally:
        Clock.now = staticmethod(wall)


def settings(suite: Suite, pair: Pair, row: Row) -> dict[str, Any]:
    """Return all that decides a run but its seed, as plain values."""
    return {
        "teacher": pair.teacher,
        "student": {"factory": pair.student, "kwargs": dict(pair.kwargs)},
        "method": row.method.config() if row.method else None,
        "objective": None if row.labels else row.objective or suite.objective,
        "augmentation": row.augmentation or suite.augmentation,
        "training": asdict(suite.training_of(pair, row)),
        "max_seconds": (row.max_seconds or suite.max_seconds) if row.budgeted else None,
        "keep_images": row.keep_images,
        "precision": suite.precision,
        **({"shown": row.shown.folder} if row.shown else {}),
        **({"clock": "CPU"} if row.budgeted and suite.device == "cpu" else {}),
    }


def record(outcome: tacit.Outcome, suite: Suite, pair: Pair, row: Row, teacher: Path, *, paced: bool) -> dict[str, Any]:
    """Return what is kept of a run: result.json, what was run, the steps that were taken, and the suite's score over budgeted seconds.

    `paced` says whether the steps were set by the first seed's.
    """
    assert outcome.folder is not None
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    curve = [[round(line["seconds"], 3), line[suite.score]] for line in lines if line["kind"] == "evaluation"]
    seconds = outcome.result["seconds"]
    end = [round(seconds["synthesis"] + seconds["training"], 3), outcome.metrics.get(suite.score)]
    checkpoint = torch.load(outcome.folder / "checkpoint" / "state.pt", map_location="cpu", weights_only=True)
    return {
        "suite": suite.name,
        "pair": pair.name,
        "row": row.label,
        **outcome.result,
        "student_steps": checkpoint["step"],
        "paced": paced,
        "curve": curve if curve and curve[-1] == end else [*curve, end],
        "teacher": {"name": pair.teacher, "sha256": model_hash(tacit.load(teacher))},
        "settings": settings(suite, pair, row),
    }


def _say(outcome: Mapping[str, Any]) -> str:
    return f"{100 * outcome['metrics']['student_accuracy']:.2f} % after {outcome['student_steps']:,} student steps"

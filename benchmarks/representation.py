"""Suites of representation distillation: CRD beside every other distiller, of one teacher or several, and what else students know."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tacit
from benchmarks import cost, runner, smoke
from benchmarks.compression import known_pool, pool_jobs, pool_place, pool_settings
from benchmarks.compression_plans import NETWORKS
from benchmarks.places import HOME, checked_data, found, with_teachers
from benchmarks.plans import part_of_train, reference, slug
from benchmarks.representation_plans import RepresentationPair, RepresentationRow, RepresentationSuite
from benchmarks.representation_suites import SUITES
from tacit.core.models import model_hash
from tacit.core.network import Network

__all__ = ["add_arguments", "jobs", "main", "measure", "settings"]

NEVER = 1e9
"""Seconds between checkpoints: a run that is killed starts anew."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    runner.add_suites(parser, [*SUITES, cost.NAME])
    runner.add_arguments(parser)


def main(options: argparse.Namespace, home: Path) -> int:
    """Paint the pool where one is missing, run what is missing under `home`; return the number of runs that failed or can't be started."""
    if options.suite == cost.NAME:
        return cost.main(options, home)
    suite = SUITES[options.suite]
    made = jobs(suite, home=home, data=options.data, seeds=options.seeds, small=options.smoke, rows=options.rows)
    if options.list:
        return runner.show(made)
    if options.smoke:
        for pair in suite.pairs:
            smoke.prepare(pair.dataset, pair.teachers, home)
            for dataset, _ in pair.probes.values():
                smoke.prepare(dataset, (), home)
    else:
        for pair in suite.pairs:
            for dataset in (pair.dataset, *(read for read, _ in pair.probes.values())):
                checked_data(options.data, dataset)
        runner.check_device(suite.name, suite.device)
    side_by_side = runner.side_by_side(options, suite.device)
    ready = with_teachers(made)
    wanted = suite.pool and any(runner.state(job) == "to do" or (options.again and runner.state(job) != "done") for job in ready)
    painted = [job for job in pool_jobs(home=home, small=options.smoke) if wanted and _is_for(job, suite)]
    failed = runner.run(painted, side_by_side=side_by_side, say=lambda kept: f"{kept['images']} images", again=True) if painted else 0
    return failed + len(made) - len(ready) + runner.run(ready, side_by_side=side_by_side, say=_say, again=options.again)


def _is_for(job: runner.Job, suite: RepresentationSuite) -> bool:
    return (job.arguments["pool"], job.arguments["network"]) == (suite.pool, _network(suite))


def _network(suite: RepresentationSuite) -> str:
    """Return the name that the pools of the suite's teacher have."""
    return next(name for name, teacher in NETWORKS.items() if teacher == suite.pairs[0].teachers[0])


def jobs(
    suite: RepresentationSuite,
    *,
    home: Path = HOME,
    data: Path | None = None,
    seeds: Sequence[int] | None = None,
    small: bool = False,
    rows: Sequence[str] | None = None,
) -> list[runner.Job]:
    """Return every run of a suite: the first seed of everything, then the second.

    Args:
        suite: What is measured.
        home: Where ``results/`` and ``pools/`` are, and for a smoke run all else.
        data: The folder of all data.
        seeds: Not given: the suite's.
        small: Whether it is a smoke run.
        rows: Labels; not given: all. `InputError` where there is no such row.
    """
    wanted = runner.chosen(suite.name, rows, (row.label for row in suite.rows))
    run = suite.shrunk() if small else suite
    place = home / "results" / "representation" / (suite.folder or suite.name)
    return [
        runner.Job(
            title=f"{suite.name}/{pair.name} {row.label}, seed {seed}",
            file=(place / pair.name / f"{slug(row.label)}-seed{seed}.json").resolve(),
            work="benchmarks.representation:measure",
            arguments={
                **found(home, data, small=small),
                "suite": suite.name,
                "pair": pair.name,
                "row": row.label,
                "seed": seed,
                "taught_by": run.teachers_of(pair, row, seed),
            },
            settings=settings(run, pair, row, small=small),
            threads=1 if suite.device == "cpu" else None,
        )
        for seed in (run.seeds if seeds is None else seeds)
        for pair in run.pairs
        for row in run.on(pair)
        if (run.seeds_of(row) == run.seeds or seed in run.seeds_of(row)) and row.label in wanted
    ]


def settings(suite: RepresentationSuite, pair: RepresentationPair, row: RepresentationRow, *, small: bool = False) -> dict[str, Any]:
    """Return all that decides a run but its seed, as plain values."""
    trained = row.objective is not None
    return {
        "teachers": {"of": list(pair.teachers), "count": row.teachers},
        "student": {"factory": pair.student, "kwargs": dict(pair.kwargs)},
        "network": row.network,
        "objective": row.objective,
        "labelled": row.labelled,
        "training": asdict(suite.training_of(row)) if trained else None,
        "data": pair.dataset.folder,
        "images": pair.images,
        "views": pair.views,
        "pool": pool_settings(suite.pool, _network(suite), small) if suite.pool else None,
        "augmentation": pair.augmentation,
        "precision": suite.precision,
        "probes": {name: [read.folder, each] for name, (read, each) in pair.probes.items()} if row.probed else {},
    }


def measure(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run; return what is kept of it."""
    small, seed = bool(arguments["smoke"]), int(arguments["seed"])
    suite = SUITES[arguments["suite"]].shrunk() if arguments["smoke"] else SUITES[arguments["suite"]]
    pair = next(pair for pair in suite.pairs if pair.name == arguments["pair"])
    row = next(row for row in suite.on(pair) if row.label == arguments["row"])
    data = Path(arguments["data"])
    teachers = [Path(arguments["teachers"]) / name for name in arguments["taught_by"]]
    pool = pool_place(Path(arguments["home"]), _network(suite), suite.pool) if suite.pool else None
    student = reference(pair.student, pair.kwargs, pair.spec)
    shared: dict[str, Any] = {"device": suite.device, "precision": suite.precision, "seed": seed}
    known = known_pool(pool, pool_settings(suite.pool, _network(suite), small), teachers[0]) if pool is not None and suite.pool else None
    if row.objective is None:
        network: Network = tacit.load(teachers[0]) if row.network == "teacher" else student.load(seed=seed)
        result = tacit.evaluate(student=network, data=pair.dataset.at(data), view=pair.view_of(row.network), **shared).result
    else:
        outcome = tacit.distill(
            teacher=[str(place) for place in teachers],
            student=student,
            source="data" if pool is None else str(pool),
            data=pair.dataset.at(data),
            split="test" if pool is not None else None if pair.images is None else part_of_train(pair.images),
            views=pair.views,
            unlabelled=not row.labelled,
            objective=row.objective,
            training=suite.training_of(row),
            augmentation=pair.augmentation,
            evaluations=0,
            checkpoint_seconds=NEVER,
            out=folder / "run",
            **shared,
        )
        assert outcome.network is not None
        network, result = outcome.network, outcome.result
    probes = {}
    for name, (dataset, each) in pair.probes.items() if row.probed else ():
        read: dict[str, Any] = {"probe": dataset.at(data), "labels": each, "view": pair.view_of(row.network)}
        probes[name] = tacit.evaluate(student=network, **read, **shared).metrics["probe"]["student"]
    return {
        "suite": suite.folder or suite.name,
        "pair": pair.name,
        "row": row.label,
        **result,
        "probes": probes,
        "pool": known,
        "teachers": [{"name": place.name, "sha256": model_hash(tacit.load(place))} for place in teachers],
        "settings": settings(suite, pair, row, small=small),
    }


def _say(outcome: Mapping[str, Any]) -> str:
    probes = "".join(f", {name}: {100 * found['accuracy']:.2f} %" for name, found in outcome["probes"].items())
    return f"{100 * outcome['metrics']['student_accuracy']:.2f} %{probes}"

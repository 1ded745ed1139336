"""Segmentation without data: DFAD and others with the same teacher, student and steps as distillation from real and unrelated images."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tacit
from benchmarks import data_free, runner, smoke
from benchmarks.places import HOME, with_teachers
from benchmarks.segmentation_suite import STREETS

__all__ = ["PART", "add_arguments", "jobs", "main", "measure"]

PART = "segmentation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    runner.add_arguments(parser)


def main(options: argparse.Namespace, home: Path) -> int:
    """Run what is missing under `home`; return the number of runs that failed, or could not be started."""
    made = jobs(home=home, data=options.data, seeds=options.seeds, small=options.smoke, rows=options.rows)
    if options.list:
        return runner.show(made)
    if options.smoke:
        smoke.prepare(STREETS.dataset, [pair.teacher for pair in STREETS.pairs], home)
        for dataset in (row.shown for row in STREETS.rows if row.shown):
            smoke.prepare(dataset, (), home)
    ready = with_teachers(made)
    side_by_side = runner.side_by_side(options, STREETS.device)
    return len(made) - len(ready) + runner.run(ready, side_by_side=side_by_side, say=_say, again=options.again)


def jobs(
    *,
    home: Path = HOME,
    data: Path | None = None,
    seeds: Sequence[int] | None = None,
    small: bool = False,
    rows: Sequence[str] | None = None,
) -> list[runner.Job]:
    """Return every run: the first seed of everything, then the second; see `benchmarks.data_free.jobs`."""
    return data_free.jobs(STREETS, home=home, data=data, seeds=seeds, small=small, rows=rows, part=PART)


def measure(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run; return what is kept of it. A student of unrelated images is measured afterwards, on those that it was not shown."""
    kept = data_free.measured(STREETS, arguments, folder)
    if kept["metrics"].get(STREETS.score) is None:
        taught_by = Path(arguments["teachers"]) / kept["teacher"]["name"]
        where = STREETS.dataset.at(Path(arguments["data"]))
        options: dict[str, Any] = {"device": STREETS.device, "precision": STREETS.precision, "out": folder / "evaluation"}
        found = tacit.evaluate(teacher=str(taught_by), student=str(folder / "run"), data=where, **options).metrics
        known = {name: value for name, value in kept["metrics"].items() if value is not None}
        kept |= {"metrics": {**kept["metrics"], **found, **known}, "curve": [[kept["curve"][-1][0], found[STREETS.score]]]}
    return kept


def _say(outcome: Mapping[str, Any]) -> str:
    found = outcome["metrics"]
    return f"mIoU {100 * found['student_miou']:.2f} %, pixels {100 * found['student_accuracy']:.2f} %"

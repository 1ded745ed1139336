"""Where things are: the benchmarks themselves, and the real data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.plans import Dataset
from benchmarks.runner import Job
from tacit.core.errors import InputError

__all__ = ["HOME", "TEACHERS_HOME", "all_data", "checked_data", "found", "made_up", "with_teachers"]

HOME = Path(__file__).resolve().parent
TEACHERS_HOME = HOME / "teachers"


def all_data(given: Path | None) -> Path:
    """Return the folder of all data: what was given, else $TACIT_DATA, else ./data."""
    return (given or Path(os.environ.get("TACIT_DATA") or "data")).resolve()


def checked_data(given: Path | None, dataset: Dataset) -> Path:
    """Return the same; `InputError` where it lacks `dataset`."""
    folder = all_data(given)
    if dataset.rendered:
        return folder
    for split in ("train", "test"):
        file = folder / dataset.folder / f"{split}.parquet"
        if not file.is_file():
            raise InputError(f"no data at {file}: expected <data>/{dataset.folder}/{split}.parquet; name <data> by --data or TACIT_DATA")
    return folder


def made_up(home: Path) -> Path:
    """Return where the generated images of a smoke run are."""
    return home.resolve() / "data"


def found(home: Path, data: Path | None, *, small: bool) -> dict[str, Any]:
    """Return what a job is told of places, as plain values; of a smoke run all is under its home."""
    return {
        "smoke": small,
        "data": str(made_up(home) if small else all_data(data)),
        "teachers": str(home.resolve() / "teachers" if small else TEACHERS_HOME),
        "home": str(home.resolve()),
    }


def with_teachers(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs that are done or whose teachers (the argument ``taught_by``) are there; say which teachers are not."""

    def absent(job: Job) -> list[str]:
        return [name for name in job.arguments["taught_by"] if not (Path(job.arguments["teachers"]) / name).is_dir()]

    ready = [job for job in jobs if job.file.exists() or not absent(job)]
    for name in sorted({name for job in jobs if job not in ready for name in absent(job)}):
        print(f"no teacher {name}: its pairs are left out; make it with `python -m benchmarks teachers {name}`")
    return ready

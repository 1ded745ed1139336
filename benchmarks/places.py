"""Where things are: the benchmarks themselves, and the real data."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.plans import Dataset
from tacit.core.errors import InputError

__all__ = ["HOME", "TEACHERS_HOME", "all_data", "checked_data"]

HOME = Path(__file__).resolve().parent
TEACHERS_HOME = HOME / "teachers"


def all_data(given: Path | None) -> Path:
    """Return the folder of all data: what was given, else $TACIT_DATA, else ./data."""
    return (given or Path(os.environ.get("TACIT_DATA") or "data")).resolve()


def checked_data(given: Path | None, dataset: Dataset) -> Path:
    """Return the same; `InputError` where it lacks `dataset`."""
    folder = all_data(given)
    for split in ("train", "test"):
        file = folder / dataset.folder / f"{split}.parquet"
        if not file.is_file():
            raise InputError(f"no data at {file}: expected <data>/{dataset.folder}/{split}.parquet; name <data> by --data or TACIT_DATA")
    return folder

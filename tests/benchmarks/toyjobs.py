"""Work of jobs, for the tests of what runs them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def double(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return twice a number, and the process that did it."""
    assert not list(folder.iterdir())
    (folder / "scratch").write_text("thrown away")
    if arguments["number"] < 0:
        raise ValueError("no negative numbers")
    return {"twice": 2 * arguments["number"], "process": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}

"""Of which code, and beside what, a run was made: kept with every run under ``code``, and told where seconds are shown."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["beside", "code"]

ROOT = Path(__file__).resolve().parents[1]
DECIDES = ("src", ":(glob)benchmarks/*.py")
"""What a run is made by."""


def code(jobs: int | None = None, root: Path = ROOT) -> dict[str, Any]:
    """Return what is kept of a run's code and company; called before its work.

    Args:
        jobs: How many runs went side by side at most; None: not known.
        root: The repository.

    Returns:
        ``commit``: of the repository, None where git can't say; ``changed``: whether `DECIDES` differs from it, files that it doesn't know
        included, None likewise; ``load``: the machine's load average over the last minute; ``jobs``.
    """
    commit, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--", *DECIDES)
    return {
        "commit": commit or None,
        "changed": None if not commit or changed is None else bool(changed),
        "load": round(os.getloadavg()[0], 2),
        "jobs": jobs,
    }


def _git(root: Path, *words: str) -> str | None:
    """Return what git says in `root`; None where there is no git, or no repository."""
    try:
        done = subprocess.run(["git", "--no-optional-locks", "-C", str(root), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def beside(runs: Iterable[Mapping[str, Any]]) -> str:
    """Return a line that says what ran beside timed runs, as far as their files tell; empty where there are no runs."""
    found = [run.get("code") or {} for run in runs]
    if not found:
        return ""
    if not any(found):
        return f"\nWhat ran beside was not kept ({len(found)} runs).\n"
    counts = Counter(each.get("jobs") for each in found)
    told = [
        f"{count} {'alone' if jobs == 1 else f'with up to {jobs - 1} of the other runs'}"
        for jobs, count in sorted((jobs, count) for jobs, count in counts.items() if jobs is not None)
    ]
    told += [f"{counts[None]} of which it was not kept"] if counts[None] else []
    loads = [float(each["load"]) for each in found if each.get("load") is not None]
    load = f" Load average as they began: {min(loads):.1f} to {max(loads):.1f}." if loads else ""
    return f"\nWhat ran beside, of {len(found)} runs: {', '.join(told)}.{load}\n"

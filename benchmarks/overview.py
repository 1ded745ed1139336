"""The table that RESULTS.md begins with: how many of the runs of each suite there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import (
    claims,
    compression,
    compression_plans,
    cost,
    data_free,
    federated,
    federated_suites,
    latency,
    representation,
    representation_suites,
    runner,
    segmentation,
    suites,
)
from benchmarks.parts import table

__all__ = ["overview"]


def overview(home: Path) -> str:
    """Return the section: runs that are there and that are planned, by suite, all seeds and those of the first seed."""
    rows, notes = [], ""
    for command, jobs, left_out in _planned(home):
        first = [job for job in jobs if job.arguments["seed"] == min(each.arguments["seed"] for each in jobs)]
        later = f", and {left_out} rows whose learning rates are not chosen yet" if left_out else ""
        earlier = sum(runner.state(job) not in ("done", "to do") for job in jobs)
        rows.append([f"`{command}`", _share(first), _share(jobs) + later, str(earlier or "")])
        if earlier:
            now = dict.fromkeys(f"`{job.title.rsplit(', seed', 1)[0]}`" for job in jobs if runner.state(job) == "done")
            notes += f"\nOf `{command}`, as it is now: {', '.join(now) or 'nothing'}; all else there was run before.\n"
    text = (
        "What is there of what is planned; most suites have three seeds, and the first of everything comes before the second of anything. "
        "The last column counts runs whose settings or teacher have changed since: sections show them, but they don't count as done."
    )
    return f"\n## Where it stands\n\n{text}\n\n{table(['suite', 'first seed', 'all runs', 'there, but to be run again'], rows)}{notes}"


def _share(jobs: Sequence[runner.Job]) -> str:
    return f"{sum(runner.state(job) == 'done' for job in jobs)} of {len(jobs)}"


def _planned(home: Path) -> Iterator[tuple[str, Sequence[runner.Job], int]]:
    """Yield the command of each suite, its runs, and how many rows can't be planned yet."""
    for name, suite in suites.SUITES.items():
        yield f"data_free --suite {name}", data_free.jobs(suite, home=home), 0
    yield "segmentation", segmentation.jobs(home=home), 0
    for name, claim in claims.CLAIMS.items():
        yield f"claims --claim {name}", claims.jobs(claim, home=home), 0
    for name, plan in compression_plans.SUITES.items():
        yield f"compression --suite {name}", compression.jobs(plan, home=home), 0
    yield f"compression --suite {latency.NAME}", latency.jobs(home=home), 0
    for name, compared in representation_suites.SUITES.items():
        yield f"representation --suite {name}", representation.jobs(compared, home=home), 0
    yield f"representation --suite {cost.NAME}", cost.jobs(home=home), 0
    for name, setting in federated_suites.SUITES.items():
        yield f"federated --suite {name}", federated.jobs(setting, home=home), len(federated.unchosen(setting, home))

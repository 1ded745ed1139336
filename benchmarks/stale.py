"""Runs that are not as their suite has them today: which they are, in words, and which runs may be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks import runner
from benchmarks.parts import Runs, grouped

__all__ = ["EARLIER", "Stale", "is_stale", "note", "of_today", "seeds_there", "stale"]

Stale = Mapping[str, Mapping[int, str]]
"""What the files of such runs say of them (`runner.state`), by label and seed."""
STATES = {
    "done with other settings": "Run before its settings changed, to be run again",
    "done with another teacher": "Taught by another teacher than today's, to be run again",
}
EARLIER = "of earlier code"
"""What is said of a figure that such runs give."""


def seeds_there(runs: Runs, usual: Sequence[int]) -> list[int]:
    """Return the usual seeds, and those that there are besides."""
    return sorted({*usual, *(seed for by_seed in runs.values() for seed in by_seed)})


def stale(jobs: Iterable[runner.Job]) -> dict[str, dict[int, str]]:
    """Return which of the jobs were done with other settings than theirs, or with another teacher than there is now."""
    found: dict[str, dict[int, str]] = {}
    for job in jobs:
        if (state := runner.state(job)) in STATES:
            found.setdefault(job.arguments["row"], {})[int(job.arguments["seed"])] = state
    return found


def note(old: Stale, where: str = "") -> str:
    """Return a line for each reason, with the rows and seeds, and `where` these are; empty where all is of today."""
    text = ""
    for state, words in STATES.items():
        seeds = {label: [seed for seed, each in by_seed.items() if each == state] for label, by_seed in old.items()}
        if said := grouped(seeds):
            text += f"\n**{words}{', ' * bool(where)}{where}**: {said}.\n"
    return text


def is_stale(runs: Runs, label: str, old: Stale) -> bool:
    """Return whether any run of a row is not of today."""
    return any(seed in old.get(label, {}) for seed in runs.get(label, {}))


def of_today(runs: Runs, old: Stale, groups: Sequence[str]) -> tuple[Runs, set[str]]:
    """Return the runs that may be compared, and the groups of which none is of today.

    Args:
        runs: By label and seed.
        old: Those that are not of today. They are compared with each other where their group has nothing else, and left out elsewhere.
        groups: How the labels of a group begin.
    """
    now = {label: {seed: run for seed, run in by_seed.items() if seed not in old.get(label, {})} for label, by_seed in runs.items()}
    before = {group for group in groups if not any(by_seed for label, by_seed in now.items() if label.startswith(group))}
    kept = {label: runs[label] if label.startswith(tuple(before)) else by_seed for label, by_seed in now.items()}
    return {label: by_seed for label, by_seed in kept.items() if by_seed}, before

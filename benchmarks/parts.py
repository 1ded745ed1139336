"""Parts of tables and pictures that several sections of RESULTS.md share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tacit.core.files import read_json

__all__ = [
    "Record",
    "Runs",
    "above",
    "accuracies",
    "accuracy",
    "at",
    "grouped",
    "kept",
    "middle",
    "missing",
    "over",
    "paced",
    "paired",
    "picture",
    "points",
    "spread",
    "table",
    "verdict",
]

Record = Mapping[str, Any]
Runs = dict[str, dict[int, Record]]
"""What is kept of each row, by label and seed."""


def kept(folder: Path, labels: Iterable[str]) -> Runs:
    """Return what `folder` has of each row: first `labels` in their order, runs or none, then rows that are there besides."""
    found: Runs = {label: {} for label in labels}
    for file in sorted(folder.glob("*.json")):
        run = read_json(file)
        found.setdefault(run["row"], {})[int(run["seed"])] = run
    return {label: dict(sorted(by_seed.items())) for label, by_seed in found.items()}


def paced(runs: Runs) -> str:
    """Return a line that says how many runs had their first seed's steps for a budget; empty where none had."""
    count = sum(bool(run.get("paced")) for by_seed in runs.values() for run in by_seed.values())
    if not count:
        return ""
    return (
        f"\nRuns of later seeds that took as many student steps as the first, however long that was: {count}. A second on a shared core is "
        "worth more or less by the hour; a step is not.\n"
    )


def missing(runs: Runs, wanted: Mapping[str, Sequence[int]]) -> str:
    """Return which of the wanted seeds of which rows are not there, in words; rows that lack the same stand together."""
    return grouped(
        {label: [seed for seed in seeds if seed not in runs.get(label, {})] for label, seeds in wanted.items()}, rows=len(wanted)
    )


def grouped(found: Mapping[str, Sequence[int]], *, rows: int = 0) -> str:
    """Return seeds of rows, by label, in words; rows that have the same stand together, those that have none are left out.

    Args:
        found: Seeds of rows.
        rows: How many there are of which all are called ``every row``; 0: not known.
    """
    alike: dict[tuple[int, ...], list[str]] = {}
    for label, each in found.items():
        if each:
            alike.setdefault(tuple(each), []).append(f"`{label}`")
    said = {seeds: "every row" if len(labels) == rows > 1 else ", ".join(labels) for seeds, labels in alike.items()}
    return "; ".join(f"{labels} (seed {', '.join(map(str, seeds))})" for seeds, labels in said.items())


def accuracy(run: Record) -> float:
    """Return the student's accuracy in %, last step."""
    return 100 * float(run["metrics"]["student_accuracy"])


def accuracies(by_seed: Mapping[int, Record]) -> list[float]:
    """Return the same of each run."""
    return [accuracy(run) for run in by_seed.values()]


def verdict(checks: Sequence[tuple[str, bool]]) -> str:
    """Return what was to be shown, and whether it is."""
    return "".join(f"\n- {text}: {'yes' if holds else '**no**'}." for text, holds in checks) + "\n" * bool(checks)


def paired(runs: Runs, one: str, other: str, read: Callable[[Record], float | None] = accuracy) -> list[float]:
    """Return by how much row `one` is above row `other`, in each seed that both have."""
    both = [(runs[one][seed], runs[other][seed]) for seed in runs.get(one, {}) if seed in runs.get(other, {})]
    known = [(read(ours), read(theirs)) for ours, theirs in both]
    return [ours - theirs for ours, theirs in known if ours is not None and theirs is not None]


def above(one: str, other: str, differences: Sequence[float], broken: int = 0, form: str = "+.2f") -> tuple[str, bool]:
    """Return that one is above another in every seed, and whether it is; in `broken` more it broke off."""
    count, seeds = sum(difference > 0 for difference in differences), len(differences) + broken
    words = f"{one} is {spread(differences, form)} {'points ' * (form == '+.2f')}from {other}; above it in {count} of {seeds} seeds"
    return words + (f", broke off in {broken}" if broken else ""), count == seeds


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return mean ± sd of several values, one value as it is, or a dash."""
    if not values:
        return "-"
    return f"{mean(values):{form}} ± {stdev(values):{form.lstrip('+')}}" if len(values) > 1 else f"{values[0]:{form}}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are set to the right."""
    return "\n".join([f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}", *(f"| {' | '.join(row)} |" for row in rows), ""])


def over(by_seed: Mapping[int, Record], read: Callable[[Record], float | None], form: str = ".3f") -> str:
    """Return mean ± sd over seeds of what `read` finds."""
    values = [read(run) for run in by_seed.values()]
    return spread([value for value in values if value is not None], form)


def middle(by_seed: Mapping[int, Record], read: Callable[[Record], float | None], form: str = ".0f") -> str:
    """Return the median over seeds of what `read` finds, for what scatters by what else a machine does; or a dash."""
    values = [value for run in by_seed.values() if (value := read(run)) is not None]
    return f"{median(values):{form}}" if values else "-"


def at(*path: str) -> Callable[[Record], float | None]:
    """Return a function that reads the figure at `path`; None where it is null on the way."""

    def read(run: Record) -> float | None:
        value: Any = run
        for name in path:
            value = value[name] if value is not None else None
        return None if value is None else float(value)

    return read


def points(axes: Axes, names: Sequence[str], values: Sequence[Sequence[float]], label: str) -> None:
    """Draw each run as a point, and mean and standard deviation beside."""
    for place, each in enumerate(values):
        axes.plot([place] * len(each), each, "o", alpha=0.55, color="C0", markersize=5)
        axes.errorbar(place + 0.18, mean(each), yerr=stdev(each) if len(each) > 1 else 0, fmt="_", color="C1", capsize=4, markersize=14)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.4)
    axes.set_ylabel(label)


@contextmanager
def picture(file: Path, *, size: tuple[float, float] = (9, 4)) -> Iterator[Figure]:
    """Open a figure that is written to `file` when the context is left."""
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=110, metadata={"Software": None})

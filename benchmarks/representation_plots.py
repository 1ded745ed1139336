"""The pictures of RESULTS.md on representation distillation, made from the JSON files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from matplotlib.axes import Axes

from benchmarks.parts import Runs, accuracies, picture, points
from benchmarks.representation_parts import errors, probed, runs_of
from benchmarks.representation_suites import SUITES

__all__ = ["draw_representation"]

MARKED = ("CRD", "CRD+KD")
"""Rows that stand out."""


def draw_representation(home: Path) -> None:
    """Write a picture of every suite that has runs and can be seen."""
    for name in ("cpu", "longer", "data-free", "gpu"):
        suite = SUITES[name]
        found = {pair.title: _trained(runs_of(suite, pair, home)) for pair in suite.pairs}
        found = {title: runs for title, runs in found.items() if runs}
        if not found:
            continue
        tall = max(map(len, found.values()))
        with picture(home / "figures" / f"representation-{name}.png", size=(5 + 4 * len(found), 1.5 + 0.26 * tall)) as figure:
            for number, (title, runs) in enumerate(found.items(), start=1):
                axes = figure.add_subplot(1, len(found), number)
                axes.set_title(title if len(found) == 1 else title.partition(",")[0], loc="left")
                _ranked(axes, runs)
    _draw_ensemble(home)
    _draw_cross_modal(home)


def _trained(runs: Runs) -> Runs:
    """Return the rows that were trained, without other settings of them: these have a single seed."""
    settings = {row.label for suite in SUITES.values() for row in suite.rows if row.setting_of or row.objective is None}
    return {label: by_seed for label, by_seed in runs.items() if label not in settings}


def _ranked(axes: Axes, runs: Runs) -> None:
    """Draw each row on a line of its own: a point a run, mean and standard deviation below; the best on top."""
    order = sorted(runs, key=lambda label: mean(accuracies(runs[label])))
    for place, label in enumerate(order):
        values, colour = accuracies(runs[label]), "C3" if label in MARKED else "C0"
        axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.55, markersize=4)
        _errorbar(axes, place - 0.2, values, colour)
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel("accuracy of the student, %")
    axes.grid(axis="x", alpha=0.3)


def _errorbar(axes: Axes, place: float, values: Sequence[float], colour: str) -> None:
    axes.errorbar(mean(values), place, xerr=stdev(values) if len(values) > 1 else 0, fmt="|", color=colour, capsize=2, markersize=7)


def _draw_ensemble(home: Path) -> None:
    suite = SUITES["ensemble"]
    runs = runs_of(suite, suite.pairs[0], home)
    found = errors(runs)
    if not found:
        return
    with picture(home / "figures" / "representation-ensemble.png", size=(7, 4)) as figure:
        axes = figure.add_subplot()
        for name, each in found.items():
            counts = sorted(each)
            apart = [stdev(each[count]) if len(each[count]) > 1 else 0.0 for count in counts]
            style = "k--" if name == "teachers together" else "o-"
            axes.errorbar(counts, [mean(each[count]) for count in counts], yerr=apart, fmt=style, capsize=3, label=name)
        if "student alone" in runs:
            alone = 100 - mean(accuracies(runs["student alone"]))
            axes.axhline(alone, color="grey", linewidth=1, linestyle=":", label="student alone")
        axes.set_xticks(sorted({count for each in found.values() for count in each}))
        axes.set_xlabel("teachers")
        axes.set_ylabel("error, %")
        figure.legend(loc="outside right upper", frameon=False)


def _draw_cross_modal(home: Path) -> None:
    suite = SUITES["cross-modal"]
    found = {pair.title: (pair, runs) for pair in suite.pairs if (runs := runs_of(suite, pair, home))}
    if not found:
        return
    with picture(home / "figures" / "representation-cross-modal.png", size=(4 * len(found), 4)) as figure:
        for number, (title, (pair, runs)) in enumerate(found.items(), start=1):
            read = probed(next(iter(pair.probes)))
            values = {label: [value for run in by_seed.values() if (value := read(run)) is not None] for label, by_seed in runs.items()}
            axes = figure.add_subplot(1, len(found), number)
            points(axes, list(values), list(values.values()), "accuracy of a linear probe, %")
            axes.tick_params(axis="x", rotation=45)
            axes.set_title(title.partition(":")[0], loc="left")

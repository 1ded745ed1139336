"""The pictures of RESULTS.md on federated learning, made from the JSON files."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes

from benchmarks.federated_parts import runs_of, tested
from benchmarks.federated_suites import SUITES
from benchmarks.parts import Record, Runs, picture
from benchmarks.plots import error_scale

__all__ = ["draw_federated"]

CURVES = ("mnist", "best")
"""Suites whose rows have a curve each."""
STYLES = ("-", "--")


def draw_federated(home: Path) -> None:
    """Write a picture for every suite with curves that has runs: accuracy over rounds, a panel a split."""
    order = list(dict.fromkeys(row.label for name in CURVES for row in SUITES[name].rows))
    for name in CURVES:
        suite = SUITES[name]
        found = {alpha: _tested(runs_of(suite, alpha, home)) for alpha in suite.alphas}
        found = {alpha: runs for alpha, runs in found.items() if runs}
        if not found:
            continue
        with picture(home / "figures" / f"federated-{name}.png", size=(3 + 3.6 * len(found), 4.5)) as figure:
            shown: set[str] = set()
            for number, (alpha, runs) in enumerate(found.items(), start=1):
                axes = figure.add_subplot(1, len(found), number)
                _curves(axes, runs, order, shown)
                axes.set_title(f"Dirichlet {alpha:g}", loc="left")
                axes.set_xlabel("rounds")
                if number == 1:
                    axes.set_ylabel("accuracy on the test set, %")
            figure.legend(loc="outside right upper", frameon=False)


def _tested(runs: Runs) -> Runs:
    """Return the runs that went to their end."""
    found = {label: {seed: run for seed, run in by_seed.items() if tested(run) is not None} for label, by_seed in runs.items()}
    return {label: by_seed for label, by_seed in found.items() if by_seed}


def _curves(axes: Axes, runs: Runs, order: list[str], shown: set[str]) -> None:
    """Draw the mean over seeds of each row, and faintly each run; a row has one colour everywhere, and is named once in `shown`."""
    for label, by_seed in runs.items():
        place = order.index(label)
        colour, style = f"C{place % 10}", STYLES[place // 10]
        for run in by_seed.values():
            axes.plot(*_points(run), color=colour, linestyle=style, linewidth=0.6, alpha=0.35)
        rounds, _ = _points(next(iter(by_seed.values())))
        means = [mean(each) for each in zip(*(_points(run)[1] for run in by_seed.values()), strict=False)]
        axes.plot(rounds[: len(means)], means, color=colour, linestyle=style, linewidth=1.6, label=None if label in shown else label)
        shown.add(label)
    curves = [_points(run)[1] for by_seed in runs.values() for run in by_seed.values()]
    error_scale(axes, [curve[-1] for curve in curves] + [max(max(curve) for curve in curves)])
    axes.grid(axis="y", alpha=0.3)


def _points(run: Record) -> tuple[list[int], list[float]]:
    return [round for round, _ in run["curve"]], [100 * accuracy for _, accuracy in run["curve"]]

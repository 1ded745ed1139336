"""Accuracy over seconds, one picture a suite and pair, made from the JSON files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmarks.parts import picture, spread
from benchmarks.plans import Pair, Suite
from benchmarks.suites import SUITES
from benchmarks.tables import Line, lines_of

__all__ = ["data_free", "error_scale"]

TICKS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95, 97, 98, 99, 99.5)
CEILING = 99.9
"""Where the axis ends: errors are drawn on a logarithmic scale."""
STYLES = ("-", "--", "-.", ":")


def data_free(home: Path) -> None:
    """Write a picture for every suite and pair that has a run with a budget."""
    for suite in SUITES.values():
        for pair in suite.pairs:
            lines = [line for line in lines_of(suite, pair, home) if line.runs]
            if lines:
                _picture(suite, pair, lines, home / "figures" / f"{suite.name}-{pair.name}.png")


def _picture(suite: Suite, pair: Pair, lines: Sequence[Line], file: Path) -> None:
    with picture(file, size=(9, 5)) as figure:
        axes = figure.add_subplot()
        known = [row.label for row in suite.rows if row.method is not None]
        order = [*known, *sorted(line.label for line in lines if line.row is None)]  # a row keeps its colour in every picture of a suite
        ends: list[float] = []
        for line in lines:
            name = f"{line.label}: {spread(line.accuracies)}"
            if line.label not in order:
                style = STYLES[3 if line.row and line.row.labels else 1]
                axes.axhline(line.accuracy, color="black", linestyle=style, linewidth=1, label=f"{name}, all steps")
                ends += line.accuracies
                continue
            place = order.index(line.label)
            colour, style = f"C{place % 10}", STYLES[place // 10 % len(STYLES)]
            for number, run in enumerate(line.runs.values()):
                seconds, accuracy = zip(*run["curve"], strict=True)
                shown = 100 * np.asarray(accuracy)
                look = 1.0 if number == 0 else 0.45
                axes.plot(seconds, shown, color=colour, linestyle=style, linewidth=1.5, alpha=look, label=None if number else name)
                axes.plot(seconds[-1], shown[-1], "o", color=colour, markersize=4, alpha=look)
                ends += shown.tolist()
        error_scale(axes, ends)
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds of synthesis and training")
        axes.set_ylabel("accuracy of the student in %")
        axes.set_title(f"{suite.title}: {pair.title}", loc="left")
        axes.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside right upper", frameon=False, title="mean ± sd, last step")


def error_scale(axes: Axes, shown: Sequence[float]) -> None:
    """Draw errors on a logarithmic scale, so that both 20 and 99 % can be read."""

    def up(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(-np.log10(np.maximum(100 - np.asarray(accuracy), 100 - CEILING)))

    def down(height: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(100 - 10.0 ** -np.asarray(height))

    axes.set_yscale("function", functions=(up, down))
    low, high = min(shown), max(shown)
    below = max((tick for tick in TICKS if tick <= low), default=0)
    above = min((tick for tick in TICKS if tick > high), default=CEILING)
    axes.set_yticks([tick for tick in TICKS if below <= tick <= above], [f"{tick:g}" for tick in TICKS if below <= tick <= above])
    axes.minorticks_off()
    axes.set_ylim(below, above)

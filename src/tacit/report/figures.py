"""Charts as inline SVG: text and axes take the colour of the page, series the palette of its style sheet."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

__all__ = ["COLOURS", "DASHES", "FAINT", "INK", "MAX_NAMED", "PRINTED", "SETTINGS", "Series", "heat", "inline", "lines", "picture"]

COLOURS = 7  # in the style sheet: --s0 to --s6
DASHES = ("none", "6 2.5", "1.5 2", "7 2 1.5 2")  # a second sign beside the colour, of stroke width 1.6
MAX_NAMED = 30  # classes up to which cells of a heat-map carry numbers
MAX_POINTS = 300
INK, FAINT = "#010101", "#010102"  # stand-ins that `inline` turns into colours of the page
PRINTED = ("#0f6cbd", "#c75000", "#00805c", "#b0478a", "#8a6d00", "#2b93c9", "#7a5bc0")  # the palette of the light page
SIDE = 400  # of a heat-map, at least
HEAT = (0.2, 0.52, 0.86)
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tacit",
    "font.size": 11,
    "axes.linewidth": 0.8,
    "path.simplify_threshold": 0.5,
}


@dataclass(frozen=True)
class Series:
    """One line of a chart; `colour` counts the palette, None is the colour of the text; `low` to `high` is a band around it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int | None = 0
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    @property
    def last(self) -> float:
        """The last value."""
        return self.y[-1]

    @property
    def stroke(self) -> str:
        """The colour, for a style sheet."""
        return "currentColor" if self.colour is None else f"var(--s{self.colour % COLOURS})"

    @property
    def dash(self) -> str:
        """The dashes, for a style sheet."""
        return "none" if self.colour is None else DASHES[self.colour % len(DASHES)]


def lines(
    series: Sequence[Series], *, key: str, label: str, x: str, percent: bool = False, reference: float | None = None, whole: bool = True
) -> Markup:
    """Draw lines.

    Args:
        series: What to draw.
        key: Put before each id, so that charts on one page do not mix.
        label: What a screen reader says.
        x: Under the axis.
        percent: Whether values are shares, drawn from 0 to 100%.
        reference: A level to draw across.
        whole: Whether `x` counts things.
    """
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(420 / 72, 230 / 72))
        # Fixed margins: the text on the page is of another font, and larger on a phone.
        axes = figure.add_axes((0.125, 0.185, 0.825, 0.77))
        _lines(axes, series, x, percent=percent, reference=reference, whole=whole)
        return inline(figure, key, label)


def picture(series: Sequence[Series], *, title: str, x: str, reference: float | None = None) -> bytes:
    """Draw shares over `x` as a PNG, with the names of the lines under it; `reference` is a level to draw across."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
        axes = figure.add_subplot(title=title)
        drawn = _lines(axes, series, x, percent=True, reference=reference, whole=False, printed=True)
        names = figure.legend(
            drawn, [one.name for one in series], loc="outside lower left", ncols=1 if len(series) > 4 else 2, frameon=False
        )
        for text in names.get_texts():
            text.set_parse_math(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def heat(matrix: Sequence[Sequence[int]], names: Sequence[str], *, key: str, label: str, x: str, y: str) -> Markup:
    """Draw a square matrix of counts, each row shaded by its own sum, so that a page light or dark shines through."""
    counts = np.asarray(matrix, dtype=float)
    total, classes = counts.sum(axis=1, keepdims=True), len(matrix)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    cells = np.concatenate([np.broadcast_to(HEAT, (*share.shape, 3)), 0.75 * np.sqrt(share)[..., None]], axis=2)
    side = max(SIDE, 24 * min(classes, MAX_NAMED))
    with mpl.rc_context({**SETTINGS, "savefig.dpi": 144}):
        figure = Figure(figsize=(side / 72, side / 72), layout="constrained")
        axes = figure.add_subplot()
        # Below some size each class keeps its own square; beyond it the squares are smaller than the dots of a screen.
        axes.imshow(cells, interpolation="none" if classes <= 200 else "antialiased", aspect="equal")
        _axes(axes, x)
        axes.set_ylabel(y, color=INK)
        axes.set_frame_on(False)
        shown = range(0, classes, 1 if classes <= MAX_NAMED else math.ceil(classes / 10))
        text = [_clip(names[index]) for index in shown]
        steep = max(map(len, text)) > (3 if classes <= 12 else 2)
        axes.set_xticks(list(shown), text, rotation=90 if steep else 0, parse_math=False)
        axes.set_yticks(list(shown), text, parse_math=False)
        if classes <= MAX_NAMED:
            for row, column in itertools.product(range(classes), range(classes)):
                if counts[row, column]:
                    axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center_baseline", color=INK)
        return inline(figure, key, label, width=side)


def _lines(
    axes: Axes, series: Sequence[Series], x: str, *, percent: bool, reference: float | None, whole: bool, printed: bool = False
) -> list[Line2D]:
    """Draw lines into `axes`, in colours of the page or, `printed`, in fixed ones; return them."""
    ink, faint = ("#1a1d21", "#8d96a0") if printed else (INK, FAINT)
    palette = PRINTED if printed else [f"#0200{index:02x}" for index in range(COLOURS)]
    drawn = []
    for one in series:
        width, at, value = (2.0 if one.colour is None else 1.6), *_thin(one.x, one.y)
        marker = "o" if len(at) <= 25 else ""
        colour = ink if one.colour is None else palette[one.colour % COLOURS]
        line = axes.plot(at, value, color=colour, linewidth=width, marker=marker, markersize=3.2, markeredgewidth=0)[0]
        if one.dash != "none":
            line.set_linestyle((0, [float(length) / width for length in one.dash.split()]))
        if one.low and one.high:
            axes.fill_between(at, _thin(one.x, one.low)[1], _thin(one.x, one.high)[1], color=colour, alpha=0.16, linewidth=0)
        drawn.append(line)
    if reference is not None:
        axes.axhline(reference, color=faint, linewidth=1, linestyle=(0, (2, 3)))
    _axes(axes, x, ink, faint)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole, steps=[1, 2, 2.5, 3, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))
    axes.grid(axis="y", color=faint, linewidth=0.5, alpha=0.35)
    if percent:
        axes.set_ylim(0, 1.04)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    else:
        _scale(axes, [value for one in series for value in one.y])
    return drawn


def _axes(axes: Axes, x: str, ink: str = INK, faint: str = FAINT) -> None:
    axes.set_xlabel(x, color=ink)
    axes.tick_params(colors=ink, length=0, pad=6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(faint)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Choose a logarithmic axis where values are positive and far apart."""
    if min(values) > 0 and max(values) / min(values) > 30:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))


def _tick(value: float, _: float) -> str:
    small = value == 0 or 1e-3 <= abs(value) < 1e5
    return f"{value:g}" if small else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def _thin(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return at most MAX_POINTS points: means of neighbours."""
    groups = np.array_split(np.arange(len(x)), min(len(x), MAX_POINTS))
    at, value = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return [float(at[group].mean()) for group in groups], [float(value[group].mean()) for group in groups]


def _clip(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"


def inline(figure: Figure, key: str, label: str, width: int | None = None) -> Markup:
    """Return the figure as an <svg> for a page: own ids, the page's colours and font, nothing that refers elsewhere."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 :]
    for pattern, new in (
        (r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", ""),
        (r'<g id="[^"]*"', "<g"),
        (r' id="', f' id="{key}-'),
        (r"url\(#", f"url(#{key}-"),
        (r'xlink:href="#', f'href="#{key}-'),
        (r'xlink:href="', 'href="'),
        (r'(<text style=")(?:font(?:-[a-z]+)?: [^;"]*;? ?)+', r"\1"),
        (rf"(fill|stroke): {INK}", r"\1: currentColor"),
        (rf"(fill|stroke): {FAINT}", r"\1: var(--faint)"),
        (r"(fill|stroke): #02000([0-6])", r"\1: var(--s\2)"),
        (r"\s*\n\s*", "\n"),
    ):
        body = re.sub(pattern, new, body, flags=re.DOTALL)
    # A heat-map grows with the page only so far; one of many classes scrolls inside its box on a phone.
    bounds = f' style="max-width: {1.3 * width:.0f}px; min-width: {width if width > SIDE else 0}px"' if width else ""
    opening = f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{escape(label)}"{bounds}>'
    return Markup(opening + body)

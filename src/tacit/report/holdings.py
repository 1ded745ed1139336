"""Who holds what: a picture of how classes are spread over the clients of a federation."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from tacit.report.figures import FAINT, INK, MAX_NAMED, PRINTED, SETTINGS, inline

__all__ = ["drawn", "holdings"]

MAX_CLIENTS = 60
"""Clients that are drawn: more can't be told apart."""
MAX_LETTERS = 20
"""Letters of a name that are drawn."""
PAGE = ("#020000", "#020001")
"""Stand-ins for the first two colours of the page."""


def holdings(counts: Sequence[Sequence[int]], names: Sequence[str], clients: Sequence[str] = ()) -> bytes:
    """Draw a dot for every client and class, its area as the number of images, as PNG; above, how many images each client has in all.

    Args:
        counts: Images by client (rows) and class (columns); the first 60 clients are drawn.
        names: Of the classes.
        clients: Names of the clients; none: their numbers stand below.
    """
    with mpl.rc_context(SETTINGS):
        figure = _figure(counts, names, clients, PRINTED[:2], "#1a1d21", "#8d96a0")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def drawn(counts: Sequence[Sequence[int]], names: Sequence[str], clients: Sequence[str] = (), *, key: str) -> Markup:
    """Draw the same for a page, in its colours; `key` is put before each id."""
    with mpl.rc_context(SETTINGS):
        figure = _figure(counts, names, clients, PAGE, INK, FAINT)
        label = f"How the images of {len(counts[0])} classes are spread over {len(counts)} clients; the table has the numbers by client."
        return inline(figure, key, label, width=round(72 * figure.get_figwidth()))


def _short(name: str) -> str:
    return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"


def _figure(
    counts: Sequence[Sequence[int]], names: Sequence[str], called: Sequence[str], colours: Sequence[str], ink: str, faint: str
) -> Figure:
    held = np.asarray(counts, dtype=float)[:MAX_CLIENTS]
    clients, classes = held.shape
    below = [_short(name) for name in called[:clients]]
    width, height = max(4.0, 1.2 + 0.32 * clients), max(2.6, 1.6 + 0.24 * min(classes, MAX_NAMED)) + 0.08 * max(map(len, below), default=0)
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    bars, dots = figure.subplots(2, 1, sharex=True, height_ratios=(1, 3))
    bars.bar(range(clients), held.sum(axis=1), color=colours[0], width=0.7)
    bars.set_ylabel("images", color=ink)
    across, down = np.nonzero(held)
    dots.scatter(across, down, s=170 * held[across, down] / max(held.max(), 1.0), color=colours[1], linewidths=0)
    dots.set_xlabel("client" if len(counts) <= MAX_CLIENTS else f"client (the first {MAX_CLIENTS} of {len(counts)})", color=ink)
    dots.set_ylabel("class", color=ink)
    dots.set_xlim(-0.7, clients - 0.3)
    dots.set_ylim(-0.7, classes - 0.3)
    if classes <= MAX_NAMED:
        dots.set_yticks(range(classes), [_short(str(name)) for name in names], parse_math=False)
    for axes in (bars, dots):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(faint)
        axes.tick_params(colors=ink, color=faint)
    if below:
        dots.set_xticks(range(clients), below, rotation=90, parse_math=False)
    else:
        dots.xaxis.get_major_locator().set_params(integer=True)
    return figure

"""Progress of long work: a bar on a terminal, plain lines in a pipe; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

__all__ = ["Progress"]


class Progress:
    """Shows how far a piece of work is, how fast it goes, when it ends, and what it measures.

    Args:
        title: What is done.
        total: Pieces of work in all.
        unit: What a piece is.
        quiet: Show nothing.
        every: Seconds between two plain lines.
        done: Pieces that were done before, where work is resumed.
        share: How much of the work that was, where something else than the pieces may end it.
    """

    def __init__(
        self, title: str, total: int, unit: str, *, quiet: bool = False, every: float = 10.0, done: int = 0, share: float | None = None
    ) -> None:
        self.title, self.total, self.unit, self.quiet, self.every = title, total, unit, quiet, every
        self._fancy = sys.stderr.isatty() and not quiet
        self._start = self._said = time.monotonic()
        self._first, self._share = done, self._of(done) if share is None else share

    def _of(self, done: int) -> float:
        return done / self.total if self.total else 1.0

    def __enter__(self) -> Self:
        if self._fancy:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, note="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fancy:
            self._bar.stop()

    def update(self, done: int, notes: Mapping[str, float | str] | None = None, *, share: float | None = None, final: bool = False) -> None:
        """Say that `done` pieces are done; `notes` are numbers, or words, to show beside; `share` is as for the whole."""
        now = time.monotonic()
        if self.quiet or not (final or self._fancy or now - self._said >= self.every):
            return
        self._said, took = now, now - self._start
        speed, share = (done - self._first) / max(took, 1e-9), self._of(done) if share is None else share
        left = f"eta {took * (1 - share) / (share - self._share):.0f} s  " if not final and share > self._share else ""
        said = left + "  ".join(
            f"{name} {value if isinstance(value, str) else format(value, '.4g')}" for name, value in (notes or {}).items()
        )
        if self._fancy:
            self._bar.update(self._task, completed=done, note=f"{speed:.3g} {self.unit}/s  {said}")
            return
        print(f"{self.title}: {done}/{self.total} {self.unit}  {speed:.3g}/s  {said}", file=sys.stderr, flush=True)

"""`tacit report`: one self-contained page of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tacit.core.errors import InputError
from tacit.core.run import Run
from tacit.verbs.base import Outcome, Verb, as_function

__all__ = ["Report", "report"]


@dataclass(frozen=True, kw_only=True)
class Report(Verb):
    """Write report.html into a run folder: one file, no request to any other host."""

    run_folder: Path
    """The run folder."""

    name: ClassVar[str] = "report"
    positional: ClassVar[str] = "run_folder"

    def run(self) -> Outcome:
        """Write the page; return where it is."""
        folder = Path(self.run_folder)
        if not Run.is_run(folder):
            raise InputError(f"{folder} is no run folder: expected one that a tacit verb wrote (it has config.yaml)")
        from tacit.report import write_report

        page = write_report(folder)
        return Outcome(folder=folder, result={"report": str(page)}, rows=[("report", str(page))])


report = as_function(Report)

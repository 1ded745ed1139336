"""`tacit compare`: runs side by side, over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from tacit.core.device import Clock
from tacit.core.errors import InputError
from tacit.core.files import write_file
from tacit.core.run import Run, free_folder, make_result
from tacit.verbs.base import Outcome, Verb, as_function

__all__ = ["Compare", "compare"]


@dataclass(frozen=True, kw_only=True)
class Compare(Verb):
    """Set runs of `train`, `distill` and others side by side: a table (table.md), a picture (accuracy.png) and a page (report.html).

    Runs that differ in nothing but the seed become one row, mean ± standard deviation; what is not like with like is said under the table.
    """

    runs: Sequence[str | Path] = ()
    """The run folders; one that holds several of its kind, as `tacit federate` without an algorithm makes, stands for those."""
    out: Path | None = None
    """The folder to write; not given: runs/compare, or the next free number."""
    overwrite: bool = False
    """Replace a comparison that is already in `out`."""

    name: ClassVar[str] = "compare"
    positional: ClassVar[str] = "runs"

    def run(self) -> Outcome:
        """Compare; return the folder with the table, and the rows in ``metrics["rows"]``."""
        from tacit.report import comparable, group, markdown, notes, write_report
        from tacit.report.comparison import picture
        from tacit.report.read import members, read_figures
        from tacit.report.table import LEGEND, text

        folders = self._folders()
        out = Path(self.out) if self.out is not None else free_folder(self.name)
        self._check(out, folders)
        runs = dict.fromkeys(member for folder in folders for member in members(folder))
        records, left = comparable([read_figures(folder) for folder in runs])
        if not records:
            raise InputError(f"runs: none of these can be compared: {' '.join(left)}")
        rows = group(records)
        said = [*notes(rows), *left]
        run = Run(out, self.name, {"runs": [str(folder) for folder in folders]})
        run.open(resume=False, overwrite=self.overwrite)
        write_file(out / "table.md", f"{markdown(rows)}\n{LEGEND}\n\n" + "".join(f"- {note}\n" for note in said))
        if (drawn := picture(rows)) is not None:
            write_file(out / "accuracy.png", drawn)
        result = make_result(self.name, Clock(), {"rows": [asdict(row) for row in rows], "notes": said})
        run.finish(result)
        page = write_report(out)
        return Outcome(folder=out, result=result, text=text(rows), rows=[*(("note", note) for note in said), ("report", str(page))])

    def _folders(self) -> list[Path]:
        """Return the folders, each once."""
        given = [self.runs] if isinstance(self.runs, str | Path) else self.runs
        if not given:
            raise InputError("runs: give the run folders to compare, as `tacit compare runs/a runs/b`")
        once: dict[Path, Path] = {}
        for folder in map(Path, given):
            once.setdefault(folder.resolve(), folder)
        return list(once.values())

    def _check(self, out: Path, folders: Sequence[Path]) -> None:
        """Raise `InputError` where `out` can't be written, or a compared run would be replaced with it."""
        Run.check(out, resume=False, overwrite=self.overwrite)
        inside = [folder for folder in folders if folder.resolve().is_relative_to(out.resolve())]
        if self.overwrite and inside:
            raise InputError(f"out: {out} holds {inside[0]}, which is to be compared: choose another folder")


compare = as_function(Compare)

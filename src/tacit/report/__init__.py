"""The report: one self-contained HTML page made from a run folder; and rows that set runs side by side."""

from tacit.report.fairness import notes
from tacit.report.groups import comparable, group
from tacit.report.page import write_report
from tacit.report.read import Record
from tacit.report.rows import Row
from tacit.report.table import markdown

__all__ = ["Record", "Row", "comparable", "group", "markdown", "notes", "write_report"]

"""The charts of the page, from the log and the result of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from tacit.report import figures, words
from tacit.report.figures import Series
from tacit.report.maps import is_dense
from tacit.report.read import Record

__all__ = ["Chart", "accuracy", "confusion", "crowded", "health", "losses", "measure"]

HEALTH = (
    ("The last images", True, (("class_coverage", "classes"), ("teacher_confidence", "confidence"), ("duplicate_rate", "near-duplicates"))),
    (
        "Student and teacher agree",
        True,
        (
            ("agreement_fresh", "new images"),
            ("agreement_old", "old images"),
            ("agreement_noise", "noise"),
            ("agreement_best", "best weights so far"),
        ),
    ),
    ("How far apart two images are", False, (("feature_distance", "in the teacher's features"),)),
)
"""Charts of a monitor's measures: title, whether they are shares, and (name in the log, name on the page)."""


@dataclass(frozen=True)
class Chart:
    """A drawing, its lines by name, and words under it."""

    title: str
    svg: Markup
    lines: Sequence[Series] = ()
    percent: bool = False
    caption: str = ""


LEARNS = {"train": ("The network learns", "steps"), "federate": ("The clients learn", "rounds")}
"""What the chart of a verb's losses is called, and what is under it."""


def measure(records: Sequence[Record]) -> str:
    """Return by which measure runs were evaluated on the way: ``miou`` where a class a pixel is named, else ``accuracy``."""
    return "miou" if any("student_miou" in one.logged("evaluation") for one in records) else "accuracy"


def accuracy(records: Sequence[Record], x: str, key: str) -> Chart | None:
    """Return accuracy, or mean IoU, over steps or seconds: of each run that logged it, and the agreement where there is only one."""
    by = measure(records)
    name_of = "accuracy" if by == "accuracy" else "mean IoU"
    found = [(one, *one.points("evaluation", x, f"student_{by}")) for one in records]
    found = [(one, at, value) for one, at, value in found if at]
    own = records[0]
    series = [Series("student" if one is own else one.name, at, value, index) for index, (one, at, value) in enumerate(found)]
    if len(found) == 1:
        for logged, name in (("agreement", "agreement"), (f"student_{by}_ema", "averaged weights")):
            at, value = found[0][0].points("evaluation", x, logged)
            series += [Series(name, at, value, len(series))] if at else []
    if not series:
        return None
    teacher = own.metric(f"teacher_{by}")
    ends = ", ".join(f"{one.name} ends at {words.percent(one.last)}" for one in series)
    steps = "rounds" if own.verb == "federate" else "student steps"
    under = steps if x == "step" else "seconds"
    svg = figures.lines(
        series, key=key, label=f"Line chart of {name_of} by {under}: {ends}.", x=under, percent=True, reference=teacher, whole=x == "step"
    )
    caption = "" if teacher is None else f"Dotted across: the teacher's {words.percent(teacher)}."
    return Chart(f"By {steps.split()[-1][:-1]}" if x == "step" else "By time", svg, series, percent=True, caption=caption)


def losses(one: Record, kind: str, key: str, named: bool) -> Chart | None:
    """Return the parts of the loss over time."""
    series = []
    for name in one.logged(kind):
        at, value = one.points(kind, "step", name) if name == "loss" or name.startswith("loss/") else ([], [])
        if at:
            series.append(Series("total", at, value, None) if name == "loss" else Series(name[5:], at, value))
    series.sort(key=lambda each: each.colour is None)
    series = [each if each.colour is None else replace(each, colour=index) for index, each in enumerate(series)]
    if len(series) == 2 and series[-1].colour is None and series[0].y == series[1].y:
        series.pop()  # a total of one part says nothing
    if not series:
        return None
    ends = ", ".join(f"{each.name} ends at {words.short(each.last)}" for each in series)
    title, under = LEARNS.get(one.verb, ("The student learns", "student steps"))
    title, under = ("Images are made", "rounds") if kind == "synthesis" else (title, under)
    title = f"{one.name}: {title[0].lower()}{title[1:]}" if named else title
    svg = figures.lines(series, key=key, label=f"Line chart of the loss ({kind}) by {under}: {ends}.", x=under)
    many = max(len(each.x) for each in series) > figures.MAX_POINTS
    return Chart(title, svg, series, caption="Means of neighbouring points are drawn." if many else "")


def health(one: Record, keys: Iterator[str], named: bool) -> list[Chart]:
    """Return what a monitor measured while the run went on: of the images, of how student and teacher agree, of distances.

    Of several looks at one step, as at first samples, the last is drawn.
    """
    found, under = [], "rounds" if one.verb == "synthesize" else "student steps"
    for title, shares, lines in HEALTH:
        points = [(name, dict(zip(*one.points("health", "step", key), strict=True))) for key, name in lines]
        series = [Series(name, list(at), list(at.values()), index) for index, (name, at) in enumerate(points) if at]
        if not series:
            continue
        ends = ", ".join(f"{each.name} ends at {words.percent(each.last) if shares else words.short(each.last)}" for each in series)
        svg = figures.lines(series, key=next(keys), label=f"Line chart by {under}, {title.lower()}: {ends}.", x=under, percent=shares)
        found.append(Chart(f"{one.name}: {title[0].lower()}{title[1:]}" if named else title, svg, series, percent=shares))
    return found


def crowded(record: Record) -> bool:
    """Whether the heat-map has no room for larger text on a phone."""
    return len(record.confusion) > 10 or max((len(str(name)) for name in record.listed("class_names")), default=0) > 3


def confusion(record: Record, key: str) -> Chart | None:
    """Return what the student says where the teacher says something, by class."""
    matrix = record.confusion
    if not matrix or not sum(map(sum, matrix)):
        return None
    names = [words.class_name(record.listed("class_names"), label) for label in range(len(matrix))]
    cells = [(value, row, column) for row, values in enumerate(matrix) for column, value in enumerate(values)]
    same, total = sum(value for value, row, column in cells if row == column), sum(value for value, _, _ in cells)
    worst = sorted((cell for cell in cells if cell[0] and cell[1] != cell[2]), reverse=True)[:3]
    told = "; ".join(f"{names[row]} taken for {names[column]} ({value:,})" for value, row, column in worst)
    by_pixel = is_dense(record)
    caption = f"They agree on {same:,} of {total:,} evaluation {'pixels' if by_pixel else 'images'}."
    caption += f" Most often apart: {told}." if told else ""
    caption += " Numbers are percentages of what the teacher says." if by_pixel else ""
    matrix = [[round(100 * value / max(1, sum(row))) for value in row] for row in matrix] if by_pixel else matrix
    svg = figures.heat(matrix, names, key=key, label=f"Heat-map of classes. {caption}", x="student says", y="teacher says")
    return Chart("", svg, caption=caption)

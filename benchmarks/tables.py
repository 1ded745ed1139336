"""The tables of RESULTS.md on data-free distillation, made from the JSON files; `suites` only says which runs are missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.data_free import settings
from benchmarks.parts import Record, accuracies, kept, missing, paced, spread, verdict
from benchmarks.places import TEACHERS_HOME
from benchmarks.plans import Pair, Published, Row, Suite
from benchmarks.suites import SUITES, TEACHERS
from tacit.core.files import read_json

__all__ = ["Line", "data_free", "lines_of"]

NOT_YET = "not run yet"


@dataclass(frozen=True, kw_only=True)
class Line:
    """All that is known of one row on one pair.

    Args:
        label: The row's.
        runs: What its runs left, by seed.
        row: What the suite says of it; None where it has no such row any more.
    """

    label: str
    runs: dict[int, Record]
    row: Row | None

    @property
    def longer(self) -> bool:
        """Whether it has a budget of its own."""
        return self.row is not None and self.row.longer

    @property
    def accuracies(self) -> list[float]:
        """Accuracy of each run in %, last step."""
        return accuracies(self.runs)

    @property
    def accuracy(self) -> float:
        """Their mean; below all others where there is no run."""
        return mean(self.accuracies) if self.runs else -1.0


def lines_of(suite: Suite, pair: Pair, home: Path) -> list[Line]:
    """Return the rows of a pair, the best first; below them those of a longer budget, and last those without a run."""
    rows = {row.label: row for row in suite.on(pair)}
    found = kept(home / "results" / "data_free" / suite.name / pair.name, rows)
    lines = [Line(label=label, runs=runs, row=rows.get(label)) for label, runs in found.items()]
    return sorted(lines, key=lambda line: (not line.runs, line.longer, -line.accuracy))


def data_free(home: Path) -> str:
    """Return the section on all suites; figures are looked for in ``home/figures``."""
    return "\n## Data-free distillation\n" + "".join(_suite(suite, home) for suite in SUITES.values())


def _suite(suite: Suite, home: Path) -> str:
    training = suite.training
    text = f"""
### {suite.name}: {suite.title}

`python -m benchmarks data_free --suite {suite.name}`. Each run ends after {training.steps:,} student steps of {training.batch} images, or
with the first step after {suite.max_seconds:,.0f} {_counted(suite)} for synthesis and training together; {training.optimizer},
Nesterov momentum 0.9, learning rate {training.lr:g} from the student's first step on, {training.schedule}, weight decay
{training.weight_decay:g}, {_clipping(training.clip)}; augmentation {suite.augmentation} (not of
images that a live generator makes for one step); objective {_objective(suite.objective)}, at temperature 4.
`real` (labels, no teacher) and `kd-real` (teacher on real images) take all of the steps, however long that is; they learn from
{suite.dataset.train}, as the teacher did. No other row sees a training image. Accuracy in % on {suite.dataset.test}, last step.
Rows' settings, and a pair's learning rate where it has its own, were chosen by a few trials on seed 0 that saw this accuracy (`rows.py`,
`suites.py`), as a user without data can't; nothing else was chosen by it.
{_clock(suite)}
"""
    return text + "".join(_pair(suite, pair, home) for pair in suite.pairs)


def _counted(suite: Suite) -> str:
    return "s that its process spends on the CPU" if suite.device == "cpu" else "s"


def _clock(suite: Suite) -> str:
    """Return in words what the seconds of the tables are."""
    wall = "wall time, beside whatever else ran"
    if suite.device != "cpu":
        return f"Seconds are {wall}."
    return f"Seconds are what a row's process spends on the CPU; those of `real` and `kd-real`, which have no budget, are {wall}."


def _clipping(clip: float) -> str:
    return f"gradients of norm {clip:g} at most" if clip else "gradients as they are"


def _pair(suite: Suite, pair: Pair, home: Path) -> str:
    lines = lines_of(suite, pair, home)
    runs = [run for line in lines for run in line.runs.values()]
    seeds = sorted({*suite.seeds, *(run["seed"] for run in runs)})
    head = ["", *(f"seed {seed}" for seed in seeds), "mean ± sd", "agreement", "student steps", "images synthesized"]
    head += ["seconds: synthesis / training", "device", "published, on which pair"]
    figure = home / "figures" / f"{suite.name}-{pair.name}.png"
    picture = f"\n![Accuracy over seconds, {suite.name}, {pair.title}](figures/{figure.name})\n" if runs and figure.is_file() else ""
    rows = "\n".join(_cells(line, seeds, suite.seeds) for line in lines)
    return f"""
#### {pair.title}

{_teacher(pair, runs)}{f" Learning rate of the student: {pair.lr:g}." if pair.lr else ""}

| {" | ".join(head)} |
|---|{"---:|" * (len(head) - 2)}---|
{rows}
{verdict(_shown(suite, lines))}{paced({line.label: line.runs for line in lines})}{_notes(suite, pair, lines)}{picture}"""


def _shown(suite: Suite, lines: Sequence[Line]) -> list[tuple[str, bool]]:
    """Return what was to be shown of the rows that have runs, and whether it is."""
    known = [line for line in lines if line.runs and line.row and line.row.method is not None and not line.longer]
    made = {line.label: line for line in known if not line.label.startswith("noise")}
    if not made:
        return []
    checks: list[tuple[str, bool]] = []

    def all_of(words: str, short: Sequence[str]) -> None:
        checks.append((f"{words}; not {', '.join(short)}" if short else words, not short))

    if suite.least:
        short = [f"`{label}` ({line.accuracy:.2f})" for label, line in made.items() if line.accuracy < suite.least]
        all_of(f"every method that was run ({len(made)}) has at least {suite.least:g} %", short)
    aimed = {label: aim for label, aim in suite.aims.items() if label in made}
    if aimed:
        short = [f"`{label}` ({made[label].accuracy:.2f} of {aim:g})" for label, aim in aimed.items() if made[label].accuracy < aim]
        all_of(f"aims of single ones: {', '.join(f'{label} {aim:g}' for label, aim in aimed.items())}", short)
    top = max(made.values(), key=lambda line: line.accuracy)
    checks += [
        (f"the best, `{top.label}`, has {top.accuracy:.2f} %, {of} {most:g}", top.accuracy >= most)
        for of, most in zip(("at least", "aim"), suite.best, strict=False)
    ]
    noise = next((line for line in lines if line.label == "noise" and line.runs), None)
    if suite.over_noise and noise is not None:
        short = [f"`{label}` ({line.accuracy:.2f})" for label, line in made.items() if line.accuracy < noise.accuracy + suite.over_noise]
        all_of(f"every method that was run is at least {suite.over_noise:g} points above noise ({noise.accuracy:.2f})", short)
    return checks


def _teacher(pair: Pair, runs: Sequence[Record]) -> str:
    """Return a line on the teacher: by the runs themselves, else by the folder that is kept of it."""
    plan = TEACHERS[pair.teacher]
    hashes = sorted({run["teacher"]["sha256"][:12] for run in runs})
    known = {run["metrics"]["teacher_accuracy"] for run in runs} - {None}
    kept = TEACHERS_HOME / pair.teacher / "result.json"
    if not known and kept.is_file():
        known = {read_json(kept)["metrics"]["student_accuracy"]}
    said = " and ".join(f"{100 * accuracy:.2f} %" for accuracy in sorted(known)) or NOT_YET
    sizes = {(run["metrics"]["params_teacher"], run["metrics"]["params_student"]) for run in runs if run["metrics"]["params_teacher"]}
    counted = "".join(f" Parameters: {theirs:,} -> {ours:,} ({theirs / ours:.1f} times fewer)." for theirs, ours in sorted(sizes))
    warning = f" **Not the same teacher everywhere: {', '.join(hashes)}.**" if len(hashes) > 1 else ""
    return f"Teacher `teachers/{pair.teacher}`, trained on {plan.dataset.train}: {said}.{counted}{warning}"


def _cells(line: Line, seeds: Iterable[int], wanted: Sequence[int]) -> str:
    runs = list(line.runs.values())
    wanted = (line.row and line.row.seeds) or wanted
    cells = [f"`{line.label}`" + ("" if line.row else " (no longer in the suite)")]
    for seed in seeds:
        run = line.runs.get(seed)
        cells.append(f"{100 * run['metrics']['student_accuracy']:.2f}" if run else NOT_YET if seed in wanted else "-")
    agreed = [100 * run["metrics"]["agreement"] for run in runs if run["metrics"]["agreement"] is not None]
    cells += [spread(line.accuracies), f"{mean(agreed):.2f}" if agreed else "-"]
    made = [run["images_synthesized"] for run in runs if run["images_synthesized"]]
    cells += [f"{mean(run['student_steps'] for run in runs):,.0f}" if runs else "-", f"{mean(made):,.0f}" if made else "-"]
    spent = [f"{mean(run['seconds'][kind] for run in runs):,.0f}" for kind in ("synthesis", "training") if runs]
    devices = sorted({f"{run['device']}, {run['precision']}" for run in runs})
    cells += [" / ".join(spent) or "-", "; ".join(devices) or "-", _published(line.row.published if line.row else ())]
    return f"| {' | '.join(cells)} |"


def _published(figures: Sequence[Published]) -> str:
    return "; ".join(f"{figure.value:.2f}{' ' + figure.mark if figure.mark else ''} ({figure.pair})" for figure in figures) or "-"


def _objective(terms: Any) -> str:
    return f"`{terms}`" if isinstance(terms, str) else "`" + ", ".join(str(dict(term)) for term in terms) + "`"


def _notes(suite: Suite, pair: Pair, lines: Sequence[Line]) -> str:
    """Return what must be known to read the table: what is missing, what differs, who published."""
    notes = []
    wanted = {line.label: line.row.seeds or suite.seeds for line in lines if line.row}
    if absent := missing({line.label: line.runs for line in lines}, wanted):
        notes.append(f"Not run yet: {absent}.")
    earlier: dict[str, list[str]] = {}
    for line in lines:
        for seed, run in line.runs.items():
            if line.row and (changed := _changed(run["settings"], settings(suite, pair, line.row))):
                earlier.setdefault(changed, []).append(f"`{line.label}` (seed {seed})")
    notes += [f"**Run before its settings changed ({what}), to be run again**: {', '.join(which)}." for what, which in earlier.items()]
    different: dict[str, list[str]] = {}
    for line in lines:
        each = [run["settings"] for run in line.runs.values()]
        if any(one != each[0] for one in each):
            notes.append(f"**`{line.label}`: its seeds were run with different settings.**")
        if each and (found := _differences(suite, pair, each[0])):
            different.setdefault(found, []).append(f"`{line.label}`")
    notes += [f"Of their own: {found} ({', '.join(labels)})." for found, labels in different.items()]
    if longer := [f"`{line.label}`" for line in lines if line.longer and line.runs]:
        notes.append(f"Of a larger budget, and therefore below the others, and in no verdict: {', '.join(longer)}.")
    notes += [pace] if (pace := _pace(lines)) else []
    figures = [figure for line in lines if line.row for figure in line.row.published]
    if figures:
        by_source: dict[str, set[str]] = {}
        for figure in figures:
            by_source.setdefault(figure.source, set()).add(f"{figure.value:.2f}")
        sources = "; ".join(f"{', '.join(sorted(values))} by {source}" for source, values in by_source.items())
        marks = " [M]: remembered, not verified; [U]: unverified." if any(figure.mark for figure in figures) else ""
        notes.append(f"Published figures: their own budgets, often the best epoch on the test set; {sources}.{marks}")
    return "".join(f"\n{note}\n" for note in notes)


def _pace(lines: Sequence[Line]) -> str:
    """Return how many steps later seeds took where the budget ended a run, against the first, and of which rows that is far."""
    shares: dict[int, dict[str, float]] = {}
    for line in lines:
        steps = {seed: int(run["metrics"]["steps"]) for seed, run in line.runs.items()}
        if len(steps) > 1 and min(steps.values()) < line.runs[min(steps)]["settings"]["training"]["steps"]:
            for seed in sorted(steps)[1:]:
                shares.setdefault(seed, {})[line.label] = steps[seed] / steps[min(steps)]
    found = {seed: mean(each.values()) for seed, each in sorted(shares.items())}
    far = {
        seed: ", ".join(f"`{row}` {100 * share:.0f} %" for row, share in each.items() if abs(share - 1) > 0.2)
        for seed, each in shares.items()
    }
    if not any(far.values()) and all(abs(share - 1) < 0.05 for share in found.values()):
        return ""
    told = ", ".join(f"seed {seed} {100 * share:.0f} %" + (f" ({far[seed]})" if far[seed] else "") for seed, share in found.items())
    return (
        "A budget of seconds reaches as far as the processor that a run had, and what ran beside it, let it. Where it ended runs, "
        f"later seeds took of the first one's student steps, in the mean: {told}."
    )


def _changed(kept: Record, now: Record) -> str:
    """Return which settings are not today's any more, in words."""
    names = sorted(name for name in {*kept, *now} if kept.get(name) != json.loads(json.dumps(now.get(name))))
    return ", ".join("wall time was counted" if name == "clock" and name not in kept else name for name in names)


def _differences(suite: Suite, pair: Pair, kept: Record) -> str:
    """Return in words where a row was run otherwise than the suite says."""
    found = []
    if kept["objective"] not in (None, suite.objective):
        found.append(f"objective {_objective(kept['objective'])}")
    if kept["augmentation"] != suite.augmentation:
        found.append(f"augmentation {kept['augmentation']}")
    if kept["max_seconds"] not in (None, suite.max_seconds):
        found.append(f"a budget of {kept['max_seconds']:,.0f} s")
    if kept["training"]["steps"] != suite.training.steps:
        found.append(f"{kept['training']['steps']:,} steps")
    if kept["training"]["lr"] != (pair.lr or suite.training.lr):
        found.append(f"learning rate {kept['training']['lr']:g}")
    return ", ".join(found)

"""The sections of RESULTS.md on representation distillation, made from the JSON files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean

from benchmarks import cost
from benchmarks.parts import Record, Runs, above, accuracies, accuracy, kept, middle, missing, over, paired, spread, table, verdict
from benchmarks.provenance import beside
from benchmarks.representation import jobs
from benchmarks.representation_parts import errors, objective, probed, runs_of, tried
from benchmarks.representation_plans import RepresentationPair, RepresentationSuite
from benchmarks.representation_suites import SUITES
from benchmarks.stale import note, seeds_there, stale
from benchmarks.suites import PART_IMAGES, TEACHERS
from tacit.losses import CRD

__all__ = ["representation"]

NEAR = 0.5
"""Points within which a row is near the best."""
CRD_ROWS = ("CRD", "CRD+KD")


def representation(home: Path) -> str:
    """Return the section on all suites; figures are looked for in ``home/figures``."""
    tell: Mapping[str, Callable[[RepresentationSuite, RepresentationPair, Runs], str]] = {
        "cpu": _compared,
        "transfer": _transfer,
        "longer": _compared,
        "ensemble": _ensemble,
        "cross-modal": _cross_modal,
        "data-free": _compared,
        "gpu": _compared,
    }
    text = f"""
## Representation distillation

Accuracy in %, last step; ± over seeds; differences are of runs of the same seed. CRD's memory has a row an image, and is asked for
{CRD().negatives:,} negatives: where there are fewer images, as with {PART_IMAGES:,} of CIFAR-10 or MNIST, all rows are shown, none drawn.
Seconds are of training, medians over seeds, beside whatever else ran.
"""
    for suite in SUITES.values():
        text += f"\n### {suite.name}: {suite.title}\n\n`python -m benchmarks representation --suite {suite.name}`. {_recipe(suite)}\n"
        lasted: list[float] = []
        for pair in suite.pairs:
            runs = runs_of(suite, pair, home)
            lasted += [
                float(run["seconds"]["training"]) for by_seed in runs.values() for run in by_seed.values() if run["settings"]["objective"]
            ]
            absent = missing(runs, {row.label: suite.seeds_of(row) for row in suite.on(pair)})
            title = f"\n#### {pair.title}\n" if len(suite.pairs) > 1 else ""
            text += f"{title}\n{_shown_to(suite, pair)}\n"
            made = jobs(suite, home=home, seeds=seeds_there(runs, suite.seeds)) if runs else []
            text += f"\n{tell[suite.name](suite, pair, runs)}" if runs else ""
            text += note(stale(job for job in made if job.arguments["pair"] == pair.name))
            text += f"\nNot run yet: {absent}.\n" if absent else ""
        text += _lasted(suite, lasted)
        figure = home / "figures" / f"representation-{suite.name}.png"
        text += f"\n![{suite.title}](figures/{figure.name})\n" if figure.is_file() else ""
    return text + _cost(home)


def _recipe(suite: RepresentationSuite) -> str:
    """Return in words how all students of a suite are trained."""
    training = suite.training
    rate = f"falling at {', '.join(f'{share:.1%}' for share in training.milestones)}" if training.milestones else training.schedule
    return (
        f"{training.steps:,} steps of {training.batch}, {training.optimizer}, learning rate {training.lr:g}, {rate}, weight decay "
        f"{training.weight_decay:g}; {'one thread of a CPU' if suite.device == 'cpu' else 'one GPU'}, {suite.precision}."
    )


def _shown_to(suite: RepresentationSuite, pair: RepresentationPair) -> str:
    """Return in words what the students of a pair learn from, and are measured on."""
    shown = f"the first {pair.images:,} images of {pair.dataset.train}" if pair.images else f"all of {pair.dataset.train}"
    if suite.pool:
        shown = f"images that were made of the teacher, once for all rows and seeds (`{suite.pool}`)"
    return f"Students learn from {shown}, augmentation {pair.augmentation}, and are measured on {pair.dataset.test}."


def _lasted(suite: RepresentationSuite, seconds: Sequence[float]) -> str:
    """Return how long the runs of a suite trained, where that is limited."""
    if suite.minutes is None or not seconds:
        return ""
    longer, hours = sum(each > 60 * suite.minutes for each in seconds), sum(seconds) / 3600
    return (
        f"\nOf {len(seconds)} runs {longer} trained for more than {suite.minutes} minutes, where no more were meant, beside whatever else "
        f"ran; the longest for {max(seconds) / 60:.1f}. All trained for {hours:.1f} hours, two side by side for {hours / 2:.1f}.\n"
    )


def _rates(suite: RepresentationSuite, pair: RepresentationPair, runs: Runs) -> str:
    """Return for which rows another learning rate was tried, since the others had no such choice."""
    names = dict.fromkeys(f"`{row.setting_of}`" for row in suite.on(pair) if row.lr and row.label in runs)
    return f"\nAnother learning rate was tried for {', '.join(names)} alone; the others have the suite's.\n" if names else ""


def _teachers(runs: Runs) -> str:
    """Return who taught, what they learned from, and how good they are; from and to, where runs did not see the same of them."""
    found: dict[str, list[float]] = {}
    for run in (run for by_seed in runs.values() for run in by_seed.values()):
        if (right := run["metrics"].get("teacher_accuracy")) is not None:
            names = ", ".join(f"`{one['name']}` ({_learned_from(one['name'])})" for one in run["teachers"])
            found.setdefault(names, []).append(100 * right)
    shown = {names: dict.fromkeys((f"{min(each):.2f}", f"{max(each):.2f}")) for names, each in sorted(found.items())}
    return "; ".join(f"{names}: {' to '.join(ends)} %" for names, ends in shown.items())


def _learned_from(teacher: str) -> str:
    plan = TEACHERS[teacher]
    return f"learned from the first {plan.images:,} images" if plan.images else "learned from all training images"


def _compared(suite: RepresentationSuite, pair: RepresentationPair, runs: Runs) -> str:
    """Return a table of all rows of a pair, the best first; other settings that were tried; and what was to be shown."""
    others = {row.label: row.setting_of for row in suite.on(pair) if row.setting_of}
    trained = {label: by_seed for label, by_seed in runs.items() if next(iter(by_seed.values()))["settings"]["objective"] is not None}
    rows = sorted((label for label in trained if label not in others), key=lambda label: -mean(accuracies(trained[label])))
    seeds = sorted({*suite.seeds, *(seed for by_seed in trained.values() for seed in by_seed)})
    beside = [label for label in ("student alone", "KD") if label in trained]
    head = ["", "objective", *(f"seed {seed}" for seed in seeds), "mean ± sd", *(f"over {label}" for label in beside)]
    lines = [
        [
            f"`{label}`",
            objective(next(iter(trained[label].values()))["settings"]["objective"]),
            *(f"{accuracy(trained[label][seed]):.2f}" if seed in trained[label] else "-" for seed in seeds),
            spread(accuracies(trained[label])),
            *(spread(paired(trained, label, other), "+.2f") if label != other else "-" for other in beside),
            over(trained[label], lambda run: 100 * run["metrics"]["agreement"], ".2f"),
            middle(trained[label], lambda run: float(run["seconds"]["training"])),
        ]
        for label in rows
    ]
    text = f"{_teachers(trained)}.\n\n{table([*head, 'agreement with the teacher', 'seconds, wall time'], lines)}"
    planned = sum(row.objective is not None and not row.setting_of for row in suite.on(pair))
    return (
        text
        + tried(trained, others)
        + _rates(suite, pair, trained)
        + verdict([*_shown(trained, rows, planned), *_at_their_best(trained, others)])
    )


def _at_their_best(runs: Runs, others: Mapping[str, str]) -> list[tuple[str, bool]]:
    """Return whether CRD is above KD, each by the best of its settings on the first seed: on the other seeds, where there are some."""
    if "KD" not in runs:
        return []
    first, checks = min(runs["KD"]), []
    tried_of = {of: [label for label in runs if others.get(label, label) == of and first in runs[label]] for of in ("KD", *CRD_ROWS)}
    best = {of: max(each, key=lambda label: accuracy(runs[label][first])) for of, each in tried_of.items() if each}
    for of in CRD_ROWS:
        pair = (best.get(of, of), best["KD"])
        if of in best and pair != (of, "KD"):
            both = sorted({*runs[pair[0]]} & {*runs[pair[1]]})
            seeds = both[1:] or both
            higher = paired({label: {seed: runs[label][seed] for seed in seeds} for label in pair}, *pair)
            names = ", ".join(f"`{label}` of {len(tried_of[name])}" for label, name in zip(pair, (of, "KD"), strict=True))
            judged = ", ".join(map(str, seeds)) if both[1:] else f"{first}, which also chose them"
            words = f"each by the best of its settings on seed {first} ({names}), on seed {judged}"
            checks.append(above(f"{words}: {of}", "KD", higher))
    return checks


def _shown(runs: Runs, rows: Sequence[str], planned: int) -> list[tuple[str, bool]]:
    """Return what was to be shown of CRD by these rows, of so many that are planned, and whether it is."""
    checks = [above(label, "KD", higher) for label in CRD_ROWS if (higher := paired(runs, label, "KD"))]
    checks += _rank(runs, rows, planned)
    runs_of_both = runs.get("CRD+KD", {}).values()
    if any(run["metrics"]["params_student"] == run["metrics"]["params_teacher"] for run in runs_of_both):
        over_it = [accuracy(run) - 100 * run["metrics"]["teacher_accuracy"] for run in runs_of_both]
        checks.append(above("CRD+KD", "a teacher as large as its student", over_it))
    return checks


def _rank(runs: Runs, rows: Sequence[str], planned: int) -> list[tuple[str, bool]]:
    """Return where the better of CRD's rows stands, each other row being held against it on the seeds that both have."""
    ours = [label for label in CRD_ROWS if label in rows]
    if not ours or len(rows) < 5:
        return []
    own = ours[0] if len(ours) == 1 or mean(paired(runs, ours[0], ours[1]) or [0.0]) > 0 else ours[1]
    apart = {label: each for label in rows if label != own and (each := paired(runs, label, own))}
    best = max(apart, key=lambda label: mean(apart[label]), default=own)
    lag = mean(apart[best]) if apart else 0.0
    counts = sorted({len(each) for each in apart.values()})
    absent = f" ({planned - len(rows)} more are not run yet)" if planned > len(rows) else ""
    words = (
        f"{own} is number {1 + sum(mean(each) > 0 for each in apart.values())} of {len(apart) + 1}{absent}, each held against it on the "
    )
    words += f"seeds that both have ({' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))}), " if counts else "seeds, "
    words += f"{lag:.2f} points below the best ({best}, seeds: {len(apart[best])})" if lag > 0 else "the best"
    return [(f"{words}, at most {NEAR:g} below", lag <= NEAR)]


def _read(pair: RepresentationPair, runs: Runs) -> dict[str, list[str]]:
    """Return what probes read from each row's features, the best first by the first of them."""
    first = next(iter(pair.probes))
    ranked = sorted(runs, key=lambda label: -mean(probed(first)(run) or 0.0 for run in runs[label].values()))
    return {label: [f"`{label}`", *(over(runs[label], probed(name), ".2f") for name in pair.probes)] for label in ranked}


def _transfer(suite: RepresentationSuite, pair: RepresentationPair, runs: Runs) -> str:
    checks = [
        above(f"{name}: what CRD's features tell", f"what those of {other} tell", higher)
        for name in pair.probes
        for other in ("student alone", "KD")
        if (higher := paired(runs, "CRD", other, probed(name)))
    ]
    said = "These are the students of suite `cpu`, frozen. A linear classifier reads MNIST, as RGB of 32x32, from what their own reads:"
    lines = [[*cells, over(runs[label], accuracy, ".2f")] for label, cells in _read(pair, runs).items()]
    read = table(["features of", *pair.probes, "accuracy itself, CIFAR-10"], lines)
    return f"{said} `tacit evaluate --probe`, on the 10,000 test images.\n\n{read}{verdict(checks)}"


def _cross_modal(suite: RepresentationSuite, pair: RepresentationPair, runs: Runs) -> str:
    """Return a table of what linear probes read, how much of the way from an untrained to a supervised student that is, and verdicts."""
    assert pair.views is not None
    (name,) = pair.probes
    read = probed(name)
    ends = [[value for run in runs.get(label, {}).values() if (value := read(run)) is not None] for label in ("untrained", "supervised")]
    least, most = (mean(each) if each else 0.0 for each in ends)
    lines = []
    for label, cells in _read(pair, runs).items():
        gained = [100 * ((read(run) or 0.0) - least) / (most - least) for run in runs[label].values() if all(ends) and most > least]
        lines.append([*cells, spread(gained, "z.0f")])
    checks = [above("CRD", other, higher) for other in ("untrained", "L2", "AT", "KD") if (higher := paired(runs, "CRD", other, read))]
    teacher, student = pair.views.split("-")
    said = (
        f"The teacher sees {teacher}, the student {student} of the same images, without labels; in `supervised`, labels teach, and no "
        f"teacher does. A linear classifier learns from {name} what the frozen student's own would read."
    )
    head = ["features of", "accuracy of the probe", "of the way from untrained to supervised, %"]
    return f"{_teachers(runs)}. {said}\n\n{table(head, lines)}{verdict(checks)}"


def _ensemble(suite: RepresentationSuite, pair: RepresentationPair, runs: Runs) -> str:
    found = errors(runs)
    counts = sorted({count for each in found.values() for count in each})
    lines = [[f"`{name}`", *(spread(each.get(count, [])) for count in counts)] for name, each in found.items()]
    if "student alone" in runs:
        alone = spread([100 - value for value in accuracies(runs["student alone"])])
        lines.insert(0, ["`student alone`, no teacher", alone, *["-"] * (len(counts) - 1)])
    checks = []
    for name, each in found.items():
        most = max(each)
        if most > 1 and (higher := paired(runs, f"{name}, {most}", f"{name}, 1")):
            words, right = above(f"{name}: accuracy with {most} teachers", "that with one", higher)
            checks.append((words + _uneven(runs, name, sorted(each)), right))
    others = {row.label: row.setting_of for row in suite.rows if row.setting_of}
    said = "Error in % against the number of teachers, which were trained apart and take turns over the seeds; CRD is summed over them."
    return f"{said}\n\n{table(['', *map(str, counts)], lines)}{tried(runs, others)}{verdict(checks)}"


def _uneven(runs: Runs, name: str, counts: Sequence[int]) -> str:
    """Return between which numbers of teachers accuracy does not rise, on the seeds that both have."""
    steps = {(more, fewer): paired(runs, f"{name}, {more}", f"{name}, {fewer}") for fewer, more in pairwise(counts)}
    told = [f"{more} are {mean(each):+.2f} points from {fewer}" for (more, fewer), each in steps.items() if each and mean(each) <= 0]
    return f" (not at every step: {', '.join(told)})" if told else ""


def _cost(home: Path) -> str:
    text = f"""
### cost: what CRD adds to a step

`python -m benchmarks representation --suite cost`. ResNet-20 -> ResNet-8, {cost.BATCH} images a step, one thread; learners take a step in
turn, {cost.ROUNDS} times, timed by what the process spends on the CPU; a ratio is the median over turns; memory is the most that the loss
and its backward pass hold at once, beside the banks.
"""
    runs = {row: by_seed for row, by_seed in kept(home / "results" / "representation" / cost.NAME, cost.ROWS).items() if by_seed}
    absent = missing(runs, dict.fromkeys(cost.ROWS, (0, 1, 2)))
    if runs:
        names = [name for name in cost.TERMS if name != "KD"]
        head = ["precision", "KD, ms", *(f"{name}, times KD" for name in names), *(f"{name}, MB" for name in names)]
        lines = [
            [
                row,
                over(by_seed, lambda run: run["median_ms"]["KD"], ".1f"),
                *(over(by_seed, _of("over_kd", name), ".3f") for name in names),
                *(over(by_seed, _of("memory_bytes", name, 1e-6), ".1f") for name in names),
            ]
            for row, by_seed in runs.items()
        ]
        checks = []
        for row, by_seed in runs.items():
            ratio, bytes_ = (mean(float(run[key][name]) for run in by_seed.values()) for key, name in _ASKED)
            checks.append((f"{row}: a step with 4,096 negatives takes {ratio:.2f} times one of KD, at most 1.3", ratio <= 1.3))
            checks.append((f"{row}: with 16,384 the loss holds {bytes_ / 1e6:.1f} MB, less than 50", bytes_ < 50e6))
        every = [run for by_seed in runs.values() for run in by_seed.values()]
        text += f"\n{table(head, lines)}{verdict(checks)}{beside(every)}{note(stale(cost.jobs(home=home)))}"
    return text + (f"\nNot run yet: {absent}.\n" if absent else "")


_ASKED = (("over_kd", "CRD, 4096"), ("memory_bytes", "CRD, 16384"))


def _of(key: str, name: str, unit: float = 1.0) -> Callable[[Record], float | None]:
    return lambda run: unit * float(run[key][name])

"""The section of RESULTS.md on segmentation, made from the JSON files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.parts import Record, Runs, at, kept, missing, over, paced, table, verdict
from benchmarks.places import TEACHERS_HOME
from benchmarks.plans import Pair
from benchmarks.segmentation import jobs
from benchmarks.segmentation_suite import AIM, LEAST, NOISE_MOST, PUBLISHED, PUBLISHED_SOURCE, REAL, STREETS
from benchmarks.stale import note, seeds_there, stale
from tacit.core.files import read_json

__all__ = ["segmentation"]


def segmentation(home: Path) -> str:
    """Return the section."""
    training, dataset = STREETS.training, STREETS.dataset
    text = f"""
## Segmentation without data

`python -m benchmarks segmentation`: {STREETS.title}, {len(dataset.spec.names)} classes. {training.steps:,} student steps of
{training.batch} images in every row, or as many as fit into {STREETS.max_seconds:,.0f} s that its process spends on the CPU for synthesis
and training; {training.optimizer}, Nesterov momentum 0.9, learning rate {training.lr:g}, {training.schedule}, weight decay
{training.weight_decay:g}, one thread, {STREETS.precision}. `real` (labels), `{REAL}` (the teacher's answers) and `unrelated` (the teacher's
answers to textures) take all of the steps, and are shown {dataset.train} or as many textures. Mean IoU and pixels that are named rightly
in %, on {dataset.test}, last step.
`DFAD` is the published method (its steps, its rate, L1), but for the generator, which enlarges by neighbours. `DFAD + BN` is ours: it adds
the alignment of batch norm statistics at 0.02, steps its generator every second step at rate 0.005, and teaches by KL divergence; chosen by
trials with seed 100 that saw the teacher's maps of 200 training images, without labels and no test image.
Seconds of synthesis and training are what a row's process spends on the CPU; those of `real`, `{REAL}` and `unrelated`, which have no
budget, are wall time, beside whatever else ran.
"""
    for pair in STREETS.pairs:
        runs = kept(home / "results" / "segmentation" / STREETS.name / pair.name, [row.label for row in STREETS.rows])
        absent = missing(runs, {row.label: row.seeds or STREETS.seeds for row in STREETS.rows})
        text += f"\n{pair.title}. {_teacher(pair, runs)}\n\n{_rows(runs)}"
        made = jobs(home=home, seeds=seeds_there(runs, STREETS.seeds))
        old = stale(job for job in made if job.arguments["pair"] == pair.name)
        text += verdict(_shown(runs)) + paced(runs) + note(old) + (f"\nNot run yet: {absent}.\n" if absent else "")
    return f"{text}\nPublished: mean IoU in % on CamVid and NYUv2, {PUBLISHED_SOURCE}; their budgets, best epoch.\n"


def _percent(name: str) -> Callable[[Record], float | None]:
    read = at("metrics", name)

    def scaled(run: Record) -> float | None:
        value = read(run)
        return None if value is None else 100 * value

    return scaled


def _miou(by_seed: Mapping[int, Record]) -> float:
    return mean(float(run["metrics"]["student_miou"]) for run in by_seed.values())


def _published(label: str) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in PUBLISHED[label]) if label in PUBLISHED else "-"


def _teacher(pair: Pair, runs: Runs) -> str:
    """Return who teaches, and how good it is: by the runs themselves, else by the folder that is kept of it, before it was rounded."""
    place = TEACHERS_HOME / pair.teacher / "result.json"
    if not place.is_file():
        return f"Teacher `teachers/{pair.teacher}`: not made yet."
    found = read_json(place)["metrics"]
    measured = [run["metrics"] for by_seed in runs.values() for run in by_seed.values() if run["metrics"].get("teacher_miou") is not None]
    miou, pixels = (measured[0][f"teacher_{name}"] if measured else found[f"student_{name}"] for name in ("miou", "accuracy"))
    return (
        f"Teacher `teachers/{pair.teacher}`, {found['params_student']:,} parameters, trained on {STREETS.dataset.train}: mean IoU "
        f"{100 * miou:.2f} %, pixels {100 * pixels:.2f} % (published: {_published('teacher')})."
    )


def _rows(runs: Runs) -> str:
    seeds = sorted({*STREETS.seeds, *(seed for by_seed in runs.values() for seed in by_seed)})
    head = ["", *(f"seed {seed}" for seed in seeds), "mean IoU", f"of {REAL}", "pixels", "agreement", "student steps", "parameters"]
    lines = []
    for label, by_seed in runs.items():
        each = [f"{100 * by_seed[seed]['metrics']['student_miou']:.2f}" if seed in by_seed else "-" for seed in seeds]
        share = f"{_miou(by_seed) / _miou(runs[REAL]):.0%}" if by_seed and runs.get(REAL) else "-"
        counted = [over(by_seed, at("student_steps"), ".0f"), over(by_seed, at("metrics", "params_student"), ".0f")]
        scores = [over(by_seed, _percent(name), ".2f") for name in ("student_miou", "student_accuracy", "agreement")]
        spent = " / ".join(over(by_seed, at("seconds", kind), ".0f") for kind in ("synthesis", "training"))
        lines.append([f"`{label}`", *each, scores[0], share, *scores[1:], *counted, spent, _published(label)])
    return table([*head, "seconds: synthesis / training", "published"], lines)


def _shown(runs: Runs) -> Sequence[tuple[str, bool]]:
    """Return what was to be shown, and whether it is, on the seeds that are there."""
    if not runs.get(REAL):
        return []
    real = _miou(runs[REAL])
    shares = {label: _miou(by_seed) / real for label, by_seed in runs.items() if by_seed}
    checks: list[tuple[str, bool]] = []
    for label in ("DFAD", "DFAD + BN"):
        if label in shares:
            said = f"{label} reaches {shares[label]:.0%} of the mean IoU of {REAL}{', in one seed' * (len(runs[label]) == 1)}"
            checks += [(f"{said}, at least {LEAST:.0%}", shares[label] >= LEAST), (f"{said}, aim {AIM:.0%}", shares[label] >= AIM)]
    if "noise" in shares:
        checks.append((f"noise reaches {shares['noise']:.0%} of it, less than {NOISE_MOST:.0%}", shares["noise"] < NOISE_MOST))
    return checks

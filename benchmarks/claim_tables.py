"""The sections and pictures of RESULTS.md on the claims of papers, made from the JSON files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure

from benchmarks.claims import CLAIMS, WINDOW, Claim, by_chance, fluctuation, jobs
from benchmarks.parts import Record, Runs, above, accuracy, at, kept, over, paced, paired, picture, points, spread, table, verdict
from benchmarks.stale import note, seeds_there, stale

__all__ = ["claims", "draw_claims"]

SEEDS = 3
"""A claim is judged by at least so many."""


def _runs(claim: Claim, home: Path) -> Runs:
    """Return what is kept of each variant, by label and seed."""
    return kept(home / "results" / "claims" / claim.name, claim.rows)


def claims(home: Path) -> str:
    """Return the section on all claims."""
    parts = {"cmi-diversity": _diversity, "rdskd-robustness": _robustness, "rdskd-penalty": _penalty}
    return "\n## Claims of the papers\n" + "".join(_section(claim, home, parts[claim.name]) for claim in CLAIMS.values())


def _section(claim: Claim, home: Path, tell: Callable[[Runs], str]) -> str:
    runs = _runs(claim, home)
    done = sum(len(by_seed) for by_seed in runs.values())
    missing = [f"{label}, seed {seed}" for label, by_seed in runs.items() for seed in range(SEEDS) if seed not in by_seed]
    text = f"""
### {claim.name}

{claim.said}.
Teacher `mnist-resnet8`; each run at most {claim.max_seconds:g} s that its process spends on the CPU, and
{claim.steps:,} student steps, otherwise as suite `mnist`.
`python -m benchmarks claims --claim {claim.name}`.

"""
    if not done:
        return text + "Not run yet.\n"
    figure = home / "figures" / f"{claim.name}.png"
    picture = f"\n![{claim.name}](figures/{figure.name})\n" if figure.is_file() else ""
    listed = "; ".join(missing[:6]) + (f"; and {len(missing) - 6} more" if len(missing) > 6 else "")
    old = stale(jobs(claim, home=home, seeds=seeds_there(runs, range(SEEDS))))
    return text + tell(runs) + paced(runs) + note(old) + (f"\nNot run yet: {listed}.\n" if missing else "") + picture


def _diversity(runs: Runs) -> str:
    columns: list[tuple[str, Callable[[Record], float | None], str]] = [
        ("student, %", accuracy, ".2f"),
        ("steps a batch", at("settings", "method", "init_args", "steps"), ".0f"),
        ("images", at("pool", "pool_images"), ".0f"),
        ("seconds of synthesis on the CPU", at("seconds", "synthesis"), ".0f"),
        ("distance within a class, teacher", at("pool", "diversity", "teacher", "cosine_within_class"), ".3f"),
        ("the same, judge", at("pool", "diversity", "judge", "cosine_within_class"), ".3f"),
        ("recall, judge", at("pool", "fidelity", "judge", "recall"), ".3f"),
        ("coverage, judge", at("pool", "fidelity", "judge", "coverage"), ".3f"),
        ("Fréchet distance, judge", at("pool", "fidelity", "judge", "frechet"), ".1f"),
        ("judge agrees", at("pool", "judge_agreement"), ".3f"),
    ]
    rows = [[f"`{label}`", *(over(by_seed, read, form) for _, read, form in columns)] for label, by_seed in runs.items() if by_seed]
    known = next(run for by_seed in runs.values() for run in by_seed.values())
    real = {role: known["pool"]["diversity_data"][role]["cosine_within_class"] for role in ("teacher", "judge")}
    return table(["", *(name for name, _, _ in columns)], rows) + (
        f"\nDistances are mean cosine distances of features, within the classes that the teacher sees; of real test images they are "
        f"{real['teacher']:.3f} (teacher) and {real['judge']:.3f} (judge, a LeNet-5 trained apart).{_why(runs, real['judge'])}\n"
        f"{verdict(_more_diverse(runs))}"
    )


def _why(runs: Runs, real: float) -> str:
    """Return what a distance by the judge is of, and what the contrastive term costs; empty where CMI was not run with and without it."""
    agrees, apart = at("pool", "judge_agreement"), at("pool", "diversity", "judge", "cosine_within_class")
    shown = [(a, d) for run in runs["CMI"].values() if (a := agrees(run)) is not None and (d := apart(run)) is not None]
    seconds = at("seconds", "synthesis")
    pairs = [
        (seconds(run), seconds(runs["CMI, no contrast"][seed])) for seed, run in runs["CMI"].items() if seed in runs["CMI, no contrast"]
    ]
    costs = [long / short for long, short in pairs if long and short]
    if not shown or not costs:
        return ""
    return (
        f" The judge agrees on {100 * mean(a for a, _ in shown):.0f} % of CMI's images, and takes the others for another class: a distance "
        f"of {mean(d for _, d in shown) / real:.1f} times that of real images need not be variety of digits. Recall and coverage compare "
        f"with real images. The contrastive term makes a step {mean(costs):.1f} times as long, which others spend on more steps."
    )


def _more_diverse(runs: Runs) -> list[tuple[str, bool]]:
    within = {f"distance within a class, {role}": at("pool", "diversity", role, "cosine_within_class") for role in ("teacher", "judge")}
    measures: dict[str, tuple[Callable[[Record], float | None], str]] = {name: (read, "+.3f") for name, read in within.items()}
    return [
        above(f"{name}: CMI", other, apart, form=form)
        for other in ("DeepInversion", "CMI, no contrast")
        for name, (read, form) in {**measures, "student": (accuracy, "+.2f")}.items()
        if (apart := paired(runs, "CMI", other, read))
    ]


def _methods(runs: Runs) -> dict[str, list[float]]:
    """Return the accuracies by method, one value a setting: its mean over seeds."""
    found: dict[str, list[float]] = {}
    for label, by_seed in runs.items():
        if by_seed:
            found.setdefault(label.partition("/")[0], []).append(mean(accuracy(run) for run in by_seed.values()))
    return found


def _robustness(runs: Runs) -> str:
    apart = {str(batch): {label: run for label, run in runs.items() if f"batch {batch}," in label} for batch in (64, 192)}
    kinds = {"all": runs, **(apart if all(any(part.values()) for part in apart.values()) else {})}
    rows = [
        [
            f"`{name}`",
            words,
            f"{len(values)}",
            spread(values),
            _share(values),
            *(f"{end(values):.2f}" for end in (min, max)),
            _steps(part, name),
        ]
        for words, part in kinds.items()
        for name, values in sorted(_methods(part).items(), key=lambda item: -mean(item[1]))
    ]
    return table(["", "batch", "settings", "accuracy over settings, mean ± sd, %", "sd / mean", "worst", "best", "student steps"], rows) + (
        "\nSettings: learning rate x 0.25, 1, 4; batch 64 or 192; weights of the secondary terms x 0.3 with a latent of 32, "
        "or x 3 with 256 (ZSKD: temperature 67 or 6.7; DeepInversion: bn and tv). A setting's figure is the mean over its seeds. "
        "The student's batch is 64; those of DAFL and MSKD see the generator's own batch, and with one of 192 a minute is over after a "
        "third of the steps: so that part of their spread is the budget's, and batches are compared apart, too. "
        "With 64, RDSKD's generator ends after 375 steps of its own, while MSKD's and DAFL's step beside the student to the end, about 800 "
        "times.\n" + verdict([check for words, part in kinds.items() for check in _more_robust(part, words)])
    )


def _share(values: Sequence[float]) -> str:
    """Return the sd as a share of the mean: where everything is low, settings differ by few points."""
    return f"{stdev(values) / mean(values):.2f}" if len(values) > 1 and mean(values) else ""


def _more_robust(runs: Runs, batch: str) -> list[tuple[str, bool]]:
    known = {name: values for name, values in _methods(runs).items() if len(values) > 1}
    ours = known.pop("RDSKD", None)
    if ours is None:
        return []
    of = "all settings" if batch == "all" else f"batches of {batch}"
    return [
        check
        for name, each in known.items()
        for check in (
            (
                f"{of}: RDSKD is {mean(ours) - mean(each):+.2f} points from {name} in the mean of settings, above it",
                mean(ours) > mean(each),
            ),
            (f"{of}: its settings scatter by {stdev(ours):.2f}, those of {name} by {stdev(each):.2f}, less", stdev(ours) < stdev(each)),
        )
    ]


def _steps(runs: Runs, method: str) -> str:
    """Return the fewest and the most student steps of a method's runs."""
    taken = [run["student_steps"] for label, by_seed in runs.items() if label.partition("/")[0] == method for run in by_seed.values()]
    return f"{min(taken):,}" if min(taken) == max(taken) else f"{min(taken):,} to {max(taken):,}"


def _swing(loss: str, key: str) -> Callable[[Record], float | None]:
    return lambda run: fluctuation(run["losses"][loss])[key]


def _penalty(runs: Runs) -> str:
    measures = {"mean": "mean", "sd": "sd over steps", "sd_about_trend": "sd about its trend", "sd_of_changes": "sd of changes"}
    losses = {"authenticity": "authenticity", "classes": "class diversity"}
    rows = [
        [
            f"`{label}`",
            over(by_seed, accuracy, ".2f"),
            over(by_seed, at("student_steps"), ",.0f"),
            *(over(by_seed, _swing(loss, key)) for loss in losses for key in measures),
        ]
        for label, by_seed in runs.items()
        if by_seed
    ]
    head = ["penalty", "student, %", "student steps", *(f"{name}: {words}" for name in losses.values() for words in measures.values())]
    checks = [
        above(f"sd about its trend of {name}: no penalty", f"`{label}`", apart, form="+.4f")
        for label in ("epoch", "step")
        for loss, name in losses.items()
        if (apart := paired(runs, "none", label, _swing(loss, "sd_about_trend")))
    ]
    batch = next(run["settings"]["method"]["init_args"]["batch"] for by_seed in runs.values() for run in by_seed.values())
    swings = [fluctuation(run["losses"][loss]) for by_seed in runs.values() for run in by_seed.values() for loss in losses]
    apart = [swing["sd_of_changes"] / swing["sd_about_trend"] for swing in swings if swing["sd_about_trend"]]
    text = f"""
Losses are the plain ones, in nats, over the second half of the generator's steps; a trend is the mean of {WINDOW} steps. Of {batch} images
whose classes were drawn by lot, class diversity alone would have an sd of {by_chance(batch):.3f}, which no penalty can take away.
"""
    if apart:
        text += (
            f"The sd of changes is {mean(apart):.2f} times that about the trend, in the mean; of values that know nothing of each other it "
            "would be 1.41: what swings is what each step draws, and a penalty weighs gradients, not draws.\n"
        )
    return table(head, rows) + text + verdict(checks)


def draw_claims(home: Path) -> None:
    """Write a picture for every claim that has runs."""
    for claim in CLAIMS.values():
        runs = {label: by_seed for label, by_seed in _runs(claim, home).items() if by_seed}
        if not runs:
            continue
        draw = {"cmi-diversity": _draw_diversity, "rdskd-robustness": _draw_robustness, "rdskd-penalty": _draw_penalty}[claim.name]
        with picture(home / "figures" / f"{claim.name}.png") as figure:
            draw(figure, runs)


def _draw_diversity(figure: Figure, runs: Runs) -> None:
    panels: list[tuple[str, Callable[[Record], float | None]]] = [
        ("distance within a class, teacher", at("pool", "diversity", "teacher", "cosine_within_class")),
        ("the same, judge", at("pool", "diversity", "judge", "cosine_within_class")),
        ("student accuracy, %", accuracy),
    ]
    for number, (label, read) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        values = [[value for run in by_seed.values() if (value := read(run)) is not None] for by_seed in runs.values()]
        points(axes, [name.replace(", ", ",\n") for name in runs], values, label)


def _draw_robustness(figure: Figure, runs: Runs) -> None:
    methods = _methods(runs)
    points(figure.add_subplot(), list(methods), list(methods.values()), "student accuracy of a setting, %")


def _draw_penalty(figure: Figure, runs: Runs) -> None:
    for number, (name, title) in enumerate((("authenticity", "authenticity"), ("classes", "class diversity")), start=1):
        axes = figure.add_subplot(1, 2, number)
        for label, by_seed in runs.items():
            values = next(iter(by_seed.values()))["losses"][name]
            axes.plot(range(1, len(values) + 1), values, linewidth=0.8, label=f"{label}, seed {next(iter(by_seed))}")
        axes.set_title(title)
        axes.set_xlabel("generator steps")
        axes.set_ylabel("plain loss, nats")
        axes.legend(frameon=False)

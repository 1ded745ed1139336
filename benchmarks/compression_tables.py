"""The sections and pictures of RESULTS.md on compression, made from the JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.compression import jobs
from benchmarks.compression_plans import NETWORKS, SUITES, CompressionSuite
from benchmarks.low_bit_tables import WIDTHS, counted, drop, low_bits
from benchmarks.parts import (
    Record,
    Runs,
    accuracies,
    accuracy,
    at,
    kept,
    missing,
    over,
    paired,
    picture,
    points,
    spread,
    table,
    verdict,
)
from benchmarks.provenance import beside
from benchmarks.stale import EARLIER, Stale, note, of_today, seeds_there, stale

__all__ = ["compression", "draw_compression"]

ORDER = ("real", "BNS", "BNS+I", "I", "G", "I, balanced")


def _runs(suite: CompressionSuite, network: str, home: Path) -> Runs:
    """Return what is kept of each row, by label and seed."""
    return kept(home / "results" / "compression" / suite.name / network, [row.label for row in suite.on(network)])


def _stale(suite: CompressionSuite, network: str, runs: Runs, home: Path) -> Stale:
    """Return which of these runs are not of today."""
    made = jobs(suite, home=home, seeds=seeds_there(runs, suite.seeds))
    return stale(job for job in made if job.arguments["network"] == network)


def compression(home: Path) -> str:
    """Return the section on all suites; figures are looked for in ``home/figures``."""
    parts = {"w8a8": _eight_bits, "similarity": _similarity, "pruning": _pruning}
    text = f"""
## Compression without data

CIFAR-10, accuracy in % on the 10,000 exact test images, last step. Pools of 1,280 images are painted once a network and source, 1,024 of
which are learned from: {_recipes()}. `real`: images of the training set, without labels. Everything on one thread of a CPU.
Rates, steps, when batch norm learns, and how images are painted were chosen by trials on seed 0 that saw this accuracy, as a user without
data can't; nothing else was chosen by it.
"""
    for suite in SUITES.values():
        text += f"\n### {suite.name}: {suite.title}\n\n`python -m benchmarks compression --suite {suite.name}`.\n"
        for network in suite.networks:
            runs = _runs(suite, network, home)
            absent = missing(runs, {row.label: row.seeds or suite.seeds for row in suite.on(network)})
            done = {label: by_seed for label, by_seed in runs.items() if by_seed}
            known = next(iter(next(iter(done.values())).values())) if done else None
            title = f"\n#### {network}: `teachers/{NETWORKS[network]}`\n\n" if len(suite.networks) > 1 else "\n"
            old = _stale(suite, network, runs, home)
            if known:
                text += title + (low_bits(done, known, old) if suite.name == "low-bit" else parts[suite.name](done, known)) + note(old)
            else:
                text += title
            text += f"\nNot run yet: {absent}.\n" if absent else ""
        figure = home / "figures" / f"{suite.name}.png"
        text += f"\n![{suite.title}](figures/{figure.name})\n" if figure.is_file() else ""
    return text


def _recipes() -> str:
    return (
        "BNS and BNS+I by 200 steps on 256 images at once, moved and mirrored where networks learn from them; I by 20 steps, cropped, with "
        "holes; `I, balanced` the same with a fifth of the smoothness; G is noise; CMI by 60 steps of a generator of width 32 on 128"
    )


def _ratio(size: str, one: str, two: str) -> Any:
    def read(run: Record) -> float:
        taken = run["metrics"]["milliseconds"][size]
        return float(taken[one] / taken[two])

    return read


def _eight_bits(runs: Runs, known: Record) -> str:
    head = ["calibrated on", "accuracy", "less the float network's", "agreement, fresh samples of the same source", "times smaller"]
    head += ["ONNX Runtime float / int8, batch 1", "batch 64", "eager torch / int8, batch 1", "batch 64"]
    rows = [
        [
            f"`{label}`",
            over(by_seed, accuracy, ".2f"),
            over(by_seed, drop, "+.2f"),
            over(by_seed, at("metrics", "agreement_synthetic"), ".4f"),
            over(by_seed, lambda run: run["metrics"]["size_teacher_bytes"] / run["metrics"]["size_student_bytes"], ".2f"),
            *(over(by_seed, _ratio(size, one, "int8"), ".2f") for one in ("float", "torch") for size in ("1", "64")),
        ]
        for label, by_seed in runs.items()
        if label in ORDER
    ]
    metrics = known["metrics"]
    text = f"Float: {100 * metrics['teacher_accuracy']:.2f} %. One thread, medians of runs in turn, wall time; {known['device']}, "
    text += f"{', '.join(metrics['cpu_flags']) or 'no 8-bit dot products'}.\n\n{table(head, rows)}"
    text += _limits(runs) + beside(run for label, by_seed in runs.items() if label in ORDER for run in by_seed.values())
    bare = [one for run in runs.get("without images", {}).values() for one in run["metrics"]["baselines"]]
    if not bare:
        return text
    full = next(iter(runs["without images"].values()))["metrics"]
    lines = [
        [
            one["name"],
            f"{100 * one['student_accuracy']:.2f}",
            f"{100 * (one['student_accuracy'] - full['teacher_accuracy']):+.2f}",
            f"{one.get('bytes_in_float', full['size_teacher_bytes']) / one['bytes']:.2f}",
        ]
        for one in bare
    ]
    return f"{text}\nWithout any image, simulated (sizes as packed weights):\n\n{table(['', *head[1:3], head[4]], lines)}"


def _limits(runs: Runs) -> str:
    """Return whether BNS calibration loses as little, and the file gains as much, as it should."""
    apart = paired(runs, "BNS", "real")
    if not apart:
        return ""
    bns = mean(map(drop, runs["BNS"].values()))
    faster = [mean(_ratio(size, "float", "int8")(run) for run in runs["BNS"].values()) for size in ("1", "64")]
    smaller = mean(run["metrics"]["size_teacher_bytes"] / run["metrics"]["size_student_bytes"] for run in runs["BNS"].values())
    return verdict(
        (
            (f"calibrated on BNS the file is {bns:+.2f} points from float ({counted(runs['BNS'])}), at most 0.3 below", -bns <= 0.3),
            (f"and {spread(apart, '+.2f')} points from calibration on real images, at most 0.2 below", -mean(apart) <= 0.2),
            (f"the file is {smaller:.2f} times smaller, at least 3", smaller >= 3),
            (f"int8 is {faster[0]:.2f} and {faster[1]:.2f} times faster in batches of 1 and 64, at least 2", min(faster) >= 2),
        )
    )


def _similarity(runs: Runs, known: Record) -> str:
    found: Mapping[str, Mapping[str, Any]] = known["similarity"]
    rows = [
        [name, f"{one['divergence']:.4f}" + (f" ± {one['sd']:.4f}" if one["sd"] is not None else ""), f"{one['debiased']:.4f}"]
        for name, one in sorted(found.items(), key=lambda item: float(item[1]["divergence"]))
    ]
    return f"""Divergence in nats of the statistics of {known["at"]:,} images of each set; ± over disjoint samples. BNS minimises this very
number, so that its own rank, and that of BNS+I, says nothing.

{table(["set", "divergence", "without the bias of n"], rows)}{_order(found)}"""


def _order(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return whether real images and BNS are nearer than I, I than G, and G than uniform noise."""
    named = [found.get(name) for name in ("I", "G", "uniform noise")]
    near = [found.get(name) for name in ("CIFAR-10 test", "BNS")]
    if None in named or None in near:
        return ""
    far = [float(one["divergence"]) for one in named if one]
    nearest = max(float(one["divergence"]) for one in near if one)
    return verdict((("Real test images and BNS < I < G < uniform noise", nearest < far[0] < far[1] < far[2]),))


def _pruning(runs: Runs, known: Record) -> str:
    metrics = known["metrics"]
    gained = {
        label: mean(accuracy(run) - 100 * run["metrics"]["accuracy_pruned"] for run in by_seed.values()) for label, by_seed in runs.items()
    }
    rows = [
        [
            f"`{label}`",
            over(by_seed, lambda run: 100 * run["metrics"]["accuracy_pruned"], ".2f"),
            over(by_seed, accuracy, ".2f"),
            over(by_seed, drop, "+.2f"),
            f"{100 * gained[label] / gained['real']:.1f} %" if "real" in gained else "-",
        ]
        for label, by_seed in runs.items()
    ]
    checks = [
        (
            f"`{label}` regains {100 * gained[label] / gained['real']:.1f} % of what real images do ({counted(runs[label])}), 90 % asked",
            gained[label] >= 0.9 * gained["real"],
        )
        for label in gained
        if "real" in gained and label != "real"
    ]
    head = ["recovered on", "pruned", "recovered", "less the whole network's", "of what real images regain"]
    sizes = f"{metrics['params_teacher']:,} parameters; pruned: {metrics['params_student']:,}"
    return f"""Whole: {100 * metrics["teacher_accuracy"]:.2f} %, {sizes}.
600 steps of SGD on 64 images, rate 0.05 falling along a cosine after 50 steps of warm-up, gradients of norm 1 at most; KD at temperature 4.

{table(head, rows)}{verdict(tuple(checks))}"""


def draw_compression(home: Path) -> None:
    """Write a picture of the low-bit suite, where it has runs."""
    suite = SUITES["low-bit"]
    found = _runs(suite, suite.networks[0], home)
    runs, before = of_today(found, _stale(suite, suite.networks[0], found, home), WIDTHS)
    if not runs:
        return
    with picture(home / "figures" / f"{suite.name}.png", size=(11, 4)) as figure:
        for number, bits in enumerate(("W4A4", "W2A4"), start=1):
            names = [name for name in ORDER if f"{bits} {name}" in runs]
            if names:
                axes = figure.add_subplot(1, 3, number)
                points(axes, names, [accuracies(runs[f"{bits} {name}"]) for name in names], "accuracy, %")
                axes.axhline(100 * _first(runs)["metrics"]["teacher_accuracy"], color="black", linewidth=1, linestyle="--")
                axes.set_title(f"{bits}, fine-tuned" + f", {EARLIER}" * (bits in before), loc="left")
        axes = figure.add_subplot(1, 3, 3)
        for bits in ("W4A4", "W2A4"):
            counted = [(count, f"{bits} BNS, {count} images") for count in (16, 64, 256)] + [(1024, f"{bits} BNS")]
            known = [(count, accuracy(runs[label][0])) for count, label in counted if 0 in runs.get(label, {})]
            if known:
                axes.plot([count for count, _ in known], [each for _, each in known], "o-", label=bits)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="images of BNS, seed 0", ylabel="accuracy, %")
        axes.set_title("how many images", loc="left")
        axes.legend(frameon=False)


def _first(runs: Runs) -> Record:
    return next(iter(next(iter(runs.values())).values()))

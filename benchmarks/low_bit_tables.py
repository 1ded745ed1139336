"""The table of RESULTS.md on weights of few bits, made from the JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean, median

from benchmarks.parts import Record, Runs, above, accuracy, at, middle, over, paired, spread, table, verdict
from benchmarks.published import ZERO_SHOT, ZERO_SHOT_FULL, ZERO_SHOT_SOURCE
from benchmarks.stale import EARLIER, Stale, is_stale, of_today
from benchmarks.suites import DATASETS

__all__ = ["WIDTHS", "counted", "drop", "low_bits"]

WIDTHS = ("W4A4", "W3A3", "W2A4")
DROPS = (2.5, 1.2)
"""Points that BNS may lose at W4A4, and is to lose at most."""

FAR = 3.0
"""Points by which a seed is out of line."""


def drop(run: Record) -> float:
    """Return by how many points a network is above the float network; below it: negative."""
    return accuracy(run) - 100 * float(run["metrics"]["teacher_accuracy"])


def counted(by_seed: Mapping[int, Record]) -> str:
    """Return how many seeds there are, in words."""
    return f"{len(by_seed)} seed{'s' * (len(by_seed) != 1)}"


def low_bits(runs: Runs, known: Record, old: Stale) -> str:
    """Return a table of all rows, and what was to be shown of them; `old` are those that are not of today, which is said."""
    now, before = of_today(runs, old, WIDTHS)
    names = {bits: f"{bits}, {EARLIER}" if bits in before else bits for bits in WIDTHS}
    text = f"""Float: {100 * known["metrics"]["teacher_accuracy"]:.2f} %. All layers at that width, inputs of layers and residual sums
too (the image keeps its 8 bits), except where a row says 8-bit ends. 300 steps of Adam on 64 images, rate 3e-4 for weights of 4 bits and
1e-3 for fewer, falling along a cosine, the same for all sources but two: at W2A4 on I and G that rate ended at chance, so that it is 3e-4
there (on I no data are needed to see it: agreement on fresh images fell, and `tacit quantize` warns of it; on G agreement stays). Batch
norm is told how quantization shifts what it reads, then frozen at 3 bits and more; at 2 bits it learns, except on I and G. Objective: KL
divergence at temperature 1, and 0.01 of the intermediate loss, on images mixed in pairs. A seed also draws which 1,024 images are learned
from: of 50,000 real ones, of a pool's 1,280.
Seconds are medians over seeds, beside whatever else ran.{_ASTERISK * any(is_stale(runs, label, old) for label in runs)}

"""
    head = ["", "accuracy", "less the float network's", "agreement, fresh samples of the same source", "seconds, wall time"]
    rows = [
        [
            f"`{label}`{' *' * is_stale(runs, label, old)}",
            over(by_seed, accuracy, ".2f"),
            over(by_seed, drop, "+.2f"),
            over(by_seed, at("metrics", "agreement_synthetic"), ".4f"),
            middle(by_seed, at("seconds", "training")),
        ]
        for label, by_seed in sorted(runs.items(), key=lambda item: (WIDTHS.index(item[0][:4]), -mean(map(accuracy, item[1].values()))))
    ]
    return text + table(head, rows) + _other_pools(now, names) + _claims(now, names) + _out_of_line(runs) + _published(runs, now, old)


_ASTERISK = f"""
*: runs of the row, all or some, are {EARLIER}: its settings, or the teacher, have changed since. They are compared with each other where
nothing of their width is of today, and with nothing elsewhere."""


def _other_pools(runs: Runs, names: Mapping[str, str]) -> str:
    """Return what BNS comes to over pools that were painted with seeds of their own, the seed of fine-tuning being the same."""
    said = []
    for bits in WIDTHS:
        each = [runs.get(f"{bits} BNS{more}", {}).get(0) for more in ("", ", pool 1", ", pool 2")]
        found = [accuracy(run) for run in each if run is not None]
        if len(found) > 1:
            said.append(f"{names[bits]}: {spread(found)} on {len(found)} pools ({', '.join(f'{value:.2f}' for value in found)})")
    return f"\nBNS on pools that were each painted anew, seed 0 of fine-tuning: {'; '.join(said)}.\n" if said else ""


def _claims(runs: Runs, names: Mapping[str, str]) -> str:
    """Return what the paper's order comes to: real ~ BNS > I > G, in the seeds that two rows share."""
    checks = []
    for bits, limit in (("W4A4", 1.0), ("W2A4", 2.5)):
        if apart := paired(runs, f"{bits} BNS", f"{bits} real"):
            words = f"{names[bits]}: BNS is {spread(apart, '+.2f')} points from real images in {len(apart)} seeds, at most {limit:g} below"
            checks.append((words, -mean(apart) <= limit))
        if bits == "W4A4" and f"{bits} BNS" in runs:
            lost = mean(map(drop, runs[f"{bits} BNS"].values()))
            words = f"{names[bits]}: BNS is {lost:+.2f} points from float ({counted(runs[f'{bits} BNS'])}), at most"
            checks += [(f"{words} {most:g} below", -lost <= most) for most in DROPS]
        for one, other in (("BNS", "I"), ("I", "G")):
            if higher := paired(runs, f"{bits} {one}", f"{bits} {other}"):
                checks.append(above(f"{names[bits]}{':' * (names[bits] != bits)} {one}", other, higher))
    return f"\nThe paper's order is real ~ BNS > I > G (Haroush et al., 2020).\n{verdict(checks)}" if checks else ""


def _out_of_line(runs: Runs) -> str:
    """Return which seeds are far from the others of their row, of at least three."""
    found = {label: {seed: accuracy(run) for seed, run in by_seed.items()} for label, by_seed in runs.items() if len(by_seed) > 2}
    told = [
        f"`{label}`, seed {seed} ({value:.2f} against {median(each.values()):.2f})"
        for label, each in found.items()
        for seed, value in each.items()
        if abs(value - median(each.values())) > FAR
    ]
    return f"\nMore than {FAR:g} points from the median of their row's seeds: {'; '.join(told)}.\n" if told else ""


def _published(runs: Runs, now: Runs, old: Stale) -> str:
    labels = {bits: f"{bits} BNS" for bits in ("W4A4", "W3A3")}
    shown = {label: now.get(label) or runs.get(label, {}) for label in labels.values()}
    before = [bits for bits, label in labels.items() if is_stale(shown, label, old)]
    four, three = shown.values()
    ours = []
    if own := four or three:
        name = f"tacit, BNS; {' and '.join(before)} {EARLIER}" if before else "tacit, BNS"
        named = [name, "ResNet-20, ours", over(own, lambda run: 100 * run["metrics"]["teacher_accuracy"], ".2f")]
        ours = [[*named, *(over(found, read, form) for found in (four, three) for read, form in ((accuracy, ".2f"), (drop, "+.2f")))]]
    theirs = [
        [name, "ResNet-20", f"{ZERO_SHOT_FULL:.2f}", f"{at_four:.2f}", f"{at_four - ZERO_SHOT_FULL:+.2f}", *_or_dash(at_three)]
        for name, at_four, at_three in ZERO_SHOT
    ]
    head = ["zero-shot, all layers", "network", "float", "W4A4", "drop", "W3A3", "drop"]
    text = f"\nPublished zero-shot figures ({ZERO_SHOT_SOURCE}), by 5,120 images and 100 epochs of fine-tuning; only drops compare, "
    text += "since the float networks differ:\n\n"
    if not own:
        return text + table(head, theirs)
    floats = mean(100 * float(run["metrics"]["teacher_accuracy"]) for run in own.values())
    return f"""{text}{table(head, [*ours, *theirs])}
Ours is not quite the same comparison: the image itself keeps 8 bits; settings were chosen by trials that saw test accuracy; and the float
network, trained on {DATASETS["cifar10"].train}, has {floats:.2f} where theirs has {ZERO_SHOT_FULL:.2f}, so that it has less to lose.
"""


def _or_dash(value: float | None) -> list[str]:
    return ["-", "-"] if value is None else [f"{value:.2f}", f"{value - ZERO_SHOT_FULL:+.2f}"]

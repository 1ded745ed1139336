"""What the suites, tables and pictures of federated learning share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean

from benchmarks.federated_plans import FederatedSuite, split_name
from benchmarks.parts import Record, Runs, at, kept

__all__ = [
    "broken",
    "chosen_rates",
    "known",
    "megabytes",
    "own_accuracy",
    "runs_of",
    "seconds",
    "shown",
    "sign_flip",
    "tested",
    "tried_rates",
]


def runs_of(suite: FederatedSuite, alpha: float, home: Path) -> Runs:
    """Return what is kept of each row of a suite on a split, by label and seed; rows without runs are left out."""
    labels = [row.label for row in suite.rows]
    found = kept(home / "results" / "federated" / suite.place / split_name(alpha), labels)
    return {label: found[label] for label in labels if found[label]}


def tested(run: Record) -> float | None:
    """Return accuracy in % on the test set, last round; None where a run broke off, or nobody looked at the test set."""
    accuracy = run["metrics"]["student_accuracy"]
    return None if accuracy is None else 100 * float(accuracy)


def own_accuracy(run: Record) -> float | None:
    """Return accuracy in % over all images on which clients tested themselves, last round; None where they did not."""
    return None if run.get("own") is None else 100 * float(run["own"]["accuracy"])


def tried_rates(suite: FederatedSuite, home: Path) -> dict[str, dict[float, float]]:
    """Return accuracy in % on the images that clients set aside, by row and learning rate, of the rows for which all rates were tried.

    Args:
        suite: The one that tries them. A run that broke off counts as 0.
        home: Where its ``results/`` are.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for alpha in suite.alphas:
        runs = runs_of(suite, alpha, home)
        for row in suite.rows:
            assert row.lr is not None
            values = [own_accuracy(run) or 0.0 for run in runs.get(row.label, {}).values()]
            found.setdefault(row.rate_of, {}).setdefault(row.lr, []).extend(values)
    return {name: {rate: mean(each) for rate, each in rates.items()} for name, rates in found.items() if all(rates.values())}


def chosen_rates(suite: FederatedSuite, home: Path) -> dict[str, float]:
    """Return the best learning rate of each of these rows."""
    return {name: max(rates, key=lambda rate: rates[rate]) for name, rates in tried_rates(suite, home).items()}


def sign_flip(differences: Sequence[float]) -> float:
    """Return the p-value, two-sided and exact, of a mean that is not 0: the share of all choices of signs that give one as far from 0.

    Args:
        differences: At least one; up to about 20, since there are 2^n choices.
    """
    far = abs(sum(differences)) - 1e-9
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(each >= far for each in sums) / len(sums)


def known(by_seed: Mapping[int, Record], read: Callable[[Record], float | None] = tested) -> list[float]:
    """Return what `read` finds, of the runs that have it."""
    return [value for run in by_seed.values() if (value := read(run)) is not None]


def broken(by_seed: Mapping[int, Record]) -> int:
    """Return how many of the runs broke off: they have no accuracy, and count for nobody."""
    return sum("broke" in run for run in by_seed.values())


def shown(run: Record | None) -> str:
    """Return accuracy as it stands in a table."""
    value = tested(run) if run is not None else None
    return "-" if run is None else "broke off" if value is None else f"{value:.2f}"


def megabytes(way: str) -> Callable[[Record], float | None]:
    """Return a function that reads what was sent in all rounds, in 10^6 bytes; `way` is ``bytes_down`` or ``bytes_up``."""
    read = at("metrics", way)
    return lambda run: None if "broke" in run else (read(run) or 0.0) / 1e6


def seconds(run: Record) -> float | None:
    """Return seconds of both sides, without tests."""
    return None if "broke" in run else float(run["seconds"]["training"]) + float(run["seconds"]["synthesis"])

"""What the sections and pictures of RESULTS.md on representation distillation share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.parts import Record, Runs, accuracies, accuracy, kept, spread, table
from benchmarks.representation_plans import RepresentationPair, RepresentationSuite

__all__ = ["above", "errors", "objective", "paired", "probed", "runs_of", "tried"]


def runs_of(suite: RepresentationSuite, pair: RepresentationPair, home: Path) -> Runs:
    """Return what is kept of each row of a pair that has runs, by label and seed."""
    labels = [row.label for row in suite.on(pair)]
    found = kept(home / "results" / "representation" / (suite.folder or suite.name) / pair.name, labels)
    known = labels if suite.folder else found  # a suite that shares another's runs shows its own rows alone
    return {label: found[label] for label in known if found[label]}


def paired(runs: Runs, one: str, other: str, read: Callable[[Record], float | None] = accuracy) -> list[float]:
    """Return by how much row `one` is above row `other`, in each seed that both have."""
    both = [(runs[one][seed], runs[other][seed]) for seed in runs.get(one, {}) if seed in runs.get(other, {})]
    known = [(read(ours), read(theirs)) for ours, theirs in both]
    return [ours - theirs for ours, theirs in known if ours is not None and theirs is not None]


def objective(terms: Any) -> str:
    if isinstance(terms, str):
        return f"`{terms}`"
    words = []
    for term in terms:
        more = [f"{key} {value}" for key, value in term.items() if key not in ("loss", "weight")]
        words.append(f"{term['loss']}={term.get('weight', 1.0):g}" + (f" ({', '.join(more)})" if more else ""))
    return f"`{', '.join(words)}`"


def tried(runs: Runs, others: Mapping[str, str]) -> str:
    """Return other settings beside the rows that they are settings of, on the seeds that both have."""
    done = [label for label in others if label in runs and others[label] in runs]
    if not done:
        return ""
    lines = [
        [
            f"`{label}`",
            objective(next(iter(runs[label].values()))["settings"]["objective"]),
            f"{next(iter(runs[label].values()))['settings']['training']['lr']:g}",
            spread(accuracies(runs[label])),
            spread(paired(runs, label, others[label]), "+.2f"),
        ]
        for label in done
    ]
    return "\nOther settings that were tried, on the first seed; no row was replaced by a better one:\n\n" + table(
        ["", "objective", "learning rate", "accuracy", "over the row itself"], lines
    )


def above(one: str, other: str, differences: Sequence[float]) -> tuple[str, bool]:
    """Return that one is above another in every seed, and whether it is."""
    count = sum(difference > 0 for difference in differences)
    words = f"{one} is {spread(differences, '+.2f')} points from {other}; above it in {count} of {len(differences)} seeds"
    return words, count == len(differences)


def probed(name: str) -> Callable[[Record], float | None]:
    def read(run: Record) -> float | None:
        return 100 * float(run["probes"][name]["accuracy"]) if name in run.get("probes", {}) else None

    return read


def errors(runs: Runs) -> dict[str, dict[int, list[float]]]:
    """Return the errors of students in %, by objective and number of teachers; ``teachers together``: those of the ensembles."""
    found: dict[str, dict[int, list[float]]] = {}
    for label, by_seed in runs.items():
        name, _, count = label.partition(", ")
        if not count.isdigit():
            continue
        found.setdefault(name, {})[int(count)] = [100 - value for value in accuracies(by_seed)]
        theirs = [100 - 100 * run["metrics"]["teacher_accuracy"] for run in by_seed.values()]
        if len(theirs) > len(found.setdefault("teachers together", {}).get(int(count), [])):
            found["teachers together"][int(count)] = theirs
    return found

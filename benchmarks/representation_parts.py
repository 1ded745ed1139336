"""What the sections and pictures of RESULTS.md on representation distillation share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.parts import Record, Runs, accuracies, kept, paired, spread, table
from benchmarks.representation_plans import RepresentationPair, RepresentationSuite

__all__ = ["errors", "objective", "probed", "runs_of", "tried"]


def runs_of(suite: RepresentationSuite, pair: RepresentationPair, home: Path) -> Runs:
    """Return what is kept of each row of a pair that has runs, by label and seed."""
    labels = [row.label for row in suite.on(pair)]
    found = kept(home / "results" / "representation" / (suite.folder or suite.name) / pair.name, labels)
    known = labels if suite.folder else found  # a suite that shares another's runs shows its own rows alone
    return {label: found[label] for label in known if found[label]}


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
    said = "Other settings that were tried, on the first seed, and the best of a row on all; no row was replaced by a better one"
    return f"\n{said}:\n\n" + table(["", "objective", "learning rate", "accuracy", "over the row itself"], lines)


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

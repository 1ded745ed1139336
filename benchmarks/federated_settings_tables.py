"""The sections of RESULTS.md on parts of FedGen, on heads that travel alone, and on one round, made from the JSON files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean

from benchmarks.federated_parts import broken, known, megabytes, own_accuracy, runs_of, seconds, shown, tested
from benchmarks.federated_plans import FederatedSuite
from benchmarks.federated_published import HEAD
from benchmarks.parts import Record, above, at, middle, over, paired, spread, table, verdict

__all__ = ["ablation", "dense", "head"]

WIDE, BESIDE = 5.0, 3.0
"""Points by which DENSE is to be above the mean of the models, and within which it is to be of their ensemble."""


def ablation(suite: FederatedSuite, home: Path) -> str:
    """Return a table of FedGen without each of its parts."""
    (alpha,) = suite.alphas
    runs = runs_of(suite, alpha, home)
    if not runs:
        return ""
    lines = [
        [
            f"`{label}`",
            *(shown(by_seed.get(seed)) for seed in suite.seeds),
            spread(known(by_seed)),
            spread(paired(runs, label, "FedGen", tested), "+.2f") if label != "FedGen" else "-",
            over(by_seed, own_accuracy, ".2f"),
        ]
        for label, by_seed in runs.items()
    ]
    head = ["", *(f"seed {seed}" for seed in suite.seeds), "mean ± sd", "over FedGen", "own labels"]
    return (
        "\nThe first two rows are runs of suite `mnist`. With BN local there is no global model: the mean of the clients' own, on all test "
        f"images, and on those of the labels that each client has.\n\n{table(head, lines)}"
    )


def head(suite: FederatedSuite, home: Path) -> str:
    """Return tables of heads that travel alone, and whether FedGen is above FedAvg."""
    text, checks = "", []
    for alpha in suite.alphas:
        runs = runs_of(suite, alpha, home)
        lines = [
            [
                f"`{label}`",
                over(by_seed, own_accuracy, ".2f"),
                spread(paired(runs, label, "FedAvg", own_accuracy), "+.2f") if label != "FedAvg" else "-",
                f"{HEAD[alpha][label]:.2f}",
                spread(known(by_seed)),
                spread(paired(runs, label, "FedAvg", tested), "+.2f") if label != "FedAvg" else "-",
                over(by_seed, megabytes("bytes_down"), ".1f").partition(" ±")[0],
                over(by_seed, megabytes("bytes_up"), ".1f").partition(" ±")[0],
                middle(by_seed, seconds),
            ]
            for label, by_seed in runs.items()
        ]
        names = ["", "own labels", "over FedAvg", "published", "all test images", "over FedAvg", "MB down", "MB up", "seconds, wall time"]
        text += f"\n#### Dirichlet {alpha:g}\n\n{table(names, lines)}" if lines else ""
        for words, read in (("on own labels", own_accuracy), ("on all test images", tested)):
            if higher := paired(runs, "FedGen", "FedAvg", read):
                checks.append(above(f"Dirichlet {alpha:g}, {words}: FedGen", "FedAvg", higher))
    theirs = ", ".join(f"{HEAD[alpha]['FedDF']:.2f}" for alpha in suite.alphas)
    if not text:
        return ""
    return f"""
The rest of the network stays with each client, so that there is no global model: figures are means of the clients' own. *Own labels*: test
images of the labels that each client has, as the authors' code tests; on all test images, a client can name only what it saw. Published:
table 4. FedDF, published there too ({theirs}), is not run: it teaches whole models.
{text}{verdict(checks)}"""


def dense(suite: FederatedSuite, home: Path) -> str:
    """Return DENSE beside the mean and the ensemble of the same models, and whether it is where it is to be."""
    (alpha,) = suite.alphas
    return "".join(_one_round(label, by_seed) for label, by_seed in runs_of(suite, alpha, home).items())


def _one_round(label: str, by_seed: Mapping[int, Record]) -> str:
    if lost := broken(by_seed):
        by_seed = {seed: run for seed, run in by_seed.items() if "broke" not in run}
        if not by_seed:
            return f"\n`{label}` broke off in all of its {lost} runs.\n"
    beside = dict.fromkeys(name for run in by_seed.values() for name in run["metrics"]["beside"])
    reads: dict[str, Callable[[Record], float | None]] = {f"`{label}`": tested, **{name: _beside_it(name) for name in beside}}
    lines = [[name, *(f"{read(run) or 0:.2f}" for run in by_seed.values()), over(by_seed, read, ".2f")] for name, read in reads.items()]
    over_mean, over_all = (
        [(tested(run) or 0.0) - (_beside_it(name)(run) or 0.0) for run in by_seed.values()] for name in ("mean", "ensemble")
    )
    checks = [
        (f"{label} is {spread(over_mean, '+.2f')} points from the mean of the models, at least {WIDE:g} above", mean(over_mean) >= WIDE),
        (f"{label} is {spread(over_all, '+.2f')} points from the ensemble, at most {BESIDE:g} below", mean(over_all) >= -BESIDE),
    ]
    made = over(by_seed, at("images_synthesized"), ",.0f").partition(" ±")[0]
    rows = table(["", *(f"seed {seed}" for seed in by_seed), "mean ± sd"], lines)
    took = middle(by_seed, seconds)
    said = (
        f"Below it: the same clients' models together, and the mean of their weights. {made} images were made; {took} seconds of wall time."
    )
    return f"\n{rows}\n{said}{f' {lost} more runs broke off.' if lost else ''}\n{verdict(checks)}"


def _beside_it(name: str) -> Callable[[Record], float | None]:
    return lambda run: 100 * float(run["metrics"]["beside"][name]) if name in (run["metrics"].get("beside") or {}) else None

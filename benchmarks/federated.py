"""Suites of federated learning: FedGen beside its baselines, at one learning rate or at each one's own; its parts; heads; one round."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import runner, smoke
from benchmarks.decoded import decoded
from benchmarks.federated_parts import chosen_rates
from benchmarks.federated_plans import FederatedRow, FederatedSuite, split_name
from benchmarks.federated_suites import SUITES
from benchmarks.places import HOME, checked_data, found
from benchmarks.plans import reference, slug
from tacit.core.errors import InputError
from tacit.data import ImageSet
from tacit.federate import FedDF, FederationError, Site
from tacit.verbs.consortium import ENGINES, Consortium
from tacit.verbs.federate import Federate

__all__ = ["add_arguments", "jobs", "main", "measure", "settings"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    runner.add_suites(parser, list(SUITES))
    parser.add_argument("--splits", nargs="+", type=float, metavar="ALPHA", help="splits, by their alpha; not given: all")
    runner.add_arguments(parser)


def main(options: argparse.Namespace, home: Path) -> int:
    """Run what is missing under `home`; return the number of runs that failed."""
    suite = SUITES[options.suite]
    made = jobs(
        suite,
        home=home,
        data=options.data,
        seeds=options.seeds,
        small=options.smoke,
        rows=options.rows,
        alphas=options.splits,
    )
    for label in unchosen(suite, home):
        print(f"{label}: no learning rate is chosen yet, so that it is left out; run suite learning-rates")
    if options.list:
        return runner.show(made)
    if options.smoke:
        smoke.prepare(suite.dataset, (), home)
    else:
        checked_data(options.data, suite.dataset)
    return runner.run(made, side_by_side=runner.side_by_side(options), say=_say, again=options.again)


def jobs(
    suite: FederatedSuite,
    *,
    home: Path = HOME,
    data: Path | None = None,
    seeds: Sequence[int] | None = None,
    small: bool = False,
    rows: Sequence[str] | None = None,
    alphas: Sequence[float] | None = None,
) -> list[runner.Job]:
    """Return every run of a suite: the first seed of everything, then the second.

    Args:
        suite: What is measured. Of one that is tuned, rows whose learning rate is not chosen yet are left out, which is said.
        home: Where ``results/`` is, and for a smoke run all else.
        data: The folder of all data.
        seeds: Not given: the suite's.
        small: Whether it is a smoke run.
        rows: Labels; not given: all. `InputError` where there is no such row.
        alphas: Splits; not given: all. `InputError` where there is no such split.
    """
    labels = runner.chosen(suite.name, rows, (row.label for row in suite.rows))
    for alpha in alphas or ():
        if alpha not in suite.alphas:
            raise InputError(f"--splits: expected some of {', '.join(f'{each:g}' for each in suite.alphas)}, got {alpha:g}")
    run = suite.shrunk() if small else suite
    wanted = [row for row in run.rows if row.label in labels]
    rates = _rates(run, wanted, home)
    return [
        runner.Job(
            title=f"{suite.name}/{split_name(alpha)} {row.label}, seed {seed}",
            file=(home / "results" / "federated" / suite.place / split_name(alpha) / f"{slug(row.label)}-seed{seed}.json").resolve(),
            work="benchmarks.federated:measure",
            arguments={
                **found(home, data, small=small),
                "suite": suite.name,
                "row": row.label,
                "alpha": alpha,
                "lr": rates[row.label],
                "seed": seed,
            },
            settings=settings(run, row, alpha, rates[row.label]),
        )
        for seed in (seeds if seeds is not None else run.seeds)
        for row in wanted
        for alpha in run.alphas
        if row.label in rates and (row.seeds is None or seed in row.seeds) and (alphas is None or alpha in alphas)
    ]


def unchosen(suite: FederatedSuite, home: Path) -> list[str]:
    """Return the rows of a suite that are left out, since not all learning rates were tried for them yet."""
    return [row.label for row in suite.rows if row.label not in _rates(suite, suite.rows, home)]


def _rates(suite: FederatedSuite, rows: Sequence[FederatedRow], home: Path) -> dict[str, float]:
    """Return the learning rate of each row; of a tuned suite, of those rows for which all were tried."""
    if not suite.tuned:
        return {row.label: suite.lr if row.lr is None else row.lr for row in rows}
    chosen = chosen_rates(SUITES["learning-rates"], home)
    return {row.label: chosen[row.rate_of or row.label] for row in rows if (row.rate_of or row.label) in chosen}


def settings(suite: FederatedSuite, row: FederatedRow, alpha: float, lr: float) -> dict[str, Any]:
    """Return all that decides a run but its seed, as plain values."""
    return {
        "algorithm": json.loads(json.dumps(row.algorithm.config(), default=lambda part: getattr(part, "config", lambda: vars(part))())),
        "proxy": row.proxy and row.proxy_split,
        "data": suite.dataset.folder,
        "partition": suite.partition(alpha).config(),
        "clients": suite.clients,
        "active": suite.active,
        "rounds": suite.rounds,
        "local_steps": row.algorithm.local_steps if suite.local_steps is None else suite.local_steps,
        "batch": suite.batch,
        "lr": lr,
        "lr_decay": 0.99,
        "momentum": suite.momentum,
        "held": suite.held,
        "every": row.every or suite.every,
    }


def measure(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run; return what is kept of it. One that broke off, as by a learning rate that is too high, has no accuracy and says why."""
    suite = SUITES[arguments["suite"]].shrunk() if arguments["smoke"] else SUITES[arguments["suite"]]
    row = next(row for row in suite.rows if row.label == arguments["row"])
    alpha, lr, seed, data = float(arguments["alpha"]), float(arguments["lr"]), int(arguments["seed"]), Path(arguments["data"])
    train = decoded(suite.dataset, data, "train", keep=not arguments["smoke"])
    test = None if suite.held else decoded(suite.dataset, data, "test", keep=not arguments["smoke"])
    verb = _verb(suite, row, alpha, lr, seed, train, data, folder / "run")
    taking_part = _tested_on(test, verb.gather(), row)
    known = {"suite": suite.place, "split": split_name(alpha), "row": row.label, "lr": lr}
    try:
        outcome = verb.over(lambda: taking_part, ENGINES[verb.engine])
    except FederationError as error:
        nothing: dict[str, Any] = {"student_accuracy": None, "rounds_to": {}}
        return {**known, "seed": seed, "metrics": nothing, "broke": str(error), "settings": settings(suite, row, alpha, lr)}
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    tested = [line for line in lines if line["kind"] == "evaluation"]
    return {
        **known,
        **outcome.result,
        "own": _own(taking_part.sites, outcome.metrics["client_accuracy"]),
        "curve": [[line["step"], round(line.get("student_accuracy", line.get("client_accuracy")), 5)] for line in tested],
        "settings": settings(suite, row, alpha, lr),
    }


def _verb(
    suite: FederatedSuite, row: FederatedRow, alpha: float, lr: float, seed: int, train: ImageSet, data: Path, folder: Path
) -> Federate:
    algorithm = row.algorithm
    if row.proxy is not None:
        assert isinstance(algorithm, FedDF)
        algorithm = replace(algorithm, proxy=str(data / suite.dataset.folder), proxy_split=row.proxy_split)
    spec = suite.dataset.spec
    return Federate(
        algorithm=algorithm,
        data=train,
        eval_split=None,
        partition=suite.partition(alpha),
        clients=suite.clients,
        active=suite.active,
        rounds=suite.rounds,
        local_steps=suite.local_steps,
        batch=suite.batch,
        lr=lr,
        momentum=suite.momentum,
        held=suite.held,
        model=reference("tacit.zoo:fednet", {"channels": spec.shape[0], "side": spec.shape[1], "classes": spec.classes}, spec),
        evaluate_every=row.every or suite.every,
        device="cpu",
        precision="32-true",
        seed=seed,
        out=folder,
    )


def _tested_on(test: ImageSet | None, made: Consortium, row: FederatedRow) -> Consortium:
    """Return who takes part, with the test set; None where clients set images aside: then nobody looks at it.

    Where there is no global model, clients test their own on all of it, and, as in the authors' code, on the labels that they have.
    """
    if test is None:
        return made
    sites = [replace(site, test=_of_labels(test, site.train.labels) if row.apart else None, public=test) for site in made.sites]
    return replace(made, test=test, sites=sites)


def _of_labels(test: ImageSet, held: torch.Tensor) -> ImageSet:
    return test.part(torch.isin(test.labels, torch.unique(held)).nonzero().flatten())


def _own(sites: Sequence[Site], accuracy: Mapping[str, float] | None) -> dict[str, float] | None:
    """Return accuracy over all images on which clients tested themselves, and how many these are; None where they did not."""
    sizes = {str(site.number): len(site.test) for site in sites if site.test is not None}
    if not accuracy:
        return None
    images = sum(sizes[client] for client in accuracy)
    return {"accuracy": sum(share * sizes[client] for client, share in accuracy.items()) / images, "images": images}


def _say(outcome: Mapping[str, Any]) -> str:
    if "broke" in outcome:
        return f"broke off: {outcome['broke']}"
    accuracy, own = outcome["metrics"]["student_accuracy"], outcome["own"]
    tested = [f"{100 * accuracy:.2f} %"] if accuracy is not None else []
    return ", ".join([*tested, *([f"{100 * own['accuracy']:.2f} % of the clients' own images"] if own else [])])

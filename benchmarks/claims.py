"""Claims of the papers, tested as claims: CMI's diversity, RDSKD's robustness to hyper-parameters, and what its penalty does."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import tacit
from benchmarks import runner, smoke
from benchmarks.data_free import outcome_of, record, settings, steps_of
from benchmarks.places import HOME, checked_data, found
from benchmarks.plans import Pair, Row, Suite, slug
from benchmarks.suites import SUITES
from tacit.core.errors import InputError
from tacit.core.loss import Objective
from tacit.core.models import model_hash
from tacit.core.network import Teacher
from tacit.losses import Increment
from tacit.synthesize import CMI, DAFL, MSKD, RDSKD, ZSKD, DeepInversion, Method

__all__ = ["CLAIMS", "Claim", "add_arguments", "by_chance", "fluctuation", "jobs", "main", "measure"]

JUDGE = "mnist-lenet5-sgd-shift"
"""A network that no method sees, of another architecture, trained by itself: of four such, the one that most often sees the digit that the
teacher sees, in 46 % of CMI's images and 43 % of DeepInversion's (`mnist-lenet5`: 23 %; trials, no files kept)."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says, and the runs that test it.

    Args:
        name: Of the claim, and of its folder of results.
        said: The claim in words, with its source.
        rows: The variants that are compared, by label; a variant of a grid is called ``method/setting``.
        max_seconds: Budget of a run.
        steps: Student steps of a run, at most.
        judged: Whether the pool of each run is measured, by the teacher and by a judge.
    """

    name: str
    said: str
    rows: Mapping[str, Method]
    max_seconds: float
    steps: int
    judged: bool = False


def _diversity() -> dict[str, Method]:
    """Return pools of as many images, each given about 12 s a batch on one core: an image of CMI costs more a step.

    Without the contrastive term a step is faster, so that there are two such rows: of as many steps, and of about as many seconds.
    """
    cmi = CMI(batch=128, steps=48, lr=5e-3, warmup=8, every=0, adv=0.0, negatives=512, width=32)
    return {
        "CMI": cmi,
        "CMI, no contrast": replace(cmi, contrast=0.0),
        "CMI, no contrast, 72 steps": replace(cmi, steps=72, contrast=0.0),
        "DeepInversion": DeepInversion(batch=128, steps=190, lr=0.1, warmup=8),
    }


def _grid() -> dict[str, Method]:
    """Return 12 settings of each method: three learning rates, two batches, two choices of latent length and weights."""
    small: dict[str, Any] = {"width": 16}
    found: dict[str, Method] = {}
    for factor in (0.25, 1.0, 4.0):
        for batch in (64, 192):
            for weight, latent in ((0.3, 32), (3.0, 256)):
                live: dict[str, Any] = {**small, "batch": batch, "latent": latent, "lr": 1e-3 * factor}
                dafl: dict[str, Any] = {"balance": 5.0 * weight, "activation": 0.1 * weight}
                stored: dict[str, Any] = {"batch": batch, "steps": 40, "warmup": 1536 // batch}
                steps = 24_000 // batch  # half of the minute; in twenty epochs, each with a reference of its own, as in the paper
                kinds = (
                    RDSKD(**live, warmup=steps, epoch=steps // 20, classes=weight, samples=weight),
                    DAFL(**live, **dafl),
                    MSKD(**live, **dafl, seeking=weight),
                    ZSKD(**stored, lr=0.05 * factor, temperature=20.0 / weight, rescale=False, start="normal"),
                    DeepInversion(**stored, lr=0.1 * factor, bn=weight, tv=2.5e-5 * weight),
                )
                found |= {f"{kind.name}/lr x{factor:g}, batch {batch}, weights x{weight:g}": kind for kind in kinds}
    return found


@dataclass(frozen=True, kw_only=True)
class WatchedRDSKD(RDSKD):
    """RDSKD, with its plain losses written down at each generator step."""

    seen: ClassVar[dict[str, list[float]]] = {}

    def objective(self, teacher: Teacher) -> Objective:
        built = super().objective(teacher)
        self.seen.clear()
        for name in ("authenticity", "classes"):
            loss = built.losses[name]
            self.seen[name] = []
            (loss.loss if isinstance(loss, Increment) else loss).register_forward_hook(_noter(self.seen[name]))
        return built


def _noter(values: list[float]) -> Any:
    def note(_: nn.Module, __: tuple[Any, ...], value: Tensor) -> None:
        values.append(round(float(value.detach()), 5))

    return note


def _penalties() -> dict[str, Method]:
    base = WatchedRDSKD(batch=128, warmup=720, width=32)
    return {"epoch": replace(base, penalty="epoch"), "step": replace(base, penalty="step"), "none": replace(base, penalty="none")}


CLAIMS = {
    claim.name: claim
    for claim in (
        Claim(
            name="cmi-diversity",
            said="CMI's images are more diverse than DeepInversion's, at the same count and time, and its contrastive term is the cause "
            "(Fang et al., 2021, https://arxiv.org/abs/2105.08584)",
            rows=_diversity(),
            max_seconds=600,
            steps=1500,
            judged=True,
        ),
        Claim(
            name="rdskd-robustness",
            said="RDSKD is more robust to hyper-parameters than DAFL, MSKD, ZSKD and DeepInversion "
            "(Han et al., 2021, https://arxiv.org/abs/2011.03749)",
            rows=_grid(),
            max_seconds=60,
            steps=2000,
        ),
        Claim(
            name="rdskd-penalty",
            said="RDSKD's exponential penalty keeps its losses from fluctuating (Han et al., 2021, https://arxiv.org/abs/2011.03749); "
            "`epoch` is the reading of the authors' code, `step` that of the paper's words, `none` has no penalty",
            rows=_penalties(),
            max_seconds=1200,  # never reached on a quiet machine: a run ends with its steps, so that its figures don't depend on the load
            steps=2000,
        ),
    )
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    runner.add_suites(parser, list(CLAIMS), option="--claim")
    runner.add_arguments(parser)


def main(options: argparse.Namespace, home: Path) -> int:
    """Run what is missing under `home`; return the number of runs that failed."""
    claim = CLAIMS[options.suite]
    made = jobs(claim, home=home, data=options.data, seeds=options.seeds, small=options.smoke, rows=options.rows)
    if options.list:
        return runner.show(made)
    if options.smoke:
        smoke.prepare(SUITES["mnist"].dataset, [*(pair.teacher for pair in SUITES["mnist"].pairs), JUDGE], home)
    else:
        checked_data(options.data, SUITES["mnist"].dataset)
    return runner.run(made, side_by_side=runner.side_by_side(options), say=_say, again=options.again)


def _say(kept: Mapping[str, Any]) -> str:
    return f"{100 * kept['metrics']['student_accuracy']:.2f} %"


def _suite(claim: Claim, small: bool) -> tuple[Suite, Pair]:
    """Return the MNIST suite with the claim's budget, and its pair with batch norm."""
    mnist = SUITES["mnist"]
    suite = replace(mnist, training=replace(mnist.training, steps=claim.steps), max_seconds=claim.max_seconds, evaluations=0)
    return smoke.shrunk(suite) if small else suite, mnist.pairs[0]


def _row(claim: Claim, label: str, small: bool) -> Row:
    row = Row(label=label, method=claim.rows[label], smoke={"warmup": 8})
    return smoke.small(row) if small else row


def _settings(claim: Claim, label: str, small: bool) -> dict[str, Any]:
    """Return all that decides the outcome of a run but its seed."""
    suite, pair = _suite(claim, small)
    return settings(suite, pair, _row(claim, label, small)) | ({"judge": JUDGE} if claim.judged else {})


def jobs(
    claim: Claim,
    *,
    home: Path = HOME,
    data: Path | None = None,
    seeds: Sequence[int] | None = None,
    small: bool = False,
    rows: Sequence[str] | None = None,
) -> list[runner.Job]:
    """Return every run of a claim, or of some of its rows: the first seed of everything, then the second."""
    wanted = runner.chosen(claim.name, rows, claim.rows)

    def file(label: str, seed: int) -> Path:
        return (home / "results" / "claims" / claim.name / f"{slug(label)}-seed{seed}.json").resolve()

    return [
        runner.Job(
            title=f"{claim.name} {label}, seed {seed}",
            file=file(label, seed),
            work="benchmarks.claims:measure",
            arguments={
                **found(home, data, small=small),
                "claim": claim.name,
                "row": label,
                "seed": seed,
                "first": str(file(label, 0)) if seed else "",
            },
            settings=_settings(claim, label, small),
        )
        for seed in (seeds or [0, 1, 2])[: 1 if small else None]
        for label in wanted
    ]


def measure(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run; return what is kept of it."""
    claim, small = CLAIMS[arguments["claim"]], bool(arguments["smoke"])
    (suite, pair), row = _suite(claim, small), _row(claim, arguments["row"], small)
    data, teachers = Path(arguments["data"]), Path(arguments["teachers"])
    teacher = teachers / pair.teacher
    known = _settings(claim, row.label, small)
    steps = steps_of(arguments["first"], known)
    outcome = outcome_of(suite, pair, row, seed=arguments["seed"], data=data, teacher=teacher, folder=folder / "run", steps=steps)
    kept = {"claim": claim.name, **record(outcome, suite, pair, row, teacher, paced=steps is not None), "settings": known}
    if claim.judged:
        judge = teachers / JUDGE
        judged = tacit.evaluate(teacher=str(teacher), judge=str(judge), pool=folder / "run", data=str(data / suite.dataset.folder), seed=0)
        kept["judge"] = {"name": JUDGE, "sha256": model_hash(tacit.load(judge))}
        names = ("pool_images", "classes_covered", "duplicate_rate", "judge_agreement", "diversity", "diversity_data", "fidelity")
        kept["pool"] = {name: judged.metrics[name] for name in names}
    if isinstance(row.method, WatchedRDSKD):
        kept["losses"] = dict(WatchedRDSKD.seen)
    return kept


WINDOW = 41
"""Steps over which a loss is averaged to tell where it goes from how it swings."""


def fluctuation(values: list[float]) -> dict[str, float]:
    """Return mean and sd of the second half of a series; the sd about its moving average; and that of its changes from step to step.

    Raises:
        InputError: Where there are fewer than two values.
    """
    if len(values) < 2:
        raise InputError(f"fluctuation: expected at least 2 values, got {len(values)}")
    start = len(values) // 2 if len(values) > 5 else 0
    late, half = values[start:], WINDOW // 2
    about = [value - mean(late[max(0, place - half) : place + half + 1]) for place, value in enumerate(late)]
    changes = [after - before for before, after in itertools.pairwise(late)]
    return {
        "mean": mean(late),
        "sd": stdev(late),
        "sd_about_trend": stdev(about),
        "sd_of_changes": stdev(changes) if len(changes) > 1 else abs(changes[0]),
    }


def by_chance(batch: int, classes: int = 10, draws: int = 4000) -> float:
    """Return the sd of class diversity, sum of p log p over the mean answer p, where each of `batch` answers is one class at random."""
    drawn = torch.randint(classes, (draws, batch), generator=torch.Generator().manual_seed(0))
    shares = torch.nn.functional.one_hot(drawn, classes).double().mean(dim=1)
    return float(torch.special.xlogy(shares, shares).sum(dim=1).std())

"""Suites of compression on CIFAR-10: int8 files, low-bit fine-tuning, similarity of sets, pruning with recovery.

Images come from pools that are painted once per network and source, with all rows and seeds alike; they lie in ``pools/``, which git
ignores, since the same seed paints them again. Each run's file says which pool it used, and what that took.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import tacit
from benchmarks import latency, runner, smoke
from benchmarks.compression_plans import NETWORKS, POOLS, SUITES, CompressionRow, CompressionSuite, PoolPlan
from benchmarks.places import HOME, checked_data, found
from benchmarks.plans import slug
from benchmarks.suites import DATASETS
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.files import read_json
from tacit.core.models import model_hash
from tacit.core.network import Teacher
from tacit.data import load_data
from tacit.evaluate.divergence import bn_divergence, set_divergence
from tacit.quantize.fake import SYMMETRIC
from tacit.synthesize import Pool

__all__ = ["add_arguments", "jobs", "known_pool", "main", "measure", "paint", "pool_jobs", "pool_place", "pool_settings"]

CIFAR10 = DATASETS["cifar10"]
NEVER = 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    runner.add_suites(parser, [*SUITES, latency.NAME])
    runner.add_arguments(parser)


def main(options: argparse.Namespace, home: Path) -> int:
    """Paint the pools that are missing, run what is missing under `home`; return the number of jobs that failed."""
    if options.suite == latency.NAME:
        return latency.main(options, home)
    suite = SUITES[options.suite]
    made = jobs(suite, home=home, data=options.data, seeds=options.seeds, small=options.smoke, rows=options.rows)
    if options.list:
        return runner.show(made)
    if options.smoke:
        smoke.prepare(CIFAR10, NETWORKS.values(), home)
    else:
        checked_data(options.data, CIFAR10)
    side_by_side = runner.side_by_side(options, timed=suite.timed)
    due = [job for job in made if runner.state(job) == "to do" or (options.again and runner.state(job) != "done")]
    wanted = {(job.arguments["network"], name) for job in due for name in job.arguments["pools"]}
    painted = [job for job in pool_jobs(home=home, small=options.smoke) if (job.arguments["network"], job.arguments["pool"]) in wanted]
    failed = runner.run(painted, side_by_side=runner.side_by_side(options), say=lambda kept: f"{kept['images']} images", again=True)
    return failed + runner.run(made, side_by_side=side_by_side, say=lambda kept: str(kept["said"]), again=options.again)


def pool_jobs(*, home: Path = HOME, small: bool = False) -> list[runner.Job]:
    """Return a job for every pool of every network."""
    site = found(home, None, small=small)
    return [
        runner.Job(
            title=f"pool {name} of {network}",
            file=(pool_place(home, network, name) / "made.json").resolve(),
            work="benchmarks.compression:paint",
            arguments={**site, "network": network, "pool": name},
            settings=pool_settings(name, network, small),
        )
        for network in NETWORKS
        for name in POOLS
    ]


def pool_place(home: Path, network: str, name: str) -> Path:
    """Return where the pool called `name` of a network is, or is to be."""
    return home / "pools" / network / slug(name)


def known_pool(place: Path, wanted: Mapping[str, Any], teacher: Path) -> dict[str, Any]:
    """Return what was kept of how a pool was painted.

    Raises:
        InputError: With other settings than `wanted`, or of another network than `teacher` is.
    """
    kept: dict[str, Any] = read_json(place / "made.json")
    if kept.pop("settings") != json.loads(json.dumps(wanted)) or kept["teacher_sha256"] != model_hash(tacit.load(teacher)):
        raise InputError(f"{place}: painted with other settings, or of another network, than is asked for: delete it")
    return kept


def pool_settings(name: str, network: str, small: bool) -> dict[str, Any]:
    """Return all that decides what is painted, as plain values."""
    plan: PoolPlan = smoke.small_pool(POOLS[name]) if small else POOLS[name]
    return {"teacher": NETWORKS[network], "method": plan.method.config(), "images": plan.images, "seed": plan.seed}


def paint(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Paint a pool and put it beside its JSON file; return what is known of it."""
    name, network = arguments["pool"], arguments["network"]
    plan = smoke.small_pool(POOLS[name]) if arguments["smoke"] else POOLS[name]
    teacher = Path(arguments["teachers"]) / NETWORKS[network]
    outcome = tacit.synthesize(
        teacher=str(teacher),
        method=plan.method,
        images=plan.images,
        seed=plan.seed,
        checks=0,
        device="cpu",
        checkpoint_seconds=NEVER,
        out=folder / "run",
    )
    place = pool_place(Path(arguments["home"]), network, name)
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder / "run" / "pool", place)
    pool = Pool.load(place)
    images = pool.columns["images"]
    loaded = Teacher.of(tacit.load(teacher))
    return {
        "images": len(images),
        "teacher_sha256": model_hash(loaded),
        "sha256": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        "seconds": outcome.result["seconds"],
        "device": outcome.result["device"],
        "precision": outcome.result["precision"],
        "class_counts": pool.class_counts,
        "divergence": bn_divergence(loaded, images, Runtime("cpu", "32-true")),
        "settings": pool_settings(name, network, arguments["smoke"]),
    }


def jobs(
    suite: CompressionSuite,
    *,
    home: Path = HOME,
    data: Path | None = None,
    seeds: Sequence[int] | None = None,
    small: bool = False,
    rows: Sequence[str] | None = None,
) -> list[runner.Job]:
    """Return every run of a suite: the first seed of everything, then the second.

    Args:
        suite: What is measured.
        home: Where ``results/`` and ``pools/`` are, and for a smoke run all else.
        data: The folder of all data.
        seeds: Not given: the suite's.
        small: Whether it is a smoke run.
        rows: Labels; not given: all. `InputError` where there is no such row.
    """
    site, wanted = found(home, data, small=small), runner.chosen(suite.name, rows, (row.label for row in suite.rows))
    return [
        runner.Job(
            title=f"{suite.name}/{network} {row.label}, seed {seed}",
            file=(home / "results" / "compression" / suite.name / network / f"{slug(row.label)}-seed{seed}.json").resolve(),
            work="benchmarks.compression:measure",
            arguments={**site, "suite": suite.name, "network": network, "row": row.label, "seed": seed, "pools": list(row.pools)},
            settings=_settings(suite, row, network, small),
        )
        for seed in ((suite.seeds[:1] if small else suite.seeds) if seeds is None else seeds)
        for network in suite.networks
        for row in suite.on(network)
        if (row.seeds is None or seed in row.seeds) and row.label in wanted
    ]


def _settings(suite: CompressionSuite, row: CompressionRow, network: str, small: bool) -> dict[str, Any]:
    options = {key: _plain(value) for key, value in row.options(small).items()}
    pools = {name: pool_settings(name, network, small) for name in row.pools}
    scheme = options.get("scheme", {"weights": 8, "activations": 8})
    ways = {"weights": "with zero points"} if scheme["weights"] < SYMMETRIC else {}
    ways |= {"input": "whole range"} if scheme["activations"] < 8 else {}
    ways |= {"scales": "by their logarithm"} if options.get("finetune") else {}
    return {"suite": suite.name, "teacher": NETWORKS[network], "pools": pools, "options": options, **ways}


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else list(value) if isinstance(value, tuple) else value


def measure(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run; return what is kept of it."""
    suite = SUITES[arguments["suite"]]
    row = next(row for row in suite.on(arguments["network"]) if row.label == arguments["row"])
    network, small = arguments["network"], bool(arguments["smoke"])
    teacher = Path(arguments["teachers"]) / NETWORKS[network]
    pools = {name: pool_place(Path(arguments["home"]), network, name) for name in row.pools}
    kept = {"suite": suite.name, "network": network, "row": row.label}
    known = {name: known_pool(place, pool_settings(name, network, small), teacher) for name, place in pools.items()}
    data = Path(arguments["data"]) / CIFAR10.folder
    if suite.verb == "similarity":
        found = _similarities(teacher, pools, data, arguments["seed"], small)
    else:
        source = str(next(iter(pools.values()))) if pools else "data"
        verbs: Mapping[str, Callable[..., tacit.Outcome]] = {"quantize": tacit.quantize, "prune": tacit.prune}
        found = verbs[suite.verb](
            model=str(teacher),
            source=source,
            data=str(data),
            device="cpu",
            seed=arguments["seed"],
            evaluations=0,
            checkpoint_seconds=NEVER,
            out=folder / "run",
            **row.options(small),
        ).result
    said = suite.say(found)
    sha = {"name": NETWORKS[network], "sha256": model_hash(tacit.load(teacher))}
    return {**kept, "said": said, **found, "pools": known, "teacher": sha, "settings": _settings(suite, row, network, small)}


def _similarities(teacher: Path, pools: Mapping[str, Path], data: Path, seed: int, small: bool) -> dict[str, Any]:
    """Return how far each set is from the network, all at the same number of images."""
    loaded, runtime = Teacher.of(tacit.load(teacher)), Runtime("cpu", "32-true")
    at = 16 if small else 1024
    sets = {name: Pool.load(place).columns["images"] for name, place in pools.items()}
    spec = loaded.spec
    sets |= {f"CIFAR-10 {split}": load_data(str(data), split, spec).images for split in ("train", "test")}  # type: ignore[union-attr]
    sets["CIFAR-10 test, inverted"] = 255 - sets["CIFAR-10 test"]
    sets["uniform noise"] = torch.rand(5 * at, *spec.shape, generator=torch.Generator().manual_seed(seed))
    foreign = data.with_name("mnist")
    if foreign.is_dir():
        grey = load_data(str(foreign), "test", replace(DATASETS["mnist"].spec)).images.float().div(255)  # type: ignore[union-attr]
        sets["MNIST test, 32x32"] = torch.nn.functional.interpolate(grey, size=spec.shape[1:], mode="bilinear").expand(-1, 3, -1, -1)
    found = {name: asdict(set_divergence(loaded, images, runtime, at=at, seed=seed)) for name, images in sets.items()}
    return {"seed": seed, "device": runtime.name, "at": at, "similarity": found}

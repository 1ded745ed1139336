"""Suite `latency` of compression: what 8 bits gain in ONNX Runtime by the size of an image, which says where calls cost more than products.

The networks are those of the other suites, shown images of other sizes; what they answer then means nothing, and costs the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import tacit
from benchmarks import runner, smoke
from benchmarks.compression_plans import NETWORKS
from benchmarks.parts import Record, at, kept, missing, over, table
from benchmarks.places import HOME, found
from benchmarks.provenance import beside
from benchmarks.stale import note, stale
from benchmarks.suites import DATASETS
from tacit.core.models import model_hash
from tacit.core.network import Network
from tacit.quantize import compare_latency, quantize_onnx, to_onnx
from tacit.quantize.deploy import cpu_flags

__all__ = ["NAME", "jobs", "main", "measure", "section"]

NAME = "latency"
ROWS = {"32x32": 32, "64x64": 64, "128x128": 128}
SEEDS = (0, 1, 2)
SECONDS = 8.0
"""For each number of images at once."""


def main(options: argparse.Namespace, home: Path) -> int:
    """Run what is missing under `home`; return the number of runs that failed."""
    made = jobs(home=home, seeds=options.seeds, small=options.smoke, rows=options.rows)
    if options.list:
        return runner.show(made)
    if options.smoke:
        smoke.prepare(DATASETS["cifar10"], NETWORKS.values(), home)
    return runner.run(made, side_by_side=runner.side_by_side(options, timed=True), say=_say, again=options.again)


def jobs(
    *, home: Path = HOME, seeds: Sequence[int] | None = None, small: bool = False, rows: Sequence[str] | None = None
) -> list[runner.Job]:
    """Return a run for each network, size and seed; `InputError` where there is no such row."""
    wanted = runner.chosen(NAME, rows, ROWS)
    return [
        runner.Job(
            title=f"{NAME}/{network} {row}, seed {seed}",
            file=(home / "results" / "compression" / NAME / network / f"{row}-seed{seed}.json").resolve(),
            work="benchmarks.latency:measure",
            arguments={**found(home, None, small=small), "network": network, "row": row, "seed": seed},
            settings=_settings(network, row, small),
        )
        for seed in (SEEDS[:1] if small else SEEDS if seeds is None else seeds)
        for network in NETWORKS
        for row in wanted
    ]


def _settings(network: str, row: str, small: bool) -> dict[str, Any]:
    return {"teacher": NETWORKS[network], "size": ROWS[row], "seconds": 0.1 if small else SECONDS}


def measure(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do one run; return what is kept of it."""
    settings = _settings(arguments["network"], arguments["row"], bool(arguments["smoke"]))
    trained = tacit.load(Path(arguments["teachers"]) / settings["teacher"])
    shape = (trained.spec.shape[0], settings["size"], settings["size"])
    network = Network(trained.model, replace(trained.spec, shape=shape))
    images = torch.rand(8, *shape, generator=torch.Generator().manual_seed(arguments["seed"]))
    files = {"float": folder / "float.onnx", "int8": folder / "int8.onnx"}
    to_onnx(network, files["float"])
    quantize_onnx(files["float"], images, files["int8"])
    return {
        "suite": NAME,
        "network": arguments["network"],
        "row": arguments["row"],
        "seed": arguments["seed"],
        "teacher": {"name": settings["teacher"], "sha256": model_hash(trained)},
        "cpu_flags": cpu_flags(),
        "milliseconds": compare_latency(network, files, seconds=settings["seconds"]),
        "settings": settings,
    }


def _gain(run: Mapping[str, Any], size: str) -> float:
    taken = run["milliseconds"][size]
    return float(taken["float"] / taken["int8"])


def _say(outcome: Mapping[str, Any]) -> str:
    return ", ".join(f"batch {size}: {_gain(outcome, size):.2f} times faster" for size in outcome["milliseconds"])


def section(home: Path) -> str:
    """Return the section of RESULTS.md."""
    text = f"""
### {NAME}: what 8 bits gain by the size of an image

`python -m benchmarks compression --suite {NAME}`. The same two networks, as files for ONNX Runtime, shown larger images. One thread,
medians of {SECONDS:g} seconds of runs in turn, wall time.
"""
    rows, absent, every, earlier = [], [], list[Record](), ""
    for network in NETWORKS:
        runs = kept(home / "results" / "compression" / NAME / network, ROWS)
        if lacking := missing(runs, dict.fromkeys(ROWS, SEEDS)):
            absent.append(f"{network}: {lacking}")
        earlier += note(stale(job for job in jobs(home=home) if job.arguments["network"] == network), network)
        for row, by_seed in runs.items():
            every += by_seed.values()
            if by_seed:
                times = [over(by_seed, at("milliseconds", "1", engine), ".2f") for engine in ("float", "int8")]
                gains = [over(by_seed, lambda run, size=size: _gain(run, size), ".2f") for size in ("1", "64")]  # type: ignore[misc]
                rows.append([network, row, *times, *gains])
    head = ["network", "images", "float, ms, batch 1", "int8, ms, batch 1", "float / int8, batch 1", "batch 64"]
    text += f"\n{table(head, rows)}{beside(every)}{earlier}" if rows else ""
    return text + (f"\nNot run yet: {'; '.join(absent)}.\n" if absent else "")

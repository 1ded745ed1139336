"""Runs that are not as their suite has them today: every section names them, and what they give is not taken for today's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import claims, compression, federated, latency, representation, segmentation
from benchmarks.claim_tables import claims as claim_section
from benchmarks.compression_plans import SUITES
from benchmarks.compression_tables import compression as compression_section
from benchmarks.federated_suites import SUITES as FEDERATED
from benchmarks.federated_tables import federated as federated_section
from benchmarks.parts import Runs
from benchmarks.representation_suites import SUITES as REPRESENTATION
from benchmarks.representation_tables import representation as representation_section
from benchmarks.runner import Job
from benchmarks.segmentation_suite import STREETS
from benchmarks.segmentation_tables import segmentation as segmentation_section
from benchmarks.stale import note, of_today
from tacit.core.files import write_json

SETTINGS = "done with other settings"
RUN: dict[str, Any] = {
    "metrics": {
        **{f"{of}_accuracy": 0.9 for of in ("student", "teacher")},
        **{f"params_{of}": 9 for of in ("student", "teacher")},
        "student_miou": 0.5,
        "agreement": 0.9,
        "agreement_synthetic": 0.9,
        "bytes_down": 1,
        "bytes_up": 1,
        "rounds_to": {},
    },
    "seconds": {"training": 1.0, "synthesis": 1.0},
    "milliseconds": {size: {"float": 1.0, "int8": 1.0} for size in ("1", "64")},
    "student_steps": 5,
    "own": None,
    "lr": 0.01,
    "device": "cpu",
    "precision": "32-true",
    "teachers": [{"name": "cifar10-resnet20-part", "sha256": "none of today's"}],
}
"""As little of a run as the tables read."""


def put(job: Job, settings: Any = None, **more: Any) -> None:
    found = dict(job.settings) if settings is None else settings
    write_json(job.file, {**RUN, "row": job.arguments["row"], "seed": job.arguments["seed"], "settings": found, **more})


def only(jobs: Sequence[Job], row: str, seed: int = 0, **arguments: Any) -> Job:
    (found,) = [job for job in jobs if {"row": row, "seed": seed, **arguments}.items() <= job.arguments.items()]
    return found


def test_runs_of_before_are_compared_with_each_other_alone() -> None:
    runs: Runs = {"W2A4 real": {0: {}, 1: {}}, "W2A4 BNS": {0: {}}, "W4A4 BNS": {0: {}}, "W4A4 real": {0: {}}}
    old = {"W2A4 real": {1: SETTINGS}, "W2A4 BNS": {0: SETTINGS}, "W4A4 BNS": {0: SETTINGS}, "W4A4 real": {0: SETTINGS}}
    alike, before = of_today(runs, old, ["W4A4", "W2A4"])
    assert {label: [*by_seed] for label, by_seed in alike.items()} == {"W2A4 real": [0], "W4A4 BNS": [0], "W4A4 real": [0]}
    assert before == {"W4A4"}
    assert of_today(runs, {}, ["W4A4", "W2A4"]) == (runs, set())


def test_each_reason_has_a_line_of_its_own() -> None:
    assert note({}) == ""
    found = {"A": {0: SETTINGS, 1: "done with another teacher"}, "B": {0: SETTINGS}}
    assert note(found) == (
        "\n**Run before its settings changed, to be run again**: `A`, `B` (seed 0).\n"
        "\n**Taught by another teacher than today's, to be run again**: `A` (seed 1).\n"
    )
    assert note({"A": {0: SETTINGS}}, "here") == "\n**Run before its settings changed, to be run again, here**: `A` (seed 0).\n"


WHERE: dict[str, tuple[Callable[[Path], Job], Callable[[Path], str], str]] = {
    "representation": (lambda home: only(representation.jobs(REPRESENTATION["longer"], home=home), "KD"), representation_section, ""),
    "federated": (
        lambda home: only(federated.jobs(FEDERATED["mnist"], home=home), "FedAvg", alpha=0.1),
        federated_section,
        ", dirichlet-0.1",
    ),
    "segmentation": (lambda home: only(segmentation.jobs(home=home), "DFAD"), segmentation_section, ""),
    "claims": (lambda home: claims.jobs(claims.CLAIMS["rdskd-robustness"], home=home)[0], claim_section, ""),
    "pruning": (lambda home: only(compression.jobs(SUITES["pruning"], home=home), "BNS"), compression_section, ""),
    "latency": (lambda home: only(latency.jobs(home=home), "64x64", network="resnet20"), latency.section, ", resnet20"),
}


@pytest.mark.parametrize("subject", WHERE)
def test_a_section_names_runs_of_other_settings(subject: str, tmp_path: Path) -> None:
    find, section, where = WHERE[subject]
    job = find(tmp_path)
    more = {"metrics": {**RUN["metrics"], "accuracy_pruned": 0.5}} if subject == "pruning" else {}
    settings = json.loads(json.dumps(job.settings))
    put(job, settings, teachers=[], **more)
    assert "to be run again" not in section(tmp_path)
    put(job, {**settings, "of before": True}, teachers=[], **more)
    row = job.arguments["row"]
    assert f"\n**Run before its settings changed, to be run again{where}**: `{row}` (seed 0).\n" in section(tmp_path)


def test_a_section_names_runs_of_another_teacher(tmp_path: Path) -> None:
    put(only(segmentation.jobs(home=tmp_path), "DFAD"), teachers=[{"name": STREETS.pairs[0].teacher, "sha256": "another"}])
    said = "\n**Taught by another teacher than today's, to be run again**: `DFAD` (seed 0).\n"
    assert said in segmentation_section(tmp_path)


def test_figures_of_few_bits_say_where_they_are_of_earlier_code(tmp_path: Path) -> None:
    jobs = compression.jobs(SUITES["low-bit"], home=tmp_path)
    for bits in ("W4A4", "W2A4"):
        for row in ("real", "BNS", "I"):
            put(only(jobs, f"{bits} {row}"), {} if bits == "W4A4" or row == "BNS" else None, teachers=[])
    text = compression_section(tmp_path)
    marked = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and "` * |" in line]
    assert sorted(marked) == ["W2A4 BNS", "W4A4 BNS", "W4A4 I", "W4A4 real"]
    assert "*: runs of the row, all or some, are of earlier code" in text
    assert "- W4A4, of earlier code: BNS is +0.00 points from real images in 1 seeds, at most 1 below: yes." in text
    assert "- W4A4, of earlier code: BNS is +0.00 points from I; above it in 0 of 1 seeds: **no**." in text
    assert "- W2A4" not in text, "of that width nothing of today can be compared with BNS"
    assert "| tacit, BNS; W4A4 of earlier code | ResNet-20, ours | 90.00 | 90.00 |" in text
    assert "to be run again**: `W4A4 real`, `W4A4 BNS`, `W4A4 I`, `W2A4 BNS` (seed 0)." in text
    for row in ("real", "BNS", "I"):
        put(only(jobs, f"W4A4 {row}"), teachers=[])
    text = compression_section(tmp_path)
    assert "- W4A4: BNS is +0.00 points from real images in 1 seeds, at most 1 below: yes." in text
    assert "| tacit, BNS | ResNet-20, ours |" in text

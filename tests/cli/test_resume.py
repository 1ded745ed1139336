"""Killed at any moment and resumed, a run ends with the very same weights and samples (CPU, fp32, same threads)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import tacit
from tacit.core.models import ModelRef
from tacit.core.run import Run
from tacit.federate import IID, FedAvg
from tacit.synthesize import Gaussian

SMALL = ("--method.batch", "32", "--method.steps", "4", "--method.width", "4", "--method.latent", "8")
OFTEN = ("--checkpoint-seconds", "0")
KILLS = int(os.environ.get("TACIT_TEST_KILLS", "2"))
"""How often each run is killed; it is as long as that takes."""
STUDENT = ("--student", "tacit.zoo:resnet", "--student.kwargs", '{"channels": 1, "width": 2}')


def words(verb: str, teacher: Path, out: Path) -> list[str]:
    shared = ["--teacher", str(teacher), "--precision", "32-true", "--out", str(out)]
    if verb == "synthesize":
        return [
            verb,
            *shared,
            "--method",
            "CMI",
            "--method.adv",
            "0",
            "--method.restart",
            "3",
            *SMALL,
            "--images",
            str(480 * KILLS),
        ]
    training = ["--training.steps", str(40 * KILLS), "--training.batch", "16", "--log-every", "5"]
    if verb == "live":
        selected = ["--select", "ema", "--patience", "1000", "--checks", str(3 * KILLS)]
        return ["distill", *shared, *STUDENT, "--method", "DFAD", *SMALL[:2], *SMALL[4:], *training, *selected]
    return [
        "distill",
        *shared,
        *STUDENT,
        "--method",
        "CMI",
        "--method.every",
        "10",
        *SMALL,
        *training,
        "--keep-images",
        "120",
        *("--ema", "0.9", "--select", "agreement", "--checks", str(3 * KILLS)),
    ]


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tacit.cli", *arguments], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def contents(out: Path, verb: str) -> dict[str, bytes]:
    """Return what must be the same: weights, images, and logged losses without the seconds."""
    kept = {} if verb == "synthesize" else {"weights": (out / "model" / "weights.safetensors").read_bytes()}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept["log"] = json.dumps([{key: value for key, value in line.items() if key != "seconds"} for line in lines]).encode()
    if verb != "live":
        from tacit.synthesize import Pool

        kept["pool"] = b"".join(column.numpy().tobytes() for _, column in sorted(Pool.load(out / "pool").columns.items()))
    return kept


@pytest.mark.parametrize("verb", ["synthesize", "distill", "live"])
def test_kills_change_nothing(verb: str, tmp_path: Path, teacher_folder: Path, environment: dict[str, str]) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(words(verb, teacher_folder, whole), environment).wait(timeout=200) == 0
    draw, kills = random.Random(verb), 0
    checkpoint = broken / "checkpoint" / "state.pt"
    while kills < KILLS:
        process = start([*words(verb, teacher_folder, broken), *OFTEN, "--resume"], environment)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        deadline = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < deadline:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        time.sleep(draw.random() * 0.25)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (broken / "result.json").exists():  # it had just ended
            break
        kills += 1
        assert checkpoint.exists()
    assert kills == KILLS, f"the run ended after {kills} kills: it is too short for this test"
    assert start([*words(verb, teacher_folder, broken), "--resume"], environment).wait(timeout=200) == 0
    assert contents(whole, verb) == contents(broken, verb)


@pytest.mark.parametrize("verb", ["distill", "synthesize", "federate"])
def test_seconds_add_up_over_resumes_and_count_against_the_budget(
    verb: str, tmp_path: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2})
    learning: dict[str, Any] = {"student": student, "source": "data", "data": "digits", "training": tacit.Training(steps=10, batch=8)}
    options: dict[str, dict[str, Any]] = {
        "distill": {"teacher": str(teacher_folder), **learning, "evaluations": 0, "checkpoint_seconds": 0.0},
        "synthesize": {"teacher": str(teacher_folder), "method": Gaussian(batch=4), "images": 40, "checkpoint_seconds": 0.0},
        "federate": {"algorithm": FedAvg(), "partition": IID(), "rounds": 6, "clients": 2, "local_steps": 1, "evaluate_every": 0},
    }
    run, fields, checkpoint = getattr(tacit, verb), {"out": tmp_path / "run", **options[verb]}, Run.checkpoint

    def stops(self: Run, step: int, state: Mapping[str, Any]) -> None:
        checkpoint(self, step, {**state, "seconds": {**state["seconds"], "training": 1000.0}})
        if step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("tacit.verbs.learning.SELDOM", 0)
    monkeypatch.setattr(Run, "checkpoint", stops)
    with pytest.raises(KeyboardInterrupt):
        run(**fields)
    monkeypatch.setattr(Run, "checkpoint", checkpoint)
    budget = {} if verb == "federate" else {"max_seconds": 500.0}  # rounds are all that ends a federation
    again = run(**fields, **budget, resume=True)
    assert again.result["seconds"]["total"] > 1000
    assert torch.load(tmp_path / "run" / "checkpoint" / "state.pt", weights_only=True)["step"] == (5 if budget else 6)

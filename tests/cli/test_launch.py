"""Two processes on one machine, through Lightning Fabric: gradients are averaged, so that both end with the same weights."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

Tacit = Callable[..., subprocess.CompletedProcess[str]]


def test_two_processes_end_with_the_same_weights(tacit: Tacit, tmp_path: Path, teacher_folder: Path) -> None:
    words = (
        "distill", "--teacher", teacher_folder, "--student", "tacit.zoo:resnet", "--student.kwargs", '{"channels": 1, "width": 2}',
        "--method", "DFAD", "--method.batch", "8", "--method.width", "4", "--training.steps", "8", "--training.batch", "8",
        "--device", "cpu",
    )  # fmt: skip
    done = tacit(*words, "--devices", "2", "--strategy", "ddp", "--out", "two")
    assert done.stdout.count("parameters") == 1
    tacit(*words, "--out", "one")
    first, second, alone = (load_file(tmp_path / run / "model" / "weights.safetensors") for run in ("two", "two/rank1", "one"))
    learned = [key for key in first if key.endswith(("weight", "bias"))]
    assert all(torch.equal(first[key], second[key]) for key in learned)
    assert any(not torch.equal(first[key], alone[key]) for key in learned)
    assert any(not torch.equal(first[key], second[key]) for key in first if key.endswith("running_mean")), "both saw the same samples"

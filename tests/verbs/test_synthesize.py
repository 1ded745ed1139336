"""`tacit synthesize`: budgets that end it early, and looks at a generator that is trained first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tacit
from tacit.core.batch import Batch
from tacit.core.network import Network
from tacit.synthesize import DFAD, RDSKD, Pool, Synthesizer
from tacit.zoo import resnet

FIRST = RDSKD(batch=32, warmup=20, width=4, latent=8)


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_of_no_images_is_refused(budget: int, tmp_path: Path, teacher_folder: Path) -> None:
    with pytest.raises(tacit.InputError, match=f"max_images: expected at least 1, got {budget}"):
        tacit.synthesize(teacher=str(teacher_folder), method=FIRST, max_images=budget, out=tmp_path / "run")


def test_seconds_that_a_generator_takes_to_be_trained_leave_no_images_and_it_goes_on(tmp_path: Path, teacher_folder: Path) -> None:
    with pytest.raises(tacit.InputError, match=r"max_seconds: 0.05 s went by before the first image; give more, or a smaller `warmup`"):
        tacit.synthesize(teacher=str(teacher_folder), method=FIRST, images=40, max_seconds=0.05, out=tmp_path / "run")
    made = tacit.synthesize(teacher=str(teacher_folder), method=FIRST, images=40, max_seconds=600, out=tmp_path / "run", resume=True)
    assert made.result["images_synthesized"] == 40


def test_a_run_that_is_killed_goes_on_with_the_draws_of_a_students_dropout(
    tmp_path: Path, teacher_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = resnet(8, channels=1, width=2)
    model.add_module("pool", nn.Sequential(model.pool, nn.Dropout(0.3)))
    method, student = DFAD(batch=16, width=4, latent=8, lr=5e-3), Network(model, teacher_network.spec)
    options: dict[str, Any] = {"method": method, "student": student, "images": 64, "checks": 0, "checkpoint_seconds": 0.0, "device": "cpu"}
    tacit.synthesize(teacher=teacher_network, out=tmp_path / "whole", **options)
    painted = Synthesizer.round

    def killed(self: Synthesizer, rate: float = 1.0, *, asked: bool = True) -> Batch:
        if self.rounds == 2:
            raise KeyboardInterrupt
        return painted(self, rate, asked=asked)

    monkeypatch.setattr(Synthesizer, "round", killed)
    with pytest.raises(KeyboardInterrupt):
        tacit.synthesize(teacher=teacher_network, out=tmp_path / "cut", **options)
    monkeypatch.setattr(Synthesizer, "round", painted)
    tacit.synthesize(teacher=teacher_network, out=tmp_path / "cut", resume=True, **options)
    whole, cut = (Pool.load(tmp_path / name / "pool").columns["images"] for name in ("whole", "cut"))
    assert torch.equal(whole, cut)


def test_a_generator_is_looked_at_while_it_is_trained(tmp_path: Path, teacher_folder: Path) -> None:
    tacit.synthesize(teacher=str(teacher_folder), method=FIRST, images=64, checks=10, out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    looks = [line["step"] for line in lines if line["kind"] == "health"]
    assert len(looks) == 10
    assert looks[0] in (2, 3)
    assert sum(step <= 20 for step in looks) >= 9

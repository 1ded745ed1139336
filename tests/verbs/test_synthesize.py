"""`tacit synthesize`: budgets that end it early, and looks at a generator that is trained first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tacit
from tacit.synthesize import RDSKD

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


def test_a_generator_is_looked_at_while_it_is_trained(tmp_path: Path, teacher_folder: Path) -> None:
    tacit.synthesize(teacher=str(teacher_folder), method=FIRST, images=64, checks=10, out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    looks = [line["step"] for line in lines if line["kind"] == "health"]
    assert len(looks) == 10
    assert looks[0] in (2, 3)
    assert sum(step <= 20 for step in looks) >= 9

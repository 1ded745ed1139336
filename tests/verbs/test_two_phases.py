"""Runs in phases: what is said on the way and in the end, from the command line and YAML, resumed, and cut short by time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tacit
from tacit.command import parse
from tacit.core.models import ModelRef
from tacit.distill import Learner
from tacit.synthesize import DFAD
from tacit.verbs.distill import Distill

STUDENT = ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2})
FT = [{"name": "ft: opening", "steps": 2, "student_learns": False}, {"name": "ft+ce", "steps": 10, "student_learns": True}]


def distil(folder: Path, teacher: Path, **options: Any) -> tacit.Outcome:
    defaults: dict[str, Any] = {"student": STUDENT, "source": "data", "data": "digits", "objective": "ft=200,ce=1", "log_every": 1}
    training = tacit.Training(steps=12, batch=16, lr=0.02)
    return tacit.distill(teacher=str(teacher), out=folder, **{**defaults, "training": training, **options})


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found if line["kind"] == kind]


@pytest.mark.parametrize("form", ["words", "yaml"])
def test_phases_are_understood_on_the_command_line_and_in_yaml(form: str, tmp_path: Path) -> None:
    words, wanted = ["--objective", "ab=0.003 @0.25; kd=1,ce=1"], "ab=0.003 @0.25; kd=1,ce=1"
    if form == "yaml":
        (tmp_path / "c.yaml").write_text("objective:\n- {phase: ab=0.003, share: 0.25}\n- phase: [{loss: kd}, {loss: ce, weight: 1}]\n")
        words = ["--config", str(tmp_path / "c.yaml")]
    verb = parse("distill", ["--teacher", "a", "--student", "b", *words])
    assert isinstance(verb, Distill)
    if form == "words":
        assert verb.objective == wanted
    else:
        assert verb.objective == [{"phase": "ab=0.003", "share": 0.25}, {"phase": [{"loss": "kd"}, {"loss": "ce", "weight": 1}]}]


def test_every_place_says_which_phase_it_is(tmp_path: Path, teacher_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = distil(tmp_path / "run", teacher_folder)
    said = capsys.readouterr().err
    assert "tacit: distill in 2 phases, by steps: ft: opening (1), then ft+ce (11)" in said
    assert "phase 2/2 ft+ce" in said.splitlines()[-1]
    logged = lines(tmp_path / "run", "train")
    assert [line["phase"] for line in logged] == ["1/2 ft: opening", *["2/2 ft+ce"] * 11]
    assert [line["step"] for line in logged] == list(range(1, 13))
    assert {key for key in logged[-1] if key.startswith("loss/")} == {"loss/ft", "loss/ce"}
    assert outcome.metrics["phases"] == [{**FT[0], "steps": 1}, {**FT[1], "steps": 11}]
    assert dict(outcome.rows)["steps by phase"] == "ft: opening 1, ft+ce 11"
    assert outcome.metrics["steps"] == 12
    plain = distil(tmp_path / "plain", teacher_folder, objective="ce=1")
    assert "phases" not in plain.metrics
    assert "phases" not in capsys.readouterr().err
    assert not any("phase" in line for line in lines(tmp_path / "plain", "train"))


@pytest.mark.parametrize("at", [1, 2, 7])
def test_a_run_that_was_killed_goes_on_in_its_phase(at: int, tmp_path: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "objective": [{"loss": "ft", "weight": 200, "opening": 0.2}, {"loss": "ce"}],
        "ema": 0.9,
        "checkpoint_seconds": 0.0,
    }
    whole, step = distil(tmp_path / "whole", teacher_folder, **options), Learner.step

    def killed(self: Learner, progress: float | None = None) -> None:
        if self.done == at:
            raise KeyboardInterrupt
        step(self, progress)

    monkeypatch.setattr(Learner, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        distil(tmp_path / "cut", teacher_folder, **options)
    monkeypatch.setattr(Learner, "step", step)
    again = distil(tmp_path / "cut", teacher_folder, resume=True, **options)
    assert again.metrics["phases"] == whole.metrics["phases"] == FT
    assert again.metrics["student_accuracy_ema"] == whole.metrics["student_accuracy_ema"]
    assert lines(tmp_path / "cut", "train") == lines(tmp_path / "whole", "train")
    one, two = ((tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("whole", "cut"))
    assert one == two


def test_a_student_that_stands_still_is_neither_averaged_nor_judged(tmp_path: Path, teacher_folder: Path) -> None:
    method = DFAD(batch=16, width=4, latent=8, every=3)
    options: dict[str, Any] = {"source": None, "method": method, "data": None, "checks": 12, "patience": 3, "ema": 0.5}
    half = [{"loss": "ft", "opening": 0.5}, {"loss": "kd"}]
    outcome = distil(tmp_path / "run", teacher_folder, objective=half, **options)
    judged = [line["step"] for line in lines(tmp_path / "run", "health") if "agreement_held_out" in line]
    assert min(judged) == 7
    assert outcome.metrics["steps"] > 8
    state = torch.load(tmp_path / "run" / "checkpoint" / "state.pt", weights_only=True)
    assert state["selection"]["average"]["steps"] == outcome.metrics["steps"] - 6


def test_a_budget_of_time_has_all_phases(tmp_path: Path, teacher_folder: Path) -> None:
    long = tacit.Training(steps=10**6, batch=16, lr=0.02)
    outcome = distil(tmp_path / "run", teacher_folder, objective="at=100 @0.5; ce=1", training=long, max_seconds=3.0, evaluations=0)
    steps = [phase["steps"] for phase in outcome.metrics["phases"]]
    assert len(steps) == 2
    assert sum(steps) == outcome.metrics["steps"] < 10**6
    rates = [line["lr"] for line in lines(tmp_path / "run", "train")]
    first, second = rates[: steps[0]], rates[steps[0] :]
    assert first == sorted(first, reverse=True)
    assert second == sorted(second, reverse=True)
    assert min(first) < max(second)
    assert min(second) < max(second)

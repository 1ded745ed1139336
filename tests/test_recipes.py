"""Every recipe that ships runs: two steps each, in the order that their comments give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tacit.cli import main

RECIPES = Path(__file__).parents[1] / "recipes"


def test_no_recipe_is_forgotten() -> None:
    assert sorted(path.stem for path in RECIPES.glob("*.yaml")) == ["digits", "digits-teacher"]


def test_the_digits_recipes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    teacher, student = (str(RECIPES / f"{name}.yaml") for name in ("digits-teacher", "digits"))
    assert main(["train", "--config", teacher, "--out", "runs/teacher", "--training.steps", "2"]) == 0
    short = ["--method.warmup", "1", "--method.steps", "2", "--training.steps", "2", "--method.batch", "32"]
    assert main(["distill", "--config", student, "--out", "runs/student", *short]) == 0
    result = json.loads((tmp_path / "runs" / "student" / "result.json").read_text())
    assert result["metrics"]["params_teacher"] >= 10 * result["metrics"]["params_student"]

"""Runs that keep the teacher's answers: the same students, sooner, and the result says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tacit
from tacit.core.models import ModelRef
from tacit.synthesize import Gaussian

STUDENT = ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2})


def distil(folder: Path, teacher: Path, **options: Any) -> tacit.Outcome:
    defaults: dict[str, Any] = {"student": STUDENT, "source": "data", "data": "digits", "augmentation": "none", "evaluations": 0}
    training = tacit.Training(steps=30, batch=128, lr=0.02)
    return tacit.distill(teacher=str(teacher), out=folder, **{**defaults, "training": training, **options})


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_student_is_the_same_and_the_result_says_what_was_recalled(precision: Any, tmp_path: Path, teacher_folder: Path) -> None:
    found = {cache: distil(tmp_path / str(cache), teacher_folder, cache_teacher=cache, precision=precision) for cache in (None, False)}
    assert weights(tmp_path / "None") == weights(tmp_path / "False")
    counted = found[None].metrics["teacher_answers"]
    assert counted["asked"] + counted["recalled"] == 30 * 128
    assert counted["recalled"] > 0
    assert dict(found[None].rows)["teacher's answers"] == f"{counted['recalled']:,} of 3,840 from memory"
    assert "teacher_answers" not in found[False].metrics
    moved = distil(tmp_path / "moved", teacher_folder, augmentation="shift")
    assert "teacher_answers" not in moved.metrics
    with pytest.raises(tacit.InputError, match="use `--augmentation none`"):
        distil(tmp_path / "refused", teacher_folder, augmentation="shift", cache_teacher=True)


def test_the_option_may_change_on_resume(tmp_path: Path, teacher_folder: Path) -> None:
    whole = distil(tmp_path / "run", teacher_folder)
    again = distil(tmp_path / "run", teacher_folder, cache_teacher=False, resume=True)
    assert again.metrics["teacher_answers"] == whole.metrics["teacher_answers"]


def test_answers_to_a_pool_that_holds_logits_are_kept_where_features_are_asked(tmp_path: Path, teacher_folder: Path) -> None:
    tacit.synthesize(teacher=str(teacher_folder), method=Gaussian(batch=64), images=64, out=tmp_path / "pool")
    pool: dict[str, Any] = {"source": str(tmp_path / "pool"), "data": None, "training": tacit.Training(steps=6, batch=32)}
    assert "teacher_answers" not in distil(tmp_path / "kd", teacher_folder, objective="kd=1", **pool).metrics
    assert distil(tmp_path / "at", teacher_folder, objective="at=1", **pool).metrics["teacher_answers"] == {"asked": 64, "recalled": 128}


def test_pruning_recalls_too(tmp_path: Path, teacher_folder: Path) -> None:
    options: dict[str, Any] = {"images": 64, "acceptance": 16, "method": Gaussian(batch=64), "augmentation": "none"}
    training = tacit.Training(steps=6, batch=32, lr=0.01)
    for cache in (None, False):
        kept = tacit.prune(
            model=str(teacher_folder),
            out=tmp_path / str(cache),
            objective="at=1@0.5; kd=1",
            training=training,
            cache_teacher=cache,
            **options,
        )
        assert [phase["steps"] for phase in kept.metrics["phases"]] == [3, 3]
        assert ("teacher_answers" in kept.metrics) == (cache is None)
    assert weights(tmp_path / "None") == weights(tmp_path / "False")

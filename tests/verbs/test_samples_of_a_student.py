"""What `tacit distill` says of the samples that it learns from: painted on the way, or stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tacit
from tacit.core.batch import Batch
from tacit.core.models import ModelRef, model_hash
from tacit.core.network import Teacher
from tacit.synthesize import DFAD, RDSKD, AdaptiveDeepInversion, DeepInversion, Method, Pool

STUDENT = ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2})
QUICK = DeepInversion(steps=2, batch=32, warmup=2)


def distil(folder: Path, teacher: Path, **options: Any) -> tacit.Outcome:
    defaults: dict[str, Any] = {"student": STUDENT, "training": tacit.Training(steps=6, batch=16)}
    return tacit.distill(teacher=str(teacher), out=folder, **{**defaults, **options})


def looks(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "health" and not line["step"]]


@pytest.mark.parametrize("method", [RDSKD(batch=32, warmup=20, width=4, latent=8), DeepInversion(steps=2, batch=32, warmup=10)],
                         ids=lambda method: method.name)  # fmt: skip
def test_samples_are_looked_at_before_the_student_begins(method: Method, tmp_path: Path, teacher_folder: Path) -> None:
    distil(tmp_path / "run", teacher_folder, method=method, checks=5)
    first = looks(tmp_path / "run")
    assert len(first) == 5
    assert {"class_coverage", "teacher_confidence", "pixel_deviation"} <= set(first[0])
    assert "agreement_fresh" not in first[0]


def test_a_stored_pool_is_looked_at_and_what_was_held_out_of_it_is_asked(tmp_path: Path, teacher_folder: Path) -> None:
    distil(tmp_path / "first", teacher_folder, method=QUICK)
    again = distil(tmp_path / "again", teacher_folder, source=str(tmp_path / "first"))
    assert sum(again.metrics["class_counts"]) == 60  # 4 of 64 are held out
    assert 0 <= again.metrics["agreement_synthetic"] <= 1
    assert "agreement, held-out samples" in dict(again.rows)
    assert not [text for text in again.metrics["warnings"] if "alike" in text]
    teacher = Teacher.of(tacit.load(teacher_folder))
    assert again.metrics["teacher_sha256"] == model_hash(teacher)
    pool = Pool(teacher.spec)
    pool.add(Batch(torch.full((50, 1, 8, 8), 0.3), logits=teacher(torch.full((50, 1, 8, 8), 0.3))))
    pool.save(tmp_path / "grey", {"teacher_sha256": model_hash(teacher)})
    grey = distil(tmp_path / "last", teacher_folder, source=str(tmp_path / "grey"))
    assert ["the samples are all alike" in text for text in grey.metrics["warnings"]].count(True) == 1
    assert grey.metrics["agreement_synthetic"] is None


@pytest.mark.parametrize("select", ["ema", "agreement"])
def test_agreement_is_told_of_the_last_step_and_of_the_selected_weights(select: Any, tmp_path: Path, teacher_folder: Path) -> None:
    long = tacit.Training(steps=30, batch=16, lr=0.3, schedule="constant")
    done = distil(tmp_path / "run", teacher_folder, method=QUICK, training=long, select=select, checks=10)
    rows, metrics = dict(done.rows), done.metrics
    assert rows["agreement, held-out samples, last step"] == f"{metrics['agreement_synthetic']:.2%}"
    assert rows["agreement, held-out samples, selected weights"] == f"{metrics['agreement_synthetic_selected']:.2%}"
    if select == "agreement":
        assert metrics["agreement_synthetic_selected"] == metrics["best"]["agreement_synthetic"] >= metrics["agreement_synthetic"]


def test_a_student_that_can_not_learn_is_refused_before_any_image_is_made(tmp_path: Path, teacher_folder: Path) -> None:
    student = tacit.load(teacher_folder)
    student.model.requires_grad_(False)
    with pytest.raises(tacit.InputError, match="no parameter takes a gradient"):
        distil(tmp_path / "run", teacher_folder, student=student, method=QUICK)
    assert not (tmp_path / "run").exists()


def test_a_budget_that_ends_before_the_student_is_looked_at_is_told(tmp_path: Path, teacher_folder: Path) -> None:
    adaptive = AdaptiveDeepInversion(steps=2, batch=32, warmup=4, every=2)
    few, enough = (distil(tmp_path / str(n), teacher_folder, method=adaptive, max_images=n).metrics["warnings"] for n in (96, 160))
    assert [text for text in few if text.startswith("max_images pays for 3 rounds of AdaptiveDeepInversion, whose first 4")]
    assert not [text for text in enough if "max_images" in text]
    live = distil(tmp_path / "live", teacher_folder, method=DFAD(batch=16, width=4, latent=8), max_images=64)
    assert not [text for text in live.metrics["warnings"] if "max_images" in text]

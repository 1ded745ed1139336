"""The suite of segmentation: end to end on generated data, and what its table says of runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tacit
from benchmarks import segmentation
from benchmarks.__main__ import main
from benchmarks.places import TEACHERS_HOME
from benchmarks.plans import reference, slug
from benchmarks.segmentation_suite import PUBLISHED, STREETS
from benchmarks.segmentation_tables import segmentation as section
from benchmarks.suites import TEACHERS
from tacit.core.files import read_json, write_json
from tacit.core.models import model_hash
from tacit.core.network import count_parameters

RUN = ("unrelated", "FastDFKD")
PAIR = STREETS.pairs[0]
FOLDER = f"results/segmentation/{STREETS.name}/{PAIR.name}"


@pytest.fixture(scope="module")
def smoked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("streets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TEACHERS, PAIR.teacher, replace(TEACHERS[PAIR.teacher], kwargs={"width": 4}))  # a step of the large one takes long
        patch.setattr(segmentation, "STREETS", replace(STREETS, checks=0))
        assert main(["segmentation", "--smoke", "--out", str(home), "--rows", *RUN]) == 0
    return home


def put(home: Path, row: str, seed: int, miou: float) -> None:
    """Write as little of a run as the table reads; `miou` in %."""
    metrics = {"student_miou": miou / 100, "student_accuracy": 0.8, "agreement": 0.75, "params_student": 9, "params_teacher": 90}
    run = {"row": row, "seed": seed, "metrics": metrics, "student_steps": 5, "seconds": {"synthesis": 1.0, "training": 2.0}}
    write_json(home / FOLDER / f"{slug(row)}-seed{seed}.json", run)


@pytest.mark.parametrize("row", RUN)
def test_a_run_is_measured_on_streets_whatever_it_learned_from(row: str, smoked: Path) -> None:
    run: dict[str, Any] = json.loads((smoked / FOLDER / f"{row}-seed0.json").read_text())
    assert (run["suite"], run["pair"], run["row"], run["student_steps"]) == (STREETS.name, PAIR.name, row, 2)
    found = run["metrics"]
    assert 0 <= found["student_miou"] <= 1
    assert found["teacher_miou"] is not None
    assert found["evaluation_images"] == 40, "of the generated ones"
    assert len(found["student_class_iou"]) == 11
    assert run["curve"][-1][1] == found["student_miou"]
    assert run["settings"].get("shown") == ("textures" if row == "unrelated" else None)
    assert bool(run["images_synthesized"]) == (row == "FastDFKD")


def test_what_is_there_is_listed_and_a_wrong_row_is_refused(smoked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segmentation", "--list", "--smoke", "--out", str(smoked)]) == 0
    said = capsys.readouterr().out
    assert f"unrelated, seed 0: {'done'}" in said
    assert "DFAD, seed 0: to do" in said
    assert main(["segmentation", "--list", "--rows", "DFDA"]) == 2
    assert "--rows: suite street has no row called 'DFDA'" in capsys.readouterr().err


def test_the_rows_are_those_of_the_paper_and_can_be_compared() -> None:
    assert {*PUBLISHED, "real", "DeepInversion", "FastDFKD"} - {"teacher"} <= {row.label for row in STREETS.rows}
    assert {STREETS.training_of(PAIR, row) for row in STREETS.rows} == {STREETS.training}, "the same student steps"
    assert STREETS.max_seconds <= 720
    assert all(job.threads == 1 for job in segmentation.jobs())
    assert len(segmentation.jobs()) == sum(len(row.seeds or STREETS.seeds) for row in STREETS.rows)
    assert STREETS.seeds == (0, 1, 2)


def test_the_teacher_is_kept_and_three_times_as_large_as_its_student() -> None:
    result = read_json(TEACHERS_HOME / PAIR.teacher / "result.json")
    assert result["metrics"]["student_miou"] > 0.5
    assert result["metrics"]["params_student"] == 564_251
    student = reference(PAIR.student, PAIR.kwargs, STREETS.dataset.spec).load()
    assert count_parameters(student) * 3 <= 564_251


def test_the_teacher_is_kept_in_half_the_room_and_read_as_any_other() -> None:
    folder = TEACHERS_HOME / PAIR.teacher
    assert (folder / "weights.safetensors").stat().st_size < 2.2 * 564_251
    network = tacit.load(folder)
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert read_json(folder / "model.json")["sha256"] == model_hash(network)


def test_the_table_says_what_is_missing_and_what_was_to_be_shown(tmp_path: Path) -> None:
    for row, scores in {"kd-real": (50, 40, 45), "DFAD": (20, 25, 27), "noise": (9,)}.items():
        for seed, score in enumerate(scores):
            put(tmp_path, row, seed, score)
    text = section(tmp_path)
    assert "| `DFAD` | 20.00 | 25.00 | 27.00 | 24.00 ± 3.61 | 53% | 80.00 ± 0.00 |" in text
    assert "| 53.5 / 36.4 |" in text
    assert "DFAD reaches 53% of the mean IoU of kd-real, at least 50%: yes." in text
    assert "DFAD reaches 53% of the mean IoU of kd-real, aim 75%: **no**." in text
    assert "DFAD + BN reaches" not in text
    assert "noise reaches 20% of it, less than 25%: yes." in text
    assert "`noise` (seed 1, 2)" in text
    assert "`FastDFKD` (seed 0, 1, 2)" in text
    assert "mean IoU 57.76 %, pixels 89.87 % (published: 59.4 / 51.7)" in text


def test_without_any_run_nothing_is_claimed(tmp_path: Path) -> None:
    text = section(tmp_path)
    assert "reaches" not in text
    assert "Not run yet: `real`, `kd-real`" in text

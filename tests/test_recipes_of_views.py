"""The recipes of cross-modal distillation: each command in their comments takes two steps, on generated or rendered images."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tacit
from tacit.cli import main
from tacit.core.network import count_parameters
from tacit.data.rendered.solids import IMAGES, solids
from test_recipes import NAMES, RECIPES, ROOT, commands, comment, logged, read

OURS = [name for name in NAMES if name.startswith("cross-modal/")]
STUDENTS = [name for name in OURS if "/teacher-" not in name]
SHORT = ["--training.steps", "2", "--training.batch", "4", "--log_every", "1", "--evaluations", "0"]
TRAINING = {
    "steps": 187_500,
    "batch": 64,
    "lr": 0.05,
    "weight_decay": 5e-4,
    "schedule": "steps",
    "milestones": [0.625, 0.75, 0.875],
    "gamma": 0.1,
}
"""CRD's on CIFAR-100: 240 epochs of 50,000 images, a tenth of the rate after 150, 180 and 210 of them."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipes, in `hub/` a few pictures in the schema of each data set; the rendered set is small."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(RECIPES)
    draw = np.random.default_rng(0)
    for name, label, classes in (("cifar100", "fine_label", 100), ("cifar10", "label", 10)):
        (tmp_path / "hub" / name / "data").mkdir(parents=True)
        features = datasets.Features({"img": datasets.Image(), label: datasets.ClassLabel(num_classes=classes)})
        for split in ("train", "test"):
            images = [Image.fromarray(pixels) for pixels in draw.integers(256, size=(12, 32, 32, 3), dtype=np.uint8)]
            made = datasets.Dataset.from_dict({"img": images, label: [number % 5 for number in range(12)]}, features=features)
            made.to_parquet(str(tmp_path / "hub" / name / "data" / f"{split}-00000-of-00001.parquet"))
    for split in IMAGES:
        monkeypatch.setitem(IMAGES, split, 20)
    solids.cache_clear()
    return tmp_path


def here(word: str, place: Path) -> str:
    """Return a word of a command, a data set's name on the hub as its folder here."""
    found = re.fullmatch(r"uoft-cs/(cifar100?)", word)
    return str(place / "hub" / found[1]) if found else word


def run(words: list[str], place: Path) -> dict[str, Any]:
    """Run a command of a recipe for two steps; return what it measured."""
    data = [] if words[0] == "evaluate" else ["--data", here(read(words[2].removeprefix("recipes/").removesuffix(".yaml"))["data"], place)]
    out = words[words.index("--out") + 1] if "--out" in words else "runs/evaluate"
    more = ["--out", out] if words[0] == "evaluate" else SHORT
    less = ["--objective", "[{loss: crd, width: 8, negatives: 16, shared: false}]"] if words[0] == "distill" else []
    assert main([*(here(word, place) for word in words), *data, *more, *less]) == 0
    found: dict[str, Any] = json.loads((place / out / "result.json").read_text())["metrics"]
    return found


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_learns_from_another_view_by_the_commands_of_its_recipe(name: str, place: Path) -> None:
    train, distill, evaluate = commands(name)
    assert distill[:3] == ["distill", "--config", f"recipes/{name}.yaml"]
    run(train, place)
    learned = run(distill, place)
    losses = logged(place / distill[distill.index("--out") + 1], "train")
    assert [set(line) for line in losses] == [{"loss", "loss/crd"}] * 2
    assert all(math.isfinite(value) for line in losses for value in line.values())
    student = tacit.load(place / distill[distill.index("--out") + 1])
    assert list(student.spec.shape) == read(name)["student"]["shape"]
    assert learned["params_student"] == count_parameters(student)
    assert run(evaluate, place)["probe"]["student"]["images"] > 0
    solids.cache_clear()


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_says_what_is_published_and_that_it_was_not_run(name: str) -> None:
    words = " ".join(comment(name).split())
    assert re.search(r"Published: not found|No published figure", words)
    assert "Settings: " in words
    assert "Never run here in full" in words


def test_settings_on_cifar_are_those_of_crd() -> None:
    assert read("cross-modal/teacher-luminance")["training"] == TRAINING
    recipe = read("cross-modal/luminance-chrominance")
    assert recipe["training"] == TRAINING
    (term,) = recipe["objective"]
    assert (term["loss"], term["negatives"], term["temperature"], term["momentum"]) == ("crd", 16_384, 0.07, 0.5)
    assert recipe["unlabelled"] is True


def test_the_teacher_of_every_student_is_there_and_the_guide_names_all() -> None:
    assert {commands(name)[0][2] for name in STUDENTS} == {f"recipes/{name}.yaml" for name in OURS if name not in STUDENTS}
    guide = (ROOT / "docs" / "recipes.md").read_text()
    assert {name for name in OURS if f"`{name}.yaml`" in guide} == set(OURS)

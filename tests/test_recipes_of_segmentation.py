"""The recipes of segmentation: each command in their comments takes two steps, on a few rendered streets or in the schema of the hub."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.segmentation_suite import STREETS
from benchmarks.suites import TEACHERS
from tacit.cli import main
from tacit.command import parse
from tacit.core.errors import InputError
from tacit.data.rendered.street.scenes import IMAGES, street
from tacit.distill import build_objective
from tacit.verbs.distill import Distill
from tacit.verbs.train import Train
from test_recipes import NAMES, RECIPES, ROOT, commands, comment, logged, method_of, read, shortened

OURS = [name for name in NAMES if name.startswith("segmentation/")]
STUDENTS = [name for name in OURS if "/teacher-" not in name]
STREET = {"dfad": "DFAD + BN", "deep-inversion": "DeepInversion", "fast-dfkd": "FastDFKD"}
SHORT = ["--training.steps", "2", "--training.batch", "4", "--log_every", "1", "--evaluations", "0"]
SMALL = ["--model.shape", "[3, 32, 32]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipes, and in `hub/` a few pictures with masks in the schema of the data set."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "recipes").symlink_to(RECIPES)
    (folder / "hub").mkdir()
    draw = np.random.default_rng(0)
    pictures = [Image.fromarray(pixels) for pixels in draw.integers(256, size=(12, 36, 48, 3), dtype=np.uint8)]
    masks = [Image.fromarray(pixels) for pixels in draw.integers(35, size=(12, 36, 48), dtype=np.uint8)]
    features = datasets.Features({"pixel_values": datasets.Image(), "label": datasets.Image()})
    rows = datasets.Dataset.from_dict({"pixel_values": pictures, "label": masks}, features=features)
    rows.to_parquet(str(folder / "hub" / "train-00000-of-00001.parquet"))
    return folder


@pytest.fixture
def few(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for split in IMAGES:
        monkeypatch.setitem(IMAGES, split, 10)
    street.cache_clear()


def data_of(name: str, place: Path, split: str) -> list[str]:
    """Return options that stand for the set of a recipe."""
    return [] if read(name)["data"] == "street" else ["--data", str(place / "hub"), f"--{split}", "train[8:]"]


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_learns_by_the_commands_of_its_recipe_in_two_steps(name: str, place: Path, few: None) -> None:
    train, distill = commands(name)
    taught = train[2].removeprefix("recipes/").removesuffix(".yaml")
    assert distill[:3] == ["distill", "--config", f"recipes/{name}.yaml"]
    if not (place / train[-1]).exists():
        narrow = json.dumps({**read(taught)["model"].get("kwargs", {}), "width": 4})
        split = [] if read(taught)["data"] == "street" else ["--split", "train[:8]"]
        words = [*train, *SMALL, "--model.kwargs", narrow, *SHORT, *data_of(taught, place, "eval_split"), *split]
        assert main(words) == 0
    short = [*shortened(method_of(name)[1]), "--checks", "0"]
    assert main([*distill, *SHORT, *short, *data_of(name, place, "split")]) == 0
    losses = logged(place / distill[-1], "train")
    assert [set(line) for line in losses] == [{"loss", f"loss/{read(name)['objective'][0]['loss']}"}] * 2
    assert all(math.isfinite(value) for line in losses for value in line.values())
    found: dict[str, Any] = json.loads((place / distill[-1] / "result.json").read_text())["metrics"]
    assert found["method"] == method_of(name)[0]
    assert 0 <= found["student_miou"] < found["params_student"]
    street.cache_clear()


@pytest.mark.parametrize("name", STREET)
def test_settings_on_streets_are_those_of_the_benchmarks(name: str) -> None:
    row = next(row for row in STREETS.rows if row.label == STREET[name])
    found = parse("distill", ["--config", str(RECIPES / "segmentation" / f"{name}.yaml")])
    assert isinstance(found, Distill)
    assert found.method == row.method
    assert found.training == STREETS.training_of(STREETS.pairs[0], row)
    assert found.augmentation == (row.augmentation or STREETS.augmentation)
    terms = [build_objective(each).weights for each in (found.objective, row.objective or STREETS.objective)]
    assert terms[0] == terms[1]


def test_the_teacher_is_that_of_the_benchmarks() -> None:
    found, plan = parse("train", ["--config", str(RECIPES / "segmentation" / "teacher-street.yaml")]), TEACHERS["street-deeplab24"]
    assert isinstance(found, Train)
    assert (found.training, found.augmentation, found.data) == (plan.training, plan.augmentation, "street")


def test_dfads_settings_on_the_hub_are_the_authors() -> None:
    recipe = read("segmentation/dfad-sidewalk")
    assert method_of("segmentation/dfad-sidewalk")[1] == {"batch": 64, "every": 5, "lr": 1e-3, "latent": 256, "width": 64}
    training = recipe["training"]
    assert (training["steps"], training["lr"], training["weight_decay"]) == (300 * 50 * 5, 0.1, 5e-4)
    assert [round(share * 300) for share in training["milestones"]] == [100, 200]


def test_the_pixels_of_no_class_are_named_by_the_recipe_of_the_hub(place: Path) -> None:
    model = read("segmentation/teacher-sidewalk")["model"]
    assert (model["ignore"], model["classes"], model["task"]) == (0, model["kwargs"]["classes"], "segmentation")
    with pytest.raises(InputError, match="recipes/"):
        parse("train", ["--config", str(place / "recipes" / "segmentation" / "none.yaml")])


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_says_what_is_published_and_whether_it_was_run(name: str) -> None:
    words = " ".join(comment(name).split())
    assert re.search(r"Published.*\d %|No published figure", words)
    assert "Settings: " in words
    assert ("Never run here in full" in words) != (read(name)["data"] == "street")


def test_the_guides_name_all() -> None:
    assert {name for name in OURS if f"`{name}.yaml`" in (ROOT / "docs" / "recipes.md").read_text()} == set(OURS)
    assert "recipes/segmentation/" in (ROOT / "docs" / "segmentation.md").read_text()

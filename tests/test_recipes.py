"""Every recipe that ships says what was published, is built of networks of the published size, and runs.

Two steps each, by the commands in its own comment, on generated images in the schema of its data set on the Hugging Face hub.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from published import CLASSIFIER_INPUTS, KEY_NUMBERS, PARAMETERS, TEACHERS
from tacit.cli import main
from tacit.command import parse
from tacit.core.models import ModelRef
from tacit.distill import Synthetic, build_objective
from tacit.synthesize import METHODS, FastDFKD
from tacit.verbs.distill import Distill

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
NAMES = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))
PUBLISHED = [name for name in NAMES if "/" in name]
DISTILLS = [name for name in PUBLISHED if "/teacher-" not in name]

SCHEMAS: dict[str, tuple[str, tuple[str, str], tuple[int, int], str, dict[str, int]]] = {
    "mnist": ("ylecun/mnist", ("train", "test"), (28, 28), "image", {"label": 10}),
    "svhn": ("ufldl-stanford/svhn@cropped_digits", ("train", "test"), (32, 32), "image", {"label": 10}),
    "cifar10": ("uoft-cs/cifar10", ("train", "test"), (32, 32), "img", {"label": 10}),
    "cifar100": ("uoft-cs/cifar100", ("train", "test"), (32, 32), "img", {"fine_label": 100, "coarse_label": 20}),
    "tiny-imagenet": ("zh-plus/tiny-imagenet", ("train", "valid"), (64, 64), "image", {"label": 200}),
}
"""Per folder of recipes: the hub's name, its splits, size, image column, and label columns with their classes; the first one counts."""

SHORT: dict[str, int] = {
    "batch": 4,
    "steps": 1,
    "warmup": 1,
    "every": 1,
    "width": 2,
    "latent": 4,
    "noise": 4,
    "embedding": 4,
    "bank": 8,
    "negatives": 2,
    "epoch": 1,
}
"""Fields of methods that cost time, and what they are at most in these tests."""


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    return found


def comment(name: str) -> str:
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    return "\n".join(line[2:] for line in lines if line.startswith("#"))


def commands(name: str) -> list[list[str]]:
    """Return the words after `tacit` of each command in the comment of a recipe."""
    return [shlex.split(line)[1:] for line in comment(name).splitlines() if line.startswith("  tacit ")]


def method_of(name: str) -> tuple[str, dict[str, Any]]:
    method = read(name)["method"]
    return method["class_path"].rpartition(".")[2], method["init_args"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipes, and in `hub/` eight images of each data set; the teachers that tests train stay in `runs/`."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "recipes").symlink_to(RECIPES)
    draw = np.random.default_rng(0)
    for name, (_, splits, size, column, labels) in SCHEMAS.items():
        (folder / "hub" / name / "data").mkdir(parents=True)
        kinds = {label: datasets.ClassLabel(num_classes=classes) for label, classes in labels.items()}
        features = datasets.Features({column: datasets.Image(), **kinds})
        for split in splits:
            shape = (8, *size) if name == "mnist" else (8, *size, 3)
            rows: dict[str, Any] = {column: [Image.fromarray(pixels) for pixels in draw.integers(256, size=shape, dtype=np.uint8)]}
            rows |= {label: [classes - 1] * 8 for label, classes in labels.items()}
            path = folder / "hub" / name / "data" / f"{split}-00000-of-00001.parquet"
            datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
    return folder


def trained(place: Path, words: list[str]) -> Path:
    """Run a command that trains a teacher, for two steps, unless it was run before; return its folder."""
    out = place / words[words.index("--out") + 1]
    if not out.exists():
        data = str(place / "hub" / Path(words[words.index("--config") + 1]).parent.name)
        short = ["--training.steps", "2", "--training.batch", "4", "--evaluations", "0", "--log_every", "1"]
        assert main([*words, "--data", data, *short]) == 0
    return out


def logged(folder: Path, kind: str) -> list[dict[str, float]]:
    """Return the losses in metrics.jsonl, line by line, of a kind of line."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [{key: value for key, value in line.items() if key.startswith("loss")} for line in lines if line["kind"] == kind]
    return [found for found in losses if found]


def parameters(name: str, classes: int) -> int:
    """Return the published number of parameters of a network for 10 classes, and of the further rows of its classifier."""
    return PARAMETERS[name] + (classes - 10) * (CLASSIFIER_INPUTS[name] + 1)


def test_the_digits_recipes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    teacher, student = (str(RECIPES / f"{name}.yaml") for name in ("digits-teacher", "digits"))
    assert main(["train", "--config", teacher, "--out", "runs/teacher", "--training.steps", "2"]) == 0
    short = ["--method.warmup", "1", "--method.steps", "2", "--training.steps", "2", "--method.batch", "32"]
    assert main(["distill", "--config", student, "--out", "runs/student", *short]) == 0
    result = json.loads((tmp_path / "runs" / "student" / "result.json").read_text())
    assert result["metrics"]["params_teacher"] >= 10 * result["metrics"]["params_student"]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in DISTILLS])
def test_a_teacher_of_the_published_size_trains(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (words,) = commands(name)
    assert words[:3] == ["train", "--config", f"recipes/{name}.yaml"]
    folder = trained(place, words)
    result = json.loads((folder / "result.json").read_text())
    classes = next(iter(SCHEMAS[Path(name).parent.name][4].values()))
    network = read(name)["model"]["path"].partition(":")[2]
    assert result["metrics"]["params_student"] == parameters(network, classes)
    assert len(result["metrics"]["class_names"]) == classes
    assert result["metrics"]["student_accuracy"] is not None
    losses = logged(folder, "train")
    assert len(losses) == 2
    assert all(math.isfinite(value) for line in losses for value in line.values())


@pytest.mark.parametrize("name", DISTILLS)
def test_a_recipe_runs_two_steps_with_networks_of_the_published_size(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    whole = Synthetic.unseen
    monkeypatch.setattr(Synthetic, "unseen", lambda self, images=4: whole(self, min(images, 4)))  # 512 take a ResNet-34 half a minute
    first, words = commands(name)
    assert trained(place, first) == place / read(name)["teacher"]
    assert words[:3] == ["distill", "--config", f"recipes/{name}.yaml"]
    kind, fields = method_of(name)
    folder = Path(name).parent.name
    short = [word for field, most in SHORT.items() if field in fields for word in (f"--method.{field}", str(min(fields[field], most)))]
    short += ["--training.steps", "2", "--training.batch", "4", "--log_every", "1", "--evaluations", "0", "--checks", "0"]
    assert main([*words, "--data", str(place / "hub" / folder), *short]) == 0
    out = place / words[words.index("--out") + 1]
    result = json.loads((out / "result.json").read_text())
    classes = next(iter(SCHEMAS[folder][4].values()))
    teacher = read(commands(name)[0][2].removeprefix("recipes/").removesuffix(".yaml"))["model"]["path"].partition(":")[2]
    student = read(name)["student"]["path"].partition(":")[2]
    assert result["metrics"]["params_teacher"] == parameters(teacher, classes)
    assert result["metrics"]["params_student"] == parameters(student, classes)
    assert result["metrics"]["evaluation_images"] == 8
    assert (result["metrics"]["method"], result["metrics"]["steps"]) == (kind, 2)
    learned, painted = logged(out, "train"), logged(out, "synthesis")
    assert set(learned[-1]) == {"loss", *(f"loss/{part}" for part in build_objective(read(name)["objective"]).losses)}
    assert len(learned) == 2
    assert any("loss/adv" in line for line in painted) == ("adv" in fields or kind in ("DFAD", "ZSKT"))
    assert all(math.isfinite(value) for line in (*learned, *painted) for value in line.values())
    shutil.rmtree(out)


@pytest.mark.parametrize("name", DISTILLS)
def test_the_settings_are_the_published_ones(name: str) -> None:
    recipe = read(name)
    kind, fields = method_of(name)
    terms = {term["loss"]: {key: value for key, value in term.items() if key != "loss"} for term in recipe["objective"]}
    found = {"method": {kind: fields}, "objective": terms, "training": recipe["training"]}
    assert found == KEY_NUMBERS[name]


def test_the_teachers_settings_are_the_published_ones() -> None:
    found = {name: read(name)["training"] for name in PUBLISHED if name not in DISTILLS}
    assert found == TEACHERS


def test_the_other_pairs_of_a_comment_are_options() -> None:
    """As comments say: another student, another teacher, another number of steps; what stands in the recipe for them does not leak."""
    words = ["--student", "tacit.zoo:wrn40_1", "--student.kwargs", '{"classes": 100}', "--teacher", "runs/cifar100-vgg11"]
    short = ["--method.steps", "2", "--method.lr", "5e-3", "--method.lr_latent", "0.015"]
    for part in (" ".join(words[:2]), " ".join(words[2:3]), " ".join(short)):
        assert part in " ".join(comment("cifar100/fast-dfkd-wrn40-2").split())
    found = parse("distill", ["--config", str(RECIPES / "cifar100" / "fast-dfkd-wrn40-2.yaml"), *words, *short])
    assert isinstance(found, Distill)
    assert found.student == ModelRef(path="tacit.zoo:wrn40_1", kwargs={"classes": 100})
    assert found.teacher == ModelRef(path="runs/cifar100-vgg11")
    assert found.method == FastDFKD(steps=2, lr=5e-3, lr_latent=0.015, ce=0.4, adv=1.1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_of_its_folders_data_set(name: str) -> None:
    hub, splits, size, column, _ = SCHEMAS[Path(name).parent.name]
    recipe = read(name)
    assert recipe["data"] == hub
    assert recipe.get("split" if name in DISTILLS else "eval_split", "test") == splits[1]
    if name not in DISTILLS:
        assert recipe["model"]["shape"] == [1 if column == "image" and size == (28, 28) else 3, max(32, size[0]), max(32, size[1])]
        assert len(recipe["model"]["mean"]) == len(recipe["model"]["std"]) == recipe["model"]["shape"][0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_says_what_is_published_and_that_it_was_not_run(name: str) -> None:
    words = " ".join(comment(name).split())
    assert re.search(r"Published: .*\d %|not found|No published figure", words)
    assert "ettings" in words
    assert "Never run here in full" in words


def test_every_method_has_a_recipe_and_none_has_settings_that_nothing_ships() -> None:
    assert {method_of(name)[0] for name in DISTILLS} == {kind.__name__ for kind in METHODS} - {"Gaussian", "BNS", "Inception"}
    assert set(KEY_NUMBERS) == set(DISTILLS)


def test_every_recipe_is_in_the_guide_and_the_guide_names_no_other() -> None:
    guide = (ROOT / "docs" / "recipes.md").read_text()
    assert sorted(set(re.findall(r"`([\w/-]+)\.yaml`", guide))) == NAMES
    assert "(docs/recipes.md)" in (ROOT / "README.md").read_text()
    assert "recipes.md" in (ROOT / "mkdocs.yml").read_text()

"""The recipes of representation distillation: every pair and every objective takes two steps, on generated images, with published settings.

As in `test_recipes.py`, by the commands in their own comments; images are 16x16 here, for the time it takes.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import standins
from published import PARAMETERS
from published_distillers import CRD, FIGURES, IMAGENET, OBJECTIVES, ON_IMAGENET, OWN, PAIRS, PUBLISHED, TRAINING, Pair
from tacit.cli import main
from tacit.command import parse
from tacit.core.network import count_parameters
from tacit.distill.objectives import DISTILLERS
from tacit.verbs.distill import Distill
from test_recipes import NAMES, RECIPES, ROOT, commands, comment, logged, network_of, objective_of, parameters, read

pytestmark = pytest.mark.usefixtures("no_checkpoints")

OURS = [name for name in NAMES if name.startswith("distillers/")]
TEACHERS = [name for name in OURS if "/teacher-" in name]
PAIRED = [name for name in OURS if name.startswith("distillers/cifar100/") and name not in TEACHERS]
NAMED = [Path(name).name for name in OURS if name.startswith("distillers/objectives/")]
LARGE = "distillers/imagenet/resnet34-resnet18"
BEHIND_LARGE = [Path(name).name for name in OURS if name.startswith("distillers/imagenet/objectives/")]
FIRST = ("ab", "ft", "fsp")
"""Those that begin with a phase of their own."""
SHORT = ["--training.steps", "2", "--training.batch", "4", "--log_every", "1", "--evaluations", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipes, and in `hub/` a few images of both data sets; the teachers that tests train stay in `runs/`."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "recipes").symlink_to(RECIPES)
    draw = np.random.default_rng(0)
    for name, column, label, classes, splits in (
        ("cifar100", "img", "fine_label", 100, ("train", "test")),
        ("imagenet", "image", "label", 1000, ("train", "validation")),
    ):
        (folder / "hub" / name / "data").mkdir(parents=True)
        features = datasets.Features({column: datasets.Image(), label: datasets.ClassLabel(num_classes=classes)})
        for split in splits:
            images = [Image.fromarray(pixels) for pixels in draw.integers(256, size=(12, 32, 32, 3), dtype=np.uint8)]
            made = datasets.Dataset.from_dict({column: images, label: [number % 5 for number in range(12)]}, features=features)
            made.to_parquet(str(folder / "hub" / name / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def taught(place: Path, words: list[str]) -> Path:
    """Train the teacher of a command for two steps on images of 16x16, unless that was done; return its folder."""
    out = place / words[words.index("--out") + 1]
    if not out.exists():
        assert main([*words, "--data", str(place / "hub" / "cifar100"), *SHORT, "--model.shape", "[3, 16, 16]"]) == 0
    return out


def networks(name: str) -> Pair:
    """Return teacher and student of a pair, by their names in the zoo."""
    teacher = read(f"distillers/cifar100/teacher-{Path(commands(name)[0][2]).stem.removeprefix('teacher-')}")
    return network_of(teacher["model"]), network_of(read(name)["student"])


def run(words: list[str], place: Path, *more: str, data: str = "cifar100") -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Run a command for a few steps; return what it measured and its losses, line by line."""
    assert main([*words, "--data", str(place / "hub" / data), *SHORT, *more]) == 0
    out = place / words[words.index("--out") + 1]
    metrics, losses = json.loads((out / "result.json").read_text())["metrics"], logged(out, "train")
    shutil.rmtree(out)
    assert metrics["evaluation_images"] == 12
    assert all(math.isfinite(value) for line in losses for value in line.values())
    return metrics, losses


@pytest.mark.parametrize("name", PAIRED)
def test_a_pair_of_the_published_sizes_takes_two_steps(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    first, words = commands(name)
    assert taught(place, first) == place / read(name)["teacher"]
    assert words[:3] == ["distill", "--config", f"recipes/{name}.yaml"]
    metrics, losses = run(words, place)
    teacher, student = networks(name)
    assert (metrics["params_teacher"], metrics["params_student"]) == (parameters(teacher, 100), parameters(student, 100))
    assert [set(line) for line in losses] == [{"loss", "loss/ce", "loss/crd"}] * 2


@pytest.mark.parametrize("name", NAMED)
def test_an_objective_takes_two_steps(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    first, words = commands(f"distillers/objectives/{name}")
    taught(place, first)
    pair, objective = (words[place + 1] for place, word in enumerate(words) if word == "--config")
    assert (pair, objective) == ("recipes/distillers/cifar100/resnet32x4-resnet8x4.yaml", f"recipes/distillers/objectives/{name}.yaml")
    short = ("--training.steps", "18") if name in FIRST else ()
    if name == "ft":  # of a teacher of two steps, whose features are in the hundreds, and which the paraphraser, without batch norm, sees
        short = (*short, "--training.lr", "1e-7")
    metrics, losses = run(words, place, *short)
    assert metrics["steps"] == (18 if name in FIRST else 2)
    wanted = {f"loss/{term.replace('-', '_')}" for term in OBJECTIVES[name]}
    if name not in FIRST:
        assert [set(line) for line in losses] == [{"loss", *wanted}] * 2
        return
    begins, later = {"ab": ("ab", {"ce"}), "fsp": ("fsp", {"ce"}), "ft": (None, {"ce", "ft"})}[name]
    assert [phase["steps"] for phase in metrics["phases"]] == [2, 16]
    assert all(set(line) == {"loss", *(f"loss/{term}" for term in later)} for line in losses[2:])
    assert all(f"loss/{begins}" in line and "loss/ce" not in line for line in losses[:2]) or begins is None


def test_the_pair_on_imagenet_takes_two_steps_with_stand_ins(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    asked = standins.install(monkeypatch)
    (words,) = commands(LARGE)
    metrics, losses = run(words, place, "--teacher.shape", "[3, 32, 32]", data="imagenet")
    assert set(asked) == {"torchvision resnet34 IMAGENET1K_V1", "torchvision resnet18 None"}
    assert metrics["steps"] == 2
    assert [set(line) for line in losses] == [{"loss", "loss/ce", "loss/crd"}] * 2
    with torch.device("meta"):
        assert count_parameters(standins.ResNet(standins.BasicBlock, (3, 4, 6, 3))) == standins.PARAMETERS["resnet34"]


@pytest.mark.parametrize("name", BEHIND_LARGE)
def test_an_objective_on_imagenet_takes_two_steps_with_stand_ins(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    standins.install(monkeypatch)
    (words,) = commands(f"distillers/imagenet/objectives/{name}")
    pair, objective = (words[place + 1] for place, word in enumerate(words) if word == "--config")
    assert (pair, objective) == (f"recipes/{LARGE}.yaml", f"recipes/distillers/imagenet/objectives/{name}.yaml")
    metrics, losses = run(words, place, "--teacher.shape", "[3, 32, 32]", data="imagenet")
    assert metrics["steps"] == 2
    assert [set(line) for line in losses] == [{"loss", *(f"loss/{term}" for term in ON_IMAGENET[name][1])}] * 2


def test_the_settings_of_pairs_are_the_published_ones() -> None:
    assert {networks(name) for name in PAIRED} == set(PAIRS)
    for name in PAIRED:
        recipe, (_, student) = read(name), networks(name)
        slow = student == "mobilenetv2_half" or student.startswith("shufflenet")
        assert recipe["training"] == {**TRAINING, "lr": 0.01 if slow else 0.05}, name
        assert objective_of(recipe) == {"ce": {}, "crd": {**CRD, **OWN}}
        assert (recipe["source"], recipe["data"], recipe["eval_split"], recipe["augmentation"]) == (
            "data",
            "uoft-cs/cifar100",
            "test",
            "shift-flip",
        )
    for name in TEACHERS:
        recipe = read(name)
        assert recipe["training"] == TRAINING
        assert (recipe["data"], recipe["model"]["classes"], recipe["model"]["shape"]) == ("uoft-cs/cifar100", 100, [3, 32, 32])
    assert {network_of(read(name)["model"]) for name in TEACHERS} == {teacher for teacher, _ in PAIRS} <= set(PARAMETERS)
    recipe = read(LARGE)
    assert {"objective": objective_of(recipe), "training": recipe["training"]} == IMAGENET
    assert (recipe["teacher"]["shape"], recipe["eval_split"]) == ([3, 224, 224], "validation")
    assert recipe["checkpoint_seconds"] == 1800  # of a memory of 2 x 1.28 million rows of 128 floats


def test_the_settings_of_objectives_are_the_published_ones() -> None:
    assert set(NAMED) == set(OBJECTIVES) == set(PUBLISHED)
    for name in NAMED:
        recipe = read(f"distillers/objectives/{name}")
        found, wanted = objective_of(recipe), OBJECTIVES[name]
        assert found.keys() == wanted.keys(), name
        for term, options in wanted.items():
            assert found[term] == pytest.approx(options, rel=1e-4) if name in FIRST else found[term] == options, (name, term)
        assert recipe.get("training") == ({"steps": math.ceil(270 * 50_000 / 64)} if name in FIRST else None)
    assert set(BEHIND_LARGE) == set(ON_IMAGENET)
    for name in BEHIND_LARGE:
        recipe = read(f"distillers/imagenet/objectives/{name}")
        assert list(recipe) == ["objective"], name  # steps, rates and batches are the pair's
        assert objective_of(recipe) == ON_IMAGENET[name][1], name
    taught_by = {term for terms in OBJECTIVES.values() for term in terms} | {"l1", "mse", "soft-ce", "intermediate"}
    assert set(DISTILLERS) <= taught_by


def test_an_objective_behind_a_pair_takes_the_place_of_its_own() -> None:
    pair, objective = (str(RECIPES / "distillers" / part) for part in ("cifar100/vgg13-mobilenetv2.yaml", "objectives/ab.yaml"))
    found = parse("distill", ["--config", pair, "--config", objective])
    assert isinstance(found, Distill)
    assert [term["loss"] for term in found.objective if isinstance(term, dict)] == ["ce", "ab"]
    assert (found.training.steps, found.training.lr, found.training.batch) == (210_938, 0.01, 64)


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_says_what_is_published_and_that_it_was_not_run(name: str) -> None:
    words = " ".join(comment(name).split())
    assert re.search(r"Published: \d\d\.\d\d %|No published figure", words)
    assert "Settings: " in words
    assert "Never run here in full" in words


def test_figures_in_comments_and_in_the_guide_are_those_of_the_tables() -> None:
    guide = (ROOT / "docs" / "recipes.md").read_text()
    for name in PAIRED:
        figures = FIGURES[networks(name)]
        said = [float(value) for value in re.findall(r"(\d\d\.\d\d) %", comment(name).replace("\n", " "))]
        assert said == [figures[3], figures[4], figures[0], figures[1], figures[2]], name
        (row,) = re.findall(rf"^\| `{name}\.yaml` \| [^|]+ \| (.+) \|$", guide, re.MULTILINE)
        assert [float(value) for value in row.split(" | ")] == figures
    behind = {f"distillers/objectives/{name}": figure for name, figure in PUBLISHED.items()}
    behind |= {f"distillers/imagenet/objectives/{name}": figure for name, (figure, _) in ON_IMAGENET.items()}
    for name, figure in behind.items():
        said = [float(value) for value in re.findall(r"(\d\d\.\d\d) %", comment(name).replace("\n", " "))]
        assert said[:1] == ([figure] if figure is not None else [])
        (row,) = re.findall(rf"^\| `{name}\.yaml` \| [^|]+ \| (.+) \|$", guide, re.MULTILINE)
        assert row.removesuffix(" [M]") == ("not found" if figure is None else f"{figure:.2f}")

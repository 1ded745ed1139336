"""Every recipe that ships says what was published, is built of networks of the published size, and runs.

Two steps each, by the commands in its own comment, on generated images in the schema of its data set on the Hugging Face hub.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import standins
import tacit
from published import CLASSIFIER_INPUTS, KEY_NUMBERS, PARAMETERS, QUANTIZED, TEACHERS, ZERO_SHOT
from tacit.cli import main
from tacit.command import parse
from tacit.core.models import ModelRef
from tacit.core.network import count_parameters
from tacit.distill import Synthetic, build_objective
from tacit.quantize import Scheme
from tacit.synthesize import BNS, METHODS, FastDFKD
from tacit.verbs.distill import Distill
from tacit.verbs.quantize import Quantize

pytestmark = pytest.mark.usefixtures("no_checkpoints")

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
NAMES = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))
ELSEWHERE = ("cross-modal/", "distillers/", "federated/", "segmentation/")
PUBLISHED = [name for name in NAMES if "/" in name and not name.startswith(ELSEWHERE)]  # the others are tested in files of their own
TRAINS = [name for name in PUBLISHED if "/teacher-" in name]
QUANTIZES = [name for name in PUBLISHED if "scheme" in yaml.safe_load((RECIPES / f"{name}.yaml").read_text())]
DISTILLS = [name for name in PUBLISHED if name not in (*TRAINS, *QUANTIZES)]

SCHEMAS: dict[str, tuple[str, tuple[str, str], tuple[int, int], str, dict[str, int]]] = {
    "mnist": ("ylecun/mnist", ("train", "test"), (28, 28), "image", {"label": 10}),
    "svhn": ("ufldl-stanford/svhn@cropped_digits", ("train", "test"), (32, 32), "image", {"label": 10}),
    "cifar10": ("uoft-cs/cifar10", ("train", "test"), (32, 32), "img", {"label": 10}),
    "cifar100": ("uoft-cs/cifar100", ("train", "test"), (32, 32), "img", {"fine_label": 100, "coarse_label": 20}),
    "tiny-imagenet": ("zh-plus/tiny-imagenet", ("train", "valid"), (64, 64), "image", {"label": 200}),
    "imagenet": ("ILSVRC/imagenet-1k", ("train", "validation"), (40, 48), "image", {"label": 1000}),
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
    "copies": 1,
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


def network_of(model: dict[str, Any]) -> str:
    """Return the name of a network of the zoo, with its depth where that is an argument."""
    return f"{model['path'].partition(':')[2]}{model.get('kwargs', {}).get('depth', '')}"


def shortened(fields: dict[str, Any]) -> list[str]:
    """Return options that make a method of these fields quick."""
    return [word for field, most in SHORT.items() if field in fields for word in (f"--method.{field}", str(min(fields[field], most)))]


def objective_of(recipe: dict[str, Any]) -> dict[str, Any]:
    return {term["loss"]: {key: value for key, value in term.items() if key != "loss"} for term in recipe["objective"]}


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


@pytest.mark.parametrize("name", TRAINS)
def test_a_teacher_of_the_published_size_trains(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (words,) = commands(name)
    assert words[:3] == ["train", "--config", f"recipes/{name}.yaml"]
    folder = trained(place, words)
    result = json.loads((folder / "result.json").read_text())
    classes = next(iter(SCHEMAS[Path(name).parent.name][4].values()))
    assert result["metrics"]["params_student"] == parameters(network_of(read(name)["model"]), classes)
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
    short = shortened(fields)
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
    found = {"method": {kind: fields}, "objective": objective_of(recipe), "training": recipe["training"]}
    assert found == KEY_NUMBERS[name]


def test_the_teachers_settings_are_the_published_ones() -> None:
    assert {name: read(name)["training"] for name in TRAINS} == TEACHERS


@pytest.mark.parametrize("name", QUANTIZES)
def test_a_network_is_quantized_by_its_recipe_in_two_steps(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(place)
    asked = standins.install(monkeypatch)
    monkeypatch.setattr("tacit.quantize.onnx.rehearse_onnx", lambda network: None)  # the file itself is written all the same
    *before, words = commands(name)
    recipe, folder = read(name), Path(name).parent.name
    kind, fields = method_of(name)
    assert words[:3] == ["quantize", "--config", f"recipes/{name}.yaml"]
    for first in before:
        assert trained(place, first) == place / recipe["model"]
    short = [*shortened(fields), "--images", "8", "--acceptance", "4", "--baselines", "false"]
    tuned = "training" in recipe
    if tuned:
        short += ["--training.steps", "2", "--training.batch", "4", "--log_every", "1", "--evaluations", "0"]
    if not before:
        short += ["--model.shape", "[3, 64, 64]"]
    assert main([*words, "--data", str(place / "hub" / folder), *short]) == 0
    out = place / words[words.index("--out") + 1]
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    scheme = Scheme(**recipe["scheme"])
    assert (metrics["scheme"], metrics["method"], metrics["evaluation_images"]) == (asdict(scheme), kind, 8)
    learned = logged(out, "train") if tuned else []
    assert len(learned) == 2 * tuned
    assert all(math.isfinite(value) for line in learned for value in line.values())
    small = tacit.load(out / "model" if tuned else out / metrics["file"])
    assert small.spec.classes == next(iter(SCHEMAS[folder][4].values()))
    if before:
        teacher = read(before[0][2].removeprefix("recipes/").removesuffix(".yaml"))["model"]
        assert metrics["params_teacher"] == parameters(network_of(teacher), 10)
    else:
        given = recipe["model"]["kwargs"]
        wanted = (
            f"timm {given['model_name']} {given['pretrained']}"
            if "model_name" in given
            else f"torchvision {recipe['model']['path'].partition(':')[2]} {given['weights']}"
        )
        assert set(asked) == {wanted}
    shutil.rmtree(out)


def test_the_stand_ins_are_the_networks_that_they_stand_for() -> None:
    with torch.device("meta"):
        made: dict[str, nn.Module] = {
            "resnet18": standins.ResNet(standins.BasicBlock, (2, 2, 2, 2)),
            "resnet34": standins.ResNet(standins.BasicBlock, (3, 4, 6, 3)),
            "resnet50": standins.ResNet(standins.Bottleneck, (3, 4, 6, 3)),
            "mobilenet_v2": standins.MobileNetV2(),
        }
    assert {name: count_parameters(model) for name, model in made.items()} == standins.PARAMETERS


@pytest.mark.parametrize("name", QUANTIZES)
def test_the_settings_of_quantizing_are_the_published_ones(name: str) -> None:
    recipe = read(name)
    kind, fields = method_of(name)
    kept = ("images", "scheme", "training", "mixup", "freeze_bn")
    found: dict[str, Any] = {"method": {kind: fields}, **{key: recipe[key] for key in kept if key in recipe}}
    if "objective" in recipe:
        found["objective"] = objective_of(recipe)
    assert found == QUANTIZED[name]


@pytest.mark.parametrize("name", ZERO_SHOT)
def test_figures_of_others_are_those_of_the_table(name: str) -> None:
    quoted = re.findall(r"(GDFQ|Qimera|IntraQ|TexQ|SynQ|of) (\d\d\.\d\d) %", " ".join(comment(name).split()))
    assert {key: float(value) for key, value in quoted} == ZERO_SHOT[name]


def test_further_settings_of_the_knowledge_within_are_options() -> None:
    for name, words in (("bns-resnet44-w2a4", "--method.logit 1 --method.smooth 1"), ("gaussian-resnet44-w2a4", "--scheme.weights 4")):
        assert f"`{words}`" in " ".join(comment(f"cifar10/{name}").split())
        found = parse("quantize", ["--config", str(RECIPES / "cifar10" / f"{name}.yaml"), *words.split()])
        assert isinstance(found, Quantize)
        assert isinstance(found.method, BNS) == (found.scheme.weights == 2)
        assert getattr(found.method, "logit", 1.0) == getattr(found.method, "smooth", 1.0) == 1.0


def test_accuracy_on_imagenet_can_be_left_out() -> None:
    found = parse("quantize", ["--config", str(RECIPES / "imagenet" / "resnet18-w4a4.yaml"), "--data", "null"])
    assert isinstance(found, Quantize)
    assert found.data is None
    assert "--data null" in (ROOT / "docs" / "recipes.md").read_text()


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
    assert found.method == FastDFKD(steps=2, lr=5e-3, lr_latent=0.015, ce=0.4, adv=1.1, flip=True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_of_its_folders_data_set(name: str) -> None:
    hub, splits, size, column, _ = SCHEMAS[Path(name).parent.name]
    recipe = read(name)
    assert recipe["data"] == hub
    assert recipe.get("eval_split" if name in TRAINS else "split", "test") == splits[1]
    if isinstance(recipe.get("model"), dict):
        published = (224, 224) if Path(name).parent.name == "imagenet" else (max(32, size[0]), max(32, size[1]))
        assert recipe["model"]["shape"] == [1 if column == "image" and size == (28, 28) else 3, *published]
        assert len(recipe["model"]["mean"]) == len(recipe["model"]["std"]) == recipe["model"]["shape"][0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_says_what_is_published_and_that_it_was_not_run(name: str) -> None:
    words = " ".join(comment(name).split())
    assert re.search(r"Published: .*\d %|not found|No published figure", words)
    assert "ettings" in words
    assert "Never run here in full" in words


def test_every_method_has_a_recipe_and_none_has_settings_that_nothing_ships() -> None:
    assert {method_of(name)[0] for name in (*DISTILLS, *QUANTIZES)} == {kind.__name__ for kind in METHODS}
    assert set(KEY_NUMBERS) == set(DISTILLS)
    assert set(QUANTIZED) == set(QUANTIZES)


def test_every_recipe_is_in_the_guide_and_the_guide_names_no_other() -> None:
    guide = (ROOT / "docs" / "recipes.md").read_text()
    assert sorted(set(re.findall(r"`([\w/-]+)\.yaml`", guide))) == NAMES
    assert "(docs/recipes.md)" in (ROOT / "README.md").read_text()
    assert "recipes.md" in (ROOT / "mkdocs.yml").read_text()

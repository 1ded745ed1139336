"""The recipes of federated learning: each command in their comments takes two rounds, on generated images in the schema of its data set."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tacit.cli import main
from tacit.command import parse
from tacit.data import ImageSet, load_data
from tacit.data.columns import load_column
from tacit.federate import FedAvg
from tacit.verbs.federate import Federate
from test_recipes import NAMES, RECIPES, commands, comment, logged, read

OURS = [name for name in NAMES if name.startswith("federated/")]
SHORT = ["--rounds", "2", "--clients", "3", "--active", "2", "--local_steps", "2", "--batch", "4", "--partition.least", "1"]
SCHEMAS: dict[str, tuple[str, tuple[int, ...], dict[str, int | None]]] = {
    "federated/mnist": ("ylecun/mnist", (28, 28), {"label": 10}),
    "federated/emnist-letters": ("tanganke/emnist_letters", (28, 28), {"label": 26}),
    "federated/femnist-writers": ("flwrlabs/femnist", (28, 28), {"writer_id": None, "hsf_id": None, "character": 62}),
    "federated/celeba": ("flwrlabs/celeba", (218, 178, 3), {"celeb_id": None, "Male": None, "Smiling": None}),
}
"""By recipe: the hub's name, the size of its pictures, and its further columns with their classes; None: these are no classes."""
PARAMETERS = {"mnist": 26_434, "emnist-letters": 26_962, "femnist-writers": 28_150, "celeba": 25_954}
"""Those of the authors' networks; of 62 classes, 36 rows of 33 more than of the letters' 26."""
GENERATOR = {"objective": "reference", "noise": 32, "hidden": 256, "steps": 50, "batch": 32, "generator_lr": 1e-4, "generator_decay": 0.01}
LETTERS: dict[str, Any] = {**GENERATOR, "latent": 1.0}
KEY_NUMBERS: dict[str, tuple[dict[str, Any], str, dict[str, Any], int]] = {
    "mnist": ({**GENERATOR, "generator_lr": 3e-4}, "Dirichlet", {"alpha": 0.1, "share": 0.5, "least": 10}, 20),
    "emnist-letters": (LETTERS, "Dirichlet", {"alpha": 0.1, "share": 0.1, "least": 260}, 20),
    "femnist-writers": (LETTERS, "ByColumn", {"column": "writer_id"}, 20),
    "celeba": ({**GENERATOR, "hidden": 128, "generator_lr": 3e-4}, "ByColumn", {"column": "celeb_id"}, 25),
}
"""FedGen's options, the split and the number of clients."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipes, and in `hub/` a few pictures in the schema of each data set."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "recipes").symlink_to(RECIPES)
    draw = np.random.default_rng(0)
    further: dict[str, list[Any]] = {
        "writer_id": [f"f{number % 5:04}_14" for number in range(20)],
        "hsf_id": [0] * 20,
        "celeb_id": [number % 5 for number in range(20)],
        "Male": [False] * 20,
        "Smiling": [number % 4 == 0 for number in range(20)],
    }
    for name, (_, size, columns) in SCHEMAS.items():
        images = [Image.fromarray(pixels) for pixels in draw.integers(256, size=(20, *size), dtype=np.uint8)]
        rows = {"image": images, **{key: further.get(key, [number % 10 for number in range(20)]) for key in columns}}
        kinds = {key: datasets.ClassLabel(num_classes=classes) for key, classes in columns.items() if classes}
        made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        for key, kind in kinds.items():
            made = made.cast_column(key, kind)
        (folder / "hub" / Path(name).name).mkdir(parents=True)
        for split in ("train", "test"):
            made.to_parquet(str(folder / "hub" / Path(name).name / f"{split}-00000-of-00001.parquet"))
    return folder


def here(name: str, place: Path) -> str:
    """Return the data of a recipe as they are here."""
    hub, marker, column = str(read(name)["data"]).partition("#")
    assert hub == SCHEMAS[name][0]
    return f"{place / 'hub' / Path(name).name}{marker}{column}"


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_takes_two_rounds_by_its_command(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    words, other = commands(name)
    assert words[:3] == other[:3] == ["federate", "--config", f"recipes/{name}.yaml"]
    short = [*SHORT, "--data", here(name, place), "--split", "train", "--eval_split", "test"]
    short += ["--partition.share", "1"] if "share" in read(name)["partition"]["init_args"] else []
    assert main([*words, *short, "--algorithm.steps", "2"]) == 0
    out = place / words[words.index("--out") + 1]
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    assert (metrics["algorithm"], metrics["rounds"], metrics["evaluation_images"]) == ("FedGen", 2, 20)
    assert metrics["params_student"] == PARAMETERS[Path(name).name]
    losses = logged(out, "train")
    assert len(losses) == 2
    assert all(math.isfinite(value) for line in losses for value in line.values())
    assert any("loss/teacher" in line for line in losses)
    found = parse("federate", other[1:])
    assert isinstance(found, Federate)
    assert found.algorithm == FedAvg()


@pytest.mark.parametrize("name", OURS)
def test_the_settings_are_the_published_ones(name: str) -> None:
    recipe = read(name)
    algorithm, partition, fields, clients = KEY_NUMBERS[Path(name).name]
    assert recipe["algorithm"] == {"class_path": "tacit.federate.FedGen", "init_args": algorithm}
    assert recipe["partition"] == {"class_path": f"tacit.federate.{partition}", "init_args": fields}
    found = [recipe[key] for key in ("clients", "active", "rounds", "local_steps", "batch", "lr", "lr_decay")]
    assert found == [clients, 10, 200, 20, 32, 0.01, 0.99]


def test_a_column_of_labels_can_be_named(place: Path) -> None:
    folder = here("federated/celeba", place)
    found = load_data(folder, "train")
    assert isinstance(found, ImageSet)
    assert found.labels.tolist() == [int(number % 4 == 0) for number in range(20)]
    assert load_column(folder, "train", "celeb_id") == [number % 5 for number in range(20)]
    assert main(["federate", "--data", folder.replace("Smiling", "Smilling"), "--out", str(place / "none")]) == 2


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_says_what_is_published_and_whether_it_was_run(name: str) -> None:
    words = " ".join(comment(name).split())
    assert re.search(r"Published: .*\d %|No published figure", words)
    assert "Settings: " in words
    assert re.search(r"Never run here in full|Run here by the benchmarks", words)

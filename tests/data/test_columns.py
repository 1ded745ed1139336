"""Further columns: one value an image, in the order of the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tacit.core.errors import InputError
from tacit.data import load_data
from tacit.data.columns import load_column


class Letters(Dataset[tuple[Tensor, int]]):
    """Four letters by two hands."""

    def __init__(self, split: str) -> None:
        self.hand = ["left", "right", "left", "right"] if split == "train" else ["left"] * 4

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return torch.zeros(1, 4, 4), number % 2


def parquet(folder: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    features: Any = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"]), "writer": datasets.Value("string")}
    )
    images = [np.full((4, 4), 10 * number, dtype=np.uint8) for number in range(6)]
    rows = {"image": images, "label": [0, 1] * 3, "writer": [f"w{number % 3}" for number in range(6)]}
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "train-00000-of-00001.parquet"))
    return folder


def test_a_column_of_a_parquet_folder_is_in_the_order_of_its_images(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "set")
    assert load_column(str(folder), "train", "writer") == ["w0", "w1", "w2", "w0", "w1", "w2"]
    images = load_data(str(folder), "train").batch(torch.arange(6)).images
    assert [round(float(image[0, 0, 0]) * 255) for image in images] == [0, 10, 20, 30, 40, 50]
    with pytest.raises(InputError, match="the data have no column 'writr'; did you mean 'writer'"):
        load_column(str(folder), "train", "writr")


@pytest.mark.parametrize("name", ["digits", "solids", "street@other"])
def test_sets_that_come_along_have_labels_alone(name: str) -> None:
    with pytest.raises(InputError, match=f"partition: the images of {name} have no column 'writer', labels alone"):
        load_column(name, "train", "writer")


def test_an_attribute_of_a_torch_set_is_read_by_split() -> None:
    assert load_column(f"{__name__}:Letters", "train", "hand") == ["left", "right", "left", "right"]
    assert load_column(f"{__name__}:Letters", "test", "hand") == ["left"] * 4
    assert load_column(Letters("train"), "train", "hand")[1] == "right"
    with pytest.raises(InputError, match="Letters has no attribute 'foot' with one value an image"):
        load_column(f"{__name__}:Letters", "train", "foot")

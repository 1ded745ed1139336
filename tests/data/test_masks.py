"""Masks: what is read of them, where they are found, and how they move with their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from tacit.core.batch import Batch
from tacit.core.errors import InputError
from tacit.core.spec import VOID, Spec
from tacit.data import ImageSet, StreamedSet, load_data
from tacit.data import load as loading
from tacit.data.images import augment, augmented
from tacit.data.read import as_mask
from tacit.distill import Stored
from tacit.distill.sources import Streamed

SPEC = Spec(shape=(3, 4, 6), classes=3, task="segmentation")


def index_map(seed: int = 0, classes: int = 3, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(seed).integers(0, classes, size).astype(np.uint8)
    return found


def coloured(map_: np.ndarray) -> Image.Image:
    """Return a picture that tells the classes by a palette."""
    picture = Image.new("P", (map_.shape[1], map_.shape[0]))
    picture.putdata(map_.flatten().tolist())
    picture.putpalette([7, 8, 9, 200, 0, 0, 0, 200, 0] + [0] * 759)
    return picture


@pytest.mark.parametrize("kind", ["grey", "palette", "grey in colour", "16 bits", "array", "tensor"])
def test_a_mask_of_any_kind_is_its_class_numbers(kind: str) -> None:
    wanted = index_map()
    made: Any = {
        "grey": Image.fromarray(wanted),
        "palette": coloured(wanted),
        "grey in colour": Image.fromarray(np.repeat(wanted[..., None], 3, axis=2)),
        "16 bits": Image.fromarray(wanted.astype(np.uint16)),
        "array": wanted.astype(np.int64),
        "tensor": torch.from_numpy(wanted)[None].long(),
    }[kind]
    found = as_mask(made, SPEC)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), wanted)


def test_a_named_value_becomes_no_class_and_255_stays_it() -> None:
    given = np.array([[0, 1, 2, 11, 255, 0]] * 4, dtype=np.uint8)
    found = as_mask(Image.fromarray(given), Spec(shape=(3, 4, 6), classes=3, task="segmentation", ignore=11))
    assert found[0].tolist() == [0, 1, 2, VOID, VOID, 0]


def test_a_mask_is_fitted_as_its_image_is_and_no_class_is_made_up() -> None:
    map_ = np.zeros((8, 20), dtype=np.uint8)
    map_[:, 10:] = 2
    picture = Image.fromarray(np.where(map_ == 2, 200, 50).astype(np.uint8))
    spec = Spec(shape=(1, 4, 4), classes=3, task="segmentation")
    rows = [(picture, Image.fromarray(map_))]
    found = load_data(rows, "train", spec)  # type: ignore[arg-type]
    assert isinstance(found, ImageSet)
    assert set(found.labels.flatten().tolist()) == {0, 2}
    right = found.images[0, 0] > 125
    assert torch.equal(found.labels[0] == 2, right)
    assert right.tolist() == [[False, False, True, True]] * 4


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (Image.new("RGB", (6, 4), (1, 2, 3)), "its mask is in colour: expected class numbers"),
        (np.full((4, 6), 0.5), "expected masks of whole numbers"),
        (np.full((4, 6), 256), "expected mask values from 0 to 255, got 256 to 256"),
        (np.full((2, 4, 6), 1), r"expected masks of whole numbers, of shape \(H, W\), got int64 of shape \[2, 4, 6\]"),
        (Image.new("L", (5, 4)), "image 0: it and its mask are of different sizes, 6x4 and 5x4"),
    ],
)
def test_what_is_no_mask_is_refused(mask: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_data([(Image.new("RGB", (6, 4)), mask)], "train", SPEC)  # type: ignore[arg-type]


def label_set(labels: Tensor, names: tuple[str, ...] = ()) -> ImageSet:
    return ImageSet(torch.zeros(len(labels), 3, 4, 6, dtype=torch.uint8), labels, names)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.full((2, 4, 6), 3, dtype=torch.uint8), r"masks hold values from 3 to 3, the model has 3 classes \(0 to 2\); .* `ignore`"),
        (torch.zeros(2, dtype=torch.long), "the model's task is segmentation, which takes one label a pixel .* one label an image"),
        (torch.zeros(2, 4, 5, dtype=torch.uint8), r"the masks have shape \[4, 5\], the model expects \[4, 6\]"),
    ],
)
def test_masks_that_do_not_fit_the_model_are_refused(labels: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_data(label_set(labels), "train", SPEC)


def test_a_classifier_takes_no_masks_and_named_classes_must_be_as_many_as_the_models() -> None:
    masks = torch.zeros(2, 4, 6, dtype=torch.uint8)
    with pytest.raises(InputError, match="the model's task is classification, which takes one label an image; the data have one label a"):
        load_data(label_set(masks), "train", Spec(shape=(3, 4, 6), classes=3))
    with pytest.raises(InputError, match="the data have 2 classes a pixel can be of, the model 3: check `classes`"):
        load_data(label_set(masks, ("a", "b")), "train", SPEC)
    masks[0] = VOID
    assert len(load_data(label_set(masks), "train", SPEC)) == 2


class Pairs(Dataset[tuple[Image.Image, Image.Image]]):
    """Pictures whose left halves are class 1."""

    def __init__(self, images: int = 6) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, number: int) -> tuple[Image.Image, Image.Image]:
        map_ = np.zeros((4, 6), dtype=np.uint8)
        map_[:, :3], map_[0, 0] = 1, number % 3
        return Image.fromarray(np.full((4, 6, 3), 10 * number, dtype=np.uint8)), Image.fromarray(map_)


def test_a_large_set_of_masks_is_streamed_and_gives_what_one_in_memory_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = load_data(Pairs(), "train", SPEC)
    monkeypatch.setattr(loading, "IN_MEMORY_BYTES", 10)
    streamed = load_data(Pairs(), "train", SPEC)
    assert isinstance(streamed, StreamedSet)
    for one, other in zip(kept.batches(4), streamed.batches(4), strict=True):
        assert one.targets is not None
        assert other.targets is not None
        assert one.targets.dtype == other.targets.dtype == torch.long
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.images, other.images)
    index = torch.tensor([5, 2])
    first, second = kept.batch(index), streamed.batch(index)
    assert first.targets is not None
    assert second.targets is not None
    assert torch.equal(first.targets, second.targets)
    assert isinstance(kept, ImageSet)
    options: dict[str, Any] = {"size": 3, "seed": 1, "device": torch.device("cpu"), "augmentation": "shift-flip"}
    sources = Stored(kept, **options), Streamed(streamed, workers=0, **options)
    for step in range(4):
        alike, again = (source.batch(step) for source in sources)
        assert torch.equal(alike.images, again.images)
        assert alike.targets is not None
        assert again.targets is not None
        assert torch.equal(alike.targets, again.targets)


def test_a_wrong_value_in_a_streamed_mask_is_told_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "IN_MEMORY_BYTES", 10)
    found = load_data(Pairs(), "train", Spec(shape=(3, 4, 6), classes=2, task="segmentation"))
    with pytest.raises(InputError, match="image 2: masks hold values from 0 to 2, the model has 2 classes"):
        found.batch(torch.tensor([2]))


@pytest.mark.parametrize("kind", ["shift", "shift-flip"])
def test_image_and_mask_move_together_and_nothing_comes_in_with_a_class(kind: Any) -> None:
    maps = torch.randint(3, (64, 16, 24), generator=torch.Generator().manual_seed(0))
    images = ((maps.float() + 1) / 4)[:, None]
    moved = augmented(Batch(images, maps, index=torch.arange(64)), kind, torch.Generator().manual_seed(1))
    assert torch.equal(moved.images, augment(images, kind, torch.Generator().manual_seed(1)))
    assert moved.targets is not None
    came_in = moved.images[:, 0] == 0
    assert torch.equal(moved.targets == VOID, came_in)
    assert torch.equal(moved.targets[~came_in], (moved.images[:, 0][~came_in] * 4 - 1).round().long())
    assert 0.02 < float(came_in.float().mean()) < 0.2
    assert moved.index is not None


def test_a_crop_of_an_image_and_that_of_its_mask_are_the_same() -> None:
    line = (torch.arange(32) + 0.5) / 32
    images = (line[:, None] * line).expand(40, 1, 32, 32)
    maps = (images[:, 0] * 4).floor().long()
    moved = augmented(Batch(images, maps, index=torch.arange(40)), "crop-flip", torch.Generator().manual_seed(1))
    assert torch.equal(moved.images, augment(images, "crop-flip", torch.Generator().manual_seed(1)))
    assert moved.targets is not None
    assert moved.targets.dtype == torch.long
    sure = ((moved.images[:, 0] * 4) % 1 - 0.5).abs() < 0.3
    assert torch.equal(moved.targets[sure], (moved.images[:, 0] * 4).floor().long()[sure])
    assert 0 <= int(moved.targets.min()) <= int(moved.targets.max()) < 4
    assert len({image.numpy().tobytes() for image in moved.images}) == 40


def test_other_targets_stay_as_they_are() -> None:
    batch = Batch(torch.rand(4, 1, 8, 8), torch.arange(4), logits=torch.rand(4, 4))
    assert augmented(batch, "none", torch.Generator()) is batch
    moved = augmented(batch, "shift", torch.Generator().manual_seed(0))
    assert moved.targets is batch.targets
    assert moved.logits is None


def save_pairs(images: Path, masks: Path, count: int, *, end: str = "", suffix: str = ".png") -> None:
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((4, 6, 3), 20 * number, dtype=np.uint8)).save(images / f"{number:03d}{suffix}")
        coloured(index_map(number)).save(masks / f"{number:03d}{end}.png")


@pytest.mark.parametrize("layout", ["{split}/images {split}/masks", "images/{split} annotations/{split}", "{split} {split}annot"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training", "testing")])
def test_folders_of_images_and_masks_are_read(tmp_path: Path, layout: str, train: str, test: str) -> None:
    for split, count in ((train, 3), (test, 2)):
        images, masks = layout.format(split=split).split()
        save_pairs(tmp_path / images, tmp_path / masks, count)
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    for split, count in (("train", 3), ("test", 2)):
        found = load_data(str(tmp_path), split, SPEC)
        assert isinstance(found, ImageSet)
        assert found.names == ("sky", "road", "car")
        assert [int(image[0, 0, 0]) for image in found.images] == [20 * number for number in range(count)]
        assert np.array_equal(found.labels.numpy(), np.stack([index_map(number) for number in range(count)]))
    with pytest.raises(InputError, match="has no split 'validation' of images and masks: it has train, test"):
        load_data(str(tmp_path), "validation", SPEC)


def test_a_folder_without_splits_is_the_train_split_and_masks_may_be_named_by_an_ending(tmp_path: Path) -> None:
    save_pairs(tmp_path / "images", tmp_path / "masks", 2, end="_L")
    assert len(load_data(str(tmp_path), "train", SPEC)) == 2
    with pytest.raises(InputError, match="no split 'test' of images and masks: it has train"):
        load_data(str(tmp_path), "test", SPEC)
    (tmp_path / "masks" / "001_L.png").unlink()
    with pytest.raises(InputError, match=r"001.png has no mask: expected .*masks.001.png"):
        load_data(str(tmp_path), "train", SPEC)


@pytest.mark.parametrize("columns", [("image", "mask"), ("pixel_values", "label"), ("img", "annotation")])
def test_a_set_with_columns_of_images_and_masks_is_read(tmp_path: Path, columns: tuple[str, str]) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "data").mkdir()
    rows = {columns[1]: [coloured(index_map(n)) for n in range(3)], columns[0]: [Image.new("RGB", (6, 4), (n, 0, 0)) for n in range(3)]}
    features = datasets.Features({name: datasets.Image() for name in rows})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "data" / "train-00000.parquet"))
    for spec in (SPEC, None):
        found = load_data(str(tmp_path), "train", spec)
        assert isinstance(found, ImageSet)
        assert found.images[:, 0, 0, 0].tolist() == [0, 1, 2]
        assert np.array_equal(found.labels.numpy(), np.stack([index_map(number) for number in range(3)]))


def test_a_set_without_masks_is_refused_with_its_columns(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "data").mkdir()
    features = datasets.Features({"image": datasets.Image()})
    made = datasets.Dataset.from_dict({"image": [Image.new("RGB", (6, 4))]}, features=features)
    made.to_parquet(str(tmp_path / "data" / "train-00000.parquet"))
    with pytest.raises(InputError, match="no columns of images and masks; they have image"):
        load_data(str(tmp_path), "train", SPEC)

"""Data: the embedded digits, folders, parquet, sets by import path, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.spec import Spec
from tacit.data import Augmentation, ImageSet, StreamedSet, any_classes, augment, digits, has_splits, load_data, local_folder
from tacit.data.columns import load_column
from tacit.data.images import ANY_NUMBER
from tacit.data.read import as_image
from toy import Squares


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def in_memory(found: Any) -> ImageSet:
    assert isinstance(found, ImageSet)
    return found


def picture(value: int, size: tuple[int, int] = (6, 4), mode: str = "L") -> Image.Image:
    return Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value))


def folder_of_images(root: Path, *, suffix: str = "png", **save: Any) -> Path:
    """Two classes; in `train` three of each, in `test` one; the grey value is 10 * class + number."""
    for split, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                picture(10 * label + number).save(root / split / name / f"{number}.{suffix}", **save)
    return root


def test_the_digits_are_split_once_and_for_all() -> None:
    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1257, 540)
    together = torch.cat([train.images, test.images]).flatten(1)
    source = torch.from_numpy(np.round(load_digits().data * 255 / 16).astype(np.uint8))
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, source.tolist()))
    again = digits("test")
    assert torch.equal(again.images, test.images)
    assert test.names == tuple("0123456789")


def test_no_digit_is_in_both_splits() -> None:
    everything = {tuple(row): number for number, row in enumerate(load_digits().data.round().astype(int).tolist())}
    assert len(everything) == 1797
    rows = [
        {tuple((row.float() * 16 / 255).round().int().tolist()) for row in digits(split).images.flatten(1)} for split in ("train", "test")
    ]
    assert rows[0] | rows[1] == set(everything)
    assert not rows[0] & rows[1]


def test_digits_are_stratified_and_labelled_as_scikit_learn_does() -> None:
    train, test = digits("train"), digits("test")
    labels = {tuple(row): int(label) for row, label in zip(load_digits().data.astype(int).tolist(), load_digits().target, strict=True)}
    for part in (train, test):
        said = [labels[tuple((row.float() * 16 / 255).round().int().tolist())] for row in part.images.flatten(1)]
        assert said == part.labels.tolist()
    shares = [torch.bincount(part.labels, minlength=10) / len(part) for part in (train, test)]
    assert float((shares[0] - shares[1]).abs().max()) < 0.002


def test_digits_have_no_other_split() -> None:
    with pytest.raises(InputError, match="digits has 'train' and 'test', got 'validation'"):
        digits("validation")


def test_an_image_set_gives_floats_in_zero_to_one_and_goes_through_all_in_order() -> None:
    found = ImageSet(torch.arange(0, 250, 50, dtype=torch.uint8).view(5, 1, 1, 1), torch.arange(5))
    batches = list(found.batches(2))
    assert [len(batch.images) for batch in batches] == [2, 2, 1]
    assert torch.cat([batch.images for batch in batches]).flatten().mul(255).round().tolist() == [0, 50, 100, 150, 200]
    picked = found.batch(torch.tensor([3, 1]))
    assert picked.targets is not None
    assert picked.targets.tolist() == [3, 1]
    assert picked.index is not None
    assert picked.index.tolist() == [3, 1]


def shifted(image: np.ndarray, down: int, across: int, mirror: bool) -> np.ndarray:
    """Return `image` moved by (down, across), zeros coming in; mirrored first or not."""
    channels, height, width = image.shape
    out = np.zeros_like(image)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                if 0 <= y - down < height and 0 <= x - across < width:
                    out[c, y, x] = image[c, y - down, width - 1 - (x - across) if mirror else x - across]
    return out


@pytest.mark.parametrize("kind", ["shift", "shift-flip"])
@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 17, 9), (3, 3, 5)])
def test_every_augmented_image_is_a_shifted_copy_and_all_shifts_come(kind: Augmentation, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    image = torch.rand(shape)
    found = augment(image.expand(300, *shape), kind, seeded())
    down, across = max(1, shape[1] // 8), max(1, shape[2] // 8)
    copies = {
        (dy, dx, mirror): shifted(image.numpy(), dy, dx, mirror)
        for dy in range(-down, down + 1)
        for dx in range(-across, across + 1)
        for mirror in {False, kind == "shift-flip"}
    }
    seen: dict[tuple[int, int, bool], int] = dict.fromkeys(copies, 0)
    for made in found.numpy():
        (key,) = [key for key, copy in copies.items() if np.array_equal(copy, made)]
        seen[key] += 1
    assert min(seen.values()) > 0
    if kind == "shift-flip":
        assert 110 < sum(count for key, count in seen.items() if key[2]) < 190


def test_augmentation_draws_from_the_generator_alone_and_none_is_the_identity() -> None:
    images = torch.rand(8, 1, 8, 8)
    assert augment(images, "none", seeded()) is images
    first, again, other = (augment(images, "shift", seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_folder_of_images_is_read_with_its_splits_and_class_names(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    root = folder_of_images(tmp_path)
    train, test = (in_memory(load_data(str(root), split)) for split in ("train", "test"))
    assert (len(train), len(test), train.names) == (6, 2, ("cat", "dog"))
    assert train.images.shape == (6, 1, 4, 6)
    found = sorted(zip(train.labels.tolist(), train.images[:, 0, 0, 0].tolist(), strict=True))
    assert found == [(0, 0), (0, 1), (0, 2), (1, 10), (1, 11), (1, 12)]


def listed(root: Path, split: str, labels: list[str]) -> None:
    (root / split).mkdir(parents=True)
    for number in range(len(labels)):
        picture(10 * number).save(root / split / f"{number}.png")
    rows = [f"{number}.png,{label},{'east' if number else 'west'}" for number, label in enumerate(labels)]
    (root / split / "metadata.csv").write_text("\n".join(["file_name,label,site", *rows]), encoding="utf-8")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # `datasets` leaves the table open
def test_pictures_that_a_table_labels_are_read_with_numbers_and_with_words_of_which_one_split_lacks_some(tmp_path: Path) -> None:
    listed(tmp_path / "numbers", "train", ["2", "0", "2"])
    assert in_memory(load_data(str(tmp_path / "numbers"), "train")).labels.tolist() == [2, 0, 2]
    listed(tmp_path / "words", "train", ["dog", "cat", "emu", "cat"])
    listed(tmp_path / "words", "test", ["emu", "dog"])
    train, test = (in_memory(load_data(str(tmp_path / "words"), split)) for split in ("train", "test"))
    assert train.names == test.names == ("cat", "dog", "emu")
    assert (train.labels.tolist(), test.labels.tolist()) == ([1, 0, 2, 0], [2, 1])
    spec = Spec(shape=(1, 6, 4), classes=4, names=("ant", "emu", "dog", "cat"))
    assert in_memory(load_data(str(tmp_path / "words"), "test", spec)).labels.tolist() == [1, 2]
    assert load_column(str(tmp_path / "words"), "train", "site") == ["west", "east", "east", "east"]
    assert in_memory(load_data(f"{tmp_path / 'words'}#site", "train")).names == ("east", "west")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # `datasets` leaves the table open
def test_a_picture_that_a_table_leaves_without_a_word_is_refused(tmp_path: Path) -> None:
    listed(tmp_path, "train", ["dog", "", "emu"])
    with pytest.raises(InputError, match="the data have images without a 'label': expected a word or a number for each"):
        load_data(str(tmp_path), "train")


def test_parquet_with_image_bytes_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"img": [picture(value) for value in (5, 6, 7)], "fine_label": [0, 1, 1]}
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "data" / "train-00000.parquet"))
    found = in_memory(load_data(str(tmp_path), "train"))
    assert found.images[:, 0, 0, 0].tolist() == [5, 6, 7]
    assert (found.labels.tolist(), found.names) == ([0, 1, 1], ("no", "yes"))


def test_pictures_take_the_channels_and_the_size_of_the_model(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    found = in_memory(load_data(str(folder_of_images(tmp_path)), "train", Spec(shape=(3, 8, 8), classes=2)))
    assert found.images.shape == (6, 3, 8, 8)
    assert torch.equal(found.images.amin(dim=(1, 2, 3)), found.images.amax(dim=(1, 2, 3)))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ((), [0, 0, 0, 1, 1, 1]),
        (("cat", "cow", "dog"), [0, 0, 0, 2, 2, 2]),
        (("dog", "cow", "cat"), [2, 2, 2, 0, 0, 0]),
        (("ant", "bee", "cow"), [0, 0, 0, 1, 1, 1]),
        (("Dog", "cow", " CAT"), [2, 2, 2, 0, 0, 0]),
    ],
)
def test_classes_that_the_model_names_are_numbered_as_the_model_does(
    names: tuple[str, ...],
    labels: list[int],
    streamed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A folder that lacks a class would else take all after it for others."""
    pytest.importorskip("datasets")
    if streamed:
        monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 0)
    found = load_data(str(folder_of_images(tmp_path)), "train", Spec(shape=(1, 8, 8), classes=3, names=names))
    assert ("which the model does not name" in caplog.text) == ("ant" in names)
    assert isinstance(found, StreamedSet) == streamed
    taken = found.batch(torch.arange(6)).targets
    assert taken is not None
    assert taken.tolist() == labels


def test_an_unknown_split_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(InputError, match="split 'nosuch'"):
        load_data(str(folder_of_images(tmp_path / "full")), "nosuch")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("later")
    with pytest.raises(InputError, match=r"empty holds no images .* and no parquet file"):
        load_data(str(tmp_path / "empty"), "train")


def test_a_damaged_picture_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    root = folder_of_images(tmp_path)
    (root / "train" / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"image \d+ can't be read: cannot identify image file"):
        load_data(str(root), "train")


def test_labels_beyond_the_models_classes_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    found = ImageSet(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 5, 1]))
    with pytest.raises(InputError, match=r"labels run from 0 to 5, the model has 5 classes \(0 to 4\)"):
        load_data(found, "train", Spec(shape=(1, 4, 4), classes=5))
    with pytest.raises(InputError, match="labels run from -1"):
        ImageSet(found.images, found.labels - 1).check(Spec(shape=(1, 4, 4), classes=5))
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        picture(1).save(tmp_path / name / "0.png")
    with pytest.raises(InputError, match="labels run from 0 to 2, the model has 2"):
        load_data(str(tmp_path), "train", Spec(shape=(1, 4, 6), classes=2))


def test_images_of_another_shape_and_no_images_are_refused() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"the images have shape \[1, 4, 4\], the model expects \[3, 4, 4\]"):
        load_data(ImageSet(images, torch.tensor([0, 1])), "train", Spec(shape=(3, 4, 4), classes=2))
    with pytest.raises(InputError, match="the data hold no images"):
        ImageSet(images[:0], torch.zeros(0, dtype=torch.long)).check(Spec(shape=(1, 4, 4), classes=2))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_torch_dataset_is_found_by_import_path_and_told_the_split(split: str) -> None:
    found = in_memory(load_data("toy:Squares", split, Spec(shape=(1, 4, 4), classes=5)))
    assert found.labels.tolist() == [0, 1, 2, 3, 4] * 2
    assert found.images.flatten(1).gt(0).sum(dim=1).tolist() == found.labels.tolist()
    assert found.images.max() == 255


def test_a_torch_dataset_can_be_given_itself() -> None:
    assert len(load_data(Squares(), "train")) == 10


@pytest.mark.parametrize("called", ["dog", "Dog"])
def test_a_folder_of_one_class_is_labelled_where_the_model_knows_the_class(called: str, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "train" / called).mkdir(parents=True)
    for number in range(2):
        picture(number).save(tmp_path / "train" / called / f"{number}.png")
    found = in_memory(load_data(str(tmp_path), "train", Spec(shape=(1, 4, 6), classes=2, names=("cat", "dog"))))
    assert found.labels.tolist() == [1, 1]
    for names in ((), ("bird", "fish")):
        with pytest.raises(InputError, match="no label column; they have image: expected one sub-folder a class"):
            load_data(str(tmp_path), "train", Spec(shape=(1, 4, 6), classes=2, names=names))


@pytest.mark.parametrize("below", [".", "train"])
@pytest.mark.parametrize("classes", [2, ANY_NUMBER])
def test_the_folder_itself_is_no_class(below: str, classes: int, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    place = tmp_path / "dog" / below
    place.mkdir(parents=True)
    picture(0).save(place / "0.png")
    spec = Spec(shape=(1, 4, 6), classes=classes, names=() if classes == ANY_NUMBER else ("train", "dog"))
    with pytest.raises(InputError, match="no label column; they have image: expected one sub-folder a class"):
        load_data(str(tmp_path / "dog"), "train", spec)


def test_a_folder_that_nobody_has_labelled_is_read_where_no_labels_are_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    spec = Spec(shape=(1, 4, 6), classes=2)
    found = in_memory(load_data(str(tmp_path), "train", any_classes(spec)))
    assert found.labels.tolist() == [-1, -1, -1]
    assert found.images.shape == (3, 1, 4, 6)
    with pytest.raises(InputError, match="no label column"):
        load_data(str(tmp_path), "train", spec)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("toy:NUMBER", "toy:NUMBER gave a int, expected a torch Dataset with a length"),
        ("toy:Squarez", "did you mean 'Squares'"),
        ("nowhere:data", "can't import 'nowhere'"),
    ],
)
def test_an_import_path_that_gives_no_data_is_refused(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_data(name, "train")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.tensor([[[-0.5, 1.0]]]), r"float images must be in \[0, 1\], got -0.5 to 1"),
        (torch.tensor([[[0.0, 255.0]]]), r"float images must be in \[0, 1\], got 0 to 255"),
        (torch.full((1, 2, 2), float("nan")), r"must be in \[0, 1\]"),
        (torch.zeros(1, 2, 2, dtype=torch.int32), "expected uint8 or float images"),
        (np.zeros((2, 2, 2, 2), dtype=np.uint8), r"expected uint8 or float images of shape \(C, H, W\)"),
    ],
)
def test_arrays_that_are_no_images_are_refused(image: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_image(image, None)


def test_arrays_with_their_channels_last_are_told_that_channels_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: Any = [(np.zeros((8, 8, 3), dtype=np.uint8), 0)] * 4
    spec = Spec(shape=(3, 8, 8), classes=2)
    said = r"shape \[8, 8, 3\], the model expects \[3, 8, 8\]: channels come first, as after `permute\(2, 0, 1\)`"
    with pytest.raises(InputError, match=f"the images have {said}"):
        load_data(rows, "train", spec)
    with pytest.raises(InputError, match=r"expects \[3, 4, 8\]$"):
        load_data([(np.zeros((3, 8, 8), dtype=np.uint8), 0)], "train", Spec(shape=(3, 4, 8), classes=2))  # type: ignore[arg-type]
    monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    with pytest.raises(InputError, match=f"image 0 has {said}"):
        load_data(rows, "train", spec)


def test_arrays_become_8_bit_images() -> None:
    assert as_image(torch.tensor([[0.0, 0.5], [1.0, 0.2]]), None).tolist() == [[[0, 128], [255, 51]]]
    assert as_image(np.array([[[7, 8]]], dtype=np.uint8), None).tolist() == [[[7, 8]]]


@pytest.mark.parametrize(("mode", "shape"), [("L", (1, 4, 6)), ("RGB", (3, 4, 6)), ("P", (3, 4, 6)), ("1", (3, 4, 6)), ("RGBA", (4, 4, 6))])
def test_pictures_of_any_mode_are_read(mode: str, shape: tuple[int, int, int]) -> None:
    assert tuple(as_image(picture(9).convert(mode), None).shape) == shape
    assert tuple(as_image(picture(9).convert(mode), Spec(shape=(1, 4, 6), classes=2)).shape) == (1, 4, 6)


def test_a_grey_picture_of_16_bits_keeps_its_greys() -> None:
    values = np.array([[0, 257 * 64, 257 * 128, 65535]], dtype=np.uint16)
    found = as_image(Image.fromarray(values), Spec(shape=(1, 1, 4), classes=2))
    assert found.flatten().tolist() == pytest.approx([0, 64, 128, 255], abs=1)


def reopened(values: Any, kind: str) -> Image.Image:
    stored = io.BytesIO()
    Image.fromarray(values).save(stored, kind)
    return Image.open(stored)


def test_grey_pictures_of_more_than_8_bits_are_read_by_what_their_file_says() -> None:
    dark, bright = np.array([[0, 100, 255]], dtype=np.uint16), np.array([[0, 100 * 256, 65535]], dtype=np.uint16)
    spec = Spec(shape=(1, 1, 3), classes=2)
    for kind in ("PNG", "TIFF", "PPM"):
        assert as_image(reopened(dark, kind), spec).flatten().tolist() == [0, 0, 0]
        assert as_image(reopened(bright, kind), spec).flatten().tolist() == [0, 100, 255]
    assert as_image(reopened(bright.astype(np.int32), "TIFF"), spec).flatten().tolist() == [0, 100, 255]
    assert as_image(Image.fromarray(0 * dark.astype(np.int32)), spec).flatten().tolist() == [0, 0, 0]
    twelve = Image.fromarray(bright // 16)
    twelve.tag_v2 = {258: (12,)}  # type: ignore[attr-defined]  # which Pillow reads, but does not write
    assert as_image(twelve, spec).flatten().tolist() == [0, 100, 255]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[0, 100, 255]], "with values up to 255 may be a dark one of 16 bits or one of 8: save it"),
        ([[-1, 100, 300]], "expected grey values of 16 bits, 0 to 65535, got -1 to 300"),
        ([[0, 100, 70000]], "expected grey values of 16 bits, 0 to 65535, got 0 to 70000"),
    ],
)
def test_a_grey_picture_of_32_bits_that_could_be_of_8_is_refused(values: list[list[int]], words: str) -> None:
    made = np.array(values, dtype=np.int32)
    for found in (Image.fromarray(made), reopened(made, "TIFF")):
        with pytest.raises(InputError, match=words):
            as_image(found, None)


def test_a_grey_picture_of_floats_is_in_0_to_1_as_other_floats_are() -> None:
    ramp = np.tile(np.array([0.0, 0.2, 0.5, 1.0], dtype=np.float32), (4, 1))
    assert as_image(reopened(ramp, "TIFF"), Spec(shape=(1, 4, 4), classes=2))[0, 0].tolist() == [0, 51, 128, 255]
    assert tuple(as_image(Image.fromarray(ramp), Spec(shape=(3, 2, 2), classes=2)).shape) == (3, 2, 2)
    with pytest.raises(InputError, match=r"float images must be in \[0, 1\], got 0 to 255"):
        as_image(Image.fromarray(255 * ramp), None)


@pytest.mark.parametrize("size", [(16, 8), (8, 16), (4, 4), (8, 8), (9, 7)])
def test_a_picture_is_scaled_by_its_shorter_side_and_cut_in_the_middle(size: tuple[int, int]) -> None:
    width, height = size
    ramp = (
        np.tile(np.linspace(0, 255, width)[None], (height, 1))
        if width >= height
        else np.tile(np.linspace(0, 255, height)[:, None], (1, width))
    )
    found = as_image(Image.fromarray(ramp.astype(np.uint8)), Spec(shape=(1, 8, 8), classes=2))[0].double()
    line = found.mean(dim=0) if width >= height else found.mean(dim=1)
    assert tuple(found.shape) == (8, 8)
    assert bool((line.diff() > 0).all())
    assert float(line.mean()) == pytest.approx(127.5, abs=4)
    long, short = max(size), min(size)
    assert float(line[-1] - line[0]) == pytest.approx(255 * 7 / 8 * short / (long - 1), rel=0.16)


@pytest.mark.parametrize("crop", [1.0, 0.875, 0.5])
def test_a_picture_of_another_size_is_seen_in_the_middle_up_to_the_share_of_its_shorter_side(crop: float) -> None:
    ramp = np.tile(np.linspace(0, 255, 64)[None], (80, 1)).astype(np.uint8)
    spec = Spec(shape=(1, 28, 28), classes=2, crop=crop)
    line = as_image(Image.fromarray(ramp), spec)[0].double().mean(dim=0)
    assert float(line[-1] - line[0]) == pytest.approx(255 * crop * 27 / 28, rel=0.05)
    assert float(line.mean()) == pytest.approx(127.5, abs=2)
    exact = Image.fromarray(ramp[:28, :28])
    assert np.array_equal(as_image(exact, spec)[0].numpy(), ramp[:28, :28])


def test_a_share_of_nothing_or_of_more_than_all_is_refused() -> None:
    for crop in (0.0, 1.2):
        with pytest.raises(InputError, match="crop: expected a share above 0, up to 1"):
            Spec(shape=(1, 28, 28), classes=2, crop=crop)


def both(source: Callable[[], Any], spec: Spec | None, monkeypatch: pytest.MonkeyPatch) -> tuple[ImageSet, StreamedSet]:
    stored = in_memory(load_data(source(), "train", spec))
    with monkeypatch.context() as patch:
        patch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
        streamed = load_data(source(), "train", spec)
    assert isinstance(streamed, StreamedSet)
    return stored, streamed


def whole(found: ImageSet | StreamedSet) -> tuple[Tensor, Tensor]:
    batches = list(found.batches(4))
    return torch.cat([batch.images for batch in batches]), torch.cat([batch.targets for batch in batches if batch.targets is not None])


@pytest.mark.parametrize("kind", ["torch", "folder"])
def test_a_streamed_set_gives_what_a_set_in_memory_gives(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "folder":
        pytest.importorskip("datasets")
        folder_of_images(tmp_path)
    spec = Spec(shape=(1, 4, 4), classes=5)
    stored, streamed = both(lambda: str(tmp_path) if kind == "folder" else Squares(), spec, monkeypatch)
    assert len(streamed) == len(stored)
    for ours, theirs in zip(whole(streamed), whole(stored), strict=True):
        assert torch.equal(ours, theirs)
    index = torch.tensor([3, 0, 5])
    left, right = streamed.batch(index), stored.batch(index)
    assert torch.equal(left.images, right.images)
    assert left.targets is not None
    assert right.targets is not None
    assert torch.equal(left.targets, right.targets)


def test_a_streamed_set_with_more_classes_than_the_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        picture(1).save(tmp_path / name / "0.png")
    monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    with pytest.raises(InputError, match="the data have 3 classes, the model 2"):
        load_data(str(tmp_path), "train", Spec(shape=(1, 4, 4), classes=2))


def test_a_streamed_label_beyond_the_models_classes_is_refused_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    streamed = load_data(Squares(), "train", Spec(shape=(1, 4, 4), classes=3))
    with pytest.raises(InputError, match="label"):
        list(streamed.batches(4))


def test_streamed_arrays_of_another_shape_than_the_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    with pytest.raises(InputError, match=r"shape \[1, 4, 4\], the model expects \[1, 5, 5\]"):
        load_data(Squares(), "train", Spec(shape=(1, 5, 5), classes=5))


class Mixed(Squares):
    """The third picture is larger."""

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return (torch.zeros(1, 5, 5), 0) if number == 2 else super().__getitem__(number)


class Worded(Squares):
    """Labels are words."""

    def __getitem__(self, number: int) -> Any:
        return super().__getitem__(number)[0], "cat"


def test_pictures_of_different_sizes_and_labels_in_words_are_refused() -> None:
    with pytest.raises(InputError, match=r"image 2 has shape \[1, 5, 5\], image 0 has \[1, 4, 4\]"):
        load_data(Mixed(), "train")
    with pytest.raises(InputError, match="expected class numbers as labels, got 'cat'"):
        load_data(Worded(), "train")


def cut_short() -> Image.Image:
    """Return a picture whose file ends in the middle, which is noticed when its pixels are wanted."""
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "JPEG")
    return Image.open(io.BytesIO(whole.getvalue()[:-1000]))


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ((torch.zeros(1, 4, 4), 1.5), "image 1: expected class numbers as labels, got 1.5"),
        ((torch.zeros(1, 4, 4), float("inf")), "image 1: expected class numbers as labels, got inf"),
        ((torch.zeros(1, 4, 4), torch.tensor([0.0, 1.0])), "image 1: expected class numbers as labels, got tensor"),
        ((torch.full((1, 4, 4), 7.0), 1), r"image 1: float images must be in \[0, 1\]"),
        ({"image": torch.zeros(1, 4, 4), "label": 1}, "image 1: expected an image at 0 and its label at 1 of a sample, got a dict"),
        ((torch.zeros(1, 4, 4),), "image 1: expected an image at 0 and its label at 1 of a sample, got a tuple of 1"),
        ((cut_short(), 1), "image 1 can't be read: .*truncated"),
    ],
)
def test_what_is_wrong_with_a_sample_is_told_with_its_number(sample: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_data([(torch.zeros(1, 4, 4), 0), sample], "train")  # type: ignore[arg-type]


def test_whole_numbers_of_any_kind_are_labels() -> None:
    kinds = (1, 1.0, True, np.int16(1), np.float32(1), torch.tensor(1), torch.tensor([1]), torch.tensor(1.0), "1")
    found = in_memory(load_data([(torch.zeros(1, 4, 4), label) for label in kinds], "train"))  # type: ignore[arg-type]
    assert found.labels.tolist() == [1] * len(kinds)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(InputError, match="the data hold no images"):
        load_data(Squares(images=0), "train")


def test_an_id_may_carry_the_name_of_a_configuration(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=2)})
    about = ["---", "configs:"]
    for name, value in (("full_numbers", 5), ("cropped_digits", 9)):
        (tmp_path / "svhn" / name).mkdir(parents=True)
        rows = {"image": [picture(value)], "label": [1]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "svhn" / name / "test-00000-of-00001.parquet"))
        about += [f"- config_name: {name}", "  data_files:", "  - split: test", f"    path: {name}/test-*"]
    (tmp_path / "svhn" / "README.md").write_text("\n".join([*about, "---", ""]))
    assert in_memory(load_data(f"{tmp_path}/svhn@cropped_digits", "test")).images[:, 0, 0, 0].tolist() == [9]
    assert in_memory(load_data(f"{tmp_path}/svhn@full_numbers", "test")).images[:, 0, 0, 0].tolist() == [5]
    with pytest.raises(InputError, match="nosuch"):
        load_data(f"{tmp_path}/svhn@nosuch", "test")
    assert has_splits(f"{tmp_path}/svhn@cropped_digits")


def test_the_hub_is_asked_for_the_id_and_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, configuration: str | None = None, *, split: str) -> Any:
        asked.append((name, configuration, split))
        raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['cropped_digits', 'full_numbers']\nMore")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for name in ("ufldl-stanford/svhn@cropped_digits", "ylecun/mnist"):
        with pytest.raises(
            InputError, match=rf"available configs: \['cropped_digits', 'full_numbers'\] Write it as `{name.partition('@')[0]}@"
        ):
            load_data(name, "train")
    assert asked == [("ufldl-stanford/svhn", "cropped_digits", "train"), ("ylecun/mnist", None, "train")]


@pytest.mark.parametrize("name", ["ufldl-stanford/svhn@", "@cropped_digits"])
def test_half_a_configuration_is_refused(name: str) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(InputError, match="expected a name, an @ and a configuration"):
        load_data(name, "train")


def test_a_folder_may_have_an_at_in_its_name(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    assert len(load_data(str(folder_of_images(tmp_path / "pets@home")), "train")) == 6


def test_a_folder_of_this_machine_is_told_from_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scans", "digits", "street"):
        (tmp_path / name).mkdir()
    for data, folder in (("scans", "scans"), ("scans#age", "scans"), ("./gone", "gone"), ("/gone", "/gone")):
        assert local_folder(data) == Path(folder)
    for name in ("digits", "street", "ylecun/mnist", "ufldl-stanford/svhn@cropped_digits", "toyfed:masked"):
        assert local_folder(name) is None

"""Loading data: embedded digits, rendered solids, Hugging Face sets and folders, or any torch `Dataset` by import path."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tacit.core.batch import Batch
from tacit.core.errors import InputError, MissingExtraError
from tacit.core.models import import_object
from tacit.core.network import Spec
from tacit.data.images import ImageSet
from tacit.data.rendered import solids

if TYPE_CHECKING:
    from datasets import Dataset as HubDataset

__all__ = ["Data", "StreamedSet", "digits", "has_splits", "load_data"]

IN_MEMORY_BYTES = 2 * 2**30
"""Sets whose 8-bit images take more than this are streamed from disk."""


class StreamedSet(Dataset[tuple[Tensor, int]]):
    """A large set: images are decoded, fitted to the model's shape, and batched by a `DataLoader`."""

    def __init__(
        self, rows: Any, spec: Spec | None = None, names: tuple[str, ...] = (), *, image: str | int = 0, label: str | int = 1
    ) -> None:
        self.rows, self.spec, self.names, self.image, self.label = rows, spec, names, image, label

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        image, label = _read(self.rows, int(number), self.image, self.label, self.spec)
        if self.spec is not None and tuple(image.shape) != self.spec.shape:
            raise InputError(f"image {number} has shape {list(image.shape)}, the model expects {list(self.spec.shape)}")
        if self.spec is not None and not 0 <= label < self.spec.classes:
            raise InputError(f"image {number} has label {label}, the model has classes 0 to {self.spec.classes - 1}")
        return image, label

    def loader(self, order: Sequence[list[int]] | None = None, size: int = 256, workers: int = 0) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return a loader of the batches in `order`, or of the whole set in its own order."""
        if order is not None:
            return cast(
                "DataLoader[tuple[Tensor, Tensor]]", DataLoader(self, batch_sampler=order, num_workers=workers, generator=torch.Generator())
            )
        return cast(
            "DataLoader[tuple[Tensor, Tensor]]", DataLoader(self, batch_size=size, num_workers=workers, generator=torch.Generator())
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the whole set in order, `size` images at a time."""
        for images, labels in self.loader(size=size):
            yield Batch(images.float().div(255), labels)

    def batch(self, index: Tensor) -> Batch:
        """Return the samples at `index`."""
        pairs = [self[int(number)] for number in index]
        return Batch(
            torch.stack([image for image, _ in pairs]).float().div(255).to(index.device),
            torch.tensor([label for _, label in pairs], device=index.device),
            index=index,
        )

    def check(self, spec: Spec) -> None:
        """Raise `InputError` where the set is empty or does not fit `spec`; images but the first are checked as they come."""
        if not len(self):
            raise InputError("the data hold no images")
        if len(self.names) > spec.classes:
            raise InputError(f"the data have {len(self.names)} classes, the model {spec.classes}")
        self.spec = spec
        self[0]

    def to(self, device: torch.device) -> StreamedSet:
        """Return itself: streamed images stay where they are."""
        return self


Data = ImageSet | StreamedSet


def digits(split: str = "train") -> ImageSet:
    """Return scikit-learn's handwritten digits (1,797 grey 8x8 images): 70 % ``train``, 30 % ``test``, stratified, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if split not in ("train", "test"):
        raise InputError(f"split: digits has 'train' and 'test', got {split!r}")
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(np.arange(len(labels)), test_size=0.3, random_state=0, stratify=labels)
    chosen = np.sort(parts[0 if split == "train" else 1])
    pixels = np.round(images[chosen].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels[chosen]).long(), tuple(str(d) for d in range(10)))


def load_data(data: str | Data | Dataset[Any], split: str, spec: Spec | None = None) -> Data:
    """Load labelled images.

    Args:
        data: ``digits``; ``solids``, in the model's size; a Hugging Face id, with an ``@`` before the configuration where the set has
            several (``ufldl-stanford/svhn@cropped_digits``); a local folder of images (one sub-folder a class) or of parquet files;
            ``package.module:callable`` that gives a torch `Dataset` of (image, label), and is passed ``split`` where it takes that;
            or such a set itself.
        split: ``train``, ``test``, ... as the set names them.
        spec: What the model expects: pictures of another size are resized (shorter side) and cut in the middle, and take its channels.

    Raises:
        InputError: Where there is no such set or split, it holds no images, or does not fit `spec`.
    """
    if isinstance(data, str):
        loaded = _by_name(data, split, spec)
    elif isinstance(data, ImageSet | StreamedSet):
        loaded = data
    else:
        loaded = _collect(data, spec)
    if spec is not None:
        loaded.check(spec)
    return loaded


def has_splits(data: str | Data | Dataset[Any]) -> bool:
    """Whether `load_data` can tell splits of `data` apart: not for a set given as such, nor for a callable that takes no ``split``."""
    if not isinstance(data, str):
        return False
    if ":" not in data or Path(data).exists():
        return True
    made = import_object(data)
    return callable(made) and "split" in inspect.signature(made).parameters


def _by_name(data: str, split: str, spec: Spec | None) -> Data:
    if data == "digits":
        return digits(split)
    if data == "solids":
        return solids(split) if spec is None else solids(split, size=spec.shape[1:])
    if ":" in data and not Path(data).exists():
        made = import_object(data)
        if callable(made):
            made = made(split=split) if "split" in inspect.signature(made).parameters else made()
        if not hasattr(made, "__getitem__") or not hasattr(made, "__len__"):
            raise InputError(f"{data} gave a {type(made).__name__}, expected a torch Dataset with a length")
        return _collect(made, spec)
    return _from_hub(data, split, spec)


def _from_hub(data: str, split: str, spec: Spec | None) -> Data:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "data", f"loading {data!r}") from error
    datasets.disable_progress_bars()
    folder = Path(data)
    name, at, configuration = data.partition("@")
    if at and not (folder.is_dir() or (name and configuration)):
        raise InputError(f"data: expected a name, an @ and a configuration, as `ufldl-stanford/svhn@cropped_digits`, got {data!r}")
    try:
        found: HubDataset = (
            datasets.load_dataset(_builder(folder), data_dir=str(folder), split=split)
            if folder.is_dir()
            else datasets.load_dataset(name, configuration or None, split=split)
        )
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds, and all mean: this can't be read
        lines = str(error).strip().splitlines() or [type(error).__name__]
        named = " ".join(lines[:2]) + f" Write it as `{name}@...`" if "onfig name is missing" in lines[0] else lines[0]
        raise InputError(f"can't load {data!r}, split {split!r}: {named}") from error
    image = _column(found, "Image", ("image", "img"))
    label = _column(found, "ClassLabel", ("label", "labels", "fine_label"))
    names = tuple(getattr(found.features[label], "names", None) or ())
    return _collect(found, spec, names, image=image, label=label)


def _builder(folder: Path) -> str:
    suffixes = {path.suffix.lower() for path in folder.rglob("*") if path.is_file()}
    if ".parquet" in suffixes:
        return "parquet"
    if suffixes & {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".avif"}:
        return "imagefolder"
    raise InputError(f"{folder} holds no images (PNG, JPEG, ...) and no parquet file")


def _column(found: HubDataset, kind: str, names: tuple[str, ...]) -> str:
    for name, feature in found.features.items():
        if type(feature).__name__ == kind:
            return str(name)
    for name in names:
        if name in found.features:
            return name
    raise InputError(f"the data have no {names[0]} column; they have {', '.join(found.features)}")


def _collect(rows: Any, spec: Spec | None, names: tuple[str, ...] = (), *, image: str | int = 0, label: str | int = 1) -> Data:
    """Return the set in memory where it is small, else streamed."""
    count = len(cast("Sized", rows))
    if count == 0:
        raise InputError("the data hold no images")
    first, _ = _read(rows, 0, image, label, spec)
    if count * first.numel() > IN_MEMORY_BYTES:
        return StreamedSet(rows, spec, names, image=image, label=label)
    images, labels = torch.empty((count, *first.shape), dtype=torch.uint8), torch.empty(count, dtype=torch.long)
    for number in range(count):
        pixels, known_label = _read(rows, number, image, label, spec)
        if pixels.shape != first.shape:
            raise InputError(
                f"image {number} has shape {list(pixels.shape)}, image 0 has {list(first.shape)}: give a model, or resize them"
            )
        images[number], labels[number] = pixels, known_label
    return ImageSet(images, labels, names)


def _read(rows: Any, number: int, image: str | int, label: str | int, spec: Spec | None) -> tuple[Tensor, int]:
    """Return one sample as uint8 (C, H, W) and a class number; `InputError` with its number where it can't be read."""
    try:
        row = rows[number]
    except InputError:
        raise
    except Exception as error:  # a data set may raise anything here, and all of it means: this sample can't be read
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"image {number} can't be read: {reason}") from error
    return as_image(row[image], spec), _as_label(row[label])


def _as_label(label: Any) -> int:
    try:
        return int(label)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected class numbers as labels, got {label!r}") from error


def as_image(image: Any, spec: Spec | None) -> Tensor:
    """Return a picture (PIL, uint8 array or tensor, or floats in [0, 1]) as uint8 of shape (C, H, W), fitted to `spec` where given."""
    if isinstance(image, Image.Image):
        if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would saturate
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        mode = image.mode if spec is None else {1: "L", 3: "RGB", 4: "RGBA"}.get(spec.shape[0], image.mode)
        picture = image.convert(mode if mode in ("L", "RGB", "RGBA") else "RGB")
        pixels = torch.from_numpy(np.array(_fitted(picture, spec)))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
    pixels = torch.as_tensor(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.is_floating_point():
        if not (float(pixels.min()) >= -1e-3 and float(pixels.max()) <= 1 + 1e-3):
            raise InputError(
                f"float images must be in [0, 1], got {float(pixels.min()):.3g} to {float(pixels.max()):.3g}: "
                "leave normalising to the model's Spec"
            )
        pixels = pixels.mul(255).round().to(torch.uint8)
    if pixels.dtype != torch.uint8 or pixels.ndim != 3:
        raise InputError(f"expected uint8 or float images of shape (C, H, W), got {pixels.dtype} of shape {list(pixels.shape)}")
    return pixels


def _fitted(picture: Image.Image, spec: Spec | None) -> Image.Image:
    if spec is None or picture.size == (spec.shape[2], spec.shape[1]):
        return picture
    height, width = spec.shape[1:]
    scale = max(width / picture.width, height / picture.height)
    resized = picture.resize(
        (max(width, round(picture.width * scale)), max(height, round(picture.height * scale))), Image.Resampling.BILINEAR
    )
    left, top = (resized.width - width) // 2, (resized.height - height) // 2
    return resized.crop((left, top, left + width, top + height))

"""Loading data: embedded digits, rendered sets, Hugging Face sets and folders, or any torch `Dataset` by import path."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tacit.core.batch import Batch, as_floats
from tacit.core.errors import InputError
from tacit.core.models import import_object
from tacit.core.spec import Spec
from tacit.data.folders import has_masks, mask_folder
from tacit.data.hub import label_named, open_labelled
from tacit.data.images import ImageSet, check_labels, check_shape, numbers_of
from tacit.data.read import Label, read_sample
from tacit.data.rendered import RENDERED

__all__ = ["Data", "StreamedSet", "digits", "has_splits", "load_data", "local_folder"]

log = logging.getLogger("tacit")
IN_MEMORY_BYTES = 2 * 2**30
"""Sets whose 8-bit images take more than this are streamed from disk."""


class StreamedSet(Dataset[tuple[Tensor, Label]]):
    """A large set: images are decoded, fitted to the model's shape, and batched by a `DataLoader`."""

    def __init__(
        self, rows: Any, spec: Spec | None = None, names: tuple[str, ...] = (), *, image: str | int = 0, label: str | int | None = 1
    ) -> None:
        self.rows, self.spec, self.names, self.image, self.label = rows, spec, names, image, label
        self.numbers: list[int] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[Tensor, Label]:
        image, label = read_sample(self.rows, int(number), self.image, self.label, self.spec)
        if self.numbers is not None and not isinstance(label, Tensor) and 0 <= label < len(self.numbers):
            label = self.numbers[label]
        if self.spec is not None:
            check_shape(image.shape, self.spec, f"image {number} has")
        if self.spec is not None and (isinstance(label, Tensor) or not 0 <= label < self.spec.classes):
            try:
                check_labels(torch.as_tensor(label)[None], self.spec)
            except InputError as error:
                raise InputError(f"image {number}: {error}") from error
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
            yield Batch(as_floats(images), labels.long())

    def batch(self, index: Tensor) -> Batch:
        """Return the samples at `index`."""
        pairs = [self[int(number)] for number in index]
        return Batch(
            as_floats(torch.stack([image for image, _ in pairs])).to(index.device),
            torch.stack([torch.as_tensor(label) for _, label in pairs]).long().to(index.device),
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

    def numbered(self, names: Sequence[str]) -> StreamedSet:
        """Return the set with class numbers by `names`, as `ImageSet.numbered` does."""
        found = StreamedSet(self.rows, self.spec, tuple(names), image=self.image, label=self.label)
        found.numbers = numbers_of(self.names, names)
        return found

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
        data: ``digits``; ``solids``, ``street`` or ``textures``, rendered in the model's size; a Hugging Face id, with an ``@`` before the
            configuration where the set has several (``ufldl-stanford/svhn@cropped_digits``) and a ``#`` before the column of the labels
            where that can't be told (``flwrlabs/celeba#Smiling``; after a folder's name too); a local folder of images (one sub-folder
            a class), of images and masks (``images/`` and ``masks/``), or of parquet files; ``package.module:callable`` that gives a
            torch `Dataset` of (image, label or mask), and is passed ``split`` where it takes that; or such a set itself.
        split: ``train``, ``test``, ... as the set names them.
        spec: What the model expects: pictures of another size are resized (its `crop` of the shorter side becomes the model's) and cut in
            the middle, and take its channels. Where it names its classes, and all of the set's are among them, capitals aside, they are
            numbered as the model does; else as the set does, a folder by the order of its sub-folders, which is warned of where both have
            names.

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
        if spec.task == "classification" and loaded.names != spec.names and loaded.names and spec.names:
            try:
                loaded = loaded.numbered(spec.names)
            except InputError as error:
                log.warning("tacit: warning: %s: the classes go by their own order, which may not be the model's", error)
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


def local_folder(data: str) -> Path | None:
    """Return the folder of this machine that `load_data` reads; None where `data` is the name of a set, or a callable's import path."""
    folder = Path(label_named(data)[0])
    if data == "digits" or data in RENDERED or not (folder.is_absolute() or data.startswith(".") or folder.exists()):
        return None
    return folder


def _by_name(data: str, split: str, spec: Spec | None) -> Data:
    if data == "digits":
        return digits(split)
    if data in RENDERED:
        return RENDERED[data](split) if spec is None else RENDERED[data](split, size=spec.shape[1:])
    if ":" in data and not Path(data).exists():
        made = import_object(data)
        if callable(made):
            made = made(split=split) if "split" in inspect.signature(made).parameters else made()
        if not hasattr(made, "__getitem__") or not hasattr(made, "__len__"):
            raise InputError(f"{data} gave a {type(made).__name__}, expected a torch Dataset with a length")
        return _collect(made, spec)
    if Path(data).is_dir() and has_masks(Path(data)):
        pairs = mask_folder(Path(data), split)
        return _collect(pairs, spec, pairs.names)
    return _from_hub(data, split, spec)


def _from_hub(data: str, split: str, spec: Spec | None) -> Data:
    found, image, label = open_labelled(data, split, spec)
    names = tuple(getattr(found.features[label], "names", None) or ()) if label is not None else ()
    return _collect(found, spec, names, image=image, label=label)


def _collect(rows: Any, spec: Spec | None, names: tuple[str, ...] = (), *, image: str | int = 0, label: str | int | None = 1) -> Data:
    """Return the set in memory where it is small, else streamed."""
    count = len(cast("Sized", rows))
    if count == 0:
        raise InputError("the data hold no images")
    first, said = read_sample(rows, 0, image, label, spec)
    if count * (first.numel() + torch.as_tensor(said).numel()) > IN_MEMORY_BYTES:
        return StreamedSet(rows, spec, names, image=image, label=label)
    kept = torch.as_tensor(said)
    images, labels = torch.empty((count, *first.shape), dtype=torch.uint8), torch.empty((count, *kept.shape), dtype=kept.dtype)
    for number in range(count):
        pixels, label_or_mask = read_sample(rows, number, image, label, spec)
        if pixels.shape != first.shape:
            raise InputError(
                f"image {number} has shape {list(pixels.shape)}, image 0 has {list(first.shape)}: give a model, or resize them"
            )
        known = torch.as_tensor(label_or_mask)
        if known.shape != kept.shape:
            raise InputError(f"the label of image {number} has shape {list(known.shape)}, that of image 0 {list(kept.shape)}")
        images[number], labels[number] = pixels, known
    return ImageSet(images, labels, names)

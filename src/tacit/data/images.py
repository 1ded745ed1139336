"""Images with labels, one an image or one a pixel: small sets as 8-bit tensors on the device, augmentation included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.augment import LEARNED_AREA, crop_windows, seen
from tacit.core.batch import Batch, as_floats
from tacit.core.errors import InputError, nearest
from tacit.core.spec import VOID, Spec

__all__ = ["ANY_CLASSES", "ANY_NUMBER", "Augmentation", "ImageSet", "any_classes", "augment", "augmented", "check_labels", "check_shape"]

Augmentation = Literal["none", "shift", "shift-flip", "crop-flip"]
"""shift: moved by up to an eighth of the size, zeros coming in; shift-flip: mirrored half of the time, too; crop-flip: a window of 8 to
100 % of the area, its sides at most 4 : 3, resized, and mirrored half of the time, as networks of ImageNet are trained."""
ANY_CLASSES = 1_000_000
"""Classes of a spec that takes any labels, one an image or one a pixel, as where nobody is shown them, or none at all."""
ANY_NUMBER = ANY_CLASSES - 1
"""Classes of a spec into which any class number fits, one an image: numbers are looked at when they were made those of the model."""


@dataclass(frozen=True)
class ImageSet:
    """A small labelled set.

    Args:
        images: uint8, of shape (N, C, H, W).
        labels: Class numbers, int64 of shape (N,), or one a pixel, uint8 of shape (N, H, W), `VOID` where there is none.
        names: Names of the classes, where they are known.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> ImageSet:
        """Return the set on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.names)

    def part(self, index: Tensor) -> ImageSet:
        """Return the set of the samples at `index`."""
        return ImageSet(self.images[index], self.labels[index], self.names)

    def batch(self, index: Tensor) -> Batch:
        """Return the samples at `index`, images as floats in [0, 1]."""
        return Batch(as_floats(self.images[index]), self.labels[index].long(), index=index)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the whole set in order, `size` images at a time."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self)), device=self.labels.device))

    def numbered(self, names: Sequence[str]) -> ImageSet:
        """Return the set with class numbers by `names`, whatever order its own have, and however few of them it holds.

        Raises:
            InputError: Where it holds a class that is not among them, its own classes have no names, or a label has none.
        """
        numbers = numbers_of(self.names, names)
        low, high = (int(self.labels.min()), int(self.labels.max())) if len(self) else (0, 0)
        if low < 0 or high >= len(self.names):
            raise InputError(f"the images name {len(self.names)} classes, and their labels run from {low} to {high}")
        return ImageSet(self.images, torch.tensor(numbers, device=self.labels.device)[self.labels.long()], tuple(names))

    def check(self, spec: Spec) -> None:
        """Raise `InputError` where the set does not fit a model's `spec`."""
        if not len(self):
            raise InputError("the data hold no images")
        check_shape(self.images.shape[1:], spec, "the images have")
        check_labels(self.labels, spec)
        if spec.task == "segmentation" and len(self.names) not in (0, spec.classes):
            raise InputError(f"the data have {len(self.names)} classes a pixel can be of, the model {spec.classes}: check `classes`")


def any_classes(spec: Spec) -> Spec:
    """Return what is expected of images alone, whatever their labels, and whether they have some."""
    return replace(spec, task="classification", classes=ANY_CLASSES, names=(), upsample=None, ignore=None)


def check_shape(shape: Sequence[int], spec: Spec, whose: str) -> None:
    """Raise `InputError` where the `shape` of an image is not what a model of `spec` expects; `whose` begins the sentence."""
    if tuple(shape) != spec.shape:
        swapped = len(shape) == 3 and shape[2] == spec.shape[0] != shape[0]
        hint = ": channels come first, as after `permute(2, 0, 1)`" if swapped else ""
        raise InputError(f"{whose} shape {list(shape)}, the model expects {list(spec.shape)}{hint}")


def numbers_of(own: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the number among `names` of each of a set's `own` classes, capitals aside.

    Raises:
        InputError: Where the set's classes have no names, or one is not among `names`.
    """
    if not own:
        raise InputError("the classes of these images have no names, by which they could be numbered")
    known = {name: number for number, name in enumerate(names)}
    if any(name not in known for name in own):  # capitals of a folder's name tell no class from another
        folded = {name.strip().casefold(): number for name, number in known.items()}
        if len(folded) == len(known) and len({name.strip().casefold() for name in own}) == len(own):
            known = {name: folded[name.strip().casefold()] for name in own if name.strip().casefold() in folded}
    if unknown := [name for name in own if name not in known]:
        raise InputError(f"the images have a class {unknown[0]!r}, which the model does not name{nearest(unknown[0], names)}")
    return [known[name] for name in own]


def check_labels(labels: Tensor, spec: Spec) -> None:
    """Raise `InputError` where labels, of shape (N,) or (N, H, W), are not what a model of `spec` names."""
    if spec.classes == ANY_CLASSES:
        return
    dense = spec.task == "segmentation"
    if dense != (labels.ndim == 3):
        wanted, got = "one label a pixel (a mask)", "one label an image"
        wanted, got = (wanted, got) if dense else (got, wanted)
        raise InputError(f"the model's task is {spec.task}, which takes {wanted}; the data have {got}")
    if dense and labels.shape[1:] != spec.shape[1:]:
        raise InputError(f"the masks have shape {list(labels.shape[1:])}, the model expects {list(spec.shape[1:])}")
    known = labels[labels != VOID] if dense else labels
    low, high = (int(known.min()), int(known.max())) if known.numel() else (0, 0)
    if low < 0 and not dense:
        raise InputError(f"labels run from {low} to {high}, expected 0 or more: images that nobody has labelled can't be used")
    if low < 0 or high >= spec.classes:
        hint = "; a value that means no class is named by `ignore`" if dense else ""
        what = "masks hold values" if dense else "labels run"
        raise InputError(f"{what} from {low} to {high}, the model has {spec.classes} classes (0 to {spec.classes - 1}){hint}")


def augment(images: Tensor, kind: Augmentation, generator: torch.Generator) -> Tensor:
    """Return another look at each image, drawn for each on its own.

    Args:
        images: Of shape (N, C, H, W).
        kind: See `Augmentation`.
        generator: Source of the draws, on the device of `images`.
    """
    return images if kind == "none" else _looks(images, kind, generator)(images, False)


def augmented(batch: Batch, kind: Augmentation, generator: torch.Generator) -> Batch:
    """Return images, dense labels looked at alike (`VOID` comes in), other targets and numbers; what a teacher said of them is left out.

    Args:
        batch: Its images are floats in [0, 1].
        kind: See `Augmentation`.
        generator: Source of the draws.
    """
    if kind == "none":
        return batch
    look, targets = _looks(batch.images, kind, generator), batch.targets
    if targets is not None and targets.ndim == 3:
        targets = look(targets[:, None], True)[:, 0]
    return Batch(look(batch.images, False), targets, index=batch.index)


def _looks(images: Tensor, kind: Augmentation, generator: torch.Generator) -> Callable[[Tensor, bool], Tensor]:
    """Draw a look at each image; return what takes it of maps (N, C, H, W), and is told whether these hold class numbers."""
    if kind == "crop-flip":
        windows = crop_windows(len(images), generator, area=LEARNED_AREA, flip=True)
        return lambda maps, classes: seen(maps, windows, classes=classes, beyond="border").to(maps.dtype)
    places = _places(images, kind, generator)
    return lambda maps, classes: _moved(maps, places, VOID if classes else 0)


def _places(images: Tensor, kind: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the rows (N, H) and columns (N, W) that are shown, of images with a border of an eighth of their size."""
    (n, _, height, width), device = images.shape, images.device
    down, across = max(1, height // 8), max(1, width // 8)
    rows = torch.randint(0, 2 * down + 1, (n, 1), generator=generator, device=device) + torch.arange(height, device=device)
    columns = torch.randint(0, 2 * across + 1, (n, 1), generator=generator, device=device) + torch.arange(width, device=device)
    if kind == "shift-flip":
        mirrored = torch.rand(n, 1, generator=generator, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    return rows, columns


def _moved(maps: Tensor, places: tuple[Tensor, Tensor], border: int) -> Tensor:
    """Return the `places` of maps (N, C, H, W), with `border` in what comes in."""
    (n, _, height, width), (rows, columns) = maps.shape, places
    down, across = max(1, height // 8), max(1, width // 8)
    padded = F.pad(maps, (across, across, down, down), value=border).permute(0, 2, 3, 1)
    sample = torch.arange(n, device=maps.device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

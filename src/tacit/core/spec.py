"""Spec: what a model expects of its input and says with its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tacit.core.errors import InputError

__all__ = ["VOID", "Spec", "Task", "Upsample", "check_names", "tells"]

VOID = 255
"""Of a pixel that belongs to no class: losses and measures leave it out."""

Task = Literal["classification", "segmentation"]
Upsample = Literal["nearest", "bilinear", "bicubic"]


GREY = (0.5, 0.25)
"""Mean and standard deviation of images in [0, 1] of which nothing is told."""


def tells(mean: float, std: float) -> bool:
    """Return whether a channel's constants are the mean and deviation of data in [0, 1], and not a mere scale, as 0 and 1, or 1/255."""
    return 0 < mean < 1 and 0.02 <= std < 0.6


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a model expects of its input and says with its output."""

    shape: tuple[int, int, int]
    """Channels, height and width of one image."""
    classes: int
    """Number of classes, at least 2."""
    mean: tuple[float, ...] = ()
    """Per-channel mean that is subtracted from images in [0, 1]; empty: zeros (the model takes [0, 1])."""
    std: tuple[float, ...] = ()
    """Per-channel standard deviation by which images in [0, 1] are divided; empty: ones."""
    names: tuple[str, ...] = ()
    """Names of the classes; empty: their numbers."""
    task: Task = "classification"
    """One label an image, or one label a pixel."""
    output: str | None = None
    """Which output holds the logits, for a model that returns a dict (key), a tuple (index) or an object (attribute); dots lead inside."""
    upsample: Upsample | None = None
    """For segmentation: how logits coarser than the image are brought to its size; not given: they must have it."""
    ignore: int | None = None
    """For segmentation: the value of mask pixels that belong to no class; 255 always means that."""
    crop: float = 1.0
    """Share of a picture's shorter side that is seen, in the middle, where a picture is of another size; ImageNet's usual one is 0.875."""

    def __post_init__(self) -> None:
        for name in ("shape", "mean", "std", "names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(f"shape: expected three positive numbers (channels, height, width), got {list(self.shape)}")
        if self.classes < 2:
            raise InputError(f"classes: expected at least 2, got {self.classes}")
        channels = self.shape[0]
        for name, fill in (("mean", 0.0), ("std", 1.0)):
            values = getattr(self, name) or (fill,) * channels
            if len(values) != channels:
                raise InputError(f"{name}: expected {channels} values, one a channel, got {len(values)}: {list(values)}")
            object.__setattr__(self, name, tuple(float(v) for v in values))
        if self.task not in get_args(Task):
            raise InputError(f"task: expected {' or '.join(get_args(Task))}, got {self.task!r}")
        if self.upsample not in (None, *get_args(Upsample)):
            raise InputError(f"upsample: expected {', '.join(get_args(Upsample))} or nothing, got {self.upsample!r}")
        dense = self.task == "segmentation"
        if not dense and (self.upsample, self.ignore) != (None, None):
            raise InputError("upsample and ignore are for one label a pixel: leave them out, or say `task: segmentation`")
        if dense and self.classes > VOID:
            raise InputError(f"classes: expected at most {VOID} for segmentation, whose masks have 8 bits, got {self.classes}")
        if self.ignore is not None and not 0 <= self.ignore <= VOID:
            raise InputError(f"ignore: expected a value of 8-bit masks, 0 to {VOID}, got {self.ignore}")
        if not 0 < self.crop <= 1:
            raise InputError(f"crop: expected a share above 0, up to 1, got {self.crop}")
        if min(self.std) <= 0:
            raise InputError(f"std: expected positive values, got {list(self.std)}")
        if self.names and len(self.names) != self.classes:
            raise InputError(f"names: expected {self.classes} class names, got {len(self.names)}")
        for name in self.names:
            if not name.isprintable():
                raise InputError(f"names: expected class names of one line, got {name!r}")

    @property
    def moments(self) -> tuple[tuple[float, float], ...]:
        """Mean and standard deviation of the data in [0, 1], a pair a channel, as far as the preprocessing tells; else those of grey."""
        return tuple((m, s) if tells(m, s) else GREY for m, s in zip(self.mean, self.std, strict=True))

    def class_name(self, label: int) -> str:
        """Return the name of class `label`, or its number where the classes have no names."""
        return self.names[label] if self.names else str(label)

    @property
    def class_names(self) -> list[str]:
        """Names of all classes, in their order."""
        return [self.class_name(label) for label in range(self.classes)]


def check_names(names: tuple[str, ...], others: tuple[str, ...], who: str) -> None:
    """Raise `InputError` where two networks, called `who`, both name as many classes, and not the same in the same order."""
    place = next((place for place, pair in enumerate(zip(names, others, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return
    moved = "the same classes in another order" if sorted(names) == sorted(others) else "other classes"
    raise InputError(
        f"names: {who} have {moved}: class {place} is {names[place]!r} for one and {others[place]!r} for the other; "
        "use networks that were taught the same classes, or correct the names in model.json"
    )

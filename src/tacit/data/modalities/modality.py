"""Modality: what one network sees of an image. Views: a teacher's and a student's, of the very same image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tacit.core.batch import Batch
from tacit.core.errors import InputError
from tacit.core.spec import Spec

__all__ = ["Modality", "Shape", "Views", "seen"]

Shape = tuple[int, int, int]
"""Channels, height and width."""
CHANNELS = (1, 2, 3, 4)
"""Channels that a stored image may have, where a modality does not say."""


@dataclass(frozen=True, kw_only=True)
class Modality:
    """What one network sees of an image, as its edges or its depth: ``edges(images)``."""

    name: str
    """What it is called in messages."""
    show: Callable[[Tensor], Tensor]
    """Makes of stored images (N, C, H, W) in [0, 1] what is seen of them, (N, c, h, w) in [0, 1], each image on its own."""
    source: Callable[[Shape], Shape] | None = None
    """The shape of a stored image of which this shape is seen; not given: as high and wide, of so many channels as `show` can take."""

    def __call__(self, images: Tensor) -> Tensor:
        return self.show(images)

    @torch.no_grad()
    def shape(self, stored: Shape) -> Shape:
        """Return the shape of what is seen of a stored image, by a dry run.

        Raises:
            InputError: Images of this shape can't be shown, or what is seen is no batch of images in [0, 1].
        """
        images = torch.full((2, *stored), 0.5)
        images[1] = torch.linspace(0, 1, images[1].numel()).view(stored)
        try:
            found = self.show(images)
        except InputError:
            raise
        except Exception as error:  # a function of somebody else may raise anything
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(f"view {self.name}: it can't be made of images of shape {list(stored)}: {reason}") from error
        if not isinstance(found, Tensor) or found.ndim != 4 or len(found) != 2:
            got = list(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise InputError(f"view {self.name}: expected a tensor of shape (N, C, H, W) for 2 images, got {got}")
        if not (float(found.min()) >= -1e-3 and float(found.max()) <= 1 + 1e-3):
            raise InputError(f"view {self.name}: expected values in [0, 1], got {float(found.min()):.3g} to {float(found.max()):.3g}")
        channels, height, width = found.shape[1:]
        return channels, height, width

    @torch.no_grad()
    def repeats(self, images: Tensor) -> bool:
        """Whether the same is seen of stored `images` (N, C, H, W) each time, whatever random numbers come: of eight times."""
        looks = []
        with torch.random.fork_rng([images.device] if images.device.type == "cuda" else []):
            for seed in range(8):
                torch.manual_seed(seed)
                looks.append(self.show(images.clone()))
        return all(torch.equal(look, looks[0]) for look in looks)

    def stored(self, spec: Spec) -> Spec:
        """Return what is expected of stored images, where a network of this `spec` sees this of them.

        Raises:
            InputError: The network expects another shape than is seen, or it can't be told which images are.
        """
        if self.source is None:
            shape = self._only_source(spec.shape)
        else:
            shape = self.source(spec.shape)
            made = self.shape(shape)
            if made != spec.shape:
                raise InputError(
                    f"view {self.name}: expected a model for images of shape {list(made)}, got one for {list(spec.shape)}: build it for as "
                    "many channels, or choose another view"
                )
        return replace(spec, shape=shape, mean=(), std=())

    def _only_source(self, wanted: Shape) -> Shape:
        fitting, reasons = [], list[str]()
        for channels in sorted({*CHANNELS, wanted[0]}):
            try:
                made = self.shape((channels, *wanted[1:]))
            except InputError as error:
                reasons.append(str(error))
                continue
            if made == wanted:
                fitting.append(channels)
            reasons.append(f"view {self.name}: it shows {list(made)} of an image of shape {[channels, *wanted[1:]]}")
        if len(fitting) == 1:
            return (fitting[0], *wanted[1:])
        if fitting:
            raise InputError(
                f"view {self.name}: images of {', '.join(map(str, fitting))} channels all show {list(wanted)}: give a tacit.Modality, "
                "whose `source` says which are stored"
            )
        raise InputError(
            f"{reasons[0]}, the model expects {list(wanted)}: build the model for what is seen, or give a tacit.Modality, whose `source` "
            "says of which images that is"
        )


@dataclass(frozen=True, kw_only=True)
class Views:
    """Two modalities of the same image, one for each network."""

    teacher: Modality
    """What the teacher sees."""
    student: Modality
    """What the student sees."""

    def student_spec(self, teacher: Spec) -> Spec:
        """Return what a student is to expect beside a teacher of this spec: the shape of its own view, in [0, 1]."""
        return replace(teacher, shape=self.student.shape(self.teacher.stored(teacher).shape), mean=(), std=())


def seen(batches: Iterable[Batch], modality: Modality | None) -> Iterator[Batch]:
    """Yield `batches` as a network sees them; None: as they are. What is known of the images as stored goes, but targets and index."""
    for batch in batches:
        yield batch if modality is None else Batch(modality(batch.images), batch.targets, index=batch.index)

"""Wanted: what a synthesis asks of the teacher, drawn without knowing the data: a class for each image, or for each pixel.

"Dreaming to Distill", Yin et al., 2020, https://arxiv.org/abs/1912.08795, eq. 1, asks for one class an image. Asked of all its pixels alike
that would be images of one class only, which no teacher of scenes has seen. Here the plane is cut into the cells of random points, each
cell the pixels that are nearest to its point ("Voronoi Diagrams: A Survey of a Fundamental Geometric Data Structure", Aurenhammer, 1991,
https://doi.org/10.1145/116873.116880, sec. 1), and each cell wants a class drawn uniformly: no class is more frequent, and none has a place
of its own, since neither is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.spec import VOID, Spec, Task

__all__ = ["CELLS", "class_maps", "class_numbers", "drawn", "moved_alike", "turns"]

CELLS = (3, 12)
"""Fewest and most cells of an image."""


def class_numbers(n: int, spec: Spec, generator: torch.Generator) -> Tensor:
    """Return a class for each of `n` images, drawn uniformly; int64 of shape (N,)."""
    return torch.randint(spec.classes, (n,), generator=generator, device=generator.device)


def class_maps(n: int, spec: Spec, generator: torch.Generator, *, cells: tuple[int, int] = CELLS) -> Tensor:
    """Return a class for each pixel of `n` images; int64 of shape (N, H, W).

    Args:
        n: Number of images.
        spec: Height, width and number of classes.
        generator: Source of the draws.
        cells: Fewest and most cells of an image, each number as likely; those of two neighbours may want the same class.
    """
    fewest, most = cells
    if not 1 <= fewest <= most:
        raise InputError(f"cells: expected at least 1 and no more at the least than at the most, got {list(cells)}")
    (_, height, width), device = spec.shape, generator.device
    counts = torch.randint(fewest, most + 1, (n, 1), generator=generator, device=device)
    points = torch.rand(n, most, 2, generator=generator, device=device) * torch.tensor([height, width], device=device)
    classes = torch.randint(spec.classes, (n, most), generator=generator, device=device)
    rows, columns = torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5
    apart = (rows[:, None] - points[:, :, 0, None, None]).square() + (columns - points[:, :, 1, None, None]).square()
    missing = torch.arange(most, device=device) >= counts
    nearest = apart.masked_fill(missing[:, :, None, None], float("inf")).argmin(dim=1)
    return classes.gather(1, nearest.flatten(1)).view(n, height, width)


DRAWN: Mapping[Task, Callable[[int, Spec, torch.Generator], Tensor]] = {"classification": class_numbers, "segmentation": class_maps}


def drawn(n: int, spec: Spec, generator: torch.Generator) -> Tensor:
    """Return what is wanted of `n` images by a teacher of `spec`: class numbers (N,), or class maps (N, H, W)."""
    return DRAWN[spec.task](n, spec, generator)


def turns(n: int, round: int, device: torch.device) -> Tensor:
    """Return the numbers of the `n` images of a round, where those of all rounds are counted through; int64 of shape (N,).

    What is wanted in turn goes by them, so that a round goes on where the last one stopped, and a small batch gets to every class.
    """
    return torch.arange(round * n, (round + 1) * n, device=device)


def moved_alike(images: Tensor, targets: Tensor | None, augment: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return `images` as `augment` shows them, and dense labels moved with them; pixels that come in have no class.

    Args:
        images: Of shape (N, C, H, W).
        targets: Of any kind; those that are no maps stay as they are, once for each copy that `augment` makes of the batch.
        augment: Moves images by whole pixels or mirrors them, or shows several copies of the batch.
    """
    if targets is None or targets.ndim < 3:
        shown = augment(images)
        copies = len(shown) // len(images)
        return shown, targets.repeat(copies, *[1] * (targets.ndim - 1)) if targets is not None and copies > 1 else targets
    carried = augment(torch.cat([images, targets[:, None].to(images.dtype) + 1], dim=1))
    classes = carried[:, -1].detach().round().long() - 1
    return carried[:, :-1], classes.masked_fill(classes < 0, VOID)

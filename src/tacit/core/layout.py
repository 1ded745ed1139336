"""Layout: feature maps that do not come as (N, C, H, W): tokens (N, L, D) of a transformer, and maps (N, H, W, C) with channels last."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

__all__ = ["MAP", "Layouts", "as_map", "grid"]

MAP = ":map"
"""Behind the name of a tap: what is found there, tokens or a map with channels last, as a map (N, C, H, W)."""
EXTRA = 5
"""Most tokens before those of the image: for its class, for distillation, registers."""

Size = tuple[int, ...]


def _fits(size: Size, image: Size) -> bool:
    """Whether a map of this height and width is no larger than the image and, to within a pixel, of its proportions."""
    (height, width), (tall, wide) = size, image
    return height <= tall and width <= wide and abs(height * wide - width * tall) < max(tall, wide)


@lru_cache
def grid(tokens: int, image: Size) -> Size | None:
    """Return height and width of the map that tokens are, but for those that stand before it; None where none fits the image."""
    for count in range(tokens, tokens - EXTRA - 1, -1):
        sizes = [(height, count // height) for height in range(1, count + 1) if count % height == 0]
        fitting = [size for size in sizes if _fits(size, image)]
        if fitting:
            return min(fitting, key=lambda size: abs(size[0] * image[1] - size[1] * image[0]))
    return None


def as_map(found: Tensor, image: Size) -> Tensor | None:
    """Return what is found at a tap as a map (N, C, H, W); None where it can't be one.

    Args:
        found: Tokens (N, L, D), of which those before the map are left out, or a map (N, H, W, C).
        image: Height and width of the image.
    """
    if found.ndim == 4:
        return found.permute(0, 3, 1, 2)
    size = grid(found.shape[1], image) if found.ndim == 3 else None
    if size is None:
        return None
    whole = found[:, -size[0] * size[1] :].contiguous()
    return whole.transpose(1, 2).view(len(whole), -1, *size)


class Layouts:
    """How the maps of a network are laid out, by what its parts made of one image.

    Only what a linear layer or a layer norm made tells that the last dimension is that of channels: without it, maps are (N, C, H, W).

    Args:
        made: The parts, and the shape of what each made, with that of the batch.
        image: Height and width of the image.
    """

    def __init__(self, made: Iterable[tuple[nn.Module, Size]], image: Size) -> None:
        parts = list(made)
        self.image = image
        self._lasts = {
            (len(shape), shape[-1])
            for module, shape in parts
            if isinstance(module, nn.Linear) or (isinstance(module, nn.LayerNorm) and tuple(module.normalized_shape) == shape[-1:])
        }
        self._grids = {
            tuple(side >> halved for side in shape[2:])
            for module, shape in parts
            if isinstance(module, _ConvNd) and len(shape) == 4
            for halved in range(max(shape[2:]).bit_length())
        }
        blocks = [shape for module, shape in parts if len(shape) == 4 and any(True for _ in module.children())]
        self._first = any(max(shape[2:]) > 1 and not self._may_be_last(shape) for shape in blocks)

    @property
    def tokens(self) -> bool:
        """Whether a linear layer or a layer norm was given tokens."""
        return any(dimensions == 3 for dimensions, _ in self._lasts)

    def _may_be_last(self, shape: Size) -> bool:
        return (4, shape[-1]) in self._lasts and shape[0] == 1 and _fits(shape[1:3], self.image)

    def channels_last(self, shape: Size) -> bool:
        """Whether what is of this shape can only be a map with its channels last."""
        return len(shape) == 4 and self._may_be_last(shape) and not _fits(shape[2:], self.image)

    def read(self, module: nn.Module, shape: Size) -> tuple[Size, int, str] | None:
        """Return height and width of a map, its channels, and what stands behind the name of its tap; None: it is none.

        Where channels may be first or last, they are last if they can be so in all maps of the network.
        """
        whole = any(True for _ in module.children())
        if len(shape) == 4 and whole and (self.channels_last(shape) or (not self._first and self._may_be_last(shape))):
            return shape[1:3], shape[3], MAP
        if len(shape) == 4 and (whole or isinstance(module, _ConvNd | _MaxPoolNd | _AvgPoolNd)):
            return shape[2:], shape[1], ""
        if len(shape) == 3 and whole and shape[0] == 1 and (3, shape[2]) in self._lasts:
            size = grid(shape[1], self.image)
            return (size, shape[2], MAP) if size in self._grids and size is not None else None
        return None

"""Pictures of samples, and what can be counted of a pool."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tacit.core.batch import as_floats
from tacit.core.files import write_file, write_json
from tacit.core.palette import VOID_COLOUR, palette
from tacit.core.spec import Spec
from tacit.synthesize import Pool

__all__ = ["SHOWN", "pool_metrics", "save_map", "save_maps", "save_picture", "save_samples"]

SHOWN = 12
"""Images whose label maps are shown."""


def save_picture(path: Path, image: Tensor) -> None:
    """Write an image of shape (C, H, W), uint8, as PNG; other than 1, 3 or 4 channels are shown as the grey mean."""
    image = image.cpu()
    if image.shape[0] not in (1, 3, 4):
        image = image.float().mean(dim=0, keepdim=True).to(torch.uint8)
    pixels, buffer = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0), io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(buffer, "PNG")
    write_file(path, buffer.getvalue())


def save_map(path: Path, map_: Tensor, names: Sequence[str]) -> None:
    """Write a label map, uint8 of shape (H, W), as PNG: its values are the class numbers, its palette shows them in colours."""
    values, buffer = map_.cpu().contiguous().numpy(), io.BytesIO()
    indexed = Image.frombytes("P", (values.shape[1], values.shape[0]), values.tobytes())
    colours = [*palette(names), *[VOID_COLOUR] * (256 - len(names))]
    indexed.putpalette([value for colour in colours for value in colour])
    indexed.save(buffer, "PNG")
    write_file(path, buffer.getvalue())


def save_maps(folder: Path, spec: Spec, images: Tensor, maps: Mapping[str, Tensor]) -> None:
    """Write images, uint8 (N, C, H, W), and maps of each, uint8 (N, H, W), by the name of who says so; ``samples.json`` lists them."""
    names = spec.class_names
    listed: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        files = {who: f"{number:02d}-{who}.png" for who in maps}
        save_picture(folder / f"{number:02d}.png", image)
        for who, file in files.items():
            save_map(folder / file, maps[who][number], names)
        listed.append({"file": f"{number:02d}.png", "class": None, "confidence": None, "maps": files})
    write_json(folder / "samples.json", {"samples": listed})


def save_samples(
    folder: Path, pool: Pool, *, classes: int = 20, each: int = 8, others: Mapping[str, Callable[[Tensor], Tensor]] | None = None
) -> None:
    """Write the latest samples: of the first `classes` classes, `each` at most, by the class that the teacher sees.

    Where it sees a class in every pixel: a few images, beside each the map of what it sees, and the maps that `others` make of images,
    float in [0, 1], of shape (N, C, H, W), by their names.
    """
    if pool.answers is None:
        return
    seen, confidence = pool.answers
    if seen.ndim != 1:
        images = pool.columns["images"][-SHOWN:]
        maps = {name: ask(as_floats(images)) for name, ask in (others or {}).items()}
        save_maps(folder, pool.spec, images, {"teacher": seen[-SHOWN:], **maps})
        return
    listed: list[dict[str, Any]] = []
    for label in range(min(classes, pool.spec.classes)):
        for place, number in enumerate((seen == label).nonzero().flatten().flip(0)[:each].tolist()):
            file = f"{label:03d}-{place:02d}.png"
            save_picture(folder / file, pool.columns["images"][number])
            listed.append({"file": file, "class": label, "confidence": round(float(confidence[number]), 4)})
    write_json(folder / "samples.json", {"samples": listed})


def pool_metrics(pool: Pool) -> dict[str, Any]:
    """Return images and, where each has one class, the teacher's mean confidence by class, and the names of the classes."""
    metrics: dict[str, Any] = {"class_names": pool.spec.class_names}
    if pool.answers is not None:
        metrics["class_counts"] = pool.class_counts
        seen, confidence = pool.answers
        if seen.ndim == 1:
            classes = range(pool.spec.classes)
            metrics["class_confidence"] = [float(confidence[seen == n].mean()) if bool((seen == n).any()) else None for n in classes]
    return metrics

"""Pictures of samples, and what can be counted of a pool."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tacit.core.files import write_file, write_json
from tacit.synthesize import Pool

__all__ = ["pool_metrics", "save_picture", "save_samples"]


def save_picture(path: Path, image: Tensor) -> None:
    """Write an image of shape (C, H, W), uint8, as PNG; other than 1, 3 or 4 channels are shown as the grey mean."""
    image = image.cpu()
    if image.shape[0] not in (1, 3, 4):
        image = image.float().mean(dim=0, keepdim=True).to(torch.uint8)
    pixels, buffer = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0), io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(buffer, "PNG")
    write_file(path, buffer.getvalue())


def save_samples(folder: Path, pool: Pool, *, classes: int = 20, each: int = 8) -> None:
    """Write the latest samples of the first `classes` classes, `each` at most, by the class that the teacher sees."""
    logits = pool.columns.get("logits")
    if logits is None or logits.ndim != 2:
        return
    confidence, seen = logits.float().softmax(dim=1).max(dim=1)
    listed: list[dict[str, Any]] = []
    for label in range(min(classes, pool.spec.classes)):
        for place, number in enumerate((seen == label).nonzero().flatten().flip(0)[:each].tolist()):
            file = f"{label:03d}-{place:02d}.png"
            save_picture(folder / file, pool.columns["images"][number])
            listed.append({"file": file, "class": label, "confidence": round(float(confidence[number]), 4)})
    write_json(folder / "samples.json", {"samples": listed})


def pool_metrics(pool: Pool) -> dict[str, Any]:
    """Return images and the teacher's mean confidence by class, and the names of the classes."""
    metrics: dict[str, Any] = {"class_names": [pool.spec.class_name(label) for label in range(pool.spec.classes)]}
    logits = pool.columns.get("logits")
    if logits is not None and logits.ndim == 2:
        confidence, seen = logits.float().softmax(dim=1).max(dim=1)
        means = [float(confidence[seen == label].mean()) if bool((seen == label).any()) else None for label in range(pool.spec.classes)]
        metrics |= {"class_counts": pool.class_counts, "class_confidence": means}
    return metrics

"""Decoded: real images as the runs want them, decoded once for all runs that need the same ones."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import torch

from benchmarks.plans import Dataset
from tacit.core.errors import InputError
from tacit.data import ImageSet, load_data

__all__ = ["decoded"]


def decoded(dataset: Dataset, data: Path, split: str, *, keep: bool = True) -> ImageSet:
    """Return one split of a data set; decoding 60,000 pictures takes longer than a tenth of a run of minutes.

    Args:
        dataset: Which.
        data: The folder of all data.
        split: ``train`` or ``test``.
        keep: Whether what was decoded is kept, in the system's temporary folder, under path, size and time of the file.
    """
    file = data / dataset.folder / f"{split}.parquet"
    stat = file.stat()
    name = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {torch.__version__}".encode()).hexdigest()
    kept = Path(tempfile.gettempdir()) / "tacit-benchmarks" / f"{name}.pt"
    if kept.is_file():
        found = torch.load(kept, weights_only=True)
        return ImageSet(found["images"], found["labels"], dataset.spec.names)
    loaded = load_data(dataset.at(data), split, dataset.spec)
    if not isinstance(loaded, ImageSet):
        raise InputError(f"{file} is too large to be kept in memory")
    if keep:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f"{name}-{os.getpid()}.part")  # runs side by side may both come here
        torch.save({"images": loaded.images, "labels": loaded.labels}, part)
        part.replace(kept)
    return ImageSet(loaded.images, loaded.labels, dataset.spec.names)

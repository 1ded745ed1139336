"""Smoke runs: the same harness on generated images and untrained teachers, two steps of everything, to see that it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

import tacit
from benchmarks.compression_plans import PoolPlan
from benchmarks.places import made_up
from benchmarks.plans import Dataset, Row, Suite
from benchmarks.suites import TEACHERS
from tacit.core.errors import MissingExtraError

__all__ = ["prepare", "shrunk", "small", "small_pool"]

IMAGES = 40
SMALL = {"batch": 16, "steps": 2, "warmup": 1, "every": 2, "width": 4, "latent": 8, "noise": 8, "negatives": 8, "embedding": 8}
"""Largest values of a method's fields."""


def shrunk(suite: Suite) -> Suite:
    """Return the suite with one seed and two student steps on small batches; on a CPU where there is no GPU."""
    device = suite.device if torch.cuda.is_available() else "cpu"
    return replace(suite, training=replace(suite.training, steps=2, batch=8, warmup=0), seeds=suite.seeds[:1], evaluations=2, device=device)


def small(row: Row) -> Row:
    """Return the row with a method that takes two steps on small batches."""
    if row.method is None:
        return replace(row, steps=None)
    known = {field.name for field in fields(row.method)}
    cut: dict[str, Any] = {name: min(most, getattr(row.method, name)) for name, most in SMALL.items() if name in known}
    return replace(row, steps=None, method=replace(row.method, **{**cut, **row.smoke}))


def small_pool(plan: PoolPlan) -> PoolPlan:
    """Return the plan of a few images, of two steps."""
    row = small(Row(label="", method=plan.method))
    assert row.method is not None
    return replace(plan, method=row.method, images=IMAGES)


def prepare(dataset: Dataset, teachers: Iterable[str], home: Path) -> None:
    """Make generated images and untrained teachers under `home`, where they are missing."""
    os.environ.setdefault("HF_DATASETS_CACHE", str(home / "cache"))  # read when the library is first imported
    _draw(dataset, made_up(home) / dataset.folder)
    for name in teachers:
        plan, folder = TEACHERS[name], home / "teachers" / name
        if not folder.is_dir():
            tacit.save(plan.model.load(seed=0), folder)


def _draw(dataset: Dataset, folder: Path) -> None:
    """Write random pictures as parquet files in the hub's schema."""
    try:
        from datasets import ClassLabel, Features, Image
        from datasets import Dataset as HubDataset
    except ImportError as error:
        raise MissingExtraError("datasets", "data", "a smoke run") from error
    from PIL import Image as Pillow

    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    channels, height, width = dataset.spec.shape
    draw = torch.Generator().manual_seed(0)
    for split in ("train", "test"):
        pixels = torch.randint(256, (IMAGES, height, width, channels), generator=draw, dtype=torch.uint8)
        pictures = [Pillow.fromarray(picture.squeeze(-1).numpy()) for picture in pixels]
        labels = (torch.arange(IMAGES) % dataset.spec.classes).tolist()
        found: dict[str, Any] = {"label": labels}
        kinds: dict[str, Any] = {"label": ClassLabel(names=list(dataset.spec.names))}
        if dataset.spec.task == "segmentation":
            masks = torch.randint(dataset.spec.classes, (IMAGES, height, width), generator=draw, dtype=torch.uint8)
            found, kinds = {"mask": [Pillow.fromarray(mask.numpy()) for mask in masks]}, {"mask": Image()}
        features = Features({dataset.column: Image(), **kinds})
        HubDataset.from_dict({dataset.column: pictures, **found}, features=features).to_parquet(folder / f"{split}.parquet")

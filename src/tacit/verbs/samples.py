"""Samples for a verb that needs a fixed number of images: made on the way, from a stored pool, or real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.network import Teacher
from tacit.core.progress import Progress
from tacit.data import load_data
from tacit.data.load import StreamedSet
from tacit.synthesize import Method, Pool, Synthesizer
from tacit.verbs.base import DataLike
from tacit.verbs.choose import method_named, naming_what_remains
from tacit.verbs.pools import method_of, stored_pool

__all__ = ["Samples", "find_samples", "paint"]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images and where they come from.

    Args:
        learned: For calibration and fine-tuning.
        fresh: For the acceptance check, which must not have seen them.
        origin: Name of the method that painted them, ``pool`` where a stored pool does not say so, or ``data``.
        made: How many were painted for this.
        method: That method's description, as in a configuration; None where there is none.
    """

    learned: Pool
    fresh: Pool
    origin: str
    made: int
    method: Mapping[str, Any] | None = None

    @property
    def carry_statistics(self) -> bool:
        """Whether the images have the statistics that batch norm remembers: real ones, those of a method that matches them, or unknown."""
        return self.method is None or bool(self.method["init_args"].get("bn", 0.0))  # methods that match them have this weight

    @property
    def provenance(self) -> dict[str, Any]:
        """What is written beside the images."""
        return {"origin": self.origin, "made": self.made, "method": self.method}


def paint(teacher: Teacher, method: Method, images: int, *, runtime: Runtime, seed: int, clock: Clock, title: str) -> Pool:
    """Return a pool of so many images, painted by `method` without a student."""
    with naming_what_remains(teacher, None):
        work, pool = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(seed, title)), Pool(teacher.spec)
    with Progress(f"{title}: {method.name}", images, "images", quiet=not runtime.main) as progress:
        while len(pool) < images:
            with clock("synthesis"):
                painted, given = work.paint()
                if given:
                    pool.add(painted.at(slice(0, images - len(pool))))
            progress.update(len(pool), {name: float(part) for name, part in work.parts.items()})
    return pool


def find_samples(
    teacher: Teacher,
    *,
    source: str | None,
    method: Method,
    data: DataLike | None,
    split: str,
    images: int,
    fresh: int,
    runtime: Runtime,
    seed: int,
    clock: Clock,
) -> Samples:
    """Return the samples that `source` names.

    Args:
        teacher: What they are made of, and for.
        source: A method's name, a run or pool folder, ``data``, or None for `method`.
        method: Used where `source` names none.
        data: Real images, for the source ``data``.
        split: Split of `data`.
        images: For calibration and fine-tuning.
        fresh: For acceptance, painted with draws of their own, or set aside.
        runtime: Device.
        seed: Of every draw.
        clock: Counts the seconds.
    """
    named = method_named(source) if source is not None else method
    if named is not None:
        learned, aside = (
            paint(teacher, named, count, runtime=runtime, seed=seed, clock=clock, title=title)
            for count, title in ((images, "samples"), (fresh, "acceptance"))
        )
        return Samples(learned=learned, fresh=aside, origin=named.name, made=images + fresh, method=named.config())
    assert source is not None
    if source == "data":
        learned, aside = _real(teacher, data, split, images, fresh, seed)
        return Samples(learned=learned, fresh=aside, origin="data", made=0)
    inside, pool = stored_pool(source, teacher, runtime)
    if len(pool) < 2:
        raise InputError(f"source: {inside} holds {len(pool)} images, expected at least 2")
    held = min(fresh, max(1, len(pool) // 4))
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    described = method_of(inside)
    origin = str(described["class_path"]).rpartition(".")[2] if described else "pool"
    return Samples(learned=_part(pool, order[held:][:images]), fresh=_part(pool, order[:held]), origin=origin, made=0, method=described)


def _part(pool: Pool, index: torch.Tensor) -> Pool:
    chosen = Pool(pool.spec, device=pool.device)
    chosen.columns = {name: column[index.to(column.device)] for name, column in pool.columns.items()}
    chosen.made = len(index)
    return chosen


def _real(teacher: Teacher, data: DataLike | None, split: str, images: int, fresh: int, seed: int) -> list[Pool]:
    if data is None:
        raise InputError("data: say which images to calibrate with, as `--data digits`")
    real = load_data(data, split, teacher.spec)
    if isinstance(real, StreamedSet):
        raise InputError("data: calibration takes a few hundred images; give a set that fits into memory, or a slice of it")
    order = torch.randperm(len(real.images), generator=torch.Generator().manual_seed(seed))
    aside = min(fresh, max(1, len(order) // 4))
    found = []
    for index in (order[aside:][:images], order[:aside]):
        pool = Pool(teacher.spec)
        pool.columns, pool.made = {"images": real.images[index], "targets": real.labels[index]}, len(index)
        found.append(pool)
    return found

"""Pools on disk: where one is, and whether it fits a teacher."""

from __future__ import annotations

from pathlib import Path

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.files import read_json
from tacit.core.models import model_hash
from tacit.core.network import Network
from tacit.synthesize import Pool

__all__ = ["find_pool", "load_pool"]


def find_pool(folder: Path) -> Path | None:
    """Return the pool folder that `folder` is, or, for a run folder, has inside; None where there is none."""
    return next((inside for inside in (folder, folder / "pool") if (inside / "pool.json").is_file()), None)


def load_pool(inside: Path, teacher: Network, runtime: Runtime) -> Pool:
    """Read a pool folder for `teacher`; stored answers of another teacher are left out.

    Raises:
        InputError: Where the images are not of the teacher's shape and number of classes, or the pool can't be read.
    """
    pool = Pool.load(inside, device=runtime.device)
    made_for, wanted = ((s.shape, s.classes) for s in (pool.spec, teacher.spec))
    if made_for != wanted:
        raise InputError(
            f"{inside} was made for images {made_for[0]} of {made_for[1]} classes, the teacher has {wanted[0]} and {wanted[1]}"
        )
    if read_json(inside / "pool.json")["provenance"].get("teacher_sha256") != model_hash(teacher):
        pool.columns.pop("logits", None)  # another teacher's answers
    return pool

"""Pools on disk: where one is, and whether it fits a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tacit.core.device import Runtime
from tacit.core.errors import InputError, nearest
from tacit.core.files import read_json
from tacit.core.models import model_hash
from tacit.core.network import Network
from tacit.synthesize import METHODS, Pool

__all__ = ["find_pool", "held_out_pool", "load_pool", "method_of", "stored_pool"]


def find_pool(folder: Path) -> Path | None:
    """Return the pool folder that `folder` is, or, for a run folder, has inside; None where there is none."""
    return next((inside for inside in (folder, folder / "pool") if (inside / "pool.json").is_file()), None)


def method_of(inside: Path) -> Mapping[str, Any] | None:
    """Return the description of the method that painted the pool in a folder, as in a configuration; None where the pool does not say."""
    found: Mapping[str, Any] | None = read_json(inside / "pool.json")["provenance"].get("method")
    return found


def stored_pool(source: str, teacher: Network, runtime: Runtime) -> tuple[Path, Pool]:
    """Return the pool folder that the option `source` names, and what `load_pool` reads there; `InputError` where it names none."""
    inside = find_pool(Path(source))
    if inside is None:
        known = [kind.__name__ for kind in METHODS]
        raise InputError(f"source: {source} is no method, no pool folder, and not 'data'{nearest(source, [*known, 'data'])}")
    return inside, load_pool(inside, teacher, runtime)


def held_out_pool(source: str, teacher: Network, runtime: Runtime) -> Pool | None:
    """Return the pool that was held out of the one that the option `source` names, where there is one beside it that holds anything."""
    inside = find_pool(Path(source))
    beside = find_pool(inside.parent / "held-out") if inside is not None else None
    held = load_pool(beside, teacher, runtime) if beside is not None else None
    return held if held is not None and len(held) else None


def load_pool(inside: Path, teacher: Network, runtime: Runtime) -> Pool:
    """Read a pool folder for `teacher`; stored answers of another teacher are left out.

    Raises:
        InputError: Where the images are not of the teacher's shape and number of classes, or the pool can't be read.
    """
    pool = Pool.load(inside, device=runtime.device)
    made_for, wanted = ((s.shape, s.classes, s.task) for s in (pool.spec, teacher.spec))
    if made_for != wanted:
        said, asked = (f"images {shape} of {classes} classes ({task})" for shape, classes, task in (made_for, wanted))
        raise InputError(f"{inside} was made for {said}, the teacher is for {asked}")
    if read_json(inside / "pool.json")["provenance"].get("teacher_sha256") != model_hash(teacher):
        pool.forget_answers()
    return pool

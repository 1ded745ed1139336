"""Teachers of the benchmarks, kept as model folders: a figure without its teacher can't be repeated."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import yaml

import tacit
from benchmarks.places import checked_data
from benchmarks.plans import TeacherPlan
from benchmarks.suites import TEACHERS
from tacit.core.errors import InputError, nearest
from tacit.core.files import read_json, read_tensors, write_file, write_json, write_tensors
from tacit.core.models import model_hash
from tacit.core.spec import Spec

__all__ = ["add_arguments", "keep", "main", "make"]

KEPT = ("config.yaml", "result.json")
MODEL = ("model.json", "weights.safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"not given: all of {', '.join(TEACHERS)}")
    parser.add_argument("--data", type=Path, help="folder with mnist/ and cifar10/; not given: $TACIT_DATA, else ./data")
    parser.add_argument("--out", type=Path, help="where teachers/ is; not given: benchmarks/")
    parser.add_argument("--run", type=Path, help="keep this finished run of `tacit train` as the one teacher that is named")


def main(options: argparse.Namespace, home: Path) -> int:
    """Make the teachers that are missing in ``home/teachers``; return the number of those that failed, or miss their aim."""
    for name in options.names:
        if name not in TEACHERS:
            raise InputError(f"no teacher is called {name!r}{nearest(name, TEACHERS)}")
    if options.run is not None:
        if len(options.names) != 1:
            raise InputError(f"--run: expected one name of a teacher with it, got {len(options.names)}")
        return 0 if keep(options.run, home / "teachers" / options.names[0], TEACHERS[options.names[0]]) else 1
    failed = 0
    for name in options.names or TEACHERS:
        plan = TEACHERS[name]
        if (home / "teachers" / name).is_dir():
            print(f"{name}: there already")
        elif plan.device == "cuda" and not torch.cuda.is_available():
            print(f"{name}: left out, it needs a CUDA device")
            failed += name in options.names
        else:
            failed += not make(plan, home / "teachers" / name, checked_data(options.data, plan.dataset))
    return failed


def make(plan: TeacherPlan, place: Path, data: Path) -> bool:
    """Train a teacher and keep it in `place`; return whether it reaches its aim.

    Raises:
        InputError: It starts from another teacher, which is not there.
    """
    before = place.with_name(plan.start) if plan.start else None
    if before is not None and not before.is_dir():
        raise InputError(f"{place.name} starts from {plan.start}, which is not at {before}: make that one first")
    with tempfile.TemporaryDirectory() as folder:
        outcome = tacit.train(
            model=before if before is not None else plan.model,
            data=plan.dataset.at(data),
            view=plan.view,
            split=plan.split,
            training=plan.training,
            augmentation=plan.augmentation,
            max_seconds=plan.max_seconds,
            device=plan.device,
            precision=plan.precision,
            seed=plan.seed,
            out=Path(folder) / "run",
        )
        assert outcome.folder is not None
        return keep(outcome.folder, place, plan)


def keep(run: Path, place: Path, plan: TeacherPlan) -> bool:
    """Copy what is needed of a finished run into `place`, which appears whole or not at all; return whether it reaches its aim.

    Raises:
        InputError: The run is not finished, is of another network, or `place` is taken.
    """
    if place.exists():
        raise InputError(f"{place} is there already: delete it first")
    result = read_json(run / "result.json")
    described = read_json(run / "model" / "model.json")
    if (described["factory"], described["kwargs"]) != (plan.factory, dict(plan.kwargs)):
        raise InputError(f"{run} is a {described['factory']} with {described['kwargs']}, expected {plan.factory} with {dict(plan.kwargs)}")
    spec = asdict(Spec(**{**described["spec"], "names": plan.spec.names}))  # names, where the run was not told them, change nothing
    if spec != asdict(plan.spec):
        raise InputError(f"{run} takes {described['spec']}, expected {asdict(plan.spec)}")
    half = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for name in (*KEPT, *MODEL):
        shutil.copyfile(run / ("model" if name in MODEL else "") / name, half / name)
    write_json(half / "model.json", {**described, "spec": spec})
    if plan.half:
        weights = read_tensors(half / "weights.safetensors")
        write_tensors(half / "weights.safetensors", {k: v.half() if v.is_floating_point() else v for k, v in weights.items()})
        write_json(half / "model.json", {**described, "spec": spec, "sha256": model_hash(tacit.load(half))})
    first, _, text = (half / "config.yaml").read_text(encoding="utf-8").partition("\n")
    config: Mapping[str, object] = {**yaml.safe_load(text), "data": plan.dataset.at(Path("data"))}  # wherever it was on that machine
    if plan.start:
        config = {**config, "model": f"{place.parent.parent.name}/teachers/{plan.start}"}
    write_file(half / "config.yaml", f"{first}\n{yaml.safe_dump(config, sort_keys=False)}")
    half.rename(place)
    accuracy = 100 * result["metrics"]["student_accuracy"]
    good = bool(accuracy >= plan.aim)
    print(f"{place.name}: {accuracy:.2f} %" + ("" if good else f", below the {plan.aim:g} % that it should have"))
    return good

"""Reading a run folder: whatever is missing is empty, whatever is half-written is left out."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from tacit.core.errors import InputError
from tacit.core.files import read_json
from tacit.core.run import Run

__all__ = ["Record", "Sample", "mapping", "members", "number", "read", "read_figures"]

MAX_PIXELS = 96  # a side of a picture on the page


@dataclass(frozen=True)
class Sample:
    """One picture of the pool, as PNG, and what the teacher says about it."""

    png: bytes
    label: int | None
    confidence: float | None
    maps: Mapping[str, bytes] = field(default_factory=dict)
    """What is named in each of its pixels, as PNG, by who says so."""


@dataclass(frozen=True)
class Record:
    """What a run folder says."""

    name: str
    verb: str
    config: Mapping[str, Any]
    result: Mapping[str, Any] | None
    log: tuple[Mapping[str, Any], ...] = ()
    config_text: str = ""
    samples: tuple[Sample, ...] = ()
    parts: tuple[Record, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where the images of its pool come from: the teacher's hash, the method."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The metrics of the result; empty where the run has none yet."""
        found = (self.result or {}).get("metrics")
        return found if isinstance(found, Mapping) else {}

    def metric(self, name: str) -> float | None:
        """Return a number of the metrics, or None where it was not measured."""
        return number(self.metrics.get(name))

    def listed(self, name: str) -> list[Any]:
        """Return a metric that is a list; empty where it is none."""
        found = self.metrics.get(name)
        return found if isinstance(found, list) else []

    def by_class(self, name: str) -> list[float | None]:
        """Return a metric that has one number a class."""
        return [number(value) for value in self.listed(name)]

    @property
    def confusion(self) -> list[list[int]]:
        """Counts of evaluation images: a row for what the teacher says, a column for the student; empty where it is not square."""
        rows = self.listed("confusion")
        square = all(isinstance(row, list) and len(row) == len(rows) and all(number(value) is not None for value in row) for row in rows)
        return rows if square else []

    def points(self, kind: str, x: str, y: str) -> tuple[list[float], list[float]]:
        """Return the logged values of `y` over `x`, those that are numbers."""
        pairs = [(number(line.get(x)), number(line.get(y))) for line in self.log if line.get("kind") == kind]
        kept = [(at, value) for at, value in pairs if at is not None and value is not None]
        return [at for at, _ in kept], [value for _, value in kept]

    def logged(self, kind: str) -> list[str]:
        """Return the names of all values logged under `kind`, in order of appearance."""
        return list(dict.fromkeys(key for line in self.log if line.get("kind") == kind for key in line))


def number(value: Any) -> float | None:
    """Return `value` if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def read(folder: Path) -> Record:
    """Read a run folder and the run folders directly inside it. `InputError` where it is none."""
    if not Run.is_run(folder):
        raise InputError(f"report: {folder} is not a run folder: expected one with a config.yaml that tacit wrote")
    inside = sorted(child for child in folder.iterdir() if child.is_dir() and Run.is_run(child))
    # Those with pictures first: in a comparison, they are what the others are compared with.
    records = [replace(_record(child), samples=tuple(_samples(child / "samples"))) for child in inside]
    parts = sorted(records, key=lambda one: not one.samples)
    return replace(_record(folder), samples=tuple(_samples(folder / "samples")), parts=tuple(parts))


def members(folder: Path) -> list[Path]:
    """Return the runs that a run folder stands for: those of its own verb inside it or, where there are none, itself."""
    inside = sorted(child for child in folder.iterdir() if child.is_dir() and Run.is_run(child)) if Run.is_run(folder) else []
    return [child for child in inside if _record(child).verb == _record(folder).verb] or [folder]


def read_figures(folder: Path) -> Record:
    """Read what a run folder says in numbers: no pictures, no runs inside; its name is the path as given. `InputError` where it is none."""
    if not Run.is_run(folder):
        inside = sum(Run.is_run(child) for child in folder.iterdir()) if folder.is_dir() else 0
        hint = f"; there are {inside} inside it, give those" if inside else ""
        raise InputError(f"{folder} is no run folder: expected one that a tacit verb wrote (it has config.yaml){hint}")
    return replace(_record(folder), name=str(folder))


def _record(folder: Path) -> Record:
    first, _, text = (folder / "config.yaml").read_text(encoding="utf-8").partition("\n")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{folder / 'config.yaml'} is not readable YAML: {str(error).splitlines()[0]}") from error
    result = read_json(folder / "result.json") if (folder / "result.json").is_file() else None
    if result is not None and not isinstance(result, dict):
        raise InputError(f"{folder / 'result.json'}: expected an object, got a {type(result).__name__}")
    return Record(
        name=folder.resolve().name,
        verb=first.rpartition(":")[2].strip(),
        config=config if isinstance(config, dict) else {},
        config_text=text.strip(),
        result=result,
        log=tuple(_lines(folder / "metrics.jsonl")),
        provenance=_provenance(folder / "pool" / "pool.json"),
    )


def _provenance(path: Path) -> Mapping[str, Any]:
    try:
        described = read_json(path)
    except InputError:
        return {}
    found = described.get("provenance") if isinstance(described, dict) else None
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> Iterable[Mapping[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue  # a killed process leaves half a line
            if isinstance(value, dict):
                yield value


def _samples(folder: Path) -> Iterable[Sample]:
    listed = read_json(folder / "samples.json") if (folder / "samples.json").is_file() else {}
    entries = listed.get("samples") if isinstance(listed, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        name = entry.get("file") if isinstance(entry, dict) else None
        if not isinstance(name, str) or Path(name).name != name:
            continue  # only files beside the list: a path that leads elsewhere would put any picture on the page
        png = _png(folder / name)
        if png is not None:
            label = number(entry.get("class"))
            maps = dict(_maps(folder, entry.get("maps")))
            yield Sample(png, None if label is None else int(label), number(entry.get("confidence")), maps)


def _maps(folder: Path, listed: Any) -> Iterable[tuple[str, bytes]]:
    for who, name in listed.items() if isinstance(listed, dict) else ():
        png = _png(folder / name) if isinstance(name, str) and Path(name).name == name else None
        if png is not None:
            yield str(who), png


def _png(path: Path) -> bytes | None:
    """Return the picture written anew, small and without metadata, or None where it can't be read."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            plain = image.convert("L" if image.mode in ("1", "L", "I", "I;16") else "RGB")
            how = Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.BICUBIC  # classes are not mixed
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    plain.thumbnail((MAX_PIXELS, MAX_PIXELS), how)
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()

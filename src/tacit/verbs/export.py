"""`tacit export`: a pool as an image folder, a model as ONNX."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tacit.core.enginefile import refuse_file
from tacit.core.errors import InputError
from tacit.core.files import read_json, write_file, write_json
from tacit.core.run import versions
from tacit.core.spec import Spec
from tacit.quantize.onnx import to_onnx
from tacit.synthesize import Pool
from tacit.verbs.base import ModelLike, Outcome, Verb, as_function, find_model, model_option
from tacit.verbs.pictures import save_map, save_picture
from tacit.verbs.pools import find_pool

__all__ = ["PRIVACY", "Export", "export", "to_imagefolder"]

PRIVACY = (
    "These images were made from a trained network, without its training data. Inverted images may resemble training data: "
    "treat them with the care that the training data deserve, and look at them before you share them."
)
NO_ANSWERS = "this pool holds no teacher's answers: it can't be written with labels"


@dataclass(frozen=True, kw_only=True)
class Export(Verb):
    """Write what tacit made in a form that others read: a pool as `imagefolder`, a model as `onnx`."""

    to: Literal["imagefolder", "onnx"]
    """imagefolder: PNG files with labels or masks and metadata.jsonl, for Hugging Face datasets; onnx: a float model that takes [0, 1]."""
    out: Path
    """Folder (imagefolder) or file (onnx) to write; must not exist unless `overwrite`."""
    source: Path | None = None
    """For imagefolder: a run or pool folder."""
    model: ModelLike | None = model_option()
    """For onnx: the model."""
    overwrite: bool = False
    """Replace what is there."""

    name: ClassVar[str] = "export"

    def run(self) -> Outcome:
        """Write the files; return where they are."""
        out = Path(self.out)
        if out.exists() and not self.overwrite and (out.is_file() or any(out.iterdir())):
            raise InputError(f"out: {out} exists already: replace it with `--overwrite`, or choose another")
        if out.is_dir() and any(out.iterdir()) and not (out / "provenance.json").is_file():
            raise InputError(f"out: {out} is a folder that tacit did not write: choose another")
        if self.to == "imagefolder":
            if self.source is None:
                raise InputError("source: an image folder is made of a pool; give a run or pool folder")
            inside = find_pool(Path(self.source))
            if inside is None:
                raise InputError(
                    f"source: {self.source} is no pool folder, nor a run folder with one: expected a pool.json that tacit wrote"
                )
            pool = Pool.load(inside)
            if pool.answers is None:
                raise InputError(NO_ANSWERS)
            if out.is_dir():
                shutil.rmtree(out)
            out.unlink(missing_ok=True)
            to_imagefolder(pool, out, read_json(inside / "pool.json")["provenance"])
            rows = [("images", f"{len(pool):,}"), ("folder", str(out)), ("note", PRIVACY)]
        else:
            if self.model is None:
                raise InputError("model: an ONNX file is made of a model; give a model folder or package.module:callable")
            if out.is_dir():
                raise InputError(f"out: {out} is a folder; give the name of a file, as {out / 'model.onnx'}")
            network = find_model(self.model)
            refuse_file(network)
            to_onnx(network, out)
            rows = [("file", str(out)), ("size", f"{out.stat().st_size / 2**10:,.0f} KiB"), ("input", _input(network.spec))]
        return Outcome(folder=out, result={"out": str(out), "to": self.to}, rows=rows)


def _input(spec: Spec) -> str:
    return f"float32 (N, {', '.join(map(str, spec.shape))}) in [0, 1]"


def to_imagefolder(pool: Pool, out: Path, provenance: dict[str, Any]) -> None:
    """Write a pool as PNG files, with ``metadata.jsonl``; `datasets.load_dataset("imagefolder", data_dir=out)` reads it.

    Where the teacher sees one class in an image: in a folder a class, with file_name, label, and the teacher's probabilities. Where it sees
    one in a pixel: in ``images/``, with what it sees in ``masks/``.

    Args:
        pool: Images with the teacher's answers.
        out: Folder to write.
        provenance: Teacher's hash, method and settings; written to ``provenance.json`` with the privacy note.
    """
    if pool.answers is None:
        raise InputError(NO_ANSWERS)
    about = {"note": PRIVACY, "images": len(pool), "spec": asdict(pool.spec), "versions": versions(), **provenance}
    write_json(out / "provenance.json", about)  # first, so that a folder that is cut short is known for tacit's own, and can be replaced
    lines = _with_masks(pool, out) if pool.answers[0].ndim == 3 else _by_class(pool, out)
    write_file(out / "metadata.jsonl", "\n".join(lines) + "\n")
    write_file(out / "README.md", f"# Synthetic images\n\n{PRIVACY}\n\nHow they were made: `provenance.json`.\n")


def _by_class(pool: Pool, out: Path) -> list[str]:
    probabilities = pool.columns["logits"].float().softmax(dim=1)
    labels, width = probabilities.argmax(dim=1).tolist(), len(str(pool.spec.classes - 1))
    lines = []
    for number, label in enumerate(labels):
        file = f"{label:0{width}d}/{number:06d}.png"
        save_picture(out / file, pool.columns["images"][number])
        row = {"file_name": file, "label": label, "class": pool.spec.class_name(label)}
        lines.append(json.dumps({**row, "probabilities": [round(p, 6) for p in probabilities[number].tolist()]}))
    return lines


def _with_masks(pool: Pool, out: Path) -> list[str]:
    """Write images/ and masks/, and classes.txt with the names of the classes."""
    assert pool.answers is not None
    names = pool.spec.class_names
    lines = []
    for number, (seen, confidence) in enumerate(zip(*pool.answers, strict=True)):
        image, mask = f"images/{number:06d}.png", f"masks/{number:06d}.png"
        save_picture(out / image, pool.columns["images"][number])
        save_map(out / mask, seen, names)
        lines.append(json.dumps({"file_name": image, "mask_file_name": mask, "confidence": round(float(confidence), 6)}))
    write_file(out / "classes.txt", "\n".join(names) + "\n")
    return lines


export = as_function(Export)

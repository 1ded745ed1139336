"""Pool: the samples made so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tacit.core.batch import Batch, as_bytes, as_floats
from tacit.core.errors import InputError
from tacit.core.features import images_by_class
from tacit.core.files import hash_tensors, read_json, read_tensors, write_json, write_tensors
from tacit.core.spec import Spec

__all__ = ["Pool"]


class Pool:
    """8-bit images on the device, with targets and what the teacher says of them; grows, forgets the oldest, is saved and resumed.

    Where there is a class an image, the teacher's logits are kept. Where there is one a pixel these would take many times the room of the
    images: what is kept is the class that it names, in 8 bits, and its mean largest probability; the student's teacher is asked again.

    Args:
        spec: Shape and classes of the images.
        device: Where the images stay.
        cap: Most images that are kept; the oldest go first. None: all.
    """

    def __init__(self, spec: Spec, *, device: torch.device | str = "cpu", cap: int | None = None) -> None:
        if cap is not None and cap < 1:
            raise InputError(f"cap: expected at least 1 image, got {cap}")
        self.spec, self.cap, self.device = spec, cap, torch.device(device)
        self.made = 0
        self.columns: dict[str, Tensor] = {}
        self._shards: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self.columns["images"]) if self.columns else 0

    @property
    def first(self) -> int:
        """Number of the oldest image that is kept."""
        return self.made - len(self)

    def add(self, batch: Batch) -> None:
        """Append a batch; images are rounded to 8 bits."""
        dense = batch.targets is not None and batch.targets.ndim == 3 and not batch.targets.is_floating_point()
        targets = batch.targets.to(torch.uint8) if dense and batch.targets is not None else batch.targets
        new = {"images": as_bytes(batch.images), "targets": targets, **_said(batch.logits)}
        given = {name: value.detach().to(self.device) for name, value in new.items() if value is not None}
        if self.columns and set(given) != set(self.columns):
            raise ValueError(f"this pool holds {sorted(self.columns)}, the new batch {sorted(given)}")
        for name, value in given.items():
            together = torch.cat([self.columns[name], value]) if self.columns.get(name) is not None else value
            self.columns[name] = together[-self.cap :] if self.cap else together
        self.made += len(batch.images)

    def batch(self, index: Tensor) -> Batch:
        """Return the samples at `index` (0 is the oldest kept) as floats in [0, 1]."""
        if not len(self):
            raise InputError("the pool is empty")
        at = {name: self.columns[name][index] for name in ("images", "targets", "logits") if name in self.columns}
        targets = at.get("targets")
        targets = targets.long() if targets is not None and targets.dtype == torch.uint8 else targets
        return Batch(as_floats(at["images"]), targets, at.get("logits"), index)

    def save(self, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Write what is new as one more safetensors shard, then ``pool.json``, which counts only whole shards.

        A shard that holds forgotten images alone is deleted one save later, so that the checkpoint before can still be resumed.

        Args:
            folder: The pool's folder.
            provenance: Where the images come from: teacher's hash, method, config.
        """
        stale = [shard["file"] for shard in self._shards if shard.get("stale")]
        self._shards = [shard for shard in self._shards if not shard.get("stale")]
        saved = self._shards[-1]["end"] if self._shards else 0
        begin = max(saved, self.first)
        if begin < self.made:
            tensors = {name: column[begin - self.first :] for name, column in self.columns.items()}
            file = f"{begin:08d}-{self.made:08d}.safetensors"
            write_tensors(folder / file, tensors)
            self._shards.append({"file": file, "begin": begin, "end": self.made, "sha256": hash_tensors(tensors)})
        for shard in self._shards:
            shard["stale"] = shard["end"] <= self.first
        described = {
            "format": 1,
            "images": len(self),
            "first": self.first,
            "made": self.made,
            "columns": sorted(self.columns),
            "spec": asdict(self.spec),
            "provenance": dict(provenance),
            "shards": self._shards,
        }
        write_json(folder / "pool.json", described)
        for file in stale:
            (folder / file).unlink(missing_ok=True)

    def state_dict(self) -> dict[str, int]:
        """Return which images are kept; they themselves are in the folder."""
        return {"first": self.first, "made": self.made}

    @classmethod
    def load(
        cls, folder: Path, *, device: torch.device | str = "cpu", cap: int | None = None, state: Mapping[str, int] | None = None
    ) -> Pool:
        """Read a pool folder; with `state`, as it was when that was taken.

        Raises:
            InputError: Where the folder is no pool, or a shard is missing, truncated or altered.
        """
        described = read_json(folder / "pool.json")
        try:
            pool = cls(Spec(**described["spec"]), device=device, cap=cap)
            first, made = (state or described)["first"], (state or described)["made"]
            known = [(s["begin"], s["end"], s["file"], s["sha256"]) for s in described["shards"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"{folder / 'pool.json'} was not written by tacit, or by another version") from error
        parts: list[dict[str, Tensor]] = []
        for begin, end, file, sha256 in known:
            if end <= first or begin >= made:
                continue
            tensors = read_tensors(folder / file)
            if hash_tensors(tensors) != sha256:
                raise InputError(f"{folder / file} is not what was written: its sha256 differs")
            low, high = max(first - begin, 0), min(made, end) - begin
            parts.append({name: value[low:high] for name, value in tensors.items()})
        for name in parts[0] if parts else ():
            pool.columns[name] = torch.cat([part[name] for part in parts]).to(pool.device)
        pool.made = made
        pool._shards = [{**shard, "stale": False} for shard in described["shards"] if shard["end"] <= made]
        if len(pool) != made - first:
            raise InputError(f"{folder} holds {len(pool)} of the {made - first} images that it should: shards are missing")
        return pool

    @property
    def answers(self) -> tuple[Tensor, Tensor] | None:
        """What the teacher names, int64 of shape (N,) or uint8 of shape (N, H, W), and how sure it is, of shape (N,); None: not known."""
        if "seen" in self.columns:
            return self.columns["seen"], self.columns["confidence"]
        if "logits" not in self.columns:
            return None
        confidence, seen = self.columns["logits"].float().softmax(dim=1).max(dim=1)
        return seen, confidence

    def forget_answers(self) -> None:
        """Leave out what a teacher said, as another one is to be asked."""
        for name in ("logits", "seen", "confidence"):
            self.columns.pop(name, None)

    @property
    def class_counts(self) -> list[int]:
        """Images in which each class is named by the teacher (by the targets, where it was not asked)."""
        found = self.answers
        labels = found[0] if found is not None else self.columns.get("targets")
        if labels is None or labels.is_floating_point() or labels.ndim not in (1, 3):
            return []
        return images_by_class(labels, self.spec.classes)


def _said(logits: Tensor | None) -> dict[str, Tensor]:
    """Return what is kept of a teacher's answer."""
    if logits is None:
        return {}
    if logits.ndim == 2:
        return {"logits": logits}
    confidence, seen = logits.float().softmax(dim=1).max(dim=1)
    return {"seen": seen.to(torch.uint8), "confidence": confidence.flatten(1).mean(dim=1)}

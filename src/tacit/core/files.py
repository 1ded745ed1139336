"""Writing files so that a reader never meets half of one, and a full disk is an error in one line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from tacit.core.errors import InputError

__all__ = ["hash_tensors", "read_json", "read_tensors", "write_file", "write_json", "write_tensors"]


def write_file(path: Path, data: bytes | str) -> None:
    """Write a whole file: to a temporary name, flushed, then renamed. `InputError` where the disk is full or not writable."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(f"can't write {path}: {error.strerror or error}; what was there before is untouched") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN is refused."""
    write_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; `InputError` where it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as a safetensors file."""
    plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    write_file(path, save_tensors(plain, metadata))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a `.safetensors` or a `.pt` / `.pth` file of tensors, never unpickling code. `InputError` where that can't be done."""
    if not path.is_file():
        raise InputError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_tensors(path.read_bytes())
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors (a pickled module or code), and tacit never unpickles that: "
            "save the state_dict, `torch.save(model.state_dict(), path)`, or safetensors"
        ) from error
    except Exception as error:  # a broken file can raise anything
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{path} is truncated or no weights file: {reason}") from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not _are_tensors(loaded) and isinstance(loaded, Mapping):
        inside = [key for key, value in loaded.items() if _are_tensors(value)]
        if len(inside) != 1:
            held = ", ".join(f"{key}: {type(value).__name__}" for key, value in list(loaded.items())[:6])
            raise InputError(f"{path} holds no state_dict: expected a mapping from names to tensors, or one that is inside, got {held}")
        loaded = loaded[inside[0]]
    if not _are_tensors(loaded):
        raise InputError(f"{path} holds no state_dict: expected a mapping from names to tensors, got a {type(loaded).__name__}")
    return dict(loaded)


def _are_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a sha256 of names, types, shapes and values: the identity of a model's weights."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

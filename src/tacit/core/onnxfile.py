"""ONNX files as networks: run by ONNX Runtime, for evaluation and comparison; they give no gradients."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError, MissingExtraError
from tacit.core.network import Network, Spec

__all__ = ["SPEC", "OnnxModel", "load_onnx", "open_session"]

SPEC = "tacit.spec"
"""Key of the file's metadata under which the `Spec` is; a file that has it takes images in [0, 1]."""


def open_session(file: Path, *, threads: int | None = None) -> Any:
    """Return an ONNX Runtime session on the CPU.

    Args:
        file: The ONNX file.
        threads: Not given: as many as torch uses.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "quantize", "running an ONNX file") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has kinds of its own for each; all mean that the file can't be run
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{file} can't be run by ONNX Runtime: {reason}") from error


class OnnxModel(nn.Module):
    """An ONNX file with one image input and the logits as its first output.

    Args:
        file: The ONNX file.
    """

    digest: Tensor

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.session = open_session(file)
        self.register_buffer("digest", torch.frombuffer(bytearray(hashlib.sha256(file.read_bytes()).digest()), dtype=torch.uint8).clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits for images of shape (N, C, H, W)."""
        if torch.is_grad_enabled() and images.requires_grad:
            raise InputError(f"{self.file} is an ONNX file, which gives no gradients: use the network that it was made of")
        name = self.session.get_inputs()[0].name
        found = self.session.run(None, {name: images.detach().float().cpu().numpy()})[0]
        return torch.from_numpy(found).to(images.device)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "session"}  # a session can't be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.session = open_session(self.file)


def load_onnx(file: Path, given: Mapping[str, Any]) -> Network:
    """Return an ONNX file as a network.

    Args:
        file: Written by tacit, which puts the `Spec` into its metadata; or another's, for which `given` has ``shape`` and ``classes``.
        given: Fields of `Spec`.
    """
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    model = OnnxModel(file)
    kept = model.session.get_modelmeta().custom_metadata_map.get(SPEC)
    described = {**(json.loads(kept) if kept else {}), **given}
    missing = [name for name in ("shape", "classes") if name not in described]
    if missing:
        raise InputError(f"{file} was not written by tacit: say what it expects: {' and '.join(missing)}")
    return Network(model, Spec(**described), normalise=not kept)

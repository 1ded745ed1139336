"""Engines: who runs 8-bit files, and how a network becomes one for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from tacit.core.enginefile import SPEC
from tacit.core.errors import InputError
from tacit.core.models import model_hash
from tacit.core.network import Network
from tacit.quantize.deploy import Engine, Target, Written
from tacit.quantize.fold import fold
from tacit.quantize.onnx import OnnxRuntime
from tacit.quantize.openvino import OpenVino
from tacit.quantize.scheme import Scheme
from tacit.quantize.simulate import Simulated, simulate
from tacit.quantize.torchao import TorchAO

__all__ = ["ENGINES", "EngineName", "clip_weights", "find_engine", "write"]

EngineName = Literal["onnxruntime", "openvino", "torchao"]
"""ONNX Runtime (``model.onnx``), OpenVINO (``model.xml``) or torch itself (``model.pt2``)."""
ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in (OnnxRuntime(), OpenVino(), TorchAO())}


def find_engine(name: EngineName) -> Engine:
    """Return the engine of that name; `InputError` where there is none."""
    if name not in ENGINES:
        raise InputError(f"engine: expected one of {', '.join(get_args(EngineName))}, got {name!r}")
    return ENGINES[name]


@torch.no_grad()
def clip_weights(network: Network, scheme: Scheme) -> Network:
    """Return a copy with batch norm folded, whose weights keep to the ranges of the scheme: engines take the largest for the range."""
    folded = fold(network)
    ranged = simulate(folded, replace(scheme, activations=32)).model
    assert isinstance(ranged, Simulated)
    for name, quantizer in ranged.weights.items():
        layer = folded.model.get_submodule(name.partition(".parametrizations.")[0].removeprefix("net."))
        layer.get_parameter("weight").clamp_(quantizer.low * quantizer.scale, quantizer.high * quantizer.scale)
    return folded


def write(
    network: Network,
    images: Tensor,
    folder: Path,
    scratch: Path,
    scheme: Scheme,
    *,
    engine: EngineName = "onnxruntime",
    target: Target = "auto",
) -> Written:
    """Write a network as a file with int8 weights and activations, and as one in floating point to compare with.

    Both take float32 images (N, C, H, W) in [0, 1], any N (torchao: 1); normalisation is inside; `Spec` and hash of the
    weights are in their metadata.

    Args:
        network: In floating point.
        images: For the ranges of activations: in [0, 1], or uint8, of shape (N, C, H, W).
        folder: Where the int8 file goes, as ``model`` with the engine's suffix.
        scratch: Where the float file goes.
        scheme: Ranges; the bits are 8.
        engine: Who is to run the file.
        target: On which machine.

    Raises:
        MissingExtraError: Where the engine's packages are not installed.
        InputError: Where the engine can't do what is asked, or can't take the network; the message says what stands against it.
    """
    chosen = find_engine(engine)
    chosen.check(scheme, target)
    if not len(images):
        raise InputError("calibration: expected images, got none")
    notes = {SPEC: json.dumps(asdict(network.spec)), "tacit.sha256": model_hash(network)}
    return chosen.write(clip_weights(network, scheme), notes, images, folder, scratch, scheme, target)

"""ONNX: a network written as a float file, and that file quantized to int8, as ONNX Runtime runs it fastest.

QDQ with unsigned 8-bit activations and signed 8-bit weights, one scale a channel (U8S8): on x86 the signed form (S8S8), which is the
library's default, runs slower than floating point.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tacit.core.batch import as_floats
from tacit.core.enginefile import SPEC, quiet
from tacit.core.errors import InputError, import_extra
from tacit.core.files import write_file
from tacit.core.models import model_hash
from tacit.core.network import Network, Teacher
from tacit.quantize.deploy import Engine, Target, Written, find_target, reason
from tacit.quantize.ranges import SHARE
from tacit.quantize.scheme import Ranges, Scheme

__all__ = ["OnnxRuntime", "float_layers", "quantize_onnx", "rehearse_onnx", "to_onnx"]

PURPOSE = "working with ONNX files"

CALIBRATION = {"minmax": "MinMax", "average": "MinMax", "percentile": "Percentile"}
"""What ONNX Runtime calls the way in which a range is chosen; `average` is its moving average, over passes of one image."""


def to_onnx(network: Network, out: Path, *, notes: Mapping[str, str] | None = None) -> None:
    """Write a network as ONNX: input ``images``, float32 NCHW in [0, 1], any batch size; normalisation inside; output ``logits``.

    Args:
        network: Any network.
        out: The file that is written.
        notes: Its metadata; not given: the `Spec` under ``tacit.spec`` and the hash of the weights under ``tacit.sha256``.

    Raises:
        InputError: Where the network can't be written; the message says what stands against it.
    """
    onnx = import_extra("onnx", "quantize", PURPOSE)
    import_extra("onnxscript", "quantize", PURPOSE)  # torch's exporter needs it
    frozen = Teacher.of(network).cpu()
    frozen.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # else a pooling becomes ten nodes about its strides
    try:
        with quiet():
            program = torch.onnx.export(
                frozen,
                (torch.rand(2, *network.spec.shape),),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
    except Exception as error:  # torch raises many kinds; all mean that this graph can't be written
        raise InputError(f"{type(network.model).__name__} can't be written as ONNX: {reason(error)}") from error
    assert program is not None
    proto = program.model_proto
    _name_pooling(proto)
    _strip(proto)
    known = notes or {SPEC: json.dumps(asdict(network.spec)), "tacit.sha256": model_hash(network)}
    onnx.helper.set_model_props(proto, dict(known))
    onnx.checker.check_model(proto)
    write_file(out, proto.SerializeToString())


def rehearse_onnx(network: Network) -> None:
    """Raise the `InputError` of `to_onnx`, where there is one; nothing is left."""
    with tempfile.TemporaryDirectory() as folder:
        to_onnx(network, Path(folder, "float.onnx"))


class OnnxRuntime(Engine):
    """ONNX Runtime: QDQ."""

    name: ClassVar[str] = "onnxruntime"
    extra: ClassVar[str] = "quantize"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    ranges: ClassVar[Mapping[str, str]] = CALIBRATION

    def rehearse(self, network: Network) -> None:
        rehearse_onnx(network)

    def left_in_float(self, file: Path) -> list[str]:
        return float_layers(file)

    def write(
        self, network: Network, notes: Mapping[str, str], images: Tensor, folder: Path, scratch: Path, scheme: Scheme, target: Target
    ) -> Written:
        written = Written(scratch / "float.onnx", folder / "model.onnx")
        to_onnx(network, written.whole, notes=notes)
        quantize_onnx(written.whole, images, written.small, target=target, ranges=scheme.ranges, per_channel=scheme.per_channel)
        return written


class _Reader:
    """Images, as ONNX Runtime asks for them."""

    def __init__(self, images: Tensor, name: str, size: int) -> None:
        self.batches = torch.split(images, size)
        self.name = name
        self.rewind()

    def rewind(self) -> None:
        self._left: Iterator[Tensor] = iter(self.batches)

    def get_next(self) -> dict[str, Any] | None:
        some = next(self._left, None)
        if some is None:
            return None
        return {self.name: as_floats(some).cpu().numpy()}


def quantize_onnx(
    source: Path,
    images: Tensor,
    out: Path,
    *,
    target: Target = "auto",
    ranges: Ranges = "minmax",
    per_channel: bool = True,
    size: int = 64,
) -> None:
    """Quantize a float ONNX file to int8 weights and activations, by the ranges that `images` give.

    Args:
        source: Written by `to_onnx`; its metadata are kept.
        images: In [0, 1], or uint8, of shape (N, C, H, W).
        out: The file that is written.
        target: Which machine it is for.
        ranges: How ranges of activations are chosen: minmax, average (of the images' own) or percentile.
        per_channel: Whether each output channel's weights have a scale of their own.
        size: Images of one pass; for `average` it is one.

    Raises:
        InputError: Where the file can't be quantized; the message says what stands against it.
    """
    onnx = import_extra("onnx", "quantize", PURPOSE)
    quantization = import_extra("onnxruntime.quantization", "quantize", PURPOSE)
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if ranges not in CALIBRATION:
        raise InputError(f"activation_ranges: ONNX Runtime has no {ranges!r}; expected one of {', '.join(CALIBRATION)}")
    if not len(images):
        raise InputError("calibration: expected images, got none")
    found = find_target(target)
    before = onnx.load(str(source))
    within = 100 * (1 - 2 * (1 - SHARE))  # in %, between both ends
    options: dict[str, dict[str, Any]] = {"average": {"CalibMovingAverage": True}, "percentile": {"CalibPercentile": within}}
    size = 1 if ranges == "average" else size
    try:
        with tempfile.TemporaryDirectory() as folder, quiet():
            ready, made = Path(folder, "ready.onnx"), Path(folder, "made.onnx")
            quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(ready),
                str(made),
                _Reader(images, before.graph.input[0].name, size),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=per_channel,
                reduce_range=found == "x86",
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod[CALIBRATION[ranges]],
                extra_options=options.get(ranges, {}),
            )
            proto = onnx.load(str(made))
    except Exception as error:  # ONNX Runtime raises many kinds; all mean that this graph can't be quantized
        raise InputError(f"{source} can't be quantized by ONNX Runtime: {reason(error)}") from error
    _strip(proto)
    _share(proto)
    kept: Mapping[str, str] = {entry.key: entry.value for entry in before.metadata_props}
    onnx.helper.set_model_props(proto, {**kept, "tacit.target": found})
    write_file(out, proto.SerializeToString())


def _name_pooling(proto: Any) -> None:
    """Write means over height and width, ReduceMean as torch exports them, as GlobalAveragePool, which engines compute in 8 bits."""
    onnx, graph = import_extra("onnx", "quantize", PURPOSE), proto.graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    lists = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer if each.data_type == onnx.TensorProto.INT64}
    nodes = []
    for node in graph.node:
        axes = [int(axis) % 4 for axis in lists.get(node.input[-1], [])] if node.op_type == "ReduceMean" else []
        if sorted(axes) != [2, 3] or ranks.get(node.input[0]) != 4:
            nodes.append(node)
            continue
        flat = any(each.name == "keepdims" and not each.i for each in node.attribute)
        pooled = f"{node.name}_pooled" if flat else node.output[0]
        nodes.append(onnx.helper.make_node("GlobalAveragePool", node.input[:1], [pooled], name=node.name))
        if flat:
            nodes.append(onnx.helper.make_node("Flatten", [pooled], node.output, name=f"{node.name}_flat"))
    used = {name for node in nodes for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _strip(proto: Any) -> None:
    """Take out what only tells where a graph came from: in a small network's file that is as large as the weights."""
    del proto.graph.value_info[:], proto.graph.metadata_props[:]
    for node in proto.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]


def _share(proto: Any) -> None:
    """Keep equal constants once, as the zero points of all channels: of a network of many small layers they are a twentieth of the file."""
    graph = proto.graph
    first: dict[bytes, Any] = {}
    names: dict[str, str] = {}
    for each in graph.initializer:
        plain = type(each)()
        plain.CopyFrom(each)
        plain.ClearField("name")
        names[each.name] = first.setdefault(plain.SerializeToString(), each).name
    kept = list(first.values())
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def float_layers(file: Path) -> list[str]:
    """Return ``operator (name)`` of the convolutions and matrix products of a quantized file that still compute in floating point."""
    graph = import_extra("onnx", "quantize", PURPOSE).load(str(file)).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    left = []
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose"):
            kinds = [makers.get(name, "") for name in node.input[:2]]
            if any(kind != "DequantizeLinear" for kind in kinds):
                left.append(f"{node.op_type} ({node.name})")
    return left

"""OpenVINO: int8 by NNCF, often the fastest on x86."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from tacit.core.batch import as_floats
from tacit.core.enginefile import quiet
from tacit.core.errors import InputError
from tacit.core.files import write_file
from tacit.core.network import Network
from tacit.quantize.deploy import Engine, Target, Written, find_target, reason
from tacit.quantize.onnx import rehearse_onnx, to_onnx
from tacit.quantize.scheme import Scheme

__all__ = ["OpenVino"]


class OpenVino(Engine):
    """OpenVINO; NNCF quantizes."""

    name: ClassVar[str] = "openvino"
    extra: ClassVar[str] = "openvino"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "openvino", "nncf")
    ranges: ClassVar[Mapping[str, str]] = {"minmax": "MINMAX", "average": "MEAN_MINMAX", "percentile": "MEAN_QUANTILE"}
    float_sums: ClassVar[bool] = True

    def rehearse(self, network: Network) -> None:
        rehearse_onnx(network)

    def write(
        self, network: Network, notes: Mapping[str, str], images: Tensor, folder: Path, scratch: Path, scheme: Scheme, target: Target
    ) -> Written:
        os.environ.setdefault("NNCF_CI", "1")  # no telemetry
        import nncf
        import openvino

        to_onnx(network, scratch / "float.onnx", notes=notes)
        try:
            with quiet():
                graph = openvino.Core().read_model(str(scratch / "float.onnx"))
                _note(graph, notes)
                openvino.save_model(graph, str(scratch / "float.xml"), compress_to_fp16=False)
                options = self._options(nncf, scheme, find_target(target))
                small = nncf.quantize(graph, nncf.Dataset(_one_by_one(images)), subset_size=len(images), **options)
                _note(small, {**notes, "tacit.target": find_target(target)})
                openvino.save_model(small, str(scratch / "model.xml"), compress_to_fp16=False)
        except Exception as error:  # both libraries raise many kinds; all mean that this graph can't be quantized
            raise InputError(f"{type(network.model).__name__} can't be quantized by NNCF: {reason(error)}") from error
        for ending in (".bin", ".xml"):  # the one that is asked for last
            write_file(folder / f"model{ending}", (scratch / f"model{ending}").read_bytes())
        return Written(scratch / "float.xml", folder / "model.xml", parts=(".bin",))

    def _options(self, nncf: Any, scheme: Scheme, target: Target) -> dict[str, Any]:
        advanced, ranges = nncf.quantization.advanced_parameters, nncf.quantization.range_estimator.RangeEstimatorParametersSet
        return {
            "target_device": nncf.TargetDevice.ANY if target == "arm" else nncf.TargetDevice.CPU,
            "ignored_scope": None if scheme.sums else nncf.IgnoredScope(types=["Add"], validate=False),
            "advanced_parameters": nncf.AdvancedQuantizationParameters(
                overflow_fix=advanced.OverflowFix.ENABLE if target == "x86" else advanced.OverflowFix.DISABLE,
                weights_quantization_params=advanced.QuantizationParameters(per_channel=scheme.per_channel),
                activations_range_estimator_params=getattr(ranges, self.ranges[scheme.ranges]),
            ),
        }


def _note(graph: Any, notes: Mapping[str, str]) -> None:
    for name, value in notes.items():
        graph.set_rt_info(value, name.split("."))


def _one_by_one(images: Tensor) -> list[Any]:
    return [image.numpy() for image in as_floats(images).cpu()[:, None]]

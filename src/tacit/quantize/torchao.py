"""torchao: int8 by PT2E, compiled by AOTInductor into a package that torch alone runs, on CPUs like the one that wrote it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tacit.core.batch import as_floats
from tacit.core.enginefile import open_session, quiet
from tacit.core.errors import InputError
from tacit.core.files import write_file
from tacit.core.network import Network, Teacher
from tacit.quantize.deploy import Engine, Target, Written, find_target, reason
from tacit.quantize.scheme import Scheme

__all__ = ["TorchAO"]

WRONG = 0.05
"""Difference of a package's logits, as a share of their range, from which on it is not what was compiled; rounding differs by far less."""
LEAST = 2**-12
"""Of a scale."""
SIZE = 64
"""Images on which a package is compared with what was compiled."""


class TorchAO(Engine):
    """torch itself; torchao quantizes. Both files are compiled, most of a minute each, and hold machine code: they are not small.

    They take one image at a time: with a batch of any size, AOTInductor of torch 2.13 makes wrong int8 packages of networks with two
    convolutions (weights frozen; without that int8 is slower than floating point). `tacit.load` shows a larger batch image by image.
    """

    name: ClassVar[str] = "torchao"
    extra: ClassVar[str] = "torchao"
    packages: ClassVar[tuple[str, ...]] = ("torchao",)
    ranges: ClassVar[Mapping[str, str]] = {
        "minmax": "MinMaxObserver",
        "average": "MovingAverageMinMaxObserver",
        "mse": "HistogramObserver",
    }

    def check(self, scheme: Scheme, target: Target) -> None:
        with quiet():  # torchao says on import which of its GPU kernels are missing
            super().check(scheme, target)
        here = find_target()
        if platform.machine().lower() not in ("x86_64", "amd64") or find_target(target) != here:
            raise InputError(f"target: torchao compiles for the machine that it runs on, {here}, and x86 alone, got {target}")

    def rehearse(self, network: Network) -> None:
        try:
            with quiet(), torch.no_grad():
                _exported(Teacher.of(network).cpu(), torch.rand(SIZE, *network.spec.shape))
        except Exception as error:  # export raises many kinds; all mean that this graph can't be written
            raise InputError(f"{type(network.model).__name__} can't be quantized by torchao: {reason(error)}") from error

    def write(
        self, network: Network, notes: Mapping[str, str], images: Tensor, folder: Path, scratch: Path, scheme: Scheme, target: Target
    ) -> Written:
        with quiet():
            from torchao.quantization.pt2e import observer, quantize_pt2e, quantizer
            from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
        frozen = Teacher.of(network).cpu()
        shown = as_floats(images.cpu())
        written, made = Written(scratch / "float.pt2", folder / "model.pt2"), scratch / "small.pt2"
        try:
            with quiet(), torch.no_grad():
                _compile(_exported(frozen, shown), written.whole, notes)
                specs = _specs(observer, quantizer, getattr(observer, self.ranges[scheme.ranges]), scheme, find_target(target))
                config = x86.QuantizationConfig(specs[0], None, specs[1], None)
                watched = quantize_pt2e.prepare_pt2e(_exported(frozen, shown).module(), x86.X86InductorQuantizer().set_global(config))
                for some in torch.split(shown, 1):
                    watched(some)
                converted = quantize_pt2e.convert_pt2e(watched)
                _compile(_exported(converted, shown), made, {**notes, "tacit.target": find_target(target)})
                wrong = _difference(converted, made, shown[:SIZE])
        except Exception as error:  # export, quantizer and compiler raise many kinds; all mean that this graph can't be quantized
            raise InputError(f"{type(network.model).__name__} can't be quantized by torchao: {reason(error)}") from error
        if wrong > WRONG:
            raise InputError(
                f"{type(network.model).__name__}: torch's compiler made a package that computes something else (logits differ by "
                f"{wrong:.0%} of their range), which is a fault of its own; use another engine"
            )
        write_file(written.small, made.read_bytes())
        return written


def _specs(observer: Any, quantizer: Any, ranges: Any, scheme: Scheme, target: Target) -> tuple[Any, Any]:
    """Return how activations and weights are quantized: what the default configuration has, with the scheme's ranges."""
    activations = quantizer.QuantizationSpec(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=127 if target == "x86" else 255,
        qscheme=torch.per_tensor_affine,
        is_dynamic=False,
        observer_or_fake_quant_ctr=ranges.with_args(eps=LEAST),
    )
    weight = observer.PerChannelMinMaxObserver if scheme.per_channel else observer.MinMaxObserver
    weights = quantizer.QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_channel_symmetric if scheme.per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if scheme.per_channel else None,
        is_dynamic=False,
        observer_or_fake_quant_ctr=weight.with_args(eps=LEAST),
    )
    return activations, weights


def _difference(model: nn.Module, file: Path, images: Tensor) -> float:
    """Return the largest difference between a module's logits and those of its package, as a share of the range of the module's."""
    wanted = torch.cat([model(image) for image in torch.split(images, 1)])
    found = torch.from_numpy(open_session(file)(images.numpy()))
    return float((wanted - found).abs().max() / (wanted.max() - wanted.min()).clamp_min(1e-12))


def _exported(model: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(model, (images[:1].clone(),))  # a view would be kept with all that it looks at


def _compile(program: torch.export.ExportedProgram, out: Path, notes: Mapping[str, str]) -> None:
    import torch._inductor

    options = {"freezing": True, "cpp.dynamic_threads": True, "aot_inductor.metadata": dict(notes)}
    with torch._inductor.config.patch(freezing=True):
        torch._inductor.aoti_compile_and_package(program, package_path=str(out), inductor_configs=options)

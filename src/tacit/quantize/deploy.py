"""Engine: who runs 8-bit files, which machine a file is for, and what is written."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from torch import Tensor

from tacit.core.errors import InputError, import_extra
from tacit.core.network import Network
from tacit.quantize.scheme import Scheme

__all__ = ["Engine", "Target", "Written", "cpu_flags", "find_target", "reason"]

Target = Literal["auto", "x86-vnni", "x86", "arm"]
"""Which machine: x86 with 8-bit dot products (VNNI, AMX), x86 without, where weights must keep to 7 bits lest sums saturate; or ARM."""
FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")


@dataclass(frozen=True)
class Written:
    """A network as files of one engine.

    Args:
        whole: In floating point, to compare with.
        small: In 8 bits.
        parts: Files that `small` needs beside it.
    """

    whole: Path
    small: Path
    parts: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes in floating point and in 8 bits."""
        return _size(self.whole, self.parts), _size(self.small, self.parts)


def _size(file: Path, parts: tuple[str, ...]) -> int:
    return sum(file.with_suffix(end).stat().st_size for end in (file.suffix, *parts))


class Engine(ABC):
    """Who runs a file: what has to be installed, what it can be asked, and how a network becomes a file for it."""

    name: ClassVar[str]
    extra: ClassVar[str]
    """Of tacit, that installs its packages."""
    packages: ClassVar[tuple[str, ...]]
    ranges: ClassVar[Mapping[str, str]]
    """What it calls the ways in which ranges of activations are chosen, of those that it has."""
    float_sums: ClassVar[bool] = False
    """Whether sums of branches can stay in floating point, with 8-bit layers around them."""

    def check(self, scheme: Scheme, target: Target) -> None:
        """Raise `InputError` where the engine is not installed, or can't do what is asked."""
        for package in self.packages:
            import_extra(package, self.extra, f"a file for {self.name}")
        find_target(target)
        if scheme.ranges not in self.ranges:
            known = ", ".join(self.ranges)
            raise InputError(f"scheme.activation_ranges: {self.name} has no {scheme.activation_ranges!r}; expected one of {known}")
        if not (scheme.sums or self.float_sums):
            raise InputError(f"scheme.sums: what 8-bit layers of {self.name} give is in 8 bits, and so are sums of it; leave it as it is")

    @abstractmethod
    def rehearse(self, network: Network) -> None:
        """Raise `InputError` where the network can't become a file of numbers in floating point: before any image is made."""

    def left_in_float(self, file: Path) -> list[str]:
        """Return the layers of an int8 file that still compute in floating point, as far as the engine says so."""
        return []

    @abstractmethod
    def write(
        self, network: Network, notes: Mapping[str, str], images: Tensor, folder: Path, scratch: Path, scheme: Scheme, target: Target
    ) -> Written:
        """Write ``model`` with the engine's suffix into `folder`, and a float file into `scratch`; as `tacit.quantize.engines.write`.

        Args:
            network: With weights in their ranges.
            notes: The metadata of both files.
            images: For the ranges of activations: in [0, 1], or uint8, of shape (N, C, H, W).
            folder: For the int8 file.
            scratch: For the float file.
            scheme: Ranges.
            target: Which machine.
        """


def cpu_flags() -> list[str]:
    """Return which of the flags for 8-bit dot products this machine's CPU has; empty where there are none, or they can't be read."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return []
    return [flag for flag in FLAGS if flag in words]


def find_target(target: Target = "auto") -> Target:
    """Return the target, for ``auto`` this machine; `InputError` where it is none of them."""
    if target not in get_args(Target):
        raise InputError(f"target: expected one of {', '.join(get_args(Target))}, got {target!r}")
    if target != "auto":
        return target
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm"
    return "x86-vnni" if cpu_flags() else "x86"


def reason(error: Exception) -> str:
    """Return the line of an engine's error that names what is at fault: an operator, where one is named."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    lines = [line.strip() for each in reversed(chain) for line in str(each).splitlines() if line.strip()]
    words = ("operator", "op type", "aten", "no onnx function", "unsupported")
    named = [line for line in lines if any(word in line.lower() for word in words)]
    return (named or lines or [type(error).__name__])[0]

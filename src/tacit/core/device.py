"""Runtime: device, precision and threads, chosen once; the seconds that each kind of work took."""

from __future__ import annotations

import hashlib
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import ADVICE, NonFiniteLossError, all_finite, check_finite

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Clock", "Precision", "Runtime", "choose_threads", "cores", "derived_seed", "peak_memory_mb"]

Precision = Literal["auto", "32-true", "bf16-mixed"]


SMALL = 4_000_000
"""Multiply-adds an image below which one CPU thread in fp32 is as fast as any other choice. Measured on 2 cores (benchmarks/RESULTS.md):
a step of an 8x8 ResNet-8 of 4 channels takes 7 ms with one thread and 16 ms with two, of 16 channels 18 and 23 ms; a step of a CIFAR
ResNet-20 takes 410 and 316 ms, and 251 and 194 ms in bf16."""


def choose_threads(work: int | None = None) -> int:
    """Return how many threads torch should use on a CPU.

    OMP_NUM_THREADS where the user set it; one for a small model; else the cores that this process may use.

    Args:
        work: Multiply-adds an image.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if work is not None and work < SMALL:
        return 1
    return cores()


def cores() -> int:
    """Return how many cores this process may use, by its affinity and by what a container grants; 1 or more."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(present, _quota()))


def _quota() -> int:
    """Return the whole cores that a container grants (cgroup v2), or a large number."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 1 << 16


def peak_memory_mb() -> float:
    """Return the largest resident set of this process so far, in MB (2**20 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if os.uname().sysname != "Darwin" else peak / 2**20


class Runtime:
    """Where and how the work is done: a thin hold on Lightning Fabric.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``mps`` ... as Fabric's accelerator.
        precision: ``32-true``, ``bf16-mixed`` or ``auto``: bf16 on GPUs that have it, and on CPUs that
            compute in it (AVX512-BF16, AMX) where the model is not small; else fp32.
        work: Multiply-adds an image of the largest model (`work_per_image`).
        devices: How many devices, or ``auto``.
        num_nodes: How many machines.
        strategy: Fabric's strategy, as ``ddp``.
        at_once: Most images in one pass through a teacher while images are made; None: a whole batch.
    """

    def __init__(
        self,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        work: int | None = None,
        devices: int | str = 1,
        num_nodes: int = 1,
        strategy: str = "auto",
        at_once: int | None = None,
    ) -> None:
        import logging
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lightning_fabric import Fabric
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        if precision not in get_args(Precision):
            raise InputError(f"precision: expected one of {', '.join(get_args(Precision))}, got {precision!r}")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError("device: cuda was asked for, and torch finds no CUDA device here; use `--device cpu`")
        chosen: Literal["32-true", "bf16-mixed"] = _best_precision(device, work) if precision == "auto" else precision
        try:
            self.fabric: Fabric = Fabric(accelerator=device, devices=devices, num_nodes=num_nodes, strategy=strategy, precision=chosen)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"device: {str(error).splitlines()[0]}") from error
        self.precision: str = chosen
        self.at_once = at_once
        self._sound: Tensor | None = None
        if self.fabric.device.type == "cpu":
            torch.set_num_threads(choose_threads(work))
        self.fabric.launch()

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.fabric.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.fabric.is_global_zero

    @property
    def name(self) -> str:
        """The device in words."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device.type} ({torch.get_num_threads()} threads)" if self.device.type == "cpu" else self.device.type

    def autocast(self) -> AbstractContextManager[None]:
        """Return a fresh autocast context; enter it anew for each step: one held over steps keeps stale copies of weights."""
        context: AbstractContextManager[None] = self.fabric.autocast()
        return context

    def place(self, module: nn.Module) -> None:
        """Move a module to the device, in channels_last where it has convolutions."""
        module.to(self.device)
        if any(p.ndim == 4 for p in module.parameters()):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def generator(self, seed: int, role: str = "") -> torch.Generator:
        """Return a generator on the device; each role, and each rank of a launch, draws a stream of its own."""
        return torch.Generator(self.device).manual_seed(derived_seed(seed, role, self.fabric.global_rank))

    def agreed(self, value: float) -> float:
        """Return the first process's value in all of them, so that clocks can't part their ways."""
        return value if self.fabric.world_size == 1 else self.fabric.broadcast(value)

    def guard(self, parts: Mapping[str, Tensor], where: str, step: int) -> None:
        """Stop at a NaN or infinite loss: at every step on a CPU; on a GPU, so that no step waits for the device, every 25 steps.

        What went wrong between is remembered on the device, and `settle` stops before it is stored. Several processes, which call this
        together, stop together: none is left waiting for another's gradients.
        """
        if self.device.type == "cpu" or step % 25 == 0:
            everywhere = self.fabric.world_size == 1 or self._everywhere(all_finite(parts))
            before, self._sound = self._sound, None  # forgotten where this raises: what is trained next begins anew
            check_finite(parts, where)
            if not everywhere:
                raise NonFiniteLossError(f"{where}: the loss of another process became NaN or infinite; {ADVICE}")
            self._sound = before
        elif parts:
            sound = all_finite(parts)
            self._sound = sound if self._sound is None else self._sound & sound

    def settle(self, where: str) -> None:
        """Raise `NonFiniteLossError` where a loss was NaN or infinite since the last look; called before anything is stored."""
        sound, self._sound = self._sound, None
        if sound is not None and not self._everywhere(sound):
            raise NonFiniteLossError(f"{where}: the loss became NaN or infinite; {ADVICE}")

    def _everywhere(self, sound: Tensor) -> bool:
        """Whether a flag holds in every process; all of them must ask."""
        if self.fabric.world_size == 1:
            return bool(sound)
        broken = self.fabric.all_reduce((~sound).float().to(self.device), reduce_op="sum")
        assert isinstance(broken, Tensor)
        return not bool(broken)


def _best_precision(device: str, work: int | None) -> Literal["32-true", "bf16-mixed"]:
    if torch.cuda.is_available() and device in ("auto", "cuda", "gpu"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    on_cpu = device == "cpu" or (device == "auto" and not torch.backends.mps.is_available())
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if on_cpu and fast and work is not None and work >= SMALL else "32-true"


def _wait(kind: str) -> None:
    if kind != "training" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def derived_seed(*parts: object) -> int:
    """Return a seed of 63 bits that depends on all parts: streams of other roles, epochs or ranks have nothing in common."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


class Clock:
    """Seconds by kind of work; they add up over resumes."""

    KINDS = ("synthesis", "training", "evaluation")
    now: ClassVar[Callable[[], float]] = staticmethod(time.perf_counter)
    """What is read: wall time. To compare runs on a busy CPU, set it to `time.process_time`, so that no run pays for another."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(self.KINDS, 0.0)
        self._running: list[str] = []

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Count the time spent inside to `kind`, and not to the kind around it; a GPU is waited for around all but training steps."""
        _wait(kind)
        start = Clock.now()
        self._running.append(kind)
        try:
            yield
        finally:
            _wait(kind)
            spent = Clock.now() - start
            self._running.pop()
            self.seconds[kind] += spent
            if self._running:
                self.seconds[self._running[-1]] -= spent

    @property
    def budgeted(self) -> float:
        """Seconds that count against a budget: all but evaluation."""
        return self.seconds["synthesis"] + self.seconds["training"]

    def report(self) -> dict[str, float]:
        """Return the seconds of each kind and in all."""
        return {**self.seconds, "total": sum(self.seconds.values())}

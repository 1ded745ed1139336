"""Suite `speed`: what one training step costs by threads, precision and memory layout; and the batch moments of BN methods."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.provenance import code
from tacit.core.files import write_file
from tacit.core.moments import batch_moments
from tacit.zoo import resnet

__all__ = ["KEPT", "add_arguments", "main"]

KEPT = Path("results", "speed.json")
"""Where the result is, under the home of all."""
MODELS: dict[str, dict[str, Any]] = {
    "ResNet-8, 4 channels, 8x8": {"depth": 8, "width": 4, "size": 8},
    "ResNet-8, 16 channels, 8x8": {"depth": 8, "width": 16, "size": 8},
    "ResNet-20, 16 channels, 32x32": {"depth": 20, "width": 16, "size": 32},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--again", action="store_true", help="also measure again what is there; it stands until then")
    parser.add_argument("--out", type=Path, help="where results/, figures/ and RESULTS.md go; not given: benchmarks/")


def main(options: argparse.Namespace, home: Path) -> int:
    """Measure all that is not there yet, and return 0. A step is forward, backward and SGD on 128 images; the figures are medians."""
    if (home / KEPT).exists() and not options.again:
        print(f"{home / KEPT}: there already")
        return 0
    known = code(jobs=1)
    cores = len(os.sched_getaffinity(0))
    steps = []
    for name, model in MODELS.items():
        for threads in sorted({1, cores}):
            for layout in ("contiguous", "channels_last"):
                for precision in ("fp32", "bf16"):
                    milliseconds = _step(threads=threads, layout=layout, precision=precision, **model)
                    steps.append({"model": name, "threads": threads, "layout": layout, "precision": precision, "ms": milliseconds})
    result = {
        "steps": steps,
        "moments": _moments(),
        "cores": cores,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
        "torch": torch.__version__,
        "code": known,
    }
    write_file(home / KEPT, json.dumps(result, indent=1) + "\n")
    return 0


def _median_ms(work: Callable[[], object], *, least: int = 7, seconds: float = 1.5) -> float:
    work(), work()
    spent: list[float] = []
    while len(spent) < least or sum(spent) < seconds:
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return round(1000 * median(spent), 2)


def _step(*, depth: int, width: int, size: int, threads: int, layout: str, precision: str) -> float:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    net = resnet(depth, channels=3, width=width).to(memory_format=form)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    images, labels = torch.rand(128, 3, size, size).to(memory_format=form), torch.randint(10, (128,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = net(images)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return _median_ms(step)


def _moments() -> dict[str, float]:
    torch.set_num_threads(1)
    x = torch.randn(128, 16, 32, 32).to(memory_format=torch.channels_last).requires_grad_()

    def ours() -> None:
        mean, var = batch_moments(x)
        (mean.sum() + var.sum()).backward()  # type: ignore[no-untyped-call]

    def theirs() -> None:
        var, mean = torch.var_mean(x, dim=[0, 2, 3], correction=0)
        (mean.sum() + var.sum()).backward()  # type: ignore[no-untyped-call]

    return {"batch_moments_ms": _median_ms(ours), "var_mean_ms": _median_ms(theirs)}

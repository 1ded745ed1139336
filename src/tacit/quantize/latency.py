"""Latency: how long engines take for the same images, measured in turn, so that a busy machine harms all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from tacit.core.enginefile import open_session
from tacit.core.network import Network
from tacit.core.state import evaluation_mode

__all__ = ["BATCHES", "compare_latency", "interleaved"]

BATCHES = (1, 64)
"""Images at once."""


def interleaved(jobs: Mapping[str, Callable[[], object]], *, seconds: float = 1.0, least: int = 5) -> dict[str, float]:
    """Return the median seconds of each job; each is done once in turn, after one turn that does not count.

    Args:
        jobs: By name.
        seconds: After so many no new turn is begun.
        least: Turns at least.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    start = time.perf_counter()
    turn = 0
    while turn <= least or time.perf_counter() - start < seconds:
        for name, job in jobs.items():
            before = time.perf_counter()
            job()
            if turn:
                times[name].append(time.perf_counter() - before)
        turn += 1
    return {name: statistics.median(taken) for name, taken in times.items()}


def compare_latency(network: Network, files: Mapping[str, Path], *, seconds: float = 1.0) -> dict[str, dict[str, float]]:
    """Return milliseconds a batch on one CPU thread, by batch size and engine: eager torch, and the engines of `files`.

    Args:
        network: In floating point, on the CPU.
        files: Files that an engine runs, by name.
        seconds: For each batch size.
    """
    sessions = {name: open_session(file, threads=1) for name, file in files.items()}
    threads, found = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    try:
        with evaluation_mode(network), torch.inference_mode():
            for size in BATCHES:
                images = torch.rand(size, *network.spec.shape, generator=torch.Generator().manual_seed(0))
                given = images.numpy()
                jobs: dict[str, Callable[[], object]] = {"torch": lambda images=images: network(images)}  # type: ignore[misc]
                for name, session in sessions.items():
                    jobs[name] = lambda session=session, given=given: session(given)  # type: ignore[misc]
                taken = interleaved(jobs, seconds=seconds)
                found[str(size)] = {name: 1000 * value for name, value in taken.items()}
    finally:
        torch.set_num_threads(threads)
    return found

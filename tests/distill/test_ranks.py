"""Two processes learn as one does of both their batches: the same weights, and memories that are the same in each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ranks
from ranks import OBJECTIVES, learned, meta_learned, painted, remembered, stopped
from tacit.core.device import Runtime


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, ranks.__file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_memories_are_the_same_in_both_and_in_one_process_that_sees_both_batches(
    name: str, both: list[dict[str, Any]], runtime: Runtime
) -> None:
    first, second = (found[name] for found in both)
    alone = learned(name, runtime)
    assert {key.rpartition(".")[2] for key in alone} >= {"student", "teacher", "labels", "numbers", "log_mean"}
    assert first.keys() == second.keys() == alone.keys()
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=1e-4, atol=1e-5)


def test_a_process_alone_with_half_of_the_images_would_have_learned_something_else(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learned("memory", runtime)
    monkeypatch.setattr(ranks, "SIZE", ranks.SIZE // 2)
    half = learned("memory", runtime)
    (key,) = (key for key in whole if key.endswith(".student"))
    assert not torch.allclose(whole[key], half[key], atol=1e-3)


def test_the_bank_of_contrast_holds_what_all_processes_kept(both: list[dict[str, Any]], runtime: Runtime) -> None:
    first, second = (found["contrast"] for found in both)
    assert torch.equal(first, second)
    alone = remembered(runtime)
    assert first.shape == alone.shape == (4 * ranks.SIZE - 1, 2, 5)
    torch.testing.assert_close(first[:, 1], alone[:, 1])  # whole images; the parts are drawn by each process


def test_images_are_aligned_with_the_statistics_of_what_all_processes_paint(both: list[dict[str, Any]], runtime: Runtime) -> None:
    together, alone = torch.cat([found["painted"] for found in both]), painted(runtime)
    start = ranks.Halves(0, 1).batch(0).images
    assert float((alone - start).abs().max()) > 0.05
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_a_meta_generator_learns_from_the_rounds_of_all_processes(both: list[dict[str, Any]], runtime: Runtime) -> None:
    first, second = (found["meta"] for found in both)
    assert torch.equal(first, second)
    assert not torch.allclose(first, meta_learned(runtime))


def test_a_loss_that_breaks_in_one_process_stops_all_of_them(both: list[dict[str, Any]], runtime: Runtime) -> None:
    first, second = (found["stopped"] for found in both)
    assert second.startswith("student step 3: the loss became kd = inf; try")
    assert first.startswith("student step 3: the loss of another process became NaN or infinite; try")
    assert stopped(runtime) == second

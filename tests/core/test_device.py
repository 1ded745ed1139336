"""Runtime and Clock: threads, precision, streams of random numbers, seconds."""

from __future__ import annotations

import os
from itertools import combinations

import pytest
import torch

from tacit.core.device import SMALL, Clock, Runtime, choose_threads, peak_memory_mb
from tacit.core.errors import InputError
from tacit.core.loss import NonFiniteLossError
from toy import BNNet


def test_the_users_thread_count_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads() == choose_threads(SMALL - 1) == 3


@pytest.mark.parametrize("given", ["", "0", "many", "-2"])
def test_a_small_model_gets_one_thread_and_another_all_cores(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr("tacit.core.device._quota", lambda: 100)
    assert choose_threads(SMALL - 1) == 1
    assert choose_threads(SMALL) == choose_threads() == 3
    monkeypatch.setattr("tacit.core.device._quota", lambda: 2)
    assert choose_threads() == 2


def test_a_runtime_on_the_cpu_uses_the_chosen_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runtime = Runtime("cpu", work=10)
    assert torch.get_num_threads() == 1
    assert (runtime.device.type, runtime.name, runtime.main) == ("cpu", "cpu (1 threads)", True)


@pytest.mark.parametrize("fast", [True, False])
def test_automatic_precision_is_bf16_only_for_a_large_model_on_a_cpu_that_computes_in_it(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert [Runtime("cpu", work=work).precision for work in (None, SMALL - 1)] == ["32-true", "32-true"]
    assert Runtime("cpu", work=SMALL).precision == ("bf16-mixed" if fast else "32-true")


@pytest.mark.parametrize(("device", "words"), [("cpuu", "device: "), ("cuda", "use `--device cpu`")])
def test_a_device_that_is_not_there_is_an_input_error(device: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=words):
        Runtime(device)


def test_an_unknown_precision_is_an_input_error() -> None:
    with pytest.raises(InputError, match="precision: expected one of auto, 32-true, bf16-mixed, got '64'"):
        Runtime("cpu", "64")  # type: ignore[arg-type]


def test_each_autocast_is_fresh_so_that_no_stale_copy_of_a_weight_is_used() -> None:
    runtime, layer, x = Runtime("cpu", "bf16-mixed"), torch.nn.Linear(4, 4, bias=False), torch.ones(1, 4)
    with runtime.autocast():
        first = layer(x)
    with torch.no_grad():
        layer.weight.zero_()
    with runtime.autocast():
        second = layer(x)
    assert first.dtype == torch.bfloat16
    assert float(first.detach().abs().sum()) > 0 == float(second.detach().abs().sum())


def test_networks_with_convolutions_are_placed_in_channels_last(runtime: Runtime) -> None:
    model = BNNet(channels=3)
    runtime.place(model)
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_draws_depend_on_the_seed_and_the_role_alone(runtime: Runtime) -> None:
    roles = ((0, "a"), (0, "a"), (1, "a"), (0, "b"), (0, ""))
    draws = [torch.rand(4, generator=runtime.generator(seed, role)).tolist() for seed, role in roles]
    assert draws[0] == draws[1]
    assert all(one != other for one, other in combinations(draws[1:], 2))


@pytest.mark.parametrize("step", [0, 1, 24, 25])
def test_the_guard_stops_at_every_step_on_a_cpu(runtime: Runtime, step: int) -> None:
    with pytest.raises(NonFiniteLossError, match="here: the loss became kd = nan"):
        runtime.guard({"kd": torch.tensor(float("nan"))}, "here", step)


@pytest.mark.parametrize("bad", [1, 12, 24, None])
def test_on_a_gpu_what_goes_wrong_between_two_looks_is_found_before_anything_is_stored(
    bad: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime("cpu", "32-true")
    monkeypatch.setattr(Runtime, "device", torch.device("cuda"))
    for step in range(1, 26):
        runtime.guard({"kd": torch.tensor(float("inf") if step == bad else 1.0)}, "here", step)
    if bad is None:
        runtime.settle("there")
        assert runtime._sound is None
    else:
        with pytest.raises(NonFiniteLossError, match="there: the loss became NaN or infinite"):
            runtime.settle("there")
    runtime.settle("the next training, which is sound")
    runtime.guard({"kd": torch.tensor(float("inf"))}, "here", 49)
    with pytest.raises(NonFiniteLossError, match="here: the loss became kd = inf"):
        runtime.guard({"kd": torch.tensor(float("inf"))}, "here", 50)
    runtime.settle("the next training, which is sound")


def test_the_clock_takes_inner_work_off_the_outer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 4.0, 6.0, 6.5, 10.0])
    monkeypatch.setattr(Clock, "now", staticmethod(lambda: next(now)))
    clock = Clock()
    with clock("training"):
        with clock("synthesis"):
            pass
        with clock("evaluation"):
            pass
    assert clock.seconds == {"synthesis": 3.0, "training": 6.5, "evaluation": 0.5}
    assert clock.budgeted == 9.5
    assert clock.report()["total"] == 10.0


def test_the_clock_counts_up_to_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 2.0, 5.0, 6.0])
    monkeypatch.setattr(Clock, "now", staticmethod(lambda: next(now)))
    clock = Clock()
    with pytest.raises(KeyError), clock("training"):
        raise KeyError
    with clock("training"):
        pass
    assert clock.seconds["training"] == 3.0


def test_peak_memory_is_in_megabytes_and_does_not_fall() -> None:
    before = peak_memory_mb()
    assert 50 < before < 1e5
    block = torch.ones(30 * 2**20)
    assert peak_memory_mb() >= max(before, block.numel() * 4 / 2**20)

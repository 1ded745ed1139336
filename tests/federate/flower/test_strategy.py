"""Flower's own loop over tacit's algorithms: `Strategy.start` ends with the weights of tacit's loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("flwr")

from flwr.app import Message
from flwr.serverapp.strategy import Strategy

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.distill import Training
from tacit.federate import DENSE, Algorithm, FedAvg, FedDistill, FedEnsemble, FedGen, Upload
from tacit.federate.flower import Deadlines, make_strategy, upload_record
from tacit.federate.flower.records import tensors_of
from tacit.synthesize import Gaussian
from toyfed import TEST, flat, plan, sites
from toyflower import FEDGEN, InProcessGrid, broken, members, weights


@pytest.mark.parametrize("algorithm", [FedAvg(), FEDGEN, FedDistill(), FedEnsemble()], ids=lambda one: one.name)
def test_a_strategy_ends_with_the_weights_of_our_own_loop(algorithm: Algorithm, runtime: Runtime, tmp_path: Path) -> None:
    made = plan(algorithm, runtime, rounds=3, active=3, steps=5)
    ours = made.server(made.in_process(sites()), TEST)
    told: list[Any] = []
    ours.run(told.append)
    strategy = make_strategy(made, test=TEST)
    assert issubclass(type(strategy), Strategy)
    grid = InProcessGrid(members(made, sites(), tmp_path), range(4))
    result = strategy.start(grid, strategy.initial_arrays, num_rounds=3, evaluate_fn=strategy.evaluate)
    assert torch.allclose(weights(strategy.server), weights(ours), rtol=0, atol=1e-5)
    assert [metrics["replies"] for metrics in result.train_metrics_clientapp.values()] == [3, 3, 3]
    assert result.train_metrics_clientapp[3]["loss"] == pytest.approx(told[2].loss)
    assert result.evaluate_metrics_clientapp[3]["accuracy"] == pytest.approx(told[2].mean_own)
    assert 0 not in result.evaluate_metrics_serverapp  # nothing is learned yet
    if algorithm.judged(ours.central) is not None:
        assert result.evaluate_metrics_serverapp[3]["accuracy"] == pytest.approx(told[2].accuracy)
        assert torch.allclose(flat(tensors_of(result.arrays)), flat(ours.central.network.model.state_dict()), rtol=0, atol=1e-5)


def test_a_one_shot_algorithm_has_one_round_in_flowers_loop_too(runtime: Runtime, tmp_path: Path) -> None:
    algorithm = DENSE(method=Gaussian(batch=16, warmup=1), training=Training(steps=2, batch=8))
    made = plan(algorithm, runtime, steps=2, every=0)
    ours = made.server(made.in_process(sites()), TEST)
    ours.round()
    strategy = make_strategy(made, test=TEST)
    grid = InProcessGrid(members(made, sites(), tmp_path), range(4))
    with pytest.raises(InputError, match=r"DENSE has 1 round and no more: start\(..., num_rounds=1\)"):
        strategy.start(grid, strategy.initial_arrays, num_rounds=2, evaluate_fn=strategy.evaluate)
    assert [kind for _, kind in grid.asked].count("train") == 4
    assert torch.allclose(weights(strategy.server), weights(ours), rtol=0, atol=1e-5)


def test_a_bad_answer_is_dropped_in_flowers_loop_too(runtime: Runtime, tmp_path: Path) -> None:
    made = plan(FedGen(steps=2), runtime, steps=3)
    strategy = make_strategy(made, deadlines=Deadlines(joining=0.2))
    result = strategy.start(InProcessGrid(members(made, sites(), tmp_path, mods=[broken]), range(4)), strategy.initial_arrays, num_rounds=2)
    assert [metrics["dropped"] for metrics in result.train_metrics_clientapp.values()] == [1, 1]
    assert bool(torch.isfinite(weights(strategy.server)).all())


def test_a_bad_measurement_is_dropped_in_flowers_loop_too(runtime: Runtime, tmp_path: Path) -> None:
    def odd(client: int, message: Message) -> Message:
        if client != 2 or message.metadata.message_type != "evaluate":
            return message
        return Message(upload_record(Upload(examples=1, metrics={"accuracy": 1e9})), reply_to=message)

    made = plan(FedAvg(), runtime, steps=3)
    strategy = make_strategy(made, deadlines=Deadlines(joining=0.2))
    result = strategy.start(InProcessGrid(members(made, sites(), tmp_path), range(4), odd), strategy.initial_arrays, num_rounds=1)
    assert 0 <= result.evaluate_metrics_clientapp[1]["accuracy"] <= 1


def test_arrays_that_flower_changed_are_what_goes_out(runtime: Runtime, tmp_path: Path) -> None:
    made = plan(FedAvg(), runtime, steps=3)
    strategy = make_strategy(made, transport="bytes")
    arrays = strategy.initial_arrays
    assert {array.numpy().dtype.kind for array in arrays.values()} == {"f"}
    changed = {key: value + 1 for key, value in tensors_of(arrays).items()}
    from flwr.app import ArrayRecord, ConfigRecord

    grid = InProcessGrid(members(made, sites(), tmp_path), range(4))
    messages = strategy.configure_train(1, ArrayRecord(changed), ConfigRecord({"extra": 3.0}), grid)
    assert len(messages) == 4
    sent = messages[0].content
    assert torch.equal(flat(tensors_of(sent.array_records["arrays"])), flat(changed))
    assert sent.config_records["config"]["extra"] == 3.0

"""The round loop over a Flower grid: the numbers are those of the in-process engine, and what fails has a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("flwr")

from flwr.app import ConfigRecord, Message, RecordDict

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.federate import Algorithm, FedAvg, FedDistill, Lost, Round, Upload
from tacit.federate.flower import Deadlines, read_upload, upload_record
from toyfed import TEST, network, plan, sites
from toyflower import FEDGEN, InProcessGrid, broken, over_grid, weights


@pytest.mark.parametrize("transport", ["array", "bytes"])
@pytest.mark.parametrize(
    "algorithm",
    [FedAvg(), FEDGEN, replace(FEDGEN, share="head"), FedDistill(), FedAvg(bn="local")],
    ids=["avg", "gen", "head", "distill", "bn"],
)
def test_three_rounds_give_the_weights_of_the_in_process_engine(
    algorithm: Algorithm, transport: Any, runtime: Runtime, tmp_path: Path
) -> None:
    made = plan(algorithm, runtime, rounds=3, active=3, steps=5)
    near, far = made.server(made.in_process(sites()), TEST), over_grid(made, tmp_path, transport=transport)
    told: list[list[Round]] = [[], []]
    near.run(told[0].append)
    far.run(told[1].append)
    assert torch.allclose(weights(near), weights(far), rtol=0, atol=1e-5)
    for one, two in zip(*told, strict=True):
        assert replace(one, seconds=0.0, numbers={}) == replace(two, seconds=0.0, numbers={})
        assert one.numbers == pytest.approx(dict(two.numbers))


def test_a_run_that_is_resumed_takes_the_very_same_rounds_although_clients_begin_again(runtime: Runtime, tmp_path: Path) -> None:
    made = plan(replace(FEDGEN, share="head"), runtime, rounds=3, steps=4)
    whole = over_grid(made, tmp_path / "whole")
    whole.run(lambda done: None)
    broken = over_grid(made, tmp_path / "broken")
    broken.round()
    torch.save(broken.state_dict(), tmp_path / "state.pt")
    broken.round()  # a round whose checkpoint was not written: its clients have gone on already
    again = over_grid(made, tmp_path / "broken")
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    again.run(lambda done: None)
    assert again.central.round == 3
    assert torch.equal(weights(whole), weights(again))


def test_a_second_federation_over_the_same_folders_is_that_over_empty_ones(runtime: Runtime, tmp_path: Path) -> None:
    over_grid(plan(FedAvg(share="head"), runtime, rounds=1, steps=2), tmp_path / "used").run(lambda done: None)
    for width in (32, 16):  # networks of another shape, too
        later = replace(plan(FedAvg(share="head"), runtime, networks=[network(width)], active=2, rounds=3, steps=2), seed=1)
        used, fresh = over_grid(later, tmp_path / "used"), over_grid(later, tmp_path / f"fresh-{width}")
        for running in (used, fresh):
            running.run(lambda done: None)
        assert torch.equal(weights(used), weights(fresh))


def spoil(change: Callable[[Upload], Upload]) -> Any:
    """Return a modifier that spoils what client 2 answers."""

    def mod(message: Message, context: Any, call_next: Any) -> Message:
        reply: Message = call_next(message, context)
        if context.node_config["partition-id"] == 2:
            reply.content = upload_record(change(read_upload(reply.content)))
        return reply

    return mod


def nan(one: Upload) -> Upload:
    return replace(one, weights={key: value * float("nan") if value.is_floating_point() else value for key, value in one.weights.items()})


def other_make(message: Message, context: Any, call_next: Any) -> Message:
    reply: Message = call_next(message, context)
    if context.node_config["partition-id"] == 2:
        reply.content = RecordDict({"config": ConfigRecord({"counts": [1, 2]})})
    return reply


@pytest.mark.parametrize(
    ("mod", "why"),
    [
        (spoil(nan), "holds NaN or infinite values"),
        (
            spoil(lambda one: replace(one, weights={**one.weights, "classifier.bias": torch.zeros(1)})),
            "classifier.bias has shape [1], expected [10]",
        ),
        (spoil(lambda one: replace(one, weights={})), "lacks stages.0.weight"),
        (spoil(lambda one: replace(one, examples=0)), "its number of images is 0"),
        (spoil(lambda one: replace(one, counts=(1e9,) * 10)), "its label counts add up to 1e+10"),
        (broken, "error 2: see the manual"),
        (other_make, "its answer can't be read: KeyError"),
    ],
)
def test_a_bad_answer_is_dropped_with_its_reason_and_the_others_count(mod: Any, why: str, runtime: Runtime, tmp_path: Path) -> None:
    made = plan(FEDGEN, runtime, steps=3)
    running = over_grid(made, tmp_path, mods=[mod])
    done = running.round()
    assert list(done.dropped) == [2]
    assert done.dropped[2].startswith(why) or why in done.dropped[2]
    assert (done.replies, done.learned) == (3, True)
    assert bool(torch.isfinite(weights(running)).all())


def silent(who: int, kind: str) -> Any:
    return lambda client, message: None if client == who and message.metadata.message_type == kind else message


def test_who_lets_the_deadline_pass_is_left_out_of_the_round_and_asked_again_in_the_next(runtime: Runtime, tmp_path: Path) -> None:
    hangs = [True]

    def hook(client: int, message: Message) -> Message | None:
        return None if client == 1 and hangs[0] and message.metadata.message_type != "query" else message

    running = over_grid(plan(FedAvg(), runtime, rounds=2, steps=3), tmp_path, hook=hook)
    done = running.round()
    assert done.dropped == {1: "no answer within 0.2 s"}
    assert done.unmeasured == {1: "it was not asked, having let the training's deadline pass"}  # which would be waited for once more
    assert sorted(done.own) == [0, 2, 3]
    hangs[0] = False
    done = running.round()
    assert (done.dropped, done.unmeasured, sorted(done.own)) == ({}, {}, [0, 1, 2, 3])


def test_a_site_that_trains_and_does_not_test_is_left_out_of_the_test(runtime: Runtime, tmp_path: Path) -> None:
    done = over_grid(plan(FedAvg(), runtime, steps=3), tmp_path, hook=silent(1, "evaluate")).round()
    assert (done.dropped, done.unmeasured) == ({}, {1: "no answer within 0.2 s"})


def test_a_node_that_does_not_say_who_it_is_is_not_waited_for_beyond_the_deadline(runtime: Runtime, tmp_path: Path) -> None:
    running = over_grid(plan(FedAvg(), runtime, steps=3), tmp_path, hook=silent(1, "query"))
    done = running.round()
    assert (done.replies, dict(done.dropped)) == (3, {})


def test_a_node_that_left_is_not_asked_and_one_that_comes_back_is_met_again(runtime: Runtime, tmp_path: Path) -> None:
    running = over_grid(plan(FedAvg(), runtime, rounds=4, steps=3, every=0), tmp_path)
    engine: Any = running.engine
    grid: InProcessGrid = engine.grid
    running.round()
    gone = engine.nodes[3]
    del grid.nodes[gone]
    assert running.round().replies == 3
    grid.nodes[12345] = 3
    assert [running.round().replies, running.round().replies] == [3, 4]  # it is asked who it is, and not waited for
    assert engine.nodes[3] == 12345
    assert grid.asked.count((3, "query")) == 2


@pytest.mark.parametrize(("number", "why"), [(0, "and node"), (7, "expected 0 to 3"), (-1, "expected 0 to 3")])
def test_a_node_that_takes_the_number_of_another_is_not_used(number: int, why: str, runtime: Runtime, tmp_path: Path) -> None:
    def hook(client: int, message: Message) -> Any:
        if client == 3 and message.metadata.message_type == "query":
            return Message(RecordDict({"config": ConfigRecord({"tacit.client": number})}), reply_to=message)
        return message

    running = over_grid(plan(FedAvg(), runtime, rounds=3, steps=3, every=0), tmp_path, hook=hook)
    engine: Any = running.engine
    for _ in range(2):
        done = running.round()
        assert done.replies == 3
        assert [why in said for said in done.refused.values()] == [True]
    del engine.grid.nodes[next(iter(done.refused))]
    assert not running.round().refused  # it left


def test_nobody_there_is_a_round_in_which_nothing_is_learned(runtime: Runtime, tmp_path: Path) -> None:
    running = over_grid(plan(FedAvg(), runtime, steps=3), tmp_path)
    engine: Any = running.engine
    engine.grid.nodes.clear()
    before = weights(running)
    done = running.round()
    assert (done.replies, done.learned) == (0, False)
    assert torch.equal(before, weights(running))


def test_a_download_to_a_client_that_is_not_there_is_lost(runtime: Runtime, tmp_path: Path) -> None:
    running = over_grid(plan(FedAvg(), runtime), tmp_path)
    assert running.engine.train(running.downloads([1])) == {1: Lost("its node is not there")}


def test_deadlines_are_checked() -> None:
    with pytest.raises(InputError, match="deadlines: expected joining of 0 or more"):
        Deadlines(replies=0)

"""Downloads and answers: what is counted, what is dropped and why, how means are taken, what stays on a client's disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tacit.core.errors import InputError
from tacit.federate import Download, Lost, Rules, Shelf, Upload
from tacit.federate.aggregate import average
from tacit.federate.checks import Expected, fault, not_finite, sift

WEIGHTS = {"w": torch.ones(3, 4), "b": torch.zeros(4), "n": torch.tensor(7)}
GOOD = Upload(weights=WEIGHTS, examples=5, counts=(1.0, 4.0), tensors={"t": torch.ones(2)}, metrics={"loss": 0.5})
WANTED = Expected(weights=Expected.like(WEIGHTS), positive=("n",), tensors={"t": (2,)}, classes=2, most=10)
NAN = float("nan")


def with_weights(**changed: Any) -> dict[str, Any]:
    return {"weights": {key: value for key, value in {**WEIGHTS, **changed}.items() if value is not None}}


def test_bytes_are_those_of_tensors_and_numbers() -> None:
    download = Download(
        round=3, weights=WEIGHTS, generator={"g": torch.ones(5)}, tensors={"t": torch.ones(2)}, config={"lr": 0.1, "steps": 3}
    )
    assert download.bytes == 4 * (12 + 4 + 5 + 2) + 8 + 8 * 3
    assert GOOD.bytes == 4 * (12 + 4 + 2) + 8 + 8 * (1 + 2 + 1)


def test_a_sound_answer_has_no_fault() -> None:
    assert fault(GOOD, WANTED) is None
    assert fault(replace(GOOD, counts=None), replace(WANTED, classes=None)) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (with_weights(w=None), "lacks w"),
        (with_weights(w=None, b=None), "lacks w and 1 more"),
        (with_weights(x=torch.ones(1)), "has unknown x"),
        (with_weights(w=torch.ones(4)), "w has shape [4], expected [3, 4]"),
        (with_weights(w=torch.ones(1, 4)), "w has shape [1, 4], expected [3, 4]"),  # which would be broadcast
        (with_weights(n=torch.tensor([7])), "n has shape [1], expected []"),
        (with_weights(w=torch.ones(3, 4).double()), "w is torch.float64, expected torch.float32"),
        (with_weights(n=torch.tensor(7.0)), "n is torch.float32, expected torch.int64"),
        (with_weights(w=torch.full((3, 4), NAN)), "w holds NaN or infinite values"),
        (with_weights(b=torch.tensor([0, 0, 0, float("inf")])), "b holds NaN or infinite values"),
        (with_weights(b=torch.tensor([0, 0, -float("inf"), float("inf")])), "b holds NaN or infinite values"),
        (with_weights(n=torch.tensor(-1)), "n holds values below 0"),
        ({"tensors": {}}, "lacks tensors.t"),
        ({"tensors": {"t": torch.tensor([1.0, -3e38])}}, "tensors.t holds values beyond 1e+30"),
        ({"tensors": {"t": torch.tensor([1.0, NAN])}}, "tensors.t holds NaN or infinite values"),
        ({"examples": 0}, "its number of images is 0, expected a whole number of at least 1"),
        ({"examples": -3}, "its number of images is -3"),
        ({"examples": NAN}, "its number of images is nan"),
        ({"examples": 2.5}, "its number of images is 2.5"),
        ({"examples": True}, "its number of images is True"),
        ({"examples": 2**31 + 1}, "its number of images is more than 2,147,483,648"),
        ({"examples": 10**400}, "its number of images is more than"),
        ({"metrics": {"loss": 1.7e308}}, "its metrics hold NaN, infinite values or such beyond 1e+30"),
        ({"metrics": {"loss": -(10**400)}}, "its metrics hold NaN, infinite values or such beyond 1e+30"),
        ({"counts": None}, "its label counts are missing"),
        ({"counts": (1.0,)}, "it has 1 label counts, expected 2"),
        ({"counts": (1.0, -1.0)}, "its label counts are not all finite and 0 or more"),
        ({"counts": (1.0, NAN)}, "its label counts are not all finite and 0 or more"),
        ({"counts": (6.0, 5.0)}, "its label counts add up to 11, at most 10 images can have been seen"),
        ({"metrics": {"loss": NAN}}, "its metrics hold NaN, infinite values or such beyond 1e+30"),
    ],
)
def test_each_fault_is_found_and_said(changed: dict[str, Any], why: str) -> None:
    said = fault(replace(GOOD, **changed), WANTED)
    assert said is not None
    assert said.startswith(why)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"metrics": {"accuracy": NAN}}, "its metrics hold NaN, infinite values or such beyond 1e+30"),
        ({"metrics": {"public": 0.5, "accuracy": 1e9}}, "its accuracy is 1e+09, expected a share from 0 to 1"),
        ({"metrics": {"public": -0.1}}, "its public is -0.1, expected a share from 0 to 1"),
        ({"examples": 0}, "its number of images is 0"),
        ({"weights": WEIGHTS}, "has unknown w and 2 more"),
    ],
)
def test_each_fault_of_a_measurement_is_found_and_said(changed: dict[str, Any], why: str) -> None:
    measured, wanted = Upload(examples=5, metrics={"accuracy": 0.5, "public": 1.0}), Expected(shares=True)
    assert fault(measured, wanted) is None
    said = fault(replace(measured, **changed), wanted)
    assert said is not None
    assert said.startswith(why)


def test_large_finite_values_are_sound() -> None:
    assert not_finite({"w": torch.full((1000,), 3e38), "n": torch.tensor(2**62)}) is None


def test_counts_that_nobody_asked_for_are_a_fault() -> None:
    assert fault(GOOD, replace(WANTED, classes=None)) == "it has label counts, and none were asked for"


def test_sound_answers_come_in_the_order_of_their_clients_and_the_others_with_their_reason() -> None:
    replies: dict[int, Upload | Lost] = {3: GOOD, 1: GOOD, 0: Lost("node unavailable"), 2: replace(GOOD, examples=0), 9: GOOD}
    kept, dropped = sift(replies, dict.fromkeys((0, 1, 2, 3, 4), WANTED))
    assert list(kept) == [1, 3]
    assert list(dropped) == [0, 2, 4, 9]
    assert dropped[0] == "node unavailable"
    assert dropped[4] == "no answer in time"
    assert dropped[9] == "it was not asked"


def test_the_mean_is_that_of_numpy_in_fp64() -> None:
    draw = torch.Generator().manual_seed(0)
    states = [{"w": torch.randn(5, 3, generator=draw), "n": torch.randint(100, (), generator=draw)} for _ in range(4)]
    weights = [3.0, 1.0, 7.0, 0.5]
    mean = average(states, weights)
    slow = sum(weight / 11.5 * state["w"].double().numpy() for weight, state in zip(weights, states, strict=True))
    assert np.array_equal(mean["w"].numpy(), np.asarray(slow).astype(np.float32))
    assert int(mean["n"]) == round(sum(weight / 11.5 * int(state["n"]) for weight, state in zip(weights, states, strict=True)))
    assert mean["n"].dtype == torch.int64
    one = average(states[:1], [0.1])
    assert torch.equal(one["w"], states[0]["w"])


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [NAN, 1.0]])
def test_weights_that_add_up_to_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="positive weights"):
        average([WEIGHTS, WEIGHTS], weights)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"replies": 0}, "replies and patience"),
        ({"failures": 1.5}, "a share from 0 to 1"),
        ({"images": 0}, "rules.images: expected at least 1"),
    ],
)
def test_rules_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Rules(**fields)


def test_a_shelf_gives_what_was_kept_before_the_round_that_is_asked_for(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "client-3")
    assert shelf.take("a", 0) == {}
    for round in range(4):
        shelf.put("a", round, {"w": torch.tensor(float(round))})
    assert float(shelf.take("a", 4)["w"]) == 3
    assert float(shelf.take("a", 3)["w"]) == 2  # the server died after this client's answer, and asks again
    shelf.put("a", 3, {"w": torch.tensor(30.0)})
    assert float(shelf.take("a", 4)["w"]) == 30
    assert float(shelf.take("a", 9)["w"]) == 30
    assert len(list((tmp_path / "client-3").rglob("*.pt"))) == 2
    shelf.put("a", 2, {"w": torch.tensor(20.0)})  # it went back further than that: the future is gone
    assert float(shelf.take("a", 9)["w"]) == 20
    next((tmp_path / "client-3").rglob("after-000002.pt")).write_bytes(b"half")
    with pytest.raises(InputError, match="delete it, and this client begins anew"):
        shelf.take("a", 9)


def test_a_shelf_keeps_the_states_of_one_federation_from_those_of_another(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "client-3")
    for federation, value in (("a", 1.0), ("../../b", 2.0)):
        shelf.put(federation, 5, {"w": torch.tensor(value)})
    assert shelf.take("c", 6) == {}
    assert (float(shelf.take("a", 6)["w"]), float(shelf.take("../../b", 6)["w"])) == (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["client-3"]  # a name from elsewhere is no path

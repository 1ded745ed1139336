"""Objectives as they are written on the command line and in YAML."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.probe import Signals
from tacit.distill import DISTILLERS, build_objective
from tacit.losses import KD, L1, CrossEntropy
from toy import Reach


def kinds(terms: Any) -> dict[str, tuple[float, str]]:
    objective = build_objective(terms)
    found = {}
    for name, loss in objective.losses.items():
        weight = objective.weights[name]
        assert isinstance(weight, float)
        found[name] = (weight, type(loss).__name__)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kd=1,ce=0.1", {"kd": (1.0, "KD"), "ce": (0.1, "CrossEntropy")}),
        ("l1", {"l1": (1.0, "L1")}),
        (" kd = 2 , l1 = 1e-3 ,", {"kd": (2.0, "KD"), "l1": (0.001, "L1")}),
        ([{"loss": "kd"}, {"loss": "ce", "weight": 2}], {"kd": (1.0, "KD"), "ce": (2.0, "CrossEntropy")}),
    ],
)
def test_names_and_weights_become_a_weighted_sum(text: Any, expected: dict[str, tuple[float, str]]) -> None:
    assert kinds(text) == expected


def test_the_sum_is_that_of_the_losses() -> None:
    student, teacher, targets = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    view = View(torch.zeros(4, 1, 1, 1), targets, teacher=Signals(teacher), student=Signals(student))
    expected = 0.5 * KD()(view) + 2 * L1()(view) + 0.1 * CrossEntropy()(view)
    torch.testing.assert_close(build_objective("kd=0.5,l1=2,ce=0.1")(view), expected)


def test_the_list_form_passes_arguments_and_leaves_the_list_as_it_was() -> None:
    terms = [{"loss": "kd", "weight": 1.0, "temperature": 20.0}]
    loss = build_objective(terms).losses["kd"]
    assert isinstance(loss, KD)
    assert loss.temperature == 20.0
    assert terms == [{"loss": "kd", "weight": 1.0, "temperature": 20.0}]


@pytest.mark.parametrize("terms", ["kd=1,toy:Reach=0.5", [{"loss": "kd"}, {"loss": "toy:Reach", "weight": 0.5, "power": 2.0}]])
def test_a_loss_of_ones_own_is_given_by_import_path(terms: Any) -> None:
    objective = build_objective(terms)
    loss = objective.losses["Reach"]
    assert isinstance(loss, Reach)
    assert loss.power == (1.0 if isinstance(terms, str) else 2.0)
    assert objective.weights["Reach"] == 0.5


@pytest.mark.parametrize("name", DISTILLERS)
def test_every_distiller_can_be_named_alone(name: str) -> None:
    assert list(build_objective(name).losses) == [name]


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("", "expected at least one loss, as `kd=1`"),
        (" , ", "expected at least one loss"),
        ([], "expected at least one loss"),
        ("kdd=1", "no loss is called 'kdd'; did you mean 'kd'?"),
        ("crd=1", "no loss is called 'crd'; "),
        ("kd=much", "the weight of kd must be a number, got 'much'"),
        ([{"loss": "kd", "weight": "1"}], "the weight of kd must be a number, got '1'"),
        ("kd=nan", "the weight of kd must be a"),
        ([{"loss": "kd", "weight": float("inf")}], "the weight of kd must be a"),
        ("kd=1,kd=2", "kd is given twice"),
        ([{"loss": "kd", "temprature": 2}], "kd has no option 'temprature'; did you mean 'temperature'?"),
        ([{"weight": 1.0}], "no loss is called ''"),
        ("toy:BNNet=1", "toy:BNNet is no tacit Loss"),
        ("toy:Reached=1", "toy has no 'Reached'; did you mean 'Reach'?"),
        ("nowhere:Loss", "can't import 'nowhere'"),
    ],
)
def test_what_can_not_be_built_is_refused_with_the_nearest_name(terms: Any, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("?", r"\?")):
        build_objective(terms)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        build_objective([{"loss": "kd", "temperature": temperature}])

"""Needs, View, Objective: what is computed, what is asked for, and who is blamed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tacit.core.loss import Loss, Needs, NonFiniteLossError, Objective, View, check_finite
from tacit.core.network import Network
from tacit.core.probe import Signals
from tacit.losses import KD, BNAlignment, ClassPrior, TotalVariation


class Fixed(Loss):
    """A number that counts how often it was asked for."""

    needs = Needs(teacher=False)

    def __init__(self, value: float, needs: Needs | None = None) -> None:
        super().__init__()
        self.value, self.asked, self.remembered, self.fitted = nn.Parameter(torch.tensor(value)), 0, 0, 0
        self.needs = self.found = needs or Needs(teacher=False)

    def forward(self, view: View) -> Tensor:
        self.asked += 1
        return self.value.detach() * 1.0

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        self.fitted += 1
        self.needs = self.found

    def remember(self, view: View) -> None:
        self.remembered += 1


def at(round: int = 0, step: int = 0) -> View:
    return View(torch.zeros(1, 1, 1, 1), round=round, step=step)


def test_an_objective_is_the_weighted_sum_of_its_terms() -> None:
    objective, view = Objective(a=(2.0, Fixed(3.0)), b=(-0.5, Fixed(4.0))), at()
    assert {name: float(part) for name, part in objective.parts(view).items()} == {"a": 3.0, "b": 4.0}
    assert float(objective(view)) == 4.0
    assert objective(view).shape == ()


def test_a_weight_may_be_a_function_of_the_round() -> None:
    objective = Objective(a=(1.0, Fixed(1.0)), late=(lambda view: 0.0 if view.round < 3 else view.round / 2, Fixed(10.0)))
    assert [float(objective(at(round))) for round in (0, 2, 3, 4)] == [1.0, 1.0, 16.0, 21.0]
    assert list(objective.parts(at(0))) == ["a"]


def test_a_term_of_weight_zero_is_not_computed_and_asks_for_nothing() -> None:
    costly = Fixed(1.0, Needs(student=True, bn=True, teacher_taps=("deep",)))
    objective = Objective(a=(1.0, Fixed(1.0)), off=(0.0, costly))
    assert float(objective(at())) == 1.0
    assert costly.asked == 0
    assert objective.needs == Needs(teacher=False)


def test_a_term_whose_weight_is_a_function_asks_from_the_start_but_is_computed_when_its_time_has_come() -> None:
    late = Fixed(1.0, Needs(student=True))
    objective = Objective(late=(lambda view: float(view.round > 0), late))
    assert objective.needs.student
    objective(at(0))
    assert late.asked == 0
    objective(at(1))
    assert late.asked == 1


def test_an_objective_without_terms_is_zero() -> None:
    assert float(Objective()(at())) == 0.0


def test_needs_add_up_without_double_names() -> None:
    added = Needs(teacher=False, student=True, teacher_taps=("a", "b")) | Needs(bn=True, teacher_taps=("b", "c"), student_taps=("x",))
    assert added == Needs(teacher=True, student=True, bn=True, teacher_taps=("a", "b", "c"), student_taps=("x",))
    objective = Objective(kd=(1.0, KD()), bn=(1.0, BNAlignment()), tv=(1.0, TotalVariation()))
    assert objective.needs == Needs(teacher=True, student=True, bn=True)


def test_parameters_of_terms_are_found_and_saved() -> None:
    objective = Objective(a=(1.0, Fixed(3.0)), b=(1.0, Fixed(4.0)))
    assert sorted(objective.state_dict()) == ["losses.a.value", "losses.b.value"]
    assert len(list(objective.parameters())) == 2


def test_every_term_is_told_what_to_remember_and_fitted_but_those_of_weight_zero() -> None:
    terms = Fixed(1.0), Fixed(2.0), Fixed(3.0)
    objective = Objective(a=(1.0, terms[0]), b=(lambda view: 0.0, terms[1]), off=(0.0, terms[2]))
    objective.remember(at())
    objective.fit(None, None)
    assert [term.remembered for term in terms] == [1, 1, 0]
    assert [term.fitted for term in terms] == [1, 1, 0]


def test_needs_that_fitting_finds_are_added_up() -> None:
    late = Fixed(1.0)
    objective = Objective(a=(1.0, late))
    late.found = Needs(bn=True, teacher_taps=("deep",))
    assert not objective.needs.bn
    objective.fit(None, None)
    assert objective.needs == Needs(bn=True, teacher_taps=("deep",))


def test_a_view_without_teacher_or_student_says_what_to_pass() -> None:
    with pytest.raises(ValueError, match="compares with a teacher"):
        ClassPrior()(at())
    with pytest.raises(ValueError, match="pass `student=`"):
        KD()(View(torch.zeros(1, 1, 1, 1), teacher=Signals(torch.zeros(1, 2))))


def test_the_canvas_of_a_view_is_its_images_unless_given() -> None:
    images, canvas = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert View(images).canvas is images
    assert View(images, canvas=canvas).canvas is canvas


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_check_finite_names_the_term(bad: float) -> None:
    parts = {"kd": torch.tensor(1.0), "crd": torch.tensor(bad), "bn": torch.tensor(0.0)}
    with pytest.raises(NonFiniteLossError, match=rf"student step 3: the loss became crd = {bad:g}; try") as raised:
        check_finite(parts, "student step 3")
    assert "kd" not in str(raised.value)


def test_check_finite_lets_sound_terms_and_none_pass() -> None:
    check_finite({"kd": torch.tensor(1e30), "ce": torch.tensor(-4.0)}, "here")
    check_finite({}, "here")

"""Phases: what each costs and moves, that each is a run of its own, and that a run is resumed in any of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.loss import Objective
from tacit.core.network import Network, Teacher
from tacit.data import digits
from tacit.distill import Learner, Phase, Stored, Training, build_objective, build_phases
from tacit.distill.phases import Timetable
from tacit.losses import KD, ActivationBoundary
from tacit.losses.factor import Reconstruction
from tacit.zoo import resnet


def learner(
    objective: Any, teacher: Teacher, runtime: Runtime, *, steps: int = 8, student: Network | None = None, width: int = 4, **options: Any
) -> Learner:
    torch.manual_seed(0)
    student = student or Network(resnet(8, channels=1, width=width), teacher.spec)
    source = Stored(digits("train"), size=32, seed=0, device=runtime.device, augmentation="shift")
    built = objective if isinstance(objective, Objective) else build_phases(objective)
    training = Training(**{"steps": steps, "batch": 32, "lr": 0.02, **options})
    return Learner(student, source, built, training, runtime=runtime, generator=torch.Generator().manual_seed(0), teacher=teacher)


def taken(work: Learner, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        work.step()
        rates.append(work.lr)
    return rates


def told(phases: Sequence[Phase]) -> list[tuple[str, float, bool]]:
    return [(phase.name, round(phase.share, 6), phase.still) for phase in phases]


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[key]) for key, value in one.items())


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("kd=1,ce=0.1", [("kd+ce", 1.0, False)]),
        ("at=1 @0.25; kd=1,ce=1", [("at", 0.25, False), ("kd+ce", 0.75, False)]),
        ("at ; kd@0.2; ce", [("at", 0.4, False), ("kd", 0.2, False), ("ce", 0.4, False)]),
        ([{"phase": "at=1", "share": 0.25}, {"phase": [{"loss": "kd", "temperature": 2.0}]}], [("at", 0.25, False), ("kd", 0.75, False)]),
        ("ab=0.003,ce=1,kd=1", [("ab", 0.1, False), ("ce+kd", 0.9, False)]),
        ("ab=0.003,ce=1 @1", [("ab+ce", 1.0, False)]),
        ([{"loss": "ab", "weight": 0.003, "opening": 0}, {"loss": "ce"}], [("ab+ce", 1.0, False)]),
        ([{"loss": "fsp", "opening": 0.3}, {"loss": "ce"}], [("fsp", 0.3, False), ("ce", 0.7, False)]),
        ([{"phase": "fsp=50,ce=1"}], [("fsp+ce", 1.0, False)]),
        ([{"phase": [{"loss": "ab", "opening": 0}, {"loss": "ce"}]}], [("ab+ce", 1.0, False)]),
        ([{"phase": [{"loss": "ft", "opening": 0.5}, {"loss": "ce"}]}], [("ft: opening", 0.5, True), ("ft+ce", 0.5, False)]),
        ("fsp=50,kd=0", [("fsp", 1.0, False)]),
        ("ft=200,ce=1", [("ft: opening", 0.1, True), ("ft+ce", 0.9, False)]),
        ("ce@0.5;ft=200,ab=1;ft=200", [("ce", 0.5, False), ("ft: opening", 0.025, True), ("ft+ab", 0.225, False), ("ft", 0.25, False)]),
        ([{"loss": "ft", "opening": 0}, {"loss": "ce"}], [("ft+ce", 1.0, False)]),
        ("ft,ab,ce", [("ft: opening", 0.1, True), ("ab", 0.1, False), ("ft+ce", 0.8, False)]),
    ],
)
def test_phases_are_read_with_their_shares_and_openings(terms: Any, expected: list[tuple[str, float, bool]]) -> None:
    before = copy.deepcopy(terms)
    assert told(build_phases(terms)) == expected
    assert terms == before


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("ab=1;", "expected at least one loss"),
        ("ab @0.5; ce @0.4", r"the shares of the phases sum to 0.9, expected 1: leave the last one out"),
        ("ab @0.5; ce @0.5; kd", r"sum to 1, expected less than 1: the phases without one would have no steps"),
        ("kd=1 @0.5", "sum to 0.5, expected 1"),
        ("kd=1 @most; ce", "must be a number above 0 and at most 1, as `@0.25`, got 'most'"),
        ("kd=1 @-1; ce", "must be a number above 0 and at most 1"),
        ("kd=1 @; ce", "must be a number above 0 and at most 1"),
        ([{"phase": "kd"}, {"loss": "ce"}], "expected phases of `phase` .terms. and `share` alone, got one of loss"),
        ([{"phase": "kd", "shares": 0.5}], "got one of phase, shares"),
        ([{"phase": "kd; ce"}], "a phase has terms, not phases of its own"),
        ([{"phase": "kd@0.5"}, {"phase": "ce"}], "its share stands beside it"),
        ([{"phase": [{"phase": "kd"}]}], "a phase has terms, not phases of its own"),
        ("kd=1,ft=1;kdd", "no loss is called 'kdd'"),
        ([{"loss": "ft", "opening": 1.0}], "opening: expected a share of the steps"),
        ([{"loss": "ab", "steady": 0.0}, {"loss": "ce"}], "steady: expected a share of the learning rate above 0, got 0"),
        (
            [{"phase": [{"loss": "ab", "opening": 0.2}, {"loss": "ce"}]}],
            "ab: opening: it plays no part where phases are written: leave it out",
        ),
        ([{"phase": [{"loss": "fsp", "steady": 1.0}], "share": 0.2}, {"phase": "ce"}], "fsp: steady: it plays no part where phases are"),
        ([{"loss": "ab", "opening": 0.1}], "ab: opening: it plays no part where nothing is named beside it"),
        ([{"loss": "ab"}, {"loss": "fsp", "steady": 0.5}, {"loss": "kd", "weight": 0}], "fsp: steady: it plays no part where nothing"),
        (
            [{"loss": "ab", "opening": 0, "steady": 0.5}, {"loss": "ce"}],
            "steady: it plays no part with `opening: 0`, got 0.5: leave it out",
        ),
        ([{"loss": "ft", "opening": 0, "steady": 0.5}, {"loss": "ce"}], "ft: steady: it plays no part with `opening: 0`, got 0.5"),
        ([{"loss": "ab", "opening": 0.6}, {"loss": "fsp", "opening": 0.4}, {"loss": "ce"}], "the openings of ab, fsp leave nothing"),
    ],
)
def test_phases_that_can_not_be_are_refused(terms: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_phases(terms)


def test_a_weighted_sum_alone_has_no_phases() -> None:
    assert list(build_objective("ft=200,ce=1").losses) == ["ft", "ce"]
    with pytest.raises(InputError, match="expected one weighted sum, got 2 phases"):
        build_objective("kd;ce")


@pytest.mark.parametrize("steps", [3, 7, 10, 30, 1000, 99_991])
@pytest.mark.parametrize("shares", [(0.1, 0.2, 0.7), (0.001, 0.001, 0.998), (0.998, 0.001, 0.001), (1 / 3, 1 / 3, 1 / 3)])
def test_all_steps_are_given_out_and_each_phase_has_one(steps: int, shares: tuple[float, ...]) -> None:
    phases = [Phase.of(build_objective("kd"), share=share) for share in shares]
    table = Timetable(phases, steps)
    lengths = [table.length(number) for number in range(3)]
    assert sum(lengths) == steps
    assert min(lengths) >= 1
    assert all(length == 1 or abs(length - share * steps) < 2 for length, share in zip(lengths, shares, strict=True))
    for progress in (False, True):
        numbers = [table.number(done, done / steps if progress else None) for done in range(steps)]
        assert [numbers.count(number) for number in range(3)] == lengths
    with pytest.raises(InputError, match=r"training.steps: expected at least one for each of 3 phases \(kd, kd, kd\), got 2"):
        Timetable(phases, 2)


def test_each_phase_has_the_whole_schedule_and_a_fresh_optimiser(teacher: Teacher, runtime: Runtime) -> None:
    work = learner("kd=1 @0.5; ce=1", teacher, runtime, steps=16, warmup=2)
    rates = taken(work, 8)
    assert work.optimizer.state
    before = [parameter.detach().clone() for parameter in work.parameters]
    work.step()
    for parameter, weight in zip(work.parameters, before, strict=True):
        assert parameter.grad is not None
        wanted = parameter.grad.add(weight, alpha=work.training.weight_decay)
        torch.testing.assert_close(work.optimizer.state[parameter]["momentum_buffer"], wanted)  # of this step alone
    cosine = [min(1, (step % 8 + 1) / 2) * 0.5 * (1 + math.cos(math.pi * (step % 8) / 8)) for step in range(9)]
    assert [*rates, work.lr] == pytest.approx([0.02 * share for share in cosine])


@pytest.mark.parametrize("schedule", [{}, {"schedule": "steps", "milestones": (0.5,)}, {"schedule": "constant"}])
@pytest.mark.parametrize("name", ["ab", "fsp", "ft"])
def test_a_steady_opening_keeps_its_learning_rate_and_what_follows_has_the_schedule(
    name: str, schedule: dict[str, Any], teacher: Teacher, runtime: Runtime
) -> None:
    rates = []
    for options in ({}, {"steady": 0.5}):
        terms = [{"loss": name, "weight": 1e-3, "opening": 0.5, **options}, {"loss": "ce"}]
        rates.append(taken(learner(terms, teacher, runtime, steps=16, width=8, lr=0.01, warmup=2, **schedule), 16))
    assert rates[1] == pytest.approx([0.0025, *[0.005] * 7, *rates[0][8:]])
    assert rates[0][:8] == rates[0][8:]


def test_a_first_phase_is_a_run_of_its_objective_alone_bit_by_bit(teacher: Teacher, runtime: Runtime) -> None:
    both = learner("ab=0.003 @0.5; kd=1,ce=1", teacher, runtime, steps=8)
    alone = learner(build_objective("ab=0.003"), teacher, runtime, steps=4)
    assert taken(both, 4) == taken(alone, 4)
    assert same(both.student.state_dict(), alone.student.state_dict())
    assert same(both.objective.state_dict(), alone.objective.state_dict())
    assert torch.equal(both.loss, alone.loss)


def test_a_second_phase_is_a_run_of_its_objective_from_where_the_first_one_left(teacher: Teacher, runtime: Runtime) -> None:
    both = learner("ab=0.003 @0.5; kd=1,reviewkd=1", teacher, runtime, steps=8)
    taken(both, 4)
    heads = copy.deepcopy(both.losses)
    alone = learner(build_objective("kd=1,reviewkd=1"), teacher, runtime, steps=4, student=copy.deepcopy(both.student))
    alone.losses.load_state_dict({key: value for key, value in heads.state_dict().items() if not key.startswith("losses.ab.")})
    plain = alone.source.batch
    alone.source.batch = lambda step, rate=1.0: plain(step + 4, rate)  # type: ignore[method-assign]
    assert taken(both, 4) == taken(alone, 4)
    assert both.parts.keys() == {"kd", "reviewkd"}
    assert same(both.student.state_dict(), alone.student.state_dict())


def test_what_only_another_phase_needs_is_not_computed(teacher: Teacher, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    work, asked = learner("ab=0.003 @0.5; ce=1", teacher, runtime, steps=8), list[int]()
    plain = Teacher.forward

    def forward(self: Teacher, images: Tensor) -> Tensor:
        asked.append(work.done)
        return plain(self, images)

    monkeypatch.setattr(Teacher, "forward", forward)
    taken(work, 4)
    assert work.needs.teacher_taps
    assert work.parts.keys() == {"ab"}
    monkeypatch.setattr(ActivationBoundary, "forward", lambda *_: pytest.fail("it was computed"))
    bridges = copy.deepcopy(work.objective.state_dict())
    taken(work, 4)
    assert asked == [0, 1, 2, 3]
    assert (work.needs.teacher, work.needs.teacher_taps, list(work.parts)) == (False, (), ["ce"])
    assert same(bridges, work.phases[0].objective.state_dict())
    assert len(work.parameters) == len(list(work.student.parameters()))
    assert work.told == {"phases": [{"name": "ab", "steps": 4, "student_learns": True}, {"name": "ce", "steps": 4, "student_learns": True}]}


def test_the_opening_of_ft_moves_the_paraphraser_alone_and_what_follows_all_else(teacher: Teacher, runtime: Runtime) -> None:
    work = learner("ft=200,ce=1", teacher, runtime, steps=200, optimizer="adam", lr=0.01)
    ft = work.losses.losses["ft"]
    before, values = (copy.deepcopy(work.student.state_dict()), copy.deepcopy(ft.state_dict())), []
    for _ in range(20):
        work.step()
        values.append(float(work.loss.detach()))
        assert work.phase.still
        assert isinstance(work.objective.losses["ft"], Reconstruction)
    assert values[-1] < 0.8 * values[0]
    assert same(before[0], work.student.state_dict())
    moved = {key.split(".")[2] for key, value in ft.state_dict().items() if not torch.equal(value, before[1][key])}
    assert moved == {"paraphraser", "back"}
    opened = copy.deepcopy(ft.state_dict())
    taken(work, 3)
    assert work.parts.keys() == {"ft", "ce"}
    assert not work.phase.still
    assert {key.split(".")[2] for key, value in ft.state_dict().items() if not torch.equal(value, opened[key])} == {"translator"}
    assert not same(before[0], work.student.state_dict())
    assert [line["steps"] for line in work.told["phases"]] == [20, 3]


def test_a_loss_named_alike_in_two_phases_is_one_loss(teacher: Teacher, runtime: Runtime) -> None:
    small = {"loss": "crd", "width": 16, "negatives": 64}
    work = learner([{"phase": [{**small, "weight": 0.5}], "share": 0.5}, {"phase": [{"loss": "kd"}, small]}], teacher, runtime, steps=4)
    sides = [work.losses.losses["crd"].contrasts[0].get_buffer(name) for name in ("student", "teacher")]  # type: ignore[union-attr, index]
    filled = [side.clone() for side in sides]
    taken(work, 2)
    kept = [side.clone() for side in sides]
    moved = [(side != before).any(dim=1) for side, before in zip(sides, filled, strict=True)]
    assert [int(rows.sum()) for rows in moved] == [2 * 32, 2 * 32]
    assert all(bool(((side[rows].norm(dim=1) - 1).abs() < 1e-5).all()) for side, rows in zip(sides, moved, strict=True))
    taken(work, 1)
    assert [int((side != before).any(dim=1).sum()) for side, before in zip(sides, kept, strict=True)] == [32, 32]
    other = build_phases([{"phase": [small]}, {"phase": [{**small, "width": 8}]}])
    assert other[0].objective.losses["crd"] is not other[1].objective.losses["crd"]
    named = build_phases([{"phase": [{**small, "name": name}]} for name in ("deep", "deep", "shallow")])
    first, again, another = (phase.objective.losses[name] for phase, name in zip(named, ("deep", "deep", "shallow"), strict=True))
    assert first is again
    assert first is not another


def test_crd_at_two_depths_is_two_losses_that_are_logged_by_their_names(teacher: Teacher, runtime: Runtime) -> None:
    small = {"loss": "crd", "width": 16, "negatives": 64}
    shallow = {**small, "name": "shallow", "teacher": ["stages.0"], "student": ["stages.0"]}
    work = learner([small, shallow, {"loss": "ce"}], teacher, runtime)
    taken(work, 2)
    assert list(work.parts) == ["crd", "shallow", "ce"]
    assert work.losses.losses["shallow"].pairs == [("stages.0", "stages.0")]
    assert work.losses.losses["crd"].pairs != work.losses.losses["shallow"].pairs


@pytest.mark.parametrize("terms", ["ab=0.003 @0.5; kd=1,ce=1", "ft=200,ce=1", "fsp=50,ce=1", "ft@0.3;crd=1,ce=1@0.3;crd=1,fitnet=1"])
@pytest.mark.parametrize(("at", "optimizer"), [(1, "sgd"), (4, "sgd"), (3, "adam"), (6, "adam")])
def test_a_run_is_resumed_within_a_phase_and_at_its_border(
    terms: str, at: int, optimizer: Any, teacher: Teacher, runtime: Runtime, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"steps": 8, "optimizer": optimizer, "lr": 1e-3, "width": 8 if "fsp" in terms else 4}
    whole = learner(terms, teacher, runtime, **options)
    taken(whole, at)
    torch.save(whole.state_dict(), tmp_path / "state.pt")
    rates = taken(whole, 8 - at)
    again = learner(terms, teacher, runtime, **options)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), tmp_path)
    assert taken(again, 8 - at) == rates
    assert len(whole.begun) == len(whole.phases) > 1
    assert (again.begun, again.told, again.parts.keys()) == (whole.begun, whole.told, whole.parts.keys())
    assert same(whole.student.state_dict(), again.student.state_dict())
    assert same(whole.losses.state_dict(), again.losses.state_dict())


def test_time_that_runs_out_goes_through_all_phases_and_never_back(teacher: Teacher, runtime: Runtime) -> None:
    work, seen = learner("at=1 @0.5; kd=1", teacher, runtime, steps=1000), []
    for progress in (0.0, 0.2, 0.45, 0.6, 0.55, 0.95):
        work.step(progress)
        seen.append((work.phase.name, round(work.lr / 0.02, 4)))
    cosine = [round(0.5 * (1 + math.cos(math.pi * share)), 4) for share in (0.0, 0.4, 0.9, 0.2, 0.1, 0.9)]
    assert seen == list(zip(["at", "at", "at", "kd", "kd", "kd"], cosine, strict=True))
    assert work.begun == [0, 3]
    back = learner("at=1 @0.5; kd=1", teacher, runtime, steps=1000)
    back.step(0.7)
    back.step(0.1)
    assert (back.phase.name, back.lr, back.begun) == ("kd", 0.02, [0, 0])


def test_a_step_at_which_no_loss_has_a_weight_changes_nothing_but_counts(teacher: Teacher, runtime: Runtime) -> None:
    work = learner(Objective(late=(lambda view: 0.0 if view.step < 2 else 1.0, KD())), teacher, runtime)
    before = {key: value.clone() for key, value in work.student.named_parameters()}
    for step in range(3):
        work.step()
        assert work.done == step + 1
        assert same(dict(work.student.named_parameters()), before) is (step < 2)
        assert list(work.parts) == ([] if step < 2 else ["late"])

"""ZSKD: similar classes, soft answers, pixels that are rescaled together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quick_methods import quick, synthesizer
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Ensemble, Network, Teacher
from tacit.core.spec import Spec
from tacit.core.taps import classifier_rows
from tacit.synthesize import ZSKD
from tacit.synthesize.canvas import Round
from tacit.synthesize.zskd import class_similarity
from toy import BNNet


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_class_similarity_is_the_cosine_of_rows_scaled_row_by_row() -> None:
    rows = torch.tensor([[1.0, 0.0], [3.0, 4.0], [-2.0, 0.0], [0.0, 5.0]])
    cosines = [[1.0, 0.6, -1.0, 0.0], [0.6, 1.0, -0.6, 0.8], [-1.0, -0.6, 1.0, 0.0], [0.0, 0.8, 0.0, 1.0]]
    scaled = [[(value - min(row)) / (max(row) - min(row)) for value in row] for row in cosines]
    np.testing.assert_allclose(class_similarity(rows).numpy(), np.array(scaled), atol=1e-12)


def test_zskds_answers_sum_to_one_and_have_the_mean_of_their_dirichlet_distributions(teacher: Teacher) -> None:
    method, n = ZSKD(concentrations=(1.0, 0.1)), 200_000
    targets = method.targets(n, teacher, seeded(), 0)
    assert targets is not None
    assert targets.shape == (n, 10)
    assert float(targets.min()) >= 0
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(n))
    similar = class_similarity(classifier_rows(teacher))
    turns = targets.view(-1, 2, 10, 10)  # all classes with one concentration, then with the other
    for which, beta in enumerate((1.0, 0.1)):
        for k in range(10):
            alpha = beta * similar[k] + 1e-4
            mean = turns[:, which, k].double().mean(dim=0)
            np.testing.assert_allclose(mean.numpy(), (alpha / alpha.sum()).numpy(), atol=0.03)
    sure = turns.amax(dim=-1).mean(dim=(0, 2))
    assert float(sure[0]) + 0.15 < float(sure[1])


def test_every_class_gets_both_concentrations_in_batches_smaller_than_the_number_of_classes() -> None:
    teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(4, 30)), Spec(shape=(1, 2, 2), classes=30))
    method = ZSKD(concentrations=(1e6, 1e-3))
    rounds = [method.targets(20, teacher, seeded(round), round) for round in range(6)]
    sure = torch.cat([part for part in rounds if part is not None]).amax(dim=1) > 0.5
    assert sure.view(4, 30).tolist() == [[False] * 30, [True] * 30] * 2


def test_zskds_answers_depend_on_the_generator_alone(teacher: Teacher) -> None:
    one, same, other = (ZSKD().targets(7, teacher, seeded(seed), 0) for seed in (0, 0, 1))
    assert one is not None
    assert same is not None
    assert other is not None
    assert len(one) == 7
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_zskd_rescales_all_pixels_together_after_each_step(teacher: Teacher) -> None:
    canvas = ZSKD(rescale=True).canvas(teacher, seeded())
    canvas.begin(Round(0, 3, None, seeded()))
    with torch.no_grad():
        canvas.get_parameter("pixels").mul_(3).sub_(0.7)
    before = canvas().detach().clone()
    canvas.project()
    torch.testing.assert_close(canvas().detach(), (before - before.min()) / (before.max() - before.min()))
    assert (float(canvas().detach().min()), float(canvas().detach().max())) == (0.0, 1.0)
    with torch.no_grad():
        canvas.get_parameter("pixels").fill_(0.3)
    canvas.project()
    assert bool(torch.isfinite(canvas()).all())


def test_where_nothing_is_said_pixels_are_cut_off(teacher: Teacher) -> None:
    canvas = ZSKD().canvas(teacher, seeded())
    canvas.begin(Round(0, 3, None, seeded()))
    with torch.no_grad():
        canvas.get_parameter("pixels").mul_(3).sub_(0.7)
    before = canvas().detach().clone()
    canvas.project()
    torch.testing.assert_close(canvas().detach(), before.clamp(0, 1))


def test_zskd_paints_towards_its_soft_answers_at_its_temperature(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(ZSKD, steps=30, lr=0.05, batch=32), teacher, runtime)
    batch = work.round()
    assert batch.targets is not None
    assert batch.logits is not None
    noise = teacher(torch.rand(32, 1, 8, 8, generator=seeded()))
    far, near = (F.cross_entropy(logits / 20, batch.targets) for logits in (noise, batch.logits))
    assert near < far
    assert set(work.parts) == {"ce"}
    assert work.objective.losses["ce"].temperature == ZSKD().temperature == 20.0


def test_zskd_reads_the_rows_of_any_classifier() -> None:
    teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), Spec(shape=(1, 2, 2), classes=3))
    targets = ZSKD().targets(5, teacher, seeded(), 0)
    assert targets is not None
    assert targets.shape == (5, 3)


@pytest.mark.parametrize("given", [(1.0, 0.0), (-1.0, 0.1), (1.0,), (1.0, 0.1, 0.01), (1.0, float("nan"))])
def test_concentrations_that_are_not_two_positive_numbers_are_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"ZSKD.concentrations: expected two positive numbers, got \["):
        ZSKD(concentrations=given)


def test_of_an_ensemble_classes_are_as_alike_as_in_the_mean_over_members_whatever_their_order() -> None:
    members = []
    for width in (4, 9):
        torch.manual_seed(width)
        members.append(Network(BNNet(width=width), Spec(shape=(1, 8, 8), classes=5)))
    with torch.no_grad():
        members[0].model.get_parameter("head.weight").mul_(50)  # its scale tells nothing
    drawn = [ZSKD().targets(40, Teacher.of(Ensemble.of(order)), torch.Generator().manual_seed(0), 0) for order in (members, members[::-1])]
    assert drawn[0] is not None
    assert drawn[1] is not None
    torch.testing.assert_close(drawn[0], drawn[1])
    for member in members:
        alone = ZSKD().targets(40, Teacher.of(member), torch.Generator().manual_seed(0), 0)
        assert alone is not None
        assert not torch.allclose(drawn[0], alone)

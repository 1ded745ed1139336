"""Fast-DFKD: how the meta-generator follows its copies."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from quick_methods import quick, synthesizer
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Teacher
from tacit.synthesize import FastDFKD, Synthesizer
from tacit.synthesize.canvas import Round
from tacit.synthesize.fast_dfkd import MetaGenerator


def meta_generator(kind: str, teacher: Teacher, runtime: Runtime, **fields: Any) -> tuple[Synthesizer, MetaGenerator]:
    work = synthesizer(quick(FastDFKD, meta=kind, **fields), teacher, runtime)
    assert isinstance(work.canvas, MetaGenerator)
    return work, work.canvas


def test_first_order_maml_follows_the_sum_of_the_copys_gradients(teacher: Teacher, runtime: Runtime) -> None:
    work, canvas = meta_generator("fomaml", teacher, runtime, lr=0.01)
    expected = copy.deepcopy(canvas.net)
    adam = torch.optim.Adam(expected.parameters(), lr=0.01 * 3, betas=(0.5, 0.999))
    steps, project = list[list[Tensor]](), canvas.project

    def noted() -> None:
        steps.append([parameter.grad.clone() for parameter in canvas.work.parameters() if parameter.grad is not None])
        project()

    canvas.project = noted  # type: ignore[method-assign]
    for _ in range(2):
        steps.clear()
        work.round()
        assert len(steps) == 3
        for parameter, *gradients in zip(expected.parameters(), *steps, strict=True):
            parameter.grad = torch.stack(gradients).sum(dim=0)
        adam.step()
        for ours, theirs in zip(canvas.net.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(ours.detach(), theirs.detach(), check_stride=False)


def test_the_copy_starts_each_round_where_the_meta_generator_is_and_ends_elsewhere(teacher: Teacher, runtime: Runtime) -> None:
    work, canvas = meta_generator("fomaml", teacher, runtime)
    for number in range(2):
        before = copy.deepcopy(canvas.net.state_dict())
        canvas.begin(Round(number, 16, None, work.generator))
        assert all(torch.equal(value, before[key]) for key, value in canvas.work.state_dict().items())
        work.round()
        assert not torch.equal(canvas.work.project.weight, canvas.net.project.weight)


def test_reptile_goes_towards_the_copy(teacher: Teacher, runtime: Runtime) -> None:
    work, canvas = meta_generator("reptile", teacher, runtime)
    before = [parameter.detach().clone() for parameter in canvas.net.parameters()]
    work.round()
    for was, now, copied in zip(before, canvas.net.parameters(), canvas.work.parameters(), strict=True):
        assert now.grad is not None
        torch.testing.assert_close(now.grad, was - copied.detach(), check_stride=False)
        gone, wanted = (now.detach() - was).flatten(), (copied.detach() - was).flatten()
        far = wanted.abs() > 1e-6
        assert torch.equal(gone[far].sign(), wanted[far].sign())


def test_the_meta_generators_first_layers_start_again_once_at_the_right_round(teacher: Teacher, runtime: Runtime) -> None:
    assert (FastDFKD().warmup, FastDFKD().reset) == (20, 120)
    work, canvas = meta_generator("fomaml", teacher, runtime, warmup=1, reset=2, lr=0.0)
    seen = []
    for _ in range(6):
        work.round()
        state = canvas.net.state_dict()
        seen.append([state[name].clone() for name in ("project.weight", "project.bias", "blocks.1.weight", "blocks.7.weight")])
    changes = [[not torch.equal(a, b) for a, b in zip(one, other, strict=True)] for one, other in itertools.pairwise(seen)]
    assert changes == [[False] * 4, [False] * 4, [True, True, False, False], [False] * 4, [False] * 4]  # before round number 3


def test_the_first_batch_norm_of_the_meta_generator_starts_again_too_and_later_ones_do_not(teacher: Teacher, runtime: Runtime) -> None:
    work, canvas = meta_generator("fomaml", teacher, runtime, warmup=1, reset=2)
    for number, begins in ((2, False), (3, True)):
        for norm in (canvas.net.blocks[0], canvas.net.blocks[2]):
            torch.nn.init.constant_(norm.get_parameter("weight"), 3.0)
            norm.get_buffer("running_mean").fill_(2.0)
        canvas.begin(Round(number, 16, None, work.generator))
        for norm, anew in ((canvas.net.blocks[0], begins), (canvas.net.blocks[2], False)):
            assert bool((norm.get_parameter("weight") == (1 if anew else 3)).all())
            assert bool((norm.get_buffer("running_mean") == (0 if anew else 2)).all())


def test_adam_of_the_meta_generator_is_in_the_state_and_goes_on(teacher: Teacher, runtime: Runtime) -> None:
    work, canvas = meta_generator("fomaml", teacher, runtime)
    for _ in range(2):
        work.round()
    other = Synthesizer(teacher, work.method, runtime=runtime, generator=runtime.generator(3), student=work.student)
    other.load_state_dict(copy.deepcopy(work.state_dict()))
    assert isinstance(other.canvas, MetaGenerator)
    ours, theirs = canvas.optimizer.state_dict()["state"], other.canvas.optimizer.state_dict()["state"]
    assert len(ours) == len(theirs) == len(list(canvas.net.parameters()))
    for number, state in ours.items():
        assert int(state["step"]) == 2
        assert torch.equal(state["exp_avg_sq"], theirs[number]["exp_avg_sq"])


def test_the_average_of_batch_statistics_moves_once_a_round(teacher: Teacher, runtime: Runtime) -> None:
    """As shown: shifted, as those that it is mixed with, and not as kept, without a border."""
    work, _ = meta_generator("fomaml", teacher, runtime)
    averages: list[torch.Tensor] = []
    shown: list[torch.Tensor] = []
    for _ in range(3):
        shown.clear()
        with teacher.model.get_submodule("stem.0").register_forward_hook(lambda *said: shown.append(said[2].detach())):
            work.round()
        averages.append(work.objective.get_buffer("losses.bn.average").clone())
        now = shown[work.method.iterations - 1].mean(dim=(0, 2, 3))
        wanted = now if len(averages) == 1 else 0.9 * averages[-2][: len(now)] + 0.1 * now
        torch.testing.assert_close(averages[-1][: len(now)], wanted, rtol=1e-4, atol=1e-5)


def test_fast_dfkd_knows_two_ways() -> None:
    with pytest.raises(InputError, match="expected fomaml or reptile, got 'maml'"):
        FastDFKD(meta="maml")  # type: ignore[arg-type]

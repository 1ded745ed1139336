"""A method or loss of the user's own needs nothing but itself."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor

from tacit.core.device import Clock, Runtime
from tacit.core.loss import Loss, Needs, Objective, View
from tacit.core.network import Network, Teacher
from tacit.core.spec import Spec
from tacit.distill import Learner, Synthetic, Training, build_objective
from tacit.losses import AttentionTransfer, BNAlignment, ClassPrior
from tacit.synthesize import IterativeMethod, Method, Synthesizer
from tacit.synthesize.canvas import Canvas, Generator, Pixels
from tacit.synthesize.generators import ConvGenerator, initialise
from toy import BNNet

SPEC = Spec(shape=(1, 8, 8), classes=5)


@pytest.fixture
def teacher() -> Teacher:
    torch.manual_seed(0)
    return Teacher(BNNet(width=8), SPEC)


@pytest.fixture
def student() -> Network:
    torch.manual_seed(1)
    return Network(BNNet(), SPEC)


class White(Loss):
    """Minus the mean of all pixels."""

    def forward(self, view: View) -> Tensor:
        return -view.canvas.mean()


@dataclass(frozen=True, kw_only=True)
class Bright(IterativeMethod):
    """Pixels pushed towards white."""

    steps: int = 5
    lr: float = 0.1
    warmup: int = 2
    batch: int = 32

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        return Pixels(teacher.spec)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(white=(1.0, White()), ce=(0.1, ClassPrior()))


def test_a_toy_method_of_the_users_own_teaches_a_student(teacher: Teacher, student: Network, runtime: Runtime) -> None:
    work = Synthesizer(teacher, Bright(), runtime=runtime, generator=runtime.generator(0), student=student)
    source = Synthetic(work, size=16, clock=Clock())
    training = Training(steps=5)
    learner = Learner(student, source, build_objective("kd"), training, runtime=runtime, generator=runtime.generator(1), teacher=teacher)
    assert len(list(source.prepare())) == 2
    assert source.pool.columns["images"].float().mean() > 140
    before = copy.deepcopy(student.state_dict())
    learner.step()
    assert any(not torch.equal(value, student.state_dict()[key]) for key, value in before.items())


class LooksThrough(Loss):
    """How far a network's answers are from one another; with a head of its own."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, torch.nn.Linear(5, 5)

    def forward(self, view: View) -> Tensor:
        said: Tensor = self.head(self.network(view.images))
        return said.var()


@dataclass(frozen=True, kw_only=True)
class Perceptual(Bright):
    """Judged by another network."""

    network: torch.nn.Module

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(alike=(1.0, LooksThrough(self.network)))


@pytest.mark.parametrize("whose", ["teacher", "student", "network", "frozen"])
def test_a_network_that_a_loss_looks_through_stays_as_it_is_and_heads_are_drawn(
    whose: str, teacher: Teacher, student: Network, runtime: Runtime
) -> None:
    torch.manual_seed(2)
    judge = Network(BNNet(width=3), SPEC).eval()
    chosen = {"teacher": teacher, "student": student, "network": judge, "frozen": judge.model.requires_grad_(False)}[whose]
    before = copy.deepcopy(chosen.state_dict())
    heads = []
    for seed in (0, 0, 1):
        method = Perceptual(network=chosen)
        work = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(seed), student=student)
        heads.append(work.objective.losses["alike"].get_submodule("head").state_dict()["weight"].clone())
        assert all(torch.equal(value, before[key]) for key, value in chosen.state_dict().items())
        work.round()
        assert all(torch.equal(value, before[key]) for key, value in chosen.state_dict().items())
        assert not torch.equal(work.objective.losses["alike"].get_submodule("head").state_dict()["weight"], heads[-1])
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@dataclass(frozen=True, kw_only=True)
class Patient(Bright):
    """White in its second round alone."""

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(white=(lambda view: float(view.round > 0), White()))


def test_a_round_in_which_no_loss_has_a_weight_leaves_the_canvas_as_it_is(teacher: Teacher, runtime: Runtime) -> None:
    work = Synthesizer(teacher, Patient(), runtime=runtime, generator=runtime.generator(0))
    untouched = Synthesizer(teacher, Patient(steps=1), runtime=runtime, generator=runtime.generator(0))
    first = work.round().images
    assert work.parts == {}
    assert torch.equal(first, untouched.round().images)
    assert float(work.round().images.mean()) > float(first.mean()) + 0.1


@dataclass(frozen=True, kw_only=True)
class Still(Bright):
    """Two iterates, of which the first is the best."""

    keep: ClassVar[Literal["last", "best"]] = "best"
    steps: int = 2

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(white=(lambda view: 1.0 if view.step else 100.0, White()))


def test_the_best_iterate_is_a_copy_of_what_it_was_and_not_what_it_became(teacher: Teacher, runtime: Runtime) -> None:
    work = Synthesizer(teacher, Still(), runtime=runtime, generator=runtime.generator(0))
    start = runtime.generator(0)
    first = work.round().images
    torch.randint(SPEC.classes, (32,), generator=start)
    pixels = torch.rand(32, 1, 8, 8, generator=start)
    assert torch.equal(first, pixels.mul(255).round().div(255))


@dataclass(frozen=True, kw_only=True)
class Alike(Bright):
    """Images on which student and teacher look at the same places, which a loss finds by itself."""

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(at=(1.0, AttentionTransfer()))


def test_a_loss_that_must_be_fitted_to_the_networks_is(teacher: Teacher, student: Network, runtime: Runtime) -> None:
    work = Synthesizer(teacher, Alike(), runtime=runtime, generator=runtime.generator(0), student=student)
    assert work.needs.student_taps
    work.round()
    assert float(work.parts["at"]) > 0


def test_views_carry_the_time(teacher: Teacher, runtime: Runtime) -> None:
    seen: list[tuple[int, int]] = []

    class Clocked(Loss):
        needs = Needs()

        def forward(self, view: View) -> Tensor:
            seen.append((view.round, view.step))
            return view.canvas.mean()

    @dataclass(frozen=True, kw_only=True)
    class Timed(Bright):
        def objective(self, teacher: Teacher) -> Objective:
            return Objective(time=(1.0, Clocked()))

    work = Synthesizer(teacher, Timed(steps=2, batch=4), runtime=runtime, generator=runtime.generator(0))
    work.round()
    work.round()
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]


@dataclass(frozen=True, kw_only=True)
class Shown(Bright):
    """A live generator of two steps a round that shows what `shows` says."""

    warmup: int = 0
    every: int = 2
    steps: int = 2
    batch: int = 4
    pooled: ClassVar[bool] = False

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        net = ConvGenerator(3, teacher.spec.shape, 4)
        initialise(net, generator)
        return Generator(net, 3)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(bn=(1.0, BNAlignment()))


class Again(Shown):
    shows: ClassVar[Literal["fresh", "again", "painted"]] = "again"


class Painted(Shown):
    shows: ClassVar[Literal["fresh", "again", "painted"]] = "painted"


@pytest.mark.parametrize(("kind", "size", "made"), [(Shown, 6, 4 * 6), (Again, 4, 2 * 4), (Painted, 4, 2 * 4)])
def test_a_live_generator_shows_what_the_method_says(kind: type[Method], size: int, made: int, teacher: Teacher, runtime: Runtime) -> None:
    work = Synthesizer(teacher, kind(), runtime=runtime, generator=runtime.generator(0))
    source = Synthetic(work, size=6, clock=Clock())
    batches = [source.batch(step) for step in range(4)]
    assert [len(batch.images) for batch in batches] == [size] * 4
    assert torch.equal(batches[0].images, batches[1].images) == (kind is not Shown)
    assert not torch.equal(batches[1].images, batches[2].images)
    assert (batches[0].logits is not None) == (kind is not Shown)
    assert source.images_made == made


@pytest.mark.parametrize("kind", [Shown, Again, Painted])
def test_what_a_generator_paints_in_bf16_is_given_in_fp32(kind: type[Method], teacher: Teacher) -> None:
    low = Runtime("cpu", "bf16-mixed")
    work = Synthesizer(teacher, kind(), runtime=low, generator=low.generator(0))
    batch, sampled, peeked = work.round(), work.sample(3), work.peek(3, low.generator(1))
    assert batch.logits is not None
    assert {each.dtype for each in (batch.images, batch.logits, sampled.images, peeked.images)} == {torch.float32}
    with torch.no_grad(), low.autocast():
        assert work.canvas.again().dtype == torch.bfloat16


class Turned(Painted):
    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images.flip(-1) * torch.linspace(0, 1, images.shape[-1])


def test_the_logits_of_a_painted_batch_are_of_the_images_that_are_shown(teacher: Teacher, runtime: Runtime) -> None:
    batch = Synthesizer(teacher, Turned(), runtime=runtime, generator=runtime.generator(0)).round()
    assert batch.logits is not None
    assert float(batch.images[..., 0].abs().max()) == 0
    torch.testing.assert_close(batch.logits, teacher(batch.images))


def test_what_is_shown_again_and_painted_is_in_the_state(teacher: Teacher, runtime: Runtime, tmp_path: object) -> None:
    from pathlib import Path

    for kind in (Shown, Again, Painted):
        one = Synthetic(Synthesizer(teacher, kind(), runtime=runtime, generator=runtime.generator(0)), size=6, clock=Clock())
        one.batch(0)
        other = Synthetic(Synthesizer(teacher, kind(), runtime=runtime, generator=runtime.generator(4)), size=6, clock=Clock())
        other.load_state_dict(copy.deepcopy(one.state_dict()), Path(str(tmp_path)))
        for step in range(1, 5):
            ours, theirs = one.batch(step), other.batch(step)
            assert torch.equal(ours.images, theirs.images)
            for name in ("logits", "targets"):
                mine, kept = getattr(ours, name), getattr(theirs, name)
                assert (mine is None) == (kept is None)
                assert mine is None or torch.equal(mine, kept)
        assert one.images_made == other.images_made


def test_a_method_needs_no_module_of_the_library_to_know_it(teacher: Teacher, runtime: Runtime) -> None:
    config = Bright(lr=0.3).config()
    assert config["class_path"] == f"{__name__}.Bright"
    assert config["init_args"] == {"batch": 32, "warmup": 2, "every": 0, "steps": 5, "lr": 0.3, "clip": 0.0}

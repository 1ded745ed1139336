"""The signatures carry what comes next: five published methods, about 30 lines each, the synthesis loop untouched.

They prove the interfaces, not the methods' figures: the real ones come with their own files.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from tacit.core.device import Clock, Runtime
from tacit.core.loss import Loss, Needs, Objective, View
from tacit.core.network import Network, Spec, Teacher
from tacit.distill import Learner, Synthetic, Training, build_objective
from tacit.losses import BNAlignment, ClassPrior, DecisionAdversarial
from tacit.synthesize import DeepInversion, Method, Synthesizer
from tacit.synthesize.canvas import Canvas, Generator, GeneratorAndLatents, Round
from tacit.synthesize.generators import ConvGenerator, initialise

SPEC = Spec(shape=(1, 8, 8), classes=4)


def small_net(width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)
    )


@pytest.fixture
def teacher() -> Teacher:
    torch.manual_seed(0)
    return Teacher(small_net(8), SPEC)


@pytest.fixture
def student() -> Network:
    torch.manual_seed(1)
    return Network(small_net(), SPEC)


# ---------------------------------------------------------------- ZSKT: the same latent ten times, the student in train mode


class StudentKL(Loss):
    """Minus KL(teacher || student), as `kl_div`'s mean."""

    needs = Needs(student=True)

    def forward(self, view: View) -> Tensor:
        return -F.kl_div(view.student.logits.log_softmax(1), view.teacher.logits.softmax(1), reduction="none").mean()


@dataclass(frozen=True, kw_only=True)
class ZSKT(Method):
    """Micaelli and Storkey, 2019."""

    steps: int = 1
    batch: int = 8
    lr: float = 1e-3
    every: int = 10

    pooled: ClassVar[bool] = False
    redraw: ClassVar[bool] = False
    student_mode: ClassVar[Literal["train", "eval"]] = "train"

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        net = ConvGenerator(16, teacher.spec.shape, 4, spec=teacher.spec)
        initialise(net, generator)
        return Generator(net, 16)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(kl=(1.0, StudentKL()))

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        return None


def test_zskt_shows_one_latent_ten_times_and_meets_the_student_in_train_mode(teacher: Teacher, student: Network, runtime: Runtime) -> None:
    modes: list[bool] = []
    student.model[1].register_forward_hook(lambda module, _, __: modes.append(module.training))  # type: ignore[index]
    before = copy.deepcopy(student.state_dict())
    synthesizer = Synthesizer(teacher, ZSKT(), runtime=runtime, generator=runtime.generator(0), student=student.eval())
    source = Synthetic(synthesizer, size=8, clock=Clock())
    shown = [source.batch(step).images for step in range(20)]
    assert all(torch.equal(shown[0], image) for image in shown[1:10])
    assert not torch.equal(shown[9], shown[10])
    assert all(torch.equal(shown[10], image) for image in shown[11:])
    assert modes == [True, True]
    assert not student.training
    assert all(torch.equal(value, student.state_dict()[key]) for key, value in before.items())


# ---------------------------------------------------------------- RDSKD: two halves, a reference refreshed at a given step


class Increment(Loss):
    """``exp(L - L_ref)``: the reference is the loss at step 1 of each epoch of `epoch` rounds; zero at first."""

    def __init__(self, loss: Loss, epoch: int) -> None:
        super().__init__()
        self.loss, self.epoch = loss, epoch
        self.register_buffer("reference", torch.zeros(()))

    def forward(self, view: View) -> Tensor:
        value: Tensor = self.loss(view)
        increment = (value - self.get_buffer("reference")).exp()
        if view.round % self.epoch == 1:
            self.reference = value.detach()
        return increment


class HalvesApart(Loss):
    """``1 / (||X2 - X1|| / ||P2 - P1||)`` over the two halves of the batch."""

    def forward(self, view: View) -> Tensor:
        (x1, x2), (p1, p2) = view.images.chunk(2), view.teacher.logits.softmax(dim=1).chunk(2)
        loss: Tensor = 1 / ((x2 - x1).norm() / ((p2 - p1).norm() + 1e-20) + 1e-20)
        return loss


@dataclass(frozen=True, kw_only=True)
class RDSKD(Method):
    """Han et al., 2021: the generator first, then frozen."""

    steps: int = 1
    batch: int = 8
    lr: float = 1e-3
    warmup: int = 7
    pooled: ClassVar[bool] = False

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        return ZSKT().canvas(teacher, generator)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(oh=(1.0, Increment(ClassPrior(), epoch=3)), ds=(1.0, HalvesApart()))

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        return None


def test_rdskd_refreshes_its_reference_once_an_epoch_and_freezes_the_generator(teacher: Teacher, runtime: Runtime) -> None:
    synthesizer = Synthesizer(teacher, RDSKD(), runtime=runtime, generator=runtime.generator(0))
    source = Synthetic(synthesizer, size=8, clock=Clock())
    references = [float(synthesizer.objective.get_buffer("losses.oh.reference")) for _ in source.prepare()]
    assert references[0] == 0
    assert references[1] == references[2] == references[3] != 0
    assert references[4] == references[5] == references[6] != references[3]
    before = copy.deepcopy(synthesizer.canvas.state_dict()["net.project.weight"])
    first, second = source.batch(0).images, source.batch(1).images
    assert not torch.equal(first, second)
    assert torch.equal(before, synthesizer.canvas.state_dict()["net.project.weight"])


# ---------------------------------------------------------------- NAYER: classifier rows, a generator of k rounds, balanced targets


class NoisyLayer(Canvas):
    """Rows of the teacher's classifier, through a linear layer drawn anew each round, to images."""

    def __init__(self, teacher: Teacher, generator: torch.Generator) -> None:
        super().__init__()
        rows = next(p for p in reversed(list(teacher.parameters())) if p.ndim == 2)
        self.register_buffer("rows", rows.detach().clone())
        self.register_buffer("noise", torch.empty(0))
        self.net = ConvGenerator(12, teacher.spec.shape, 4)
        initialise(self.net, generator)

    def begin(self, round: Round) -> None:
        assert round.targets is not None
        self.wanted = self.get_buffer("rows")[round.targets]
        self.noise = torch.randn(self.wanted.shape[1], 12, generator=round.generator)

    def forward(self) -> Tensor:
        images: Tensor = self.net(F.normalize(self.wanted, dim=1) @ self.get_buffer("noise"))
        return images


@dataclass(frozen=True, kw_only=True)
class NAYER(Method):
    """Tran et al., 2024."""

    steps: int = 2
    batch: int = 8
    lr: float = 4e-3
    warmup: int = 1
    every: int = 5
    life: int = 3

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        return NoisyLayer(teacher, generator)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(oh=(0.5, ClassPrior()), bn=(1.0, BNAlignment()))

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        return torch.arange(n) % teacher.spec.classes

    def renew(self, round: int) -> bool:
        return round % self.life == 0


def test_nayer_reads_the_classifier_and_remakes_its_generator_every_k_rounds(teacher: Teacher, runtime: Runtime) -> None:
    synthesizer = Synthesizer(teacher, NAYER(), runtime=runtime, generator=runtime.generator(0))
    canvases = []
    for _ in range(6):
        batch = synthesizer.round()
        canvases.append(synthesizer.canvas)
        assert batch.targets is not None
        assert torch.bincount(batch.targets).tolist() == [2, 2, 2, 2]
    assert canvases[0] is canvases[1] is canvases[2] is not canvases[3]
    assert canvases[3] is canvases[4] is canvases[5]
    assert torch.equal(canvases[0].get_buffer("rows"), teacher.model[5].weight)  # type: ignore[index]


# ---------------------------------------------------------------- ZSKD: soft targets


@dataclass(frozen=True, kw_only=True)
class ZSKD(DeepInversion):
    """Nayak et al., 2019: Dirichlet impressions."""

    steps: int = 30
    batch: int = 16

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(ce=(1.0, ClassPrior(temperature=20.0)))

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        gamma = -torch.rand(n, teacher.spec.classes, generator=generator).log()  # Exp(1) draws, normalised: Dirichlet(1)
        return gamma / gamma.sum(dim=1, keepdim=True)


def test_zskd_paints_towards_soft_targets(teacher: Teacher, runtime: Runtime) -> None:
    synthesizer = Synthesizer(teacher, ZSKD(), runtime=runtime, generator=runtime.generator(0))
    batch = synthesizer.round()
    assert batch.targets is not None
    assert batch.targets.shape == (16, 4)
    assert batch.logits is not None
    noise = teacher(torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert F.cross_entropy(batch.logits / 20, batch.targets) < F.cross_entropy(noise / 20, batch.targets)


# ---------------------------------------------------------------- CMI: a head with its own optimiser, a bank, the best iterate


class Contrast(Loss):
    """A crop is nearer to its own image than to any other, now or in the bank."""

    def __init__(self, tap: str, channels: int) -> None:
        super().__init__()
        self.needs, self.tap = Needs(teacher_taps=(tap,)), tap
        self.head = nn.Linear(channels, 8)
        self.register_buffer("bank", torch.empty(0, channels))

    def forward(self, view: View) -> Tensor:
        assert view.look is not None
        whole = torch.cat([self.mean(view.teacher.features[self.tap]), self.get_buffer("bank")])
        at = int(torch.randint(2, (1,), generator=view.generator))
        crop = F.interpolate(view.images[..., at : at + 6, at : at + 6], view.images.shape[-2:])
        local = self.mean(view.look(crop).features[self.tap])
        scores = F.normalize(self.head(local), dim=1) @ F.normalize(self.head(whole), dim=1).detach().T
        return F.cross_entropy(scores / 0.1, torch.arange(len(local)))

    def remember(self, view: View) -> None:
        self.bank = torch.cat([self.get_buffer("bank"), self.mean(view.teacher.features[self.tap]).detach()])

    @staticmethod
    def mean(feature: Tensor) -> Tensor:
        return feature.flatten(2).mean(dim=2)


@dataclass(frozen=True, kw_only=True)
class CMI(Method):
    """Fang et al., 2021."""

    steps: int = 6
    batch: int = 8
    lr: float = 0.05
    warmup: int = 1
    every: int = 4
    keep: ClassVar[Literal["last", "best"]] = "best"

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        net = ConvGenerator(16, teacher.spec.shape, 4)
        initialise(net, generator)
        return GeneratorAndLatents(net, 16)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(ce=(1.0, ClassPrior()), cr=(0.8, Contrast("2", 8)), adv=(0.5, DecisionAdversarial()))

    def loss_optimizer(self, objective: Objective) -> Optimizer | None:
        return torch.optim.Adam(objective.parameters(), lr=1e-3)


def test_cmi_keeps_its_head_its_bank_and_the_best_iterate(teacher: Teacher, student: Network, runtime: Runtime) -> None:
    synthesizer = Synthesizer(teacher, CMI(), runtime=runtime, generator=runtime.generator(0), student=student)
    head, canvas_optimizers = synthesizer.loss_optimizer, set()
    seen: list[tuple[float, Tensor]] = []
    total = synthesizer.objective.total

    def watched(parts: dict[str, Tensor], view: View) -> Tensor:
        value = total(parts, view)
        seen.append((float(value.detach()), view.canvas.detach().clone()))
        return value

    synthesizer.objective.total = watched  # type: ignore[method-assign, assignment]
    for number in (1, 2):
        seen.clear()
        batch = synthesizer.round()
        canvas_optimizers.add(id(synthesizer.canvas_optimizer))
        assert len(synthesizer.objective.get_buffer("losses.cr.bank")) == 8 * number
        best = min(seen, key=lambda pair: pair[0])[1]
        assert torch.equal(batch.images, best.mul(255).round().div(255))
    assert synthesizer.loss_optimizer is head
    assert head is not None
    assert all(int(state["step"]) == 12 for state in head.state.values())
    assert len(canvas_optimizers) == 2


def test_the_state_of_all_five_is_carried_over(teacher: Teacher, student: Network, runtime: Runtime) -> None:
    for method in (ZSKT(), RDSKD(), NAYER(), ZSKD(steps=2), CMI()):
        one = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(0), student=copy.deepcopy(student))
        for _ in range(4):
            one.round()
        state = copy.deepcopy(one.state_dict())
        wanted = one.round()
        other = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(9), student=copy.deepcopy(student))
        other.load_state_dict(state)
        assert torch.equal(other.round().images, wanted.images), method.name


def test_a_toy_method_of_the_users_own_teaches_a_student(teacher: Teacher, student: Network, runtime: Runtime) -> None:
    """A fifth method touches nothing but this test."""

    @dataclass(frozen=True, kw_only=True)
    class Bright(DeepInversion):
        """Pixels pushed towards white."""

        steps: int = 5
        warmup: int = 2
        batch: int = 32

        def objective(self, teacher: Teacher) -> Objective:
            class White(Loss):
                def forward(self, view: View) -> Tensor:
                    return -view.canvas.mean()

            return Objective(white=(1.0, White()), ce=(0.1, ClassPrior()))

    synthesizer = Synthesizer(teacher, Bright(), runtime=runtime, generator=runtime.generator(0))
    source = Synthetic(synthesizer, size=16, clock=Clock())
    learner = Learner(
        student, source, build_objective("kd"), Training(steps=5), runtime=runtime, generator=runtime.generator(1), teacher=teacher
    )
    assert len(list(source.prepare())) == 2
    assert source.pool.columns["images"].float().mean() > 140
    before = copy.deepcopy(student.state_dict())
    learner.step()
    assert any(not torch.equal(value, student.state_dict()[key]) for key, value in before.items())

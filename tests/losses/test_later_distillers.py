"""ReviewKD, OFD, FSP, AB and FT, against slow loops written from the formulas and against closed forms."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import stages
from tacit.core.network import Ensemble, Network, Teacher
from tacit.core.probe import Probe, Signals
from tacit.core.spec import Spec
from tacit.losses import FSP, ActivationBoundary, FactorTransfer, FeatureOverhaul, Intermediate, ReviewKD, SimilarityPreserving
from tacit.losses.activation_boundary import boundary_distance
from tacit.losses.before_relu import BridgeNorm, before_relu, norms_behind
from tacit.losses.factor import Factors, factor_distance
from tacit.losses.fsp import flow
from tacit.losses.overhaul import batch_margin, negative_mean, partial_distance
from tacit.losses.pairs import PairedTaps
from tacit.losses.review import Fusion, hierarchical_distance
from tacit.zoo import resnet, resnet32x4, shufflenetv1, wrn
from toy import BNNet

GREY = Spec(shape=(1, 16, 16), classes=5)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def moved(network: Network) -> Network:
    """Return a network whose batch norms are not as they were made."""
    for number, module in enumerate(network.modules()):
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.copy_(draw(len(module.weight), seed=number))
                module.bias.copy_(draw(len(module.bias), seed=number + 1))
    return network


def networks() -> tuple[Teacher, Network]:
    torch.manual_seed(0)
    return Teacher(moved(Network(resnet(8, 5, 1, 4), GREY)).model, GREY), Network(wrn(10, 1, 5, 1), GREY)


def shown(loss: PairedTaps, teacher: Network, student: Network, images: Tensor, step: int = 0) -> View:
    with Probe(teacher, taps=loss.needs.teacher_taps) as ask, Probe(student, taps=loss.needs.student_taps) as look:
        return View(images, teacher=ask(images), student=look(images), step=step)


def features(student: list[Tensor], teacher: list[Tensor]) -> View:
    logits = torch.zeros(1, 1)
    ours, theirs = ({f"{n}": each for n, each in enumerate(side)} for side in (student, teacher))
    return View(torch.zeros(1, 1, 1, 1), teacher=Signals(logits, theirs), student=Signals(logits, ours))


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("make", [ReviewKD, FeatureOverhaul, ActivationBoundary, FactorTransfer])
def test_each_teaches_any_student_of_any_teacher(make: Callable[[], PairedTaps]) -> None:
    teacher, student = networks()
    loss, images = make(), torch.rand(4, 1, 16, 16)
    loss.fit(teacher, student)
    optimizer, values = torch.optim.Adam([*student.parameters(), *loss.parameters()], lr=1e-3), []
    for step in range(5):
        value = loss(shown(loss, teacher, student, images))
        optimizer.zero_grad()
        value.backward()
        if step == 0:
            learned = {name for name, each in loss.named_parameters() if each.grad is not None and bool(each.grad.any())}
            assert learned
            assert all("paraphraser" not in name and "back" not in name for name in learned)
            weight = student.model.get_parameter("stem.weight")
            assert weight.grad is not None
            assert 0 < float(weight.grad.abs().sum()) < math.inf
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]


@pytest.mark.parametrize("make", [ReviewKD, FeatureOverhaul, ActivationBoundary, FactorTransfer, FSP, Intermediate])
def test_of_an_ensemble_each_is_the_sum_over_its_members(make: Callable[[], PairedTaps]) -> None:
    """Two members that are the same, with the same adapters, teach twice as much as one."""
    torch.manual_seed(0)
    one, student, images = Network(resnet(8, 5, 1, 4), GREY).eval(), Network(resnet(8, 5, 1, 4), GREY).eval(), torch.rand(2, 1, 16, 16)
    both = Teacher.of(Ensemble.of([one, copy.deepcopy(one)]))
    alone, twice = make(), make()
    alone.fit(one, student)
    twice.fit(both, student)
    assert [len(team) for team in twice.teams] == [len(alone.pairs)] * 2
    state = alone.state_dict()
    per = len(getattr(alone, "adapters", ()))
    twice.load_state_dict(
        {
            f"adapters.{int(name.split('.')[1]) + member * per}.{name.split('.', 2)[2]}": value
            for member in range(2)
            for name, value in state.items()
        }
    )
    found, single = (loss(shown(loss, teacher, student, images)) for loss, teacher in ((twice, both), (alone, one)))
    assert float(single.detach()) > 0
    torch.testing.assert_close(found, 2 * single, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [ReviewKD, FeatureOverhaul, ActivationBoundary, FactorTransfer])
def test_each_wants_to_be_fitted_and_is_fp32_inside_autocast(make: Callable[..., PairedTaps]) -> None:
    with pytest.raises(InputError, match="call `fit` first"):
        make(["0"], ["0"])(features([draw(2, 3, 4, 4)], [draw(2, 3, 4, 4)]))
    torch.manual_seed(0)
    teacher, student = networks()
    loss, images = make(), torch.rand(2, 1, 16, 16)
    loss.fit(teacher, student)
    view = shown(loss, teacher, student, images)
    plain = loss(view)
    with torch.autocast("cpu", torch.bfloat16):
        low = loss(view)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, plain)


# ---------------------------------------------------------------- before the ReLU


@pytest.mark.parametrize("make", [SimilarityPreserving, FactorTransfer])
def test_each_network_s_own_last_map_is_compared_though_one_be_larger(make: Callable[[], PairedTaps]) -> None:
    spec = Spec(shape=(3, 32, 32), classes=10)
    teacher, student = Network(resnet32x4(10), spec).eval(), Network(shufflenetv1(10), spec).eval()
    loss, images = make(), torch.rand(2, 3, 32, 32)
    loss.fit(teacher, student)
    assert [(theirs.removesuffix(":copy"), ours) for theirs, ours in loss.pairs] == [("stages", "stages")]
    with torch.no_grad(), Probe(teacher, taps=loss.needs.teacher_taps) as ask, Probe(student, taps=loss.needs.student_taps) as look:
        view = View(images, teacher=ask(images), student=look(images))
        ((ours, theirs),) = loss.seen(view)
        assert (tuple(ours.shape[1:]), tuple(theirs.shape[1:])) == ((960, 4, 4), (256, 8, 8))
        assert float(loss(view)) > 0


def test_maps_that_a_batch_norm_reads_are_taken_behind_it() -> None:
    wide, plain = Network(wrn(10, 1, 5, 1), GREY), Network(resnet(8, 5, 1, 4), GREY)
    assert [layer.name for layer in before_relu(wide, stages(wide))] == ["stages.1.0.bn1", "stages.2.0.bn1", "norm.1:in"]
    assert [layer.name for layer in before_relu(plain, stages(plain))] == [f"stages.{stage}.0.relu2:in" for stage in range(3)]
    chain = Network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(784, 5)), GREY)
    assert [layer.name for layer in stages(chain)] == ["2"]
    assert [layer.name for layer in before_relu(chain, stages(chain))] == ["2:in"]
    assert norms_behind(chain, ["2:in", "1", "model.1", "2:in", "0", "4"]) == [chain.model.get_submodule("1")] * 4 + [None] * 2
    bare = Network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 5)), GREY)
    assert [layer.name for layer in before_relu(bare, stages(bare))] == ["1:in"]
    linear = Network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(784, 5)), GREY)
    assert before_relu(linear, stages(linear)) == stages(linear)


class Residual(nn.Module):
    """A block as other libraries write it: one ReLU, in place, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.bn1, self.bn2 = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(inner))
        out += inner
        logits: Tensor = self.head(self.relu(out).mean((2, 3)))
        return logits


def test_a_relu_in_place_does_not_overwrite_what_is_tapped_before_it() -> None:
    torch.manual_seed(0)
    network = moved(Network(Residual(), GREY)).eval()
    with Probe(network, taps=["relu:in", "relu"]) as ask:
        seen = ask(torch.rand(2, 1, 16, 16)).features
    assert bool((seen["relu:in"] < 0).any())
    assert torch.equal(seen["relu:in"].relu(), seen["relu"])
    loss = FeatureOverhaul()
    loss.fit(network, network)
    assert loss.pairs == [("relu:in", "relu:in")]
    assert norms_behind(network, ["relu:in", "bn2:copy"]) == [None, network.model.bn2]  # the sum is written over what bn2 made


def test_a_batch_of_single_values_passes_the_norm_as_it_is() -> None:
    norm, x = BridgeNorm(3), draw(1, 3, 1, 1)
    assert torch.equal(norm(x), x)
    assert not torch.equal(norm(draw(2, 3, 1, 1)), draw(2, 3, 1, 1))


# ---------------------------------------------------------------- OFD


def test_the_margin_of_a_batch_norm_is_the_mean_below_zero_of_a_normal_distribution() -> None:
    mean, deviation = torch.tensor([0.0, 1.0, -2.0, 0.5, 3.0, -8.0]), torch.tensor([1.0, 0.5, 2.0, 3.0, 1.0, 0.1])
    found = negative_mean(mean, deviation)
    grid = np.linspace(-60, 0, 2_000_001)
    for each, centre, spread in zip(found.tolist(), mean.tolist(), deviation.tolist(), strict=True):
        heights = np.exp(-0.5 * ((grid - centre) / spread) ** 2)
        assert each == pytest.approx(float((grid * heights).sum() / heights.sum()), rel=1e-4)
    assert float(found[0]) == pytest.approx(-math.sqrt(2 / math.pi))


def test_margins_of_channels_that_do_not_vary_or_are_hardly_ever_negative_are_sound() -> None:
    mean, deviation = torch.tensor([1.0, -1.0, 1e4, 50.0]), torch.tensor([0.0, 0.0, 1e-3, 1.0])
    found = negative_mean(mean, deviation)
    assert found[:2].tolist() == [0.0, -1.0]
    assert bool(((found[2:] <= 0) & (found[2:] > -0.05)).all())


def test_the_margin_of_a_batch_is_the_mean_of_its_negative_values() -> None:
    feature = draw(3, 2, 2, 2)
    feature[:, 1] = feature[:, 1].abs()
    below = [value for value in feature[:, 0].flatten().tolist() if value < 0]
    assert batch_margin(feature).tolist() == pytest.approx([sum(below) / len(below), 0.0])


def slow_partial(student: Tensor, target: Tensor) -> float:
    pairs = zip(student.flatten().tolist(), target.flatten().tolist(), strict=True)
    return sum(0.0 if s <= t <= 0 else (t - s) ** 2 for s, t in pairs) / len(student)


def test_the_partial_distance_leaves_out_what_is_below_a_target_that_is_not_positive() -> None:
    student, target = draw(2, 3, 2, 2).requires_grad_(), draw(2, 3, 2, 2, seed=1)
    found = partial_distance(student, target)
    assert float(found.detach()) == pytest.approx(slow_partial(student, target), rel=1e-5)
    (gradient,) = torch.autograd.grad(found, student)
    idle = (student <= target) & (target <= 0)
    torch.testing.assert_close(gradient, torch.where(idle, 0.0, (student - target).detach()))
    assert float(partial_distance(target, target)) == 0.0


def test_ofd_adds_up_the_stages_with_the_margins_of_their_batch_norms() -> None:
    """Two WRNs: teacher's margins are known; the deepest stage weighs 1, those before a half and a quarter."""
    torch.manual_seed(0)
    teacher, student = Teacher(moved(Network(wrn(10, 1, 5, 1), GREY)).model, GREY), Network(wrn(10, 2, 5, 1), GREY).eval()
    loss = FeatureOverhaul()
    loss.fit(teacher, student)
    assert [theirs for theirs, _ in loss.pairs] == ["stages.1.0.bn1", "stages.2.0.bn1", "norm.1:in"]
    view, wanted = shown(loss, teacher, student, torch.rand(3, 1, 16, 16)), 0.0
    for (theirs, ours), between, weight in zip(loss.pairs, loss.adapters, (0.25, 0.5, 1.0), strict=True):
        norm = teacher.model.get_submodule(theirs.replace("1:in", "0"))
        assert isinstance(norm, nn.BatchNorm2d)
        margin = negative_mean(norm.bias, norm.weight.abs())[:, None, None]
        with torch.no_grad():
            wanted += weight * slow_partial(between(view.student.features[ours]), torch.maximum(view.teacher.features[theirs], margin))
    assert float(loss(view).detach()) == pytest.approx(wanted, rel=1e-4)


def test_ofd_takes_the_margin_of_the_batch_where_no_batch_norm_is_known() -> None:
    torch.manual_seed(0)
    teacher, student = Network(BNNet(), GREY).eval(), Network(BNNet(), GREY).eval()
    loss = FeatureOverhaul(["conv2"], ["conv1"])
    loss.fit(teacher, student)
    view = shown(loss, teacher, student, torch.rand(2, 1, 16, 16))
    theirs = view.teacher.features["conv2"]
    with torch.no_grad():
        ours = loss.adapters[0](view.student.features["conv1"])
        wanted = slow_partial(ours, torch.maximum(theirs, batch_margin(theirs)[:, None, None]))
    assert float(loss(view).detach()) == pytest.approx(wanted, rel=1e-4)
    assert "adapters.0.margin" not in loss.state_dict()


# ---------------------------------------------------------------- AB


def test_the_boundary_distance_is_the_squared_hinge_on_the_teachers_side() -> None:
    student, teacher = draw(2, 3, 2, 2).requires_grad_(), draw(2, 3, 2, 2, seed=1)
    found, wanted = boundary_distance(student, teacher, 0.7), 0.0
    for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        wanted += max(0.0, 0.7 - s) ** 2 if t > 0 else max(0.0, 0.7 + s) ** 2
    assert float(found.detach()) == pytest.approx(wanted / 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(found, student)
    assert bool(((gradient == 0) == (torch.where(teacher > 0, student, -student) >= 0.7)).all())
    far = torch.where(teacher > 0, 0.7, -0.7)
    assert float(boundary_distance(far, teacher, 0.7)) == pytest.approx(0.0, abs=1e-10)
    torch.testing.assert_close(boundary_distance(far, teacher.clamp_min(0)), boundary_distance(far, teacher))


def test_ab_weighs_deep_stages_more_and_refuses_a_negative_margin() -> None:
    loss = ActivationBoundary(["0", "1"], ["0", "1"])
    loss.adapters = nn.ModuleList([nn.Identity(), nn.Identity()])
    student, teacher = ([draw(2, 3, 2, 2, seed=seed), draw(2, 4, 2, 2, seed=seed + 1)] for seed in (0, 2))
    wanted = 0.5 * boundary_distance(student[0], teacher[0]) + boundary_distance(student[1], teacher[1])
    torch.testing.assert_close(loss(features(student, teacher)), wanted)
    with pytest.raises(InputError, match="ab: margin: expected 0 or more, got -1"):
        ActivationBoundary(margin=-1.0)
    with pytest.raises(InputError, match=r"expected feature maps \(C, H, W\), got head of shape \(5,\)"):
        ActivationBoundary(["head"], ["head"]).fit(Network(BNNet(), GREY), Network(BNNet(), GREY))


# ---------------------------------------------------------------- ReviewKD


def slow_hierarchical(student: Tensor, teacher: Tensor) -> float:
    ours, theirs = student.double().numpy(), teacher.double().numpy()
    height = ours.shape[2]
    total, weights, weight = ((ours - theirs) ** 2).mean(), 1.0, 1.0
    for size in (4, 2, 1):
        if size >= height:
            continue
        weight, step = weight / 2, height // size
        blocks = [x.reshape(*x.shape[:2], size, step, size, step).mean(axis=(3, 5)) for x in (ours, theirs)]
        total, weights = total + weight * ((blocks[0] - blocks[1]) ** 2).mean(), weights + weight
    return float(total / weights)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_hierarchical_distance_looks_at_several_sizes(size: int) -> None:
    student, teacher = draw(2, 3, size, size), draw(2, 3, size, size, seed=1)
    assert float(hierarchical_distance(student, teacher)) == pytest.approx(slow_hierarchical(student, teacher), rel=1e-5)
    assert float(hierarchical_distance(teacher, teacher)) == 0.0


def test_fusion_weighs_what_is_known_and_what_came_from_below_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    fuse, feature, deeper = Fusion(3, 4, 5, deepest=False), draw(2, 3, 4, 4), draw(2, 4, 2, 2, seed=1)
    with torch.no_grad():
        out, handed = fuse(feature, deeper, (8, 8))
        known, up = fuse.enter(feature), deeper.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        assert fuse.attend is not None
        assert fuse.attend.bias is not None
        weight, bias = fuse.attend.weight[:, :, 0, 0], fuse.attend.bias
        wanted = torch.empty_like(known)
        for n, y, x in np.ndindex(2, 4, 4):
            scores = weight @ torch.cat([known[n, :, y, x], up[n, :, y, x]]) + bias
            one, two = (1 / (1 + math.exp(-float(score))) for score in scores)
            wanted[n, :, y, x] = one * known[n, :, y, x] + two * up[n, :, y, x]
        torch.testing.assert_close(handed, wanted)
        torch.testing.assert_close(out, fuse.leave(wanted.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)))
        out, handed = Fusion(3, 4, 5, deepest=True)(feature, None, (4, 4))
    assert out.shape == (2, 5, 4, 4)
    assert handed.shape == (2, 4, 4, 4)


def test_reviewkd_goes_from_the_pooled_vector_up_through_the_stages() -> None:
    teacher, student = networks()
    student.eval()
    loss, images = ReviewKD(width=7), torch.rand(3, 1, 16, 16)
    loss.fit(teacher, student)
    assert [theirs for theirs, _ in loss.pairs] == [*(f"stages.{stage}.0.relu2:in" for stage in range(3)), "classifier:in"]
    assert [ours for _, ours in loss.pairs] == ["stages.1.0.bn1", "stages.2.0.bn1", "norm.1:in", "classifier:in"]
    view = shown(loss, teacher, student, images)
    with torch.no_grad():
        deeper, wanted = None, 0.0
        for (theirs, ours), fuse in reversed(list(zip(loss.pairs, loss.adapters, strict=True))):
            answered, taught = view.student.features[ours], view.teacher.features[theirs]
            if taught.ndim == 2:
                answered, taught = answered.view(*answered.shape, 1, 1), taught.view(*taught.shape, 1, 1)
            fused, deeper = fuse(answered, deeper, taught.shape[2:])
            assert deeper.shape[1] == 7
            wanted += slow_hierarchical(fused, taught)
        assert float(loss(view)) == pytest.approx(wanted, rel=1e-4)
        late = ReviewKD(width=7, warmup=10)
        late.fit(teacher, student)
        late.load_state_dict(loss.state_dict())
        assert float(late(shown(loss, teacher, student, images, step=4))) == pytest.approx(wanted / 2, rel=1e-4)


def test_reviewkd_refuses_options_out_of_range() -> None:
    with pytest.raises(InputError, match="reviewkd: expected a width of at least 1 and a warmup of 0 or more, got 0 and 0"):
        ReviewKD(width=0)


# ---------------------------------------------------------------- FSP


def test_the_flow_is_the_mean_product_of_channels_over_places() -> None:
    front, back = draw(2, 3, 4, 4), draw(2, 5, 2, 2, seed=1)
    down = torch.stack([front[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean(dim=(2, 3)) for y in range(2) for x in range(2)], dim=2)
    found = flow(front, back)
    assert found.shape == (2, 3, 5)
    for n, i, j in np.ndindex(2, 3, 5):
        slow = sum(float(down[n, i, place]) * float(back[n, j].flatten()[place]) for place in range(4)) / 4
        assert float(found[n, i, j]) == pytest.approx(slow, abs=1e-5)


def test_fsp_adds_up_the_steps_from_layer_to_layer() -> None:
    loss = FSP(["0", "1", "2"], ["0", "1", "2"])
    student, teacher = ([draw(2, 3, 4, 4, seed=seed), draw(2, 4, 2, 2, seed=seed + 1), draw(2, 2, 2, 2, seed=seed + 2)] for seed in (0, 5))
    wanted = 0.0
    for at in (0, 1):
        ours, theirs = (flow(side[at], side[at + 1]).double().numpy() for side in (student, teacher))
        wanted += float(((ours - theirs) ** 2).mean())
    assert float(loss(features(student, teacher))) == pytest.approx(wanted, rel=1e-5)
    assert float(loss(features(teacher, teacher))) == 0.0


def test_fsp_refuses_other_channels_and_a_single_layer() -> None:
    wide, narrow = (Network(resnet(8, 5, 1, width), GREY) for width in (4, 2))
    said = "fsp: expected equal channels, got 2 at the student's stages.0 and 4 at the teacher's stages.0: use `at` or `crd`"
    with pytest.raises(InputError, match=said):
        FSP().fit(wide, narrow)
    with pytest.raises(InputError, match="fsp: expected two layers or more of each teacher"):
        FSP(["stages.0"], ["stages.0"]).fit(wide, wide)
    deep = Network(resnet(14, 5, 1, 4), GREY)
    loss = FSP()
    loss.fit(deep, wide)
    value = loss(shown(loss, deep, wide, torch.rand(2, 1, 16, 16)))
    value.backward()
    weight = wide.model.get_parameter("stem.0.weight")
    assert weight.grad is not None
    assert 0 < float(weight.grad.abs().sum()) < math.inf


# ---------------------------------------------------------------- FT


def slow_factor(student: Tensor, teacher: Tensor, whole: bool) -> float:
    def unit(x: np.ndarray) -> np.ndarray:
        flat = x.flatten() if whole else (x**2).mean(axis=0).flatten()
        length: np.ndarray = flat / math.sqrt(float((flat**2).sum()))
        return length

    pairs = zip(student.double().numpy(), teacher.double().numpy(), strict=True)
    return float(np.mean([np.abs(unit(ours) - unit(theirs)).mean() for ours, theirs in pairs]))


@pytest.mark.parametrize("whole", [False, True])
def test_the_factor_distance_is_the_mean_absolute_difference_of_unit_vectors(whole: bool) -> None:
    student, teacher = draw(3, 4, 2, 2), draw(3, 4, 2, 2, seed=1)
    assert float(factor_distance(student, teacher, whole=whole)) == pytest.approx(slow_factor(student, teacher, whole), rel=1e-5)
    assert float(factor_distance(3 * teacher, teacher, whole=whole)) == pytest.approx(0.0, abs=1e-7)
    zero = torch.zeros(3, 4, 2, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(factor_distance(zero, teacher, whole=whole), zero)
    assert bool(torch.isfinite(gradient).all())


def test_the_paraphraser_is_learned_by_its_reconstruction_alone() -> None:
    teacher, student = networks()
    loss, images = FactorTransfer(whole=True), torch.rand(4, 1, 16, 16)
    loss.fit(teacher, student)
    assert loss.pairs == [("stages", "stages")]
    (factors,) = loss.adapters
    assert isinstance(factors, Factors)
    opening = loss.opening()
    assert opening is not None
    opening.loss.fit(teacher, student)
    assert opening.loss.needs.teacher_taps == ("stages",)
    assert not opening.loss.needs.student_taps
    view, values = shown(loss, teacher, student, images), []
    assert factors.paraphraser(view.teacher.features["stages"]).shape == (4, 8, 4, 4)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
    for _ in range(30):
        value = opening.loss(view)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.5 * values[0]
    assert all(parameter.grad is None for parameter in factors.translator.parameters())
    optimizer.zero_grad()
    torch.autograd.backward(loss(view))
    assert all(parameter.grad is None for parameter in (*factors.paraphraser.parameters(), *factors.back.parameters()))
    layers = [[type(layer) for layer in part.children()] for part in (factors.paraphraser, factors.back, factors.translator)]
    assert layers == [
        [nn.Conv2d, nn.LeakyReLU] * 3,  # no batch norm, so that a factor depends on its own image alone
        [*[nn.ConvTranspose2d, nn.LeakyReLU] * 2, nn.ConvTranspose2d],
        [nn.Conv2d, BridgeNorm, nn.LeakyReLU] * 3,
    ]
    with torch.no_grad():
        factors.eval()
        taught, answered = factors.paraphraser(view.teacher.features["stages"]), factors.translator(view.student.features["stages"])
    assert float(loss(view).detach()) == pytest.approx(slow_factor(answered, taught, whole=True), rel=1e-4)
    with pytest.raises(InputError, match="ft: rate: expected a positive number"):
        FactorTransfer(rate=0.0)

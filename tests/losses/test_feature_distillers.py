"""FitNet, VID, NST and KDSVD, which compare maps with maps, against slow loops in doubles, values and gradients."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import Layer, Match
from tacit.core.network import Network
from tacit.core.probe import Signals
from tacit.core.spec import Spec
from tacit.losses import FitNet, NeuronSelectivity, SingularVectors, VariationalInformation
from tacit.losses.fitnet import Regressor, hint_distance
from tacit.losses.neuron_selectivity import selectivity_distance
from tacit.losses.pairs import AdaptedTaps
from tacit.losses.singular_vectors import _Eigenvectors, align, singular_distance, singular_vectors
from tacit.losses.variational import gaussian_distance
from tacit.zoo import resnet


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shown(ours: Tensor | list[Tensor], theirs: Tensor | list[Tensor]) -> View:
    student, teacher = ([side] if isinstance(side, Tensor) else side for side in (ours, theirs))
    logits = torch.zeros(len(student[0]), 5)
    taught, answered = ({f"{name}{n}": x for n, x in enumerate(side)} for name, side in (("t", teacher), ("s", student)))
    return View(torch.zeros(len(student[0]), 1, 1, 1), teacher=Signals(logits, taught), student=Signals(logits, answered))


def built(kind: type[Any], ours: list[Tensor], theirs: list[Tensor], **options: Any) -> Any:
    torch.manual_seed(0)
    names = [[f"{side}{n}" for n in range(len(ours))] for side in "ts"]
    loss = kind(*names, **options)
    layers = [
        [Layer(name, tuple(x.shape[1:]), 0.0) for name, x in zip(side, xs, strict=True)]
        for side, xs in zip(names, (theirs, ours), strict=True)
    ]
    loss.build([Match(teacher, student) for teacher, student in zip(*layers, strict=True)])
    return loss


def same(value: Tensor, wanted: Tensor, inputs: Tensor, rel: float = 1e-5) -> None:
    assert value.shape == ()
    assert float(value.detach()) == pytest.approx(float(wanted.detach()), rel=rel)
    assert float(value.detach()) > 1e-6
    (one,), (other,) = torch.autograd.grad(value, inputs), torch.autograd.grad(wanted, inputs)
    assert float(other.abs().sum()) > 0
    torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3 * float(other.abs().max()))


# ---------------------------------------------------------------- FitNet


def slow_regressor(regressor: Regressor, feature: Tensor, wanted: int) -> np.ndarray:
    """Convolution place by place, batch norm of the batch, ReLU; for maps that are halved, doubled or kept."""
    x, convolution = feature.double().numpy(), regressor.convolution
    assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
    assert convolution.bias is not None
    weight, bias = convolution.weight.detach().double().numpy(), convolution.bias.detach().double().numpy()
    height, kernel, scatter = x.shape[2], weight.shape[2], isinstance(convolution, nn.ConvTranspose2d)
    out = np.zeros((len(x), len(bias), wanted, wanted)) + bias[:, None, None]
    for n, y, z, a, b in np.ndindex(len(x), *(2 * [height if scatter else wanted]), kernel, kernel):
        if scatter:  # y, z of the input give to 2 y - 1 + a
            v, w = 2 * y - 1 + a, 2 * z - 1 + b
            if 0 <= v < wanted and 0 <= w < wanted:
                out[n, :, v, w] += x[n, :, y, z] @ weight[:, :, a, b]
        else:  # y, z of the output take from 2 y - 1 + a, or from y
            v, w = (2 * y - 1 + a, 2 * z - 1 + b) if kernel == 3 else (y, z)
            if 0 <= v < height and 0 <= w < height:
                out[n, :, y, z] += weight[:, :, a, b] @ x[n, :, v, w]
    middle, spread = out.mean(axis=(0, 2, 3), keepdims=True), out.var(axis=(0, 2, 3), keepdims=True)
    result: np.ndarray = np.maximum((out - middle) / np.sqrt(spread + 1e-5), 0)
    return result


@pytest.mark.parametrize(("size", "wanted"), [(8, 4), (4, 8), (4, 4)])
def test_fitnet_is_the_mean_squared_error_of_a_regressor(size: int, wanted: int) -> None:
    ours, theirs = draw(3, 2, size, size), draw(3, 5, wanted, wanted, seed=1)
    loss = built(FitNet, [ours], [theirs])
    slow = slow_regressor(loss.adapters[0], ours, wanted)
    assert float(loss(shown(ours, theirs)).detach()) == pytest.approx(((slow - theirs.numpy()) ** 2).mean(), rel=1e-4)


def test_a_regressor_that_changes_nothing_leaves_nothing_to_learn() -> None:
    theirs = draw(2, 3, 4, 4).abs()
    loss = built(FitNet, [theirs], [theirs]).eval()
    with torch.no_grad():
        loss.adapters[0].convolution.weight.copy_(torch.eye(3)[:, :, None, None])
        loss.adapters[0].convolution.bias.zero_()
    assert float(loss(shown(theirs, theirs)).detach()) < 1e-9
    assert float(hint_distance(theirs + 2, theirs)) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [((2, 7, 7), (3, 5, 5)), ((2, 5, 5), (3, 7, 7)), ((2, 8, 3), (3, 2, 6)), ((2, 1, 1), (3, 1, 1)), ((2, 9, 6), (3, 4, 3))],
)
def test_maps_of_any_size_are_regressed_one_image_at_a_time_as_well(ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    student, teacher = draw(1, *ours).requires_grad_(), draw(1, *theirs, seed=1)
    loss = built(FitNet, [student], [teacher])
    assert loss.adapters[0](student, teacher.shape[2:]).shape == teacher.shape
    gradients = torch.autograd.grad(loss(shown(student, teacher)), [student, *loss.adapters[0].convolution.parameters()])
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_between_odd_sizes_the_map_is_averaged_down() -> None:
    regressor = Regressor((1, 9, 9), (1, 3, 3)).eval()
    with torch.no_grad():
        regressor.convolution.get_parameter("weight").fill_(1.0)
        regressor.convolution.get_parameter("bias").zero_()
    feature = draw(2, 1, 9, 9).abs()
    wanted = feature.view(2, 1, 3, 3, 3, 3).mean(dim=(3, 5))
    torch.testing.assert_close(regressor(feature, (3, 3)), wanted / math.sqrt(1 + 1e-5))


@pytest.mark.parametrize(("stages", "middle"), [(1, "stages"), (2, "stages.0"), (3, "stages.1"), (4, "stages.1")])
def test_the_hint_is_the_middle_stage(stages: int, middle: str) -> None:
    spec = Spec(shape=(1, 16, 16), classes=5)
    teacher, student = (Network(resnet(8, classes=5, channels=1, width=width, stages=stages), spec) for width in (4, 2))
    loss = FitNet()
    loss.fit(teacher, student)
    assert loss.pairs == [(middle, middle)]


# ---------------------------------------------------------------- VID


def test_vid_is_the_gaussian_formula_in_value_and_gradient() -> None:
    mean, teacher, variance = draw(2, 3, 2, 2).requires_grad_(), draw(2, 3, 2, 2, seed=1), torch.tensor([0.5, 1.0, 4.0])
    terms = []
    for n, c, y, x in np.ndindex(2, 3, 2, 2):
        spread = float(variance[c])
        terms.append(0.5 * ((mean[n, c, y, x].double() - float(teacher[n, c, y, x])) ** 2 / spread + math.log(spread)))
    same(gaussian_distance(mean, variance, teacher), torch.stack(terms).mean(), mean)


def test_vid_starts_at_a_variance_of_5_and_has_a_minimum_there() -> None:
    ours, theirs = draw(2, 3, 4, 4), draw(2, 5, 2, 2, seed=1)
    loss = built(VariationalInformation, [ours], [theirs])
    (gaussian,) = loss.adapters
    nn.init.zeros_(gaussian.mean[-1].weight)
    nn.init.zeros_(gaussian.mean[-1].bias)
    wanted = 0.5 * (float(theirs.square().mean()) / 5 + math.log(5))
    assert float(loss(shown(ours, theirs)).detach()) == pytest.approx(wanted, rel=1e-5)
    assert float(loss(shown(ours, torch.zeros_like(theirs))).detach()) == pytest.approx(0.5 * math.log(5), rel=1e-5) == 0.80472
    assert [layer.weight.shape[:2] for layer in gaussian.mean[::2]] == [(5, 3), (5, 5), (5, 5)]
    with pytest.raises(InputError, match="vid: variance: expected a number above 1e-05"):
        VariationalInformation(variance=0.0)


# ---------------------------------------------------------------- NST


def slow_selectivity(student: Tensor, teacher: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.double)
    for ours, theirs in zip(student, teacher, strict=True):
        units = [[channel.flatten() / channel.square().sum().sqrt() for channel in side] for side in (ours, theirs)]
        for one, other, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -2)):
            products = [((a * b).sum()) ** 2 for a in units[one] for b in units[other]]
            total = total + sign * torch.stack(products).mean()
    return total / len(student)


def test_nst_is_the_discrepancy_of_the_channels_in_value_and_gradient() -> None:
    ours, theirs = draw(2, 3, 2, 3).requires_grad_(), draw(2, 4, 2, 3, seed=1)
    same(selectivity_distance(ours, theirs), slow_selectivity(ours.double(), theirs.double()), ours)


def test_to_nst_channels_have_no_order_and_no_scale_and_larger_maps_are_averaged_down() -> None:
    ours, theirs = draw(2, 3, 2, 2), draw(2, 4, 4, 4, seed=1)
    assert float(selectivity_distance(ours, 3 * ours.flip(1))) == pytest.approx(0.0, abs=1e-6)
    down = theirs.view(2, 4, 2, 2, 2, 2).mean(dim=(3, 5))
    assert float(selectivity_distance(ours, theirs)) == pytest.approx(float(slow_selectivity(ours.double(), down.double())), rel=1e-5)
    twice = NeuronSelectivity(["t0", "t1"], ["s0", "s1"])(shown([ours, ours], [theirs, theirs]))
    assert float(twice) == pytest.approx(2 * float(selectivity_distance(ours, theirs)), rel=1e-6)


# ---------------------------------------------------------------- KDSVD


def slow_singular(student: list[Tensor], teacher: list[Tensor], count: int) -> Tensor:
    """Image by image, by a decomposition in doubles."""
    total = torch.zeros((), dtype=torch.double)
    for n in range(len(student[0])):
        sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        for ours, theirs in zip(student, teacher, strict=True):
            _, values, rows = torch.linalg.svd(theirs[n].flatten(1).T, full_matrices=False)
            _, _, candidates = torch.linalg.svd(ours[n].flatten(1).T, full_matrices=False)
            share = values[:count] / length(values[:count])
            picked = []
            columns = [row if float(row.sum()) > 0 else -row for row in rows[:count]]
            for row in columns:
                cosines = [float((row * other).sum().detach()) for other in candidates[: count + 3]]
                best = int(np.argmax(np.abs(cosines)))
                picked.append(candidates[best] * math.copysign(1, cosines[best]))
            sides[0].append(torch.stack(picked, dim=1) * share)
            sides[1].append(torch.stack(columns, dim=1) * share)
        correlations = []
        for side in sides:
            gaps = (front[:, None] - back[None] for front, back in pairwise(side))
            correlations.append([(-(gap**2) / 8).exp() for gap in gaps])
        for one, other in zip(*correlations, strict=True):
            total = total + ((one - other) ** 2).sum()
    return total / len(student[0])


def length(vector: Tensor) -> Tensor:
    return vector.square().sum().sqrt()


@pytest.mark.parametrize("count", [1, 2])
def test_kdsvd_is_its_formula_in_value_and_gradient(count: int) -> None:
    """The first map has more places than channels, the second fewer."""
    shapes = ((2, 6, 4, 4), (2, 9, 2, 2))
    student, teacher = ([draw(*shape, seed=seed + n).abs() for n, shape in enumerate(shapes)] for seed in (0, 5))
    for at in range(2):
        wanted = [side.clone().requires_grad_(number == at) for number, side in enumerate(student)]
        loss = built(SingularVectors, wanted, teacher, count=count)
        slow = slow_singular([side.double() for side in wanted], [side.double() for side in teacher], count)
        same(loss(shown(wanted, teacher)), slow, wanted[at], rel=1e-3)


def test_kdsvd_is_nothing_where_the_student_is_the_teacher() -> None:
    features = [draw(2, 6, 4, 4).requires_grad_(), draw(2, 9, 2, 2, seed=1)]
    value = built(SingularVectors, features, features)(shown(features, [each.detach() for each in features]))
    assert float(value.detach()) == 0.0
    (gradient,) = torch.autograd.grad(value, features[0])
    assert float(gradient.abs().max()) == 0.0


def test_columns_are_aligned_by_the_greatest_absolute_cosine() -> None:
    student = torch.eye(3)[None, :, [2, 0]].clone()
    teacher = torch.tensor([[-0.9, 0.1, 0.2], [0.0, 0.0, 1.0]]).T[None]
    torch.testing.assert_close(align(student, teacher)[0], torch.tensor([[-1.0, 0, 0], [0, 0, 1.0]]).T)
    layers = [torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [0.0], [2.0]]])]
    zero = [torch.zeros(1, 2, 1), torch.zeros(1, 3, 1)]
    apart = [math.exp(-(a**2) / 8) - 1 for a in (1, 1, -1, 0, 0, -2)]
    assert float(singular_distance(layers, zero)) == pytest.approx(sum(a**2 for a in apart), rel=1e-5)


def test_the_gradient_of_eigenvectors_is_exact_where_they_are_apart_and_bounded_where_they_meet() -> None:
    base = draw(3, 4, 4).double()
    matrix = (base @ base.mT / 10).requires_grad_()
    values, found = _Eigenvectors.apply(matrix)  # type: ignore[no-untyped-call]
    _, wanted = torch.linalg.eigh(matrix)
    weight = draw(3, 4, 4, seed=1).double()
    torch.testing.assert_close(
        *(torch.autograd.grad((vectors.square() * weight).sum(), matrix)[0] for vectors in (found, wanted)), rtol=1e-3, atol=1e-3
    )
    assert not values.requires_grad
    for flat in (torch.zeros(1, 4, 3, 3), torch.eye(4).view(1, 4, 2, 2), torch.full((1, 4, 2, 2), 0.5), torch.zeros(1, 9, 2, 2)):
        feature = flat.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((singular_vectors(feature, 4)[1] * draw(1, *feature.shape[1:2], 4)).sum(), feature)
        assert bool(torch.isfinite(gradient).all())


def test_other_channels_go_through_a_convolution_that_learns_and_one_layer_is_refused() -> None:
    student, teacher = [draw(2, 3, 4, 4), draw(2, 5, 2, 2)], [draw(2, 6, 4, 4), draw(2, 5, 2, 2)]
    loss = built(SingularVectors, student, teacher)
    assert [type(each) for each in loss.adapters] == [nn.Conv2d, nn.Identity]
    with pytest.raises(InputError, match="kdsvd: expected two layers or more"):
        built(SingularVectors, student[:1], teacher[:1])
    with pytest.raises(InputError, match="kdsvd: count: expected how many columns"):
        SingularVectors(count=0)


@pytest.mark.parametrize("kind", [FitNet, VariationalInformation, NeuronSelectivity, SingularVectors])
def test_vectors_are_no_maps(kind: type[Any]) -> None:
    with pytest.raises(InputError, match=r"expected feature maps \(C, H, W\), got s0 of shape \(7,\): name the tap of a map"):
        built(kind, [draw(2, 7), draw(2, 7)], [draw(2, 3, 4, 4), draw(2, 3, 4, 4)])
    if issubclass(kind, AdaptedTaps):
        with pytest.raises(InputError, match="call `fit` first"):
            kind(["t0"], ["s0"])(shown(draw(2, 3, 4, 4), draw(2, 3, 4, 4)))

"""Losses on features and logits of two networks or two views, against slow loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tacit.core.augment import resized_crop
from tacit.core.errors import InputError
from tacit.core.loss import Needs, View
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe, Signals
from tacit.core.spec import Spec
from tacit.losses import KD, MSE, AttentionTransfer, InstanceContrast, Intermediate, SoftCrossEntropy
from tacit.losses.attention import attention_distance, attention_map
from tacit.losses.contrast import instance_contrast
from tacit.losses.intermediate import depth_weights
from tacit.losses.logits import kd_divergence, soft_cross_entropy
from tacit.zoo import resnet
from toy import BNNet, GroupNet

IMAGES = torch.zeros(1, 1, 1, 1)
GREY = Spec(shape=(1, 8, 8), classes=5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed)) * 2


# ---------------------------------------------------------------- logits


def test_mse_is_the_mean_squared_difference_of_all_logits() -> None:
    student, teacher = torch.tensor([[1.0, -2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [3.0, 4.0]])
    assert float(MSE()(View(IMAGES, teacher=Signals(teacher), student=Signals(student)))) == (1 + 16 + 9) / 4


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(2, 6), st.floats(0.5, 20.0), st.integers(0, 99))
def test_soft_cross_entropy_has_the_gradient_of_kd_and_differs_by_the_teachers_entropy(n: int, classes: int, t: float, seed: int) -> None:
    student, teacher = draw(n, classes, seed=seed).requires_grad_(), draw(n, classes, seed=seed + 1)
    ours, theirs = soft_cross_entropy(student, teacher, t), kd_divergence(student, teacher, t)
    ((one,), (other,)) = (torch.autograd.grad(value, student) for value in (ours, theirs))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    answers = (teacher.double() / t).softmax(dim=1).tolist()
    entropy = -sum(p * math.log(p) for row in answers for p in row) / n
    assert float((ours - theirs).detach()) == pytest.approx(t**2 * entropy, rel=1e-3)


def test_soft_cross_entropy_uses_its_temperature() -> None:
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    view = View(IMAGES, teacher=Signals(teacher), student=Signals(student))
    wanted = F.cross_entropy(student.double() / 20, (teacher.double() / 20).softmax(1)) * 400
    assert float(SoftCrossEntropy(20.0)(view)) == pytest.approx(float(wanted), rel=1e-5)
    assert float(SoftCrossEntropy()(view)) == float(soft_cross_entropy(student, teacher, 4.0))


# ---------------------------------------------------------------- attention


def slow_attention(feature: Tensor) -> np.ndarray:
    x = feature.detach().double().numpy()
    rows = []
    for image in x:
        flat = [sum(value**2 for value in image[:, y, z]) / len(image) for y in range(image.shape[1]) for z in range(image.shape[2])]
        length = math.sqrt(sum(value**2 for value in flat))
        rows.append([value / length for value in flat])
    return np.array(rows)


def test_an_attention_map_is_the_normalised_mean_square_of_the_channels() -> None:
    feature = draw(3, 4, 2, 5)
    np.testing.assert_allclose(attention_map(feature).numpy(), slow_attention(feature), rtol=1e-5)
    torch.testing.assert_close(attention_map(feature * 7), attention_map(feature))


def test_attention_distance_is_the_mean_over_images_and_places_whatever_the_channels() -> None:
    student, teacher = draw(3, 2, 2, 3), draw(3, 6, 2, 3, seed=1)
    slow = ((slow_attention(student) - slow_attention(teacher)) ** 2).mean()
    assert float(attention_distance(student, teacher)) == pytest.approx(slow, rel=1e-5)


def test_the_larger_map_is_averaged_down_to_the_smaller() -> None:
    student, teacher = draw(2, 3, 2, 2), draw(2, 4, 4, 4, seed=1)
    down = torch.stack([teacher[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean(dim=(2, 3)) for y in range(2) for x in range(2)], dim=2)
    slow = ((slow_attention(student) - slow_attention(down.view(2, 4, 2, 2))) ** 2).mean()
    assert float(attention_distance(student, teacher)) == pytest.approx(slow, rel=1e-5)
    assert float(attention_distance(teacher, student)) == pytest.approx(slow, rel=1e-5)


def test_attention_transfer_adds_up_the_named_layers() -> None:
    loss = AttentionTransfer(teacher=("a", "b"), student=("x", "y"))
    assert loss.needs == Needs(student=True, teacher_taps=("a", "b"), student_taps=("x", "y"))
    a, b, x, y = (draw(2, 3, 2, 2, seed=seed) for seed in range(4))
    view = View(IMAGES, teacher=Signals(IMAGES, {"a": a, "b": b}), student=Signals(IMAGES, {"x": x, "y": y}))
    assert float(loss(view)) == pytest.approx(float(attention_distance(x, a)) + float(attention_distance(y, b)), rel=1e-5)
    with pytest.raises(InputError, match="no module is called 'a'"):
        loss.fit(Network(BNNet(), GREY), Network(BNNet(), GREY))
    named = AttentionTransfer(["bn1"], ["conv2"])
    named.fit(Network(BNNet(), GREY), Network(BNNet(), GREY))
    assert named.pairs == [("bn1", "conv2")]


def test_attention_transfer_finds_the_layers_itself_those_of_one_size_together() -> None:
    teacher = Teacher(resnet(8, classes=5, channels=1, width=4), GREY)
    student = Network(resnet(8, classes=5, channels=1, width=2, stages=2), GREY).eval()
    loss, images = AttentionTransfer(), torch.rand(2, 1, 8, 8)
    loss.fit(teacher, student)
    assert len(loss.pairs) == len(loss.needs.teacher_taps) == len(loss.needs.student_taps) == 2
    with Probe(teacher, taps=loss.needs.teacher_taps) as ask, Probe(student, taps=loss.needs.student_taps) as look:
        view = View(images, teacher=ask(images), student=look(images))
    pairs = [(view.teacher.features[theirs].shape, view.student.features[ours].shape) for theirs, ours in loss.pairs]
    assert pairs == [((2, 4, 8, 8), (2, 2, 8, 8)), ((2, 8, 4, 4), (2, 4, 4, 4))]
    value = loss(view)
    value.backward()
    weight = student.model.get_parameter("stem.0.weight")
    assert weight.grad is not None
    assert 0 < float(weight.grad.abs().sum()) < math.inf


def test_attention_transfer_refuses_half_of_a_pairing_and_networks_without_maps() -> None:
    for options in ({"teacher": ("a",)}, {"student": ("a",)}, {"teacher": ("a",), "student": ("b", "c")}):
        with pytest.raises(InputError, match="as many for the one as for the other"):
            AttentionTransfer(**options)
    flat = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), GREY)
    with pytest.raises(InputError, match=r"Sequential has no feature maps of shape \(N, C, H, W\)"):
        AttentionTransfer().fit(Network(BNNet(), GREY), flat)


# ---------------------------------------------------------------- contrast


def slow_contrast(local: np.ndarray, whole: np.ndarray, rows: range, temperature: float) -> float:
    total = 0.0
    for i in rows:
        scores = [float(local[i] @ column) / temperature for column in whole]
        top = max(scores)
        total -= scores[i] - top - math.log(sum(math.exp(score - top) for score in scores))
    return total / len(rows)


@pytest.mark.parametrize(("fresh", "banked"), [(3, 0), (3, 4), (1, 1)])
def test_instance_contrast_is_the_mean_over_new_images_and_the_mean_over_the_bank_each_against_all(fresh: int, banked: int) -> None:
    local, whole = (F.normalize(draw(fresh + banked, 5, seed=seed), dim=1) for seed in (0, 1))
    sides = local.double().numpy(), whole.double().numpy()
    slow = slow_contrast(*sides, range(fresh), 0.2) + (slow_contrast(*sides, range(fresh, fresh + banked), 0.2) if banked else 0.0)
    assert float(instance_contrast(local, whole, fresh, 0.2)) == pytest.approx(slow, rel=1e-5)


class Twice(nn.Module):
    """Batch norm of maps, then of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
        self.rows = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(108), nn.Linear(108, 5))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.rows(self.maps(x))
        return logits


def test_the_features_are_the_means_over_places_of_every_batch_norm_input() -> None:
    torch.manual_seed(0)
    teacher, images = Teacher(Twice(), GREY), torch.rand(2, 1, 8, 8)
    loss = InstanceContrast(teacher, width=4)
    with Probe(teacher, taps=loss.needs.teacher_taps) as look:
        features = loss.features(look(images))
    first = teacher.model.get_submodule("maps.0")(images)
    second = torch.relu(teacher.model.get_submodule("maps.1")(first)).flatten(1)
    torch.testing.assert_close(features, torch.cat([first.mean(dim=(2, 3)), second], dim=1))
    assert [layer.out_features for layer in loss.head if isinstance(layer, nn.Linear)] == [111, 4]


def test_of_a_wide_teacher_the_first_batch_norm_of_each_resolution_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Teacher(resnet(depth=8, width=4, channels=1), Spec(shape=(1, 16, 16), classes=10))
    all_of_them = InstanceContrast(teacher, width=4)
    monkeypatch.setattr("tacit.losses.contrast.WIDEST", 50)
    few = InstanceContrast(teacher, width=4)
    assert len(all_of_them.taps) == 9
    assert few.taps == ["stem.1:in", "stages.1.0.bn1:in", "stages.2.0.bn1:in"]
    assert few.head[0].in_features == few.get_buffer("bank").shape[2] == 4 + 8 + 16


def contrasted(loss: InstanceContrast, teacher: Teacher, images: Tensor, canvas: Tensor, seed: int = 0) -> Tensor:
    with Probe(teacher, taps=loss.needs.teacher_taps) as look:
        value: Tensor = loss(View(images, teacher=look(images), look=look, canvas=canvas, generator=seeded(seed)))
    return value


def test_only_the_parts_pass_a_gradient_on_and_the_head_learns_from_them() -> None:
    torch.manual_seed(0)
    teacher = Teacher(BNNet(), GREY)
    loss = InstanceContrast(teacher, width=6)
    canvas = torch.rand(4, 1, 8, 8, requires_grad=True)
    shown = canvas.detach().roll(1, dims=-1).requires_grad_()
    value = contrasted(loss, teacher, shown, canvas)
    through_canvas, through_shown = torch.autograd.grad(value, [canvas, shown], allow_unused=True, retain_graph=True)
    assert through_shown is None
    assert float(through_canvas.abs().sum()) > 0
    gradients = torch.autograd.grad(value, list(loss.head.parameters()))
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)


def remembered(loss: InstanceContrast, teacher: Teacher, images: Tensor) -> None:
    with torch.no_grad(), Probe(teacher, taps=loss.needs.teacher_taps) as look:
        loss.remember(View(images, teacher=look(images), look=look, generator=seeded(9)))


def test_the_bank_is_first_in_first_out_and_an_exactly_full_one_still_gives_negatives() -> None:
    torch.manual_seed(0)
    teacher, batches = Teacher(BNNet(), GREY), [torch.rand(4, 1, 8, 8) for _ in range(3)]
    loss = InstanceContrast(teacher, width=6, bank=8, negatives=8)
    with Probe(teacher, taps=loss.needs.teacher_taps) as look:
        wholes = [loss.features(look(batch)) for batch in batches]
    alone = float(contrasted(loss, teacher, batches[0], batches[0]).detach())
    for number, batch in enumerate(batches):
        remembered(loss, teacher, batch)
        bank = loss.get_buffer("bank")
        assert bank.shape == (min(4 * (number + 1), 8), 2, 12)
        torch.testing.assert_close(bank[:, 1], torch.cat(wholes[: number + 1])[-8:])
    assert not bank.requires_grad
    assert float(contrasted(loss, teacher, batches[0], batches[0]).detach()) > alone


def test_the_bank_holds_parts_and_wholes_and_both_join_those_of_the_batch() -> None:
    torch.manual_seed(0)
    teacher, kept, images = Teacher(BNNet(), GREY), torch.rand(4, 1, 8, 8), torch.rand(3, 1, 8, 8)
    loss = InstanceContrast(teacher, width=6, negatives=4)
    loss.head[0].get_parameter("weight").data.mul_(100)  # else all features are alike to it
    remembered(loss, teacher, kept)
    bank = loss.get_buffer("bank")
    with torch.no_grad(), Probe(teacher, taps=loss.needs.teacher_taps) as look:
        torch.testing.assert_close(bank[:, 0], loss.features(look(resized_crop(kept, seeded(9)))))
        torch.testing.assert_close(bank[:, 1], loss.features(look(kept)))
        part, whole = (loss.features(look(shown)) for shown in (resized_crop(images, seeded()), images))
        local, wholes = (F.normalize(loss.head(torch.cat(both)), dim=1) for both in ((part, bank[:, 0]), (whole, bank[:, 1])))
        wanted = instance_contrast(local, wholes, 3, loss.temperature)
        torch.testing.assert_close(contrasted(loss, teacher, images, images), wanted)


@pytest.mark.parametrize(
    ("options", "words"), [({"bank": 0}, "bank: expected at least 1, got 0"), ({"negatives": -1}, "negatives: expected")]
)
def test_a_bank_of_nothing_is_refused_and_does_not_keep_everything(options: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        InstanceContrast(Teacher(BNNet(), GREY), **options)  # type: ignore[arg-type]


def test_as_many_negatives_as_asked_for_are_drawn_anew_at_each_look() -> None:
    torch.manual_seed(0)
    teacher, images = Teacher(BNNet(), GREY), torch.rand(8, 1, 8, 8)
    loss = InstanceContrast(teacher, width=6, negatives=3)
    remembered(loss, teacher, images)
    rows: list[int] = []
    loss.head.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    first, again, other = (float(contrasted(loss, teacher, images[:2], images[:2], seed).detach()) for seed in (0, 0, 1))
    assert rows == [5] * 6
    assert first == again != other
    loss.negatives = 0
    contrasted(loss, teacher, images[:2], images[:2])
    assert rows[6:] == [2, 2]


def test_contrast_wants_batch_norm_and_a_positive_temperature() -> None:
    with pytest.raises(InputError, match="no batch-norm layer with running statistics"):
        InstanceContrast(Network(GroupNet(), Spec(shape=(1, 8, 8), classes=7)))
    with pytest.raises(InputError, match="temperature"):
        InstanceContrast(Network(BNNet(), GREY), temperature=0.0)


def test_kd_and_soft_cross_entropy_need_the_same() -> None:
    assert KD().needs == SoftCrossEntropy().needs == MSE().needs == Needs(student=True)


def test_intermediate_is_a_smooth_l1_that_weighs_deep_layers_more() -> None:
    assert depth_weights(3) == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    taught, answered = ({name: draw(2, 3, 4, 4, seed=seed + at) for at, name in enumerate(("a", "b"))} for seed in (0, 2))
    logits = torch.zeros(2, 5)
    view = View(torch.zeros(2, 1, 4, 4), teacher=Signals(logits, taught), student=Signals(logits, answered))
    found = Intermediate(["a", "b"], ["a", "b"])(view)
    wanted = 0.0
    for weight, name in ((1 / 3, "a"), (2 / 3, "b")):
        apart = (taught[name] - answered[name]).abs().numpy()
        wanted += weight * float(np.where(apart < 1, 0.5 * apart**2, apart - 0.5).mean())
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    same = View(torch.zeros(2, 1, 4, 4), teacher=Signals(logits, taught), student=Signals(logits, taught))
    assert float(Intermediate(["a", "b"], ["a", "b"])(same)) == 0.0


def test_intermediate_finds_the_maps_and_refuses_other_shapes(teacher: Teacher) -> None:
    loss = Intermediate()
    loss.fit(teacher, teacher)
    assert loss.needs.teacher_taps == loss.needs.student_taps
    assert len(loss.needs.teacher_taps) == 3
    wide, narrow = (Network(resnet(8, classes=5, channels=1, width=width), GREY) for width in (4, 2))
    with pytest.raises(InputError, match=r"intermediate: stages.0 is of shape \(2, 8, 8\), the teacher's stages.0 of \(4, 8, 8\)"):
        Intermediate().fit(wide, narrow)
    with pytest.raises(InputError, match="give taps for both teacher and student"):
        Intermediate(["a"], None)


class Auxiliary(BNNet):
    """Has a head with a batch norm that training alone asks, as GoogLeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (logits, self.aux(logits)) if self.training else logits


def test_batch_norms_that_evaluation_does_not_ask_give_no_features() -> None:
    plain, teacher = (InstanceContrast(Teacher(net, GREY), width=4) for net in (BNNet(), Auxiliary()))
    assert plain.taps == teacher.taps
    assert plain.head[0].weight.shape == teacher.head[0].weight.shape

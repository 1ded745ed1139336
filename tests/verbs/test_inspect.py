"""`tacit inspect`: what it recommends and why, and what it can tell of the training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tacit
from tacit.core.device import Runtime
from tacit.core.input_range import implied_input_mean
from tacit.core.network import Ensemble, Network, Teacher
from tacit.core.spec import Spec
from tacit.distill import Training
from tacit.losses import CRD, AttentionTransfer, SimilarityPreserving
from tacit.synthesize import DAFL, METHODS, MSKD, NAYER, ZSKD, DeepInversion
from tacit.verbs.choose import choose_method, method_named, obstacle
from tacit.verbs.inspect import matched, reach, taps
from tacit.zoo import resnet, shufflenetv1
from toy import BNNet, DictNet, GroupNet

GREY = Spec(shape=(1, 28, 28), classes=7)
WIDE = Spec(shape=(3, 16, 12), classes=5, output="logits")


def found(network: Network, **options: Any) -> dict[str, Any]:
    return tacit.inspect(teacher=network, steps=2, **options).result


def test_a_group_norm_network_gets_dfad_and_is_told_why() -> None:
    said = found(Network(GroupNet(), GREY))
    assert said["recommended"] == "DFAD"
    assert said["why"] == "no batch-norm layer carries running statistics; DFAD needs none"
    assert said["norms"] == {"GroupNorm": 1}
    assert said["norms_with_running_statistics"] == 0
    usable = {name: entry["usable"] for name, entry in said["methods"].items()}
    assert {name for name, can in usable.items() if can} == {"DFAD", "RDSKD", "DAFL", "MSKD", "ZSKT", "ZSKD", "Inception", "Gaussian"}
    assert said["methods"]["DeepInversion"]["reason"].endswith("found: no batch norm, but 1 GroupNorm")


def test_a_batch_norm_network_gets_a_method_that_uses_its_statistics() -> None:
    model = DictNet(channels=3)
    model(torch.rand(4, *WIDE.shape))
    said = found(Network(model, WIDE))
    assert said["recommended"] != "DFAD"
    assert said["why"] == f"2 batch-norm layers remember the statistics of the training data, which {said['recommended']} matches"
    assert said["norms_with_running_statistics"] == 2
    assert all(entry == {"usable": True, "reason": None} for entry in said["methods"].values())
    assert said["methods"].keys() == {kind.__name__ for kind in METHODS}


def test_layers_are_shown_beside_those_of_each_member_of_an_ensemble_as_losses_compare_them() -> None:
    spec = Spec(shape=(3, 16, 16), classes=10)
    teacher = Ensemble.of([Network(resnet(8, width=width), spec) for width in (4, 8)])
    student = Network(resnet(8, width=2), spec)
    attention, crd = AttentionTransfer(), CRD()
    for loss in (attention, crd):
        loss.fit(teacher, student)
    shown = [(pair["teacher"]["tap"], pair["student"]["tap"]) for pair in matched(teacher, student)]
    assert len(shown) == 8
    assert shown == [*attention.pairs[:3], *crd.pairs[:1], *attention.pairs[3:], *crd.pairs[1:]]


def test_last_maps_that_are_no_pair_of_stages_are_shown_too() -> None:
    spec, losses = Spec(shape=(3, 32, 32), classes=10), (AttentionTransfer(), SimilarityPreserving(), CRD())
    teacher, student = Network(resnet(8, width=4), spec), Network(shufflenetv1(10), spec)
    for loss in losses:
        loss.fit(teacher, student)
    shown = matched(teacher, student)
    assert [(pair["teacher"]["tap"], pair["student"]["tap"]) for pair in shown] == [pair for loss in losses for pair in loss.pairs]
    assert [shown[3][role]["shape"] for role in ("teacher", "student")] == [[16, 8, 8], [960, 4, 4]]


def test_counts_are_those_of_the_model() -> None:
    said = found(Network(GroupNet(), GREY))
    assert said["parameters"] == 4 * 9 + 4 + 8 + 64 * 7 + 7
    assert said["layers"] == {"Conv2d": 1, "GroupNorm": 1, "ReLU": 1, "AdaptiveAvgPool2d": 1, "Linear": 1}
    assert (said["class"], said["shape"], said["classes"]) == ("GroupNet", [1, 28, 28], 7)


def test_the_table_names_the_recommendation_and_what_can_not_be_used() -> None:
    rows = dict(tacit.inspect(teacher=Network(GroupNet(), GREY), steps=1).rows)
    assert rows["recommended"].startswith("DFAD: no batch-norm layer")
    assert rows["  DeepInversion"].startswith("not usable: the model has no batch-norm layer")
    assert rows["  DFAD"] == "usable"


def test_inspecting_leaves_the_model_as_it_was() -> None:
    model = BNNet().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found(Network(model, Spec(shape=(1, 8, 8), classes=5)))
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_two_looks_with_one_seed_find_the_same() -> None:
    network = Network(BNNet(), Spec(shape=(1, 8, 8), classes=5))
    assert found(network, seed=3) == found(network, seed=3)


def test_a_segmenter_can_be_inspected() -> None:
    said = found(Network(nn.Conv2d(1, 3, 1), Spec(shape=(1, 8, 8), classes=3, task="segmentation")))
    assert said["recommended"] == "DFAD"


def test_an_ensemble_can_be_inspected() -> None:
    spec = Spec(shape=(1, 8, 8), classes=5)
    said = found(Ensemble.of([Network(BNNet(), spec), Network(BNNet(), spec)]))
    assert said["norms_with_running_statistics"] == 4


def remembering(spec: Spec, mean: list[float], *, bias: bool) -> Network:
    """A conv-BN network whose running statistics come of images with these channel means (in [0, 1])."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(len(mean), 8, 3, bias=bias), nn.BatchNorm2d(8, momentum=1.0), nn.Flatten(), nn.LazyLinear(5))
    spread = torch.linspace(-0.1, 0.1, 21)[:, None, None, None] * torch.tensor([1.0, -1.0, 0.5][: len(mean)])[:, None, None]
    images = (torch.tensor(mean)[:, None, None] + spread).expand(-1, -1, *spec.shape[1:])
    network = Network(model, spec).train()
    with torch.no_grad():
        network(images)
    return network.eval()


@pytest.mark.parametrize("bias", [True, False])
def test_the_mean_of_the_training_images_is_recovered_from_the_first_batch_norm(bias: bool) -> None:
    spec = Spec(shape=(3, 9, 7), classes=5, mean=(0.4, 0.5, 0.3), std=(0.2, 0.25, 0.3))
    implied = implied_input_mean(Teacher.of(remembering(spec, [0.45, 0.3, 0.6], bias=bias)))
    assert implied == pytest.approx([(0.45 - 0.4) / 0.2, (0.3 - 0.5) / 0.25, (0.6 - 0.3) / 0.3], abs=1e-4)


@pytest.mark.parametrize(
    ("trained_with", "used_with", "verdict"),
    [
        ({}, {}, "plausible"),
        ({"mean": (0.45,), "std": (0.2,)}, {"mean": (0.45,), "std": (0.2,)}, "plausible"),
        ({"mean": (0.45,), "std": (0.2,)}, {}, "doubtful"),
        ({"mean": (0.45,), "std": (0.2,)}, {"mean": (0.45,)}, "doubtful: a `mean` is given and no `std`"),
        ({}, {"mean": (0.9,), "std": (0.1,)}, "plausible"),
        ({"mean": (-1.5,), "std": (1.0,)}, {}, "wrong"),
    ],
)
def test_wrong_constants_are_noticed(trained_with: dict[str, Any], used_with: dict[str, Any], verdict: str) -> None:
    network = remembering(Spec(shape=(1, 9, 7), classes=5, **trained_with), [0.45], bias=True)
    assert found(Network(network.model, Spec(shape=(1, 9, 7), classes=5, **used_with)))["input"]["verdict"].startswith(verdict)


def test_the_digits_teacher_is_plausible_and_doubtful_without_its_mean(teacher_network: Network) -> None:
    assert found(teacher_network)["input"]["verdict"] == "plausible"
    bare = found(Network(teacher_network.model, Spec(shape=(1, 8, 8), classes=10)))["input"]
    assert bare["verdict"].startswith("doubtful")
    assert bare["implied_mean"] == pytest.approx([0.0], abs=0.12)


def test_nothing_is_implied_where_no_batch_norm_follows_the_first_convolution() -> None:
    assert implied_input_mean(Teacher.of(Network(GroupNet(), GREY))) is None
    assert found(Network(GroupNet(), GREY))["input"]["verdict"].startswith("not told")


def test_a_batch_norm_that_saw_no_batch_implies_nothing() -> None:
    network = remembering(Spec(shape=(1, 9, 7), classes=5), [0.45], bias=True)
    assert implied_input_mean(network) is not None
    network.model.get_submodule("1").reset_running_stats()  # type: ignore[operator]
    assert implied_input_mean(network) is None


@pytest.mark.parametrize(("mean", "warned"), [((0.45,), 0), ((0.0,), 1)])
def test_constants_that_do_not_fit_are_a_warning_of_every_run_that_makes_samples(
    mean: tuple[float, ...], warned: int, tmp_path: Path
) -> None:
    trained = remembering(Spec(shape=(1, 9, 7), classes=5, mean=(0.45,), std=(0.2,)), [0.45], bias=True)
    spec = Spec(shape=(1, 9, 7), classes=5, mean=mean, std=(0.2,))
    method = DeepInversion(batch=8, steps=1, warmup=1)
    made = tacit.synthesize(teacher=Network(trained.model, spec), method=method, images=8, out=tmp_path / "made")
    teacher, student = Network(trained.model, spec), remembering(spec, [0.45], bias=True)
    taught = tacit.distill(teacher=teacher, student=student, method=method, training=Training(steps=1), out=tmp_path / "taught")
    for outcome in (made, taught):
        texts = [text for text in outcome.metrics["warnings"] if "input range" in text]
        assert len(texts) == warned
        assert all("check `mean` and `std`" in text for text in texts)


def test_taps_are_the_modules_with_the_shape_of_their_output_for_one_image() -> None:
    network = Network(GroupNet(), GREY)
    assert taps(network) == {
        "body": [4, 4, 4], "body.0": [4, 28, 28], "body.1": [4, 28, 28], "body.2": [4, 28, 28], "body.3": [4, 4, 4], "head": [7],
    }  # fmt: skip
    assert not any(module._forward_hooks for module in network.modules())


def test_a_trained_teacher_is_turned_to_every_class_by_gradient_descent(teacher: Teacher, runtime: Runtime) -> None:
    nothing, much = (reach(teacher, runtime, steps=steps, seed=0, each=1) for steps in (0, 30))
    assert much["classes_tried"] == much["classes_reached"] == 10
    assert much["confidence_reached"] > 0.9 > nothing["confidence_reached"]
    assert 1 <= much["classes_in_noise"] <= 10
    assert 0.1 <= much["confidence_in_noise"] <= 1


def test_the_choice_needs_a_student_only_where_the_method_paints_against_one(teacher: Teacher) -> None:
    dfad = method_named("dfad")
    assert dfad is not None
    assert obstacle(dfad, teacher, None) == "needs a student to paint against"
    assert obstacle(dfad, teacher, teacher) is None
    assert obstacle(choose_method(teacher, student=None), teacher, None) is None
    assert choose_method(Teacher.of(Network(GroupNet(), GREY)), student=None).name == "RDSKD"


class Rows(nn.Module):
    """Answers by a parameter that is no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rows = nn.BatchNorm2d(1), nn.Parameter(torch.randn(7, 28 * 28))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.norm(x).flatten(1), self.rows)


def test_methods_that_need_a_classifier_say_so_and_what_to_do_without() -> None:
    teacher = Teacher(Rows(), GREY)
    for method, way in (
        (NAYER(), "`embeddings`"),
        (ZSKD(), "how alike classes are"),
        (DAFL(), "`activation` 0"),
        (MSKD(), "`activation` 0"),
    ):
        refused = obstacle(method, teacher, teacher)
        assert refused is not None
        assert "needs a linear or convolution layer with 7 outputs" in refused
        assert way in refused
    assert obstacle(DAFL(activation=0.0), teacher, teacher) is None
    assert obstacle(NAYER(embeddings="names.safetensors"), teacher, teacher) is None


def test_every_method_is_found_by_name_and_noise_is_recommended_last() -> None:
    assert METHODS[-1].__name__ == "Gaussian"
    assert [type(method_named(kind.__name__.upper())) for kind in METHODS] == list(METHODS)
    assert method_named("nothing") is None

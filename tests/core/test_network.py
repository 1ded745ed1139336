"""Spec, Network, Teacher, Ensemble: what is refused, what is normalised, and what stays untouched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Ensemble, Network, Teacher, count_parameters, stored_bytes, work_per_image
from tacit.core.spec import Spec, Upsample
from toy import BNNet, DictNet, GroupNet, NamedNet, ObjectNet, PixelNet, QuarterNet, TupleNet

GREY = Spec(shape=(1, 6, 6), classes=5)


def test_a_network_subtracts_the_mean_and_divides_by_the_std_of_each_channel() -> None:
    network = Network(nn.Flatten(), Spec(shape=(2, 1, 1), classes=2, mean=(0.1, 0.5), std=(0.2, 4.0)))
    torch.testing.assert_close(network(torch.tensor([[[[0.5]], [[0.9]]]])), torch.tensor([[2.0, 0.1]]))


@settings(max_examples=10, deadline=None)
@given(st.floats(-1, 1), st.floats(0.05, 5.0))
def test_a_model_behind_a_spec_answers_as_the_bare_model_on_normalised_images(mean: float, std: float) -> None:
    model, images = BNNet().eval(), torch.rand(3, 1, 6, 6)
    network = Network(model, Spec(shape=(1, 6, 6), classes=5, mean=(mean,), std=(std,)))
    torch.testing.assert_close(network(images), model((images - mean) / std), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "output"), [(DictNet, "logits"), (TupleNet, "1"), (TupleNet, "-1"), (ObjectNet, "said"), (NamedNet, "scores"), (NamedNet, "1")]
)
def test_logits_are_found_by_key_index_or_attribute(kind: type[BNNet], output: str) -> None:
    model, images = kind(channels=3).eval(), torch.rand(2, 3, 12, 10)
    network = Network(model, Spec(shape=(3, 12, 10), classes=5, output=output)).check()
    torch.testing.assert_close(network(images), model.head(model.features(images)))


@pytest.mark.parametrize(
    ("kind", "outline"),
    [(DictNet, r"a dict with the keys \['features', 'logits'\]"), (TupleNet, "a tuple of 2"), (ObjectNet, "a Answer")],
)
def test_a_model_that_returns_more_than_logits_is_refused_without_output(kind: type[BNNet], outline: str) -> None:
    with pytest.raises(InputError, match=f"{kind.__name__} returns {outline}: .* option `output`"):
        Network(kind(), GREY).check()


@pytest.mark.parametrize(("kind", "output"), [(DictNet, "logit"), (TupleNet, "2"), (TupleNet, "-3"), (ObjectNet, "dead"), (BNNet, "shape")])
def test_an_output_that_is_not_there_is_refused(kind: type[BNNet], output: str) -> None:
    with pytest.raises(InputError, match=f"which has no tensor called '{output}'"):
        Network(kind(), Spec(shape=(1, 6, 6), classes=5, output=output)).check()


def test_stored_bytes_are_those_of_parameters_and_buffers_each_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False))
    assert stored_bytes(model) == 4 * (16 + 4 * 4 + 16) + 8
    model[2].weight = model[0].weight
    assert stored_bytes(model) == 4 * (16 + 4 * 4) + 8


@pytest.mark.parametrize("named", [False, True])
def test_heads_that_come_in_training_alone_are_left_beside_the_logits(named: bool) -> None:
    class Heads(nn.Module):
        def forward(self, images: Tensor) -> Any:
            logits = images.flatten(1)
            if not self.training:
                return logits
            return {"aux": -logits, "logits": logits} if named else (logits, -logits)

    network, images = Network(Heads(), Spec(shape=(1, 2, 3), classes=6)).check(), torch.rand(4, 1, 2, 3)
    assert torch.equal(network.train()(images), network.eval()(images))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_check_names_the_first_weight_that_is_not_finite(value: float) -> None:
    model = BNNet()
    with torch.no_grad():
        model.bn2.weight[1] = value
    with pytest.raises(InputError, match=r"weights hold NaN or infinite values, first in 'bn2\.weight'"):
        Network(model, GREY).check()


def test_check_finds_nan_in_running_statistics() -> None:
    model = BNNet()
    model.bn1.get_buffer("running_var").fill_(float("nan"))
    with pytest.raises(InputError, match=r"first in 'bn1\.running_var'"):
        Network(model, GREY).check()


def test_check_refuses_another_number_of_classes() -> None:
    with pytest.raises(InputError, match=r"expected logits of shape \[2, 6\] for 2 images of 6 classes, got \[2, 5\]"):
        Network(BNNet(), Spec(shape=(1, 6, 6), classes=6)).check()


def test_check_refuses_images_that_the_model_can_not_take() -> None:
    with pytest.raises(InputError, match=r"BNNet can't take images of shape \[3, 6, 6\]: .*channels"):
        Network(BNNet(), Spec(shape=(3, 6, 6), classes=5)).check()


class Strict(nn.Module):
    """Asserts the size of its images, as timm's vision transformers do."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == 32, f"Input width ({x.shape[-1]}) doesn't match model (32)."
        return x.flatten(1)[:, :5]


def test_check_refuses_in_one_line_where_the_model_itself_asserts_the_size() -> None:
    with pytest.raises(InputError, match=r"Strict can't take images of shape \[1, 6, 6\]: Input width \(6\)"):
        Network(Strict(), GREY).check()


class Infinite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :5] / 0.0


def test_check_refuses_answers_that_are_not_finite() -> None:
    with pytest.raises(InputError, match="Infinite answers ordinary images with NaN or infinite logits"):
        Network(Infinite(), GREY).check()


def test_check_wants_dense_logits_of_a_segmenter() -> None:
    spec = Spec(shape=(1, 6, 4), classes=3, task="segmentation")
    assert Network(nn.Conv2d(1, 3, 1), spec).check().spec is spec
    with pytest.raises(InputError, match=r"expected logits of shape \[2, 3, 6, 4\]"):
        Network(nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), spec).check()


@pytest.mark.parametrize("how", ["bilinear", "nearest", "bicubic"])
def test_logits_at_a_quarter_of_the_size_grow_as_the_option_says(how: Upsample) -> None:
    model, images = QuarterNet().eval(), torch.rand(2, 3, 16, 8)
    network = Network(model, Spec(shape=(3, 16, 8), classes=4, task="segmentation", output="out", upsample=how)).check()
    coarse = model(images)["out"]
    assert coarse.shape == (2, 4, 4, 2)
    whole = network(images)
    assert whole.shape == (2, 4, 16, 8)
    flags = {} if how == "nearest" else {"align_corners": False}
    torch.testing.assert_close(whole, torch.nn.functional.interpolate(coarse, (16, 8), mode=how, **flags))
    together = Ensemble.of([network, network]).check()
    torch.testing.assert_close(Teacher.of(together)(images), whole)


def test_logits_of_the_images_size_are_left_as_they_are() -> None:
    model, images = PixelNet().eval(), torch.rand(2, 3, 8, 8)
    network = Network(model, Spec(shape=(3, 8, 8), classes=4, task="segmentation", upsample="bilinear"))
    assert torch.equal(network(images), model(images))


def test_coarse_logits_without_the_option_are_refused_with_its_name() -> None:
    spec = Spec(shape=(3, 16, 8), classes=4, task="segmentation", output="out")
    with pytest.raises(InputError, match=r"got \[2, 4, 4, 2\]: say how they grow to the size of the image, as `upsample: bilinear`"):
        Network(QuarterNet(), spec).check()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"upsample": "cubic"}, "upsample: expected nearest, bilinear, bicubic or nothing, got 'cubic'"),
        ({"task": "classification", "upsample": "bilinear"}, "upsample and ignore are for one label a pixel"),
        ({"task": "classification", "ignore": 0}, "upsample and ignore are for one label a pixel"),
        ({"ignore": 256}, "ignore: expected a value of 8-bit masks, 0 to 255, got 256"),
        ({"classes": 256}, "classes: expected at most 255 for segmentation"),
    ],
)
def test_a_spec_that_can_not_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Spec(**{"shape": (3, 8, 8), "classes": 4, "task": "segmentation", **wrong})


def test_check_changes_neither_modes_nor_statistics() -> None:
    model = BNNet().train()
    model.bn1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Network(model, GREY).check()
    assert (model.training, model.bn1.training, model.bn2.training) == (True, False, True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_modes_are_put_back_when_check_refuses() -> None:
    model = BNNet().train()
    with pytest.raises(InputError):
        Network(model, Spec(shape=(3, 6, 6), classes=5)).check()
    assert all(module.training for module in model.modules())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_scripted_module_is_refused_with_a_clear_word() -> None:
    with pytest.raises(InputError, match=r"TorchScript module: .* give the nn\.Module it was scripted from"):
        Network(torch.jit.trace(BNNet().eval(), torch.rand(1, 1, 6, 6)), GREY)  # type: ignore[no-untyped-call]


def test_a_compiled_module_is_unwrapped() -> None:
    model = BNNet()
    assert Network(torch.compile(model), GREY).model is model  # type: ignore[arg-type]


def test_a_teacher_is_a_frozen_copy_and_the_original_keeps_modes_flags_and_gradients() -> None:
    model = BNNet().train()
    model.bn1.eval()
    model.conv1.weight.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    network = Network(model, GREY)
    teacher = Teacher.of(network)
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert (model.training, model.bn1.training, model.bn2.training) == (True, False, True)
    assert [p.requires_grad for p in (model.conv1.weight, model.conv1.bias, model.head.weight) if p is not None] == [False, True, True]
    assert model.head.weight.grad is not None
    assert network(torch.rand(2, 1, 6, 6)).requires_grad


def test_a_teacher_shares_no_storage_with_the_original() -> None:
    network = Network(BNNet(), GREY)
    teacher, before = Teacher.of(network), network.model.state_dict()["head.weight"].clone()
    with torch.no_grad():
        teacher.model.get_parameter("head.weight").zero_()
    assert torch.equal(network.model.state_dict()["head.weight"], before)


def test_a_teacher_stays_in_evaluation_mode_whoever_calls_train() -> None:
    teacher = Teacher.of(Network(BNNet(), GREY))
    outer = nn.ModuleList([teacher]).train()
    assert outer.training
    assert not any(module.training for module in teacher.train().modules())


def test_an_ensemble_is_the_mean_of_logits_of_members_that_normalise_each_their_own_way() -> None:
    models, specs = [BNNet().eval() for _ in range(3)], [
        Spec(shape=(1, 6, 6), classes=5, mean=(mean,), std=(std,)) for mean, std in ((0.1, 0.5), (0.5, 0.25), (0.0, 1.0))
    ]  # fmt: skip
    together = Ensemble.of([Network(model, spec) for model, spec in zip(models, specs, strict=True)]).check()
    images = torch.rand(4, 1, 6, 6)
    by_hand = sum((model((images - s.mean[0]) / s.std[0]) for model, s in zip(models, specs, strict=True)), torch.zeros(4, 5)) / 3
    torch.testing.assert_close(together(images), by_hand)
    torch.testing.assert_close(Teacher.of(together)(images), by_hand)
    assert together.spec.mean == pytest.approx((0.2,))
    assert together.spec.std == pytest.approx((1.75 / 3,))


def test_an_ensemble_takes_members_whose_logits_are_named() -> None:
    plain, named = BNNet().eval(), DictNet().eval()
    together = Ensemble.of([Network(plain, GREY), Network(named, Spec(shape=(1, 6, 6), classes=5, output="logits"))]).check()
    images = torch.rand(2, 1, 6, 6)
    torch.testing.assert_close(together(images), (plain(images) + named(images)["logits"]) / 2)


@pytest.mark.parametrize("other", [{"classes": 6}, {"shape": (1, 6, 7)}, {"task": "segmentation"}])
def test_members_of_an_ensemble_must_agree(other: dict[str, Any]) -> None:
    spec = Spec(**{"shape": (1, 6, 6), "classes": 5, **other})
    with pytest.raises(InputError, match="an ensemble must agree on shape, classes and task"):
        Ensemble.of([Network(BNNet(), GREY), Network(BNNet(), spec)])


def test_work_is_the_multiply_adds_of_convolutions_and_linear_layers() -> None:
    width, classes, height, columns = 4, 5, 12, 10
    network = Network(BNNet(channels=3, classes=classes, width=width), Spec(shape=(3, height, columns), classes=classes)).train()
    first = height * columns * width * 3 * 9
    second = height * columns * 2 * width * width * 9
    assert work_per_image(network) == first + second + 2 * width * classes
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_work_counts_groups_and_strides() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, groups=4), nn.Flatten(), nn.Linear(8, 2))
    assert work_per_image(Network(model, Spec(shape=(4, 3, 3), classes=2))) == 8 * 1 * 9 + 16


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(3, 3)
    assert count_parameters(nn.Sequential(layer, layer)) == 12
    assert count_parameters(GroupNet()) == 4 * 9 + 4 + 8 + 64 * 7 + 7


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_check_says_where_weights_have_another_type(dtype: torch.dtype) -> None:
    said = f"its weights are {str(dtype).removeprefix('torch.')}: give it in float32, as `model.float\\(\\)`"
    with pytest.raises(InputError, match=said):
        Network(BNNet().to(dtype), GREY).check()

"""Canvases and generators: bounds, shapes, and that every draw comes from the passed generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tacit.core.network import Teacher
from tacit.core.spec import Spec
from tacit.core.state import frozen_as_critic, load_state
from tacit.synthesize import CMI, NAYER, FastDFKD
from tacit.synthesize.canvas import Canvas, Generator, GeneratorAndLatents, Noise, Pixels, Round
from tacit.synthesize.generative_inversion import GenerativeInversion
from tacit.synthesize.generators import (
    ConvGenerator,
    TransposedGenerator,
    UpConv2d,
    fitting_generator,
    initialise,
    sigmoid_moments,
)
from tacit.zoo import resnet

SPEC = Spec(shape=(2, 5, 7), classes=3, mean=(0.3, 0.6), std=(0.1, 0.2))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(spec: Spec | None = None) -> ConvGenerator:
    made = ConvGenerator(6, SPEC.shape, 4, spec=spec)
    initialise(made, seeded())
    return made


CANVASES: dict[str, Callable[[], Canvas]] = {
    "pixels": lambda: Pixels(SPEC),
    "noise": lambda: Noise(SPEC),
    "generator": lambda: Generator(net(), 6),
    "latents": lambda: GeneratorAndLatents(net(), 6),
}


def begun(name: str, seed: int, images: int = 3) -> Canvas:
    canvas = CANVASES[name]()
    canvas.begin(Round(0, images, None, seeded(seed)))
    return canvas


@pytest.mark.parametrize("name", CANVASES)
def test_every_canvas_shows_images_in_zero_to_one(name: str) -> None:
    images = begun(name, 0)()
    assert images.shape == (3, 2, 5, 7)
    assert 0 <= float(images.min()) < float(images.max()) <= 1


@pytest.mark.parametrize("name", CANVASES)
def test_what_a_canvas_shows_depends_on_the_generator_alone(name: str) -> None:
    shown = []
    for number, seed in enumerate((5, 5, 6)):
        torch.manual_seed(number)
        shown.append(begun(name, seed)().detach())
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])


@pytest.mark.parametrize("name", CANVASES)
def test_no_draw_touches_the_global_generator(name: str) -> None:
    canvas, before = CANVASES[name](), torch.get_rng_state()
    canvas.begin(Round(0, 3, None, seeded()))
    canvas()
    canvas.project()
    canvas.finish()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["pixels", "generator", "latents"])
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    canvas = begun(name, 0)
    gradients = torch.autograd.grad((canvas() ** 2).sum(), list(canvas.parameters()))
    assert all(bool(torch.isfinite(gradient).all()) and float(gradient.abs().sum()) > 0 for gradient in gradients)


def test_pixels_are_brought_back_to_zero_to_one_after_a_step() -> None:
    canvas = begun("pixels", 0)
    with torch.no_grad():
        canvas.get_parameter("pixels").mul_(9).sub_(4)
    canvas.project()
    images = canvas()
    assert (float(images.detach().min()), float(images.detach().max())) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["pixels", "latents"])
def test_a_fresh_canvas_has_new_parameters_in_each_round_and_an_old_one_keeps_them(name: str) -> None:
    canvas = begun(name, 0)
    assert canvas.fresh
    before = {id(parameter) for parameter in canvas.parameters()}
    canvas.begin(Round(1, 3, None, seeded(1)))
    assert {id(parameter) for parameter in canvas.parameters()} != before
    kept = begun("generator", 0)
    assert not kept.fresh
    before = {id(parameter) for parameter in kept.parameters()}
    kept.begin(Round(1, 3, None, seeded(1)))
    assert {id(parameter) for parameter in kept.parameters()} == before


@pytest.mark.parametrize("name", CANVASES)
def test_a_state_is_loaded_though_the_batch_had_another_size(name: str) -> None:
    canvas, other = begun(name, 0, images=3), begun(name, 1, images=5)
    load_state(other, canvas.state_dict())
    assert all(torch.equal(value, canvas.state_dict()[key]) for key, value in other.state_dict().items())
    fresh = CANVASES[name]()
    load_state(fresh, canvas.state_dict())
    assert fresh.state_dict().keys() == canvas.state_dict().keys()
    assert all(isinstance(parameter, nn.Parameter) and parameter.requires_grad for parameter in fresh.parameters())


def test_a_loaded_state_is_a_copy_and_buffers_take_the_shape_of_the_checkpoint() -> None:
    module, source = nn.Module(), nn.Module()
    for owner, length in ((module, 0), (source, 4)):
        owner.register_buffer("bank", torch.arange(float(length)))
    load_state(module, source.state_dict())
    source.get_buffer("bank").zero_()
    assert module.get_buffer("bank").tolist() == [0.0, 1.0, 2.0, 3.0]
    assert list(module.state_dict()) == ["bank"]


def test_noise_has_the_moments_of_the_spec_clamped_to_zero_to_one() -> None:
    images = Noise(SPEC).sample(Round(0, 4000, None, seeded()))
    for channel, (mean, std) in enumerate(((0.3, 0.1), (0.6, 0.2))):
        values = images[:, channel].double()
        low, high = (0 - mean) / std, (1 - mean) / std

        def below(z: float) -> float:
            return 0.5 * (1 + math.erf(z / math.sqrt(2)))

        def density(z: float) -> float:
            return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        inside = below(high) - below(low)
        first = mean * inside + std * (density(low) - density(high)) + (1 - below(high))
        second = (mean**2 + std**2) * inside + 2 * mean * std * (density(low) - density(high))
        second += std**2 * (low * density(low) - high * density(high)) + (1 - below(high))
        assert float(values.mean()) == pytest.approx(first, abs=0.002)
        assert float(values.std()) == pytest.approx(math.sqrt(second - first**2), abs=0.002)
        assert float((values == 1).double().mean()) == pytest.approx(1 - below(high), abs=0.002)


def test_noise_pixels_do_not_depend_on_each_other() -> None:
    images = Noise(SPEC).sample(Round(0, 4000, None, seeded())).flatten(1).T
    off = torch.corrcoef(images) - torch.eye(len(images))
    assert float(off.abs().max()) < 0.08


def test_a_live_generator_shows_fresh_images_at_each_look_and_remembers_its_latents() -> None:
    canvas = begun("generator", 0)
    first = canvas()
    latent = canvas.latent
    assert not torch.equal(first, canvas())
    assert latent is not None
    assert latent.shape == (3, 6)
    assert latent is not canvas.latent


def test_a_generator_must_begin_before_it_paints() -> None:
    with pytest.raises(RuntimeError, match="call `begin` first"):
        CANVASES["generator"]()()


@pytest.mark.parametrize("name", ["pixels", "latents"])
def test_a_canvas_of_one_batch_has_no_others_to_show(name: str) -> None:
    with pytest.raises(TypeError, match="paints one batch a round"):
        begun(name, 0).sample(Round(0, 3, None, seeded()))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 40), (2, 7, 9), (3, 32, 32), (1, 1, 1)])
@pytest.mark.parametrize("moments", [False, True])
def test_a_generator_paints_images_of_any_shape(shape: tuple[int, int, int], moments: bool) -> None:
    made = ConvGenerator(8, shape, 4, spec=Spec(shape=shape, classes=2) if moments else None)
    images = made(torch.randn(5, 8, generator=seeded()))
    assert images.shape == (5, *shape)
    assert 0 <= float(images.min()) < float(images.max()) <= 1


def test_images_have_the_moments_of_a_spec_from_the_first_step_where_one_is_given() -> None:
    latents = torch.randn(256, 6, generator=seeded())
    assert float(net()(latents).detach().std()) < 0.05
    images = net(SPEC)(latents).detach()
    assert images.mean(dim=(0, 2, 3)).tolist() == pytest.approx(SPEC.mean, abs=0.02)
    assert images.std(dim=(0, 2, 3)).tolist() == pytest.approx(SPEC.std, abs=0.02)


def test_a_spec_without_constants_counts_as_grey() -> None:
    images = net(Spec(shape=SPEC.shape, classes=3))(torch.randn(256, 6, generator=seeded())).detach()
    assert float(images.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(images.std()) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("mean", "std"), [(0.305, 0.376), (0.5, 0.25), (0.48, 0.05), (0.9, 0.1)])
def test_slope_and_shift_give_a_standard_normal_the_wanted_moments(mean: float, std: float) -> None:
    slope, shift = sigmoid_moments(mean, std)
    step = 0.001
    grid = [-8 + step * number for number in range(int(16 / step))]
    weights = [math.exp(-z * z / 2) * step / math.sqrt(2 * math.pi) for z in grid]
    values = [1 / (1 + math.exp(-(slope * z + shift))) for z in grid]
    first = sum(w * v for w, v in zip(weights, values, strict=True))
    second = sum(w * v * v for w, v in zip(weights, values, strict=True))
    assert first == pytest.approx(mean, abs=2e-3)
    assert math.sqrt(second - first**2) == pytest.approx(std, abs=2e-3)


def test_moments_that_no_bounded_slope_gives_are_met_as_nearly_as_can_be() -> None:
    slope, shift = sigmoid_moments(0.1307, 0.3081)
    values = torch.sigmoid(slope * torch.randn(200_000, generator=seeded()) + shift)
    assert slope == pytest.approx(8.0, abs=1e-3)
    assert float(values.mean()) == pytest.approx(0.1307, abs=5e-3)
    assert 0.28 < float(values.std()) < 0.3081


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (3, 5, 2, 7)])
def test_an_upsampling_convolution_is_the_two_after_each_other_and_so_are_its_gradients(shape: tuple[int, int, int, int]) -> None:
    layer = UpConv2d(shape[1], 4)
    initialise(layer, seeded())
    images, kernel = torch.randn(*shape, generator=seeded(), requires_grad=True), layer.weight
    weights = torch.randn(shape[0], 4, 2 * shape[2], 2 * shape[3], generator=seeded(1))
    wanted = nn.functional.conv2d(nn.functional.interpolate(images, scale_factor=2), kernel, padding=1)
    torch.testing.assert_close(layer(images), wanted, rtol=1e-4, atol=1e-6)
    for one, other in zip(*(torch.autograd.grad((x * weights).sum(), [images, kernel]) for x in (layer(images), wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_generator_has_the_layers_of_cmi() -> None:
    made = ConvGenerator(256, (3, 32, 32), 64)
    convolutions = [(m.in_channels, m.out_channels, m.bias is not None) for m in made.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [(128, 128, False), (128, 64, False), (64, 3, True)]
    assert made.project.out_features == 128 * 8 * 8


def test_weights_are_drawn_from_the_passed_generator_alone_and_running_statistics_start_again() -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        made = ConvGenerator(6, SPEC.shape, 16, spec=SPEC)
        made(torch.randn(4, 6))
        initialise(made, seeded(seed))
        return made.state_dict()

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["project.weight"], other["project.weight"])
    assert not torch.equal(first["project.bias"], other["project.bias"])
    assert float(first["blocks.1.weight"].std()) == pytest.approx(0.02, rel=0.1)
    assert float(first["blocks.2.running_mean"].abs().sum()) == 0


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x) * self.frozen
        return out


@pytest.mark.parametrize(("mode", "move", "moved"), [("train", True, True), ("train", False, False), ("eval", False, False)])
def test_a_student_is_held_still_while_images_are_painted_against_it(mode: str, move: bool, moved: bool) -> None:
    student = Student().train()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    with frozen_as_critic(student, mode, buffers_move=move):  # type: ignore[arg-type]
        assert student.norm.training == (mode == "train")
        assert not any(parameter.requires_grad for parameter in student.parameters())
        student(torch.rand(8, 2, 3, 3) + 1)
    assert student.training
    assert [parameter.requires_grad for parameter in student.parameters()] == [False, True, True]
    same = all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert same != moved


def test_a_student_is_let_go_after_an_exception() -> None:
    student = Student().train()
    with pytest.raises(KeyError), frozen_as_critic(student, "eval", buffers_move=False):
        raise KeyError
    assert student.norm.training
    assert student.norm.weight.requires_grad


def test_large_images_are_made_by_the_papers_generator_for_them() -> None:
    made = fitting_generator(256, (3, 128, 128), 64)
    assert isinstance(made, TransposedGenerator)
    grow = [module for module in made.modules() if isinstance(module, nn.ConvTranspose2d)]
    assert [(each.in_channels, each.out_channels) for each in grow] == [(512, 256), (256, 128), (128, 64), (64, 64)]
    assert all((each.kernel_size, each.stride) == ((4, 4), (2, 2)) for each in grow)
    assert sum(isinstance(module, nn.LeakyReLU) and module.negative_slope == 0.2 for module in made.modules()) == 4
    assert made.project.out_features == 512 * 8 * 8
    assert isinstance(fitting_generator(8, (3, 128, 127), 4), ConvGenerator)


@pytest.mark.parametrize("kind", [CMI, FastDFKD, NAYER])
def test_no_method_with_a_pool_makes_large_images_by_a_layer_that_grows_with_them(kind: type[GenerativeInversion]) -> None:
    teacher = Teacher(resnet(depth=8, width=4), Spec(shape=(3, 128, 128), classes=10))
    canvas = kind(width=4).canvas(teacher, seeded())
    assert any(isinstance(module, TransposedGenerator) for module in canvas.modules())


def test_the_generator_of_large_images_starts_as_in_the_paper_and_has_the_moments_that_are_asked_for() -> None:
    spec = Spec(shape=(3, 65, 100), classes=3, mean=(0.3, 0.5, 0.6), std=(0.1, 0.2, 0.25))
    plain, known = (TransposedGenerator(16, spec.shape, 4, spec=each) for each in (None, spec))
    for net in (plain, known):
        initialise(net, seeded())
        weights = torch.cat([m.weight.detach().flatten() for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)])
        assert float(weights.std()) == pytest.approx(0.02, rel=0.1)
        images = net(torch.randn(64, 16, generator=seeded()))
        assert images.shape == (64, 3, 65, 100)
        assert 0 <= float(images.detach().min()) < float(images.detach().max()) <= 1
    images = known(torch.randn(64, 16, generator=seeded())).detach()
    assert images.mean(dim=(0, 2, 3)).tolist() == pytest.approx(spec.mean, abs=0.02)
    assert images.std(dim=(0, 2, 3)).tolist() == pytest.approx(spec.std, abs=0.03)
    grey = plain(torch.zeros(2, 16)).detach()
    assert float(grey.mean()) == pytest.approx(0.5, abs=0.02), "tanh of nothing is grey"

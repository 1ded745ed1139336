"""Folding and equalisation: the same function, more even ranges; means of clipped normals against sampling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tacit.core.network import Network, Teacher
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.quantize import Scheme, simulate
from tacit.quantize.equalise import absorb, clipped_mean, correct, equalise
from tacit.quantize.fold import fold, fold_and_remember, links
from tacit.zoo import resnet


class Depthwise(nn.Module):
    """A chain of a convolution, a depthwise one and a pointwise one, each with batch norm and ReLU; then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(nn.Conv2d(2, 6, 3, padding=1, bias=False), 6), (nn.Conv2d(6, 6, 3, groups=6), 6), (nn.Conv2d(6, 8, 1), 8)]
        blocks = [nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)) for conv, width in sizes]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).mean((2, 3)))
        return logits


def uneven(model: nn.Module) -> Network:
    """Return a network whose channels differ a hundredfold, and whose norms remember something."""
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=draw) / 3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            n = module.num_features
            for tensor, low, high in (
                (module.weight, 0.02, 10),
                (module.bias, -1, 3),
                (module.running_mean, -1, 1),
                (module.running_var, 0.1, 4),
            ):
                assert tensor is not None
                tensor.data.copy_(low + (high - low) * torch.rand(n, generator=draw))
    return Network(model, Spec(shape=(2, 9, 9), classes=3)).eval()


def equalised(network: Network) -> Network:
    folded = fold_and_remember(network)
    equalise(folded)
    return folded.network


IMAGES = torch.rand(16, 2, 9, 9, generator=torch.Generator().manual_seed(1))


def test_links_name_norm_activation_and_the_only_reader(teacher: Teacher) -> None:
    found = {link.first: link for link in links(uneven(Depthwise()))}
    assert (found["body.0.0"].norm, found["body.0.0"].activation, found["body.0.0"].second) == ("body.0.1", "relu", "body.1.0")
    assert (found["body.2.0"].norm, found["body.2.0"].second) == ("body.2.1", "")
    residual = {link.first: link for link in links(teacher)}
    assert residual["stages.0.0.conv1"].second == "stages.0.0.conv2"
    assert residual["stages.0.0.conv2"].second == ""  # a sum reads it


@pytest.mark.parametrize("change", [fold, equalised])
def test_the_function_stays_the_same(change: object, teacher_network: Network) -> None:
    assert callable(change)
    held = digits("test").images[:100].float().div(255)
    for network, shown in ((uneven(Depthwise()), IMAGES), (teacher_network, held)):
        before = {key: value.clone() for key, value in network.state_dict().items()}
        made = change(network)
        found, wanted = made(shown).detach(), network(shown).detach()
        assert float((found - wanted).abs().max()) < 1e-4 * max(1.0, float(wanted.abs().max()))
        assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_equalised_layers_have_the_same_range_on_both_sides() -> None:
    network = equalised(uneven(Depthwise()))
    first, second, third = (network.model.get_submodule(f"body.{number}.0").get_parameter("weight") for number in range(3))
    torch.testing.assert_close(first.flatten(1).abs().amax(1), second.flatten(1).abs().amax(1), rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(second.flatten(1).abs().amax(1), third.flatten(2).abs().amax((0, 2)), rtol=1e-2, atol=1e-4)


def test_with_one_scale_a_layer_equalised_weights_lose_less() -> None:
    network, scheme = uneven(Depthwise()), Scheme(weights=4, activations=32, per_channel=False, weight_ranges="minmax")
    wanted = network(IMAGES)
    errors = [
        float((simulate(one, scheme).eval()(IMAGES) - wanted).detach().square().mean()) for one in (fold(network), equalised(network))
    ]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("second", [nn.Conv2d(5, 4, 3), nn.Conv2d(5, 5, 3, groups=5), nn.Conv2d(5, 10, 3, groups=5)])
def test_high_biases_are_absorbed_without_changing_what_passes_the_relu(second: nn.Conv2d) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 5, 1)
    model = nn.Sequential(
        conv,
        nn.BatchNorm2d(5),
        nn.ReLU(),
        second,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(second.out_channels, 3),
    )
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.weight.data.fill_(0.1)
    norm.bias.data.copy_(torch.tensor([2.0, 0.1, 5.0, -1.0, 0.5]))
    network = Network(model, Spec(shape=(2, 9, 9), classes=3)).eval()
    statistics = conv(IMAGES)
    norm.running_mean, norm.running_var = statistics.mean((0, 2, 3)).detach(), 4 * statistics.var((0, 2, 3)).detach()
    folded = fold_and_remember(network)
    absorb(folded)
    made = folded.network
    torch.testing.assert_close(made(IMAGES), network(IMAGES), rtol=1e-4, atol=1e-4)
    before, after = (one.model.get_submodule("0").get_parameter("bias") for one in (fold(network), made))
    torch.testing.assert_close(before - after, (norm.bias - 0.3).clamp_min(0.0), rtol=1e-3, atol=1e-3)


def test_the_mean_of_a_clipped_normal_is_that_of_samples() -> None:
    draw = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    for mean, std in ((0.0, 1.0), (1.5, 0.5), (-2.0, 1.0)):
        found = float(clipped_mean(torch.tensor(mean, dtype=torch.double), torch.tensor(std, dtype=torch.double)))
        assert found == pytest.approx(float((mean + std * draw).clamp_min(0).mean()), abs=3e-3)


def test_a_resnet_of_any_size_is_folded_whole() -> None:
    network = Network(resnet(20, channels=2, width=4), Spec(shape=(2, 8, 8), classes=10)).eval()
    assert sum(isinstance(module, nn.BatchNorm2d) for module in fold(network).modules()) == 0


def test_corrected_biases_take_the_shift_of_the_means_away() -> None:
    """Where inputs are what the norms remember, the mean output of a quantized layer is that of the layer itself."""
    torch.manual_seed(0)
    conv, norm, last = nn.Conv2d(2, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, groups=2)
    model = nn.Sequential(conv, norm, nn.ReLU(), last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = Network(model, Spec(shape=(2, 9, 9), classes=4)).eval()
    shown = conv(torch.randn(500, 2, 9, 9, generator=torch.Generator().manual_seed(0))).detach()
    norm.running_mean, norm.running_var = shown.mean((0, 2, 3)), shown.var((0, 2, 3), correction=0)
    norm.weight.data.uniform_(0.5, 2.0)
    norm.bias.data.uniform_(-0.5, 1.0)
    folded = fold_and_remember(network)
    quantized = simulate(folded.network, Scheme(weights=2, activations=32))
    read = torch.relu(norm(shown)).detach()
    layer = quantized.model.get_submodule("net.3")
    means = [module(read).mean((0, 2, 3)).detach() for module in (last, layer)]
    assert correct(quantized, folded) == 1
    corrected = layer(read).mean((0, 2, 3)).detach()
    assert float((corrected - means[0]).abs().max()) < 0.2 * float((means[1] - means[0]).abs().max())

"""Tokens, and maps with channels last: read as maps (N, C, H, W), by default and by name, and never along the wrong axes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foreign import transformer
from tacit.core.errors import InputError
from tacit.core.layout import as_map, grid
from tacit.core.match import layers, match, pooled, stages
from tacit.core.network import Network
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.losses import AttentionTransfer
from tacit.zoo import resnet

SPEC = Spec(shape=(3, 32, 32), classes=5)


class LastBlock(nn.Module):
    """A norm and two linear layers on the channels, which come last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class Halved(nn.Module):
    """Four places become one, with twice as many channels, all in the last dimension."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction, self.block = nn.Linear(4 * channels, 2 * channels), LastBlock(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.block(self.reduction(torch.cat(parts, dim=-1)))
        return out


class Windowed(nn.Module):
    """In the manner of Swin: all but the patches has channels last; the first stage is 16x16x16, whose axes can't be told by size."""

    def __init__(self, *, pooled: bool = True) -> None:
        super().__init__()
        self.patches, self.pooled = nn.Conv2d(3, 16, 2, 2), pooled
        self.layers = nn.Sequential(nn.Sequential(LastBlock(16)), Halved(16), Halved(32))
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(self.patches(x).permute(0, 2, 3, 1))
        logits: Tensor = self.head(out.mean((1, 2))) if self.pooled else self.head(out).mean((1, 2))
        return logits


class NextBlock(nn.Module):
    """In the manner of ConvNeXt: channels are last within a block alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise, self.inner = nn.Conv2d(channels, channels, 3, padding=1, groups=channels), LastBlock(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.inner(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


def convnext() -> nn.Module:
    body = [nn.Sequential(nn.Conv2d(3, 8, 4, 4), NextBlock(8)), nn.Sequential(nn.Conv2d(8, 16, 2, 2), NextBlock(16))]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))


class Unread(nn.Module):
    """Patches, which become a fixed number of tokens that are no map."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.query = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.randn(70, 16))
        self.block, self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block(self.query @ self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))
        return logits


def at(network: Network, tap: str, images: Tensor) -> Tensor:
    with Probe(network, taps=[tap]) as look:
        return look(images).features[tap]


@pytest.mark.parametrize(
    ("tokens", "image", "wanted"),
    [
        (196, (224, 224), (14, 14)),
        (197, (224, 224), (14, 14)),
        (198, (224, 224), (14, 14)),
        (261, (224, 224), (16, 16)),
        (32, (32, 64), (4, 8)),
        (105, (30, 60), (7, 15)),
        (31, (32, 32), None),
        (1025 * 4, (32, 32), None),
    ],
)
def test_tokens_are_the_map_that_has_the_proportions_of_the_image(
    tokens: int, image: tuple[int, int], wanted: tuple[int, int] | None
) -> None:
    assert grid(tokens, image) == wanted


def test_tokens_become_places_row_by_row_without_those_before_them() -> None:
    found = torch.randn(2, 1 + 8, 3)
    made = as_map(found, (16, 32))
    assert made is not None
    assert made.shape == (2, 3, 2, 4)
    for row, column in ((0, 0), (0, 3), (1, 2)):
        assert torch.equal(made[:, :, row, column], found[:, 1 + 4 * row + column])


def test_the_stage_of_a_transformer_is_what_its_last_block_makes_and_not_its_patches() -> None:
    network = Network(transformer(), Spec(shape=(3, 32, 32), classes=5, output="logits")).eval()
    (found,) = stages(network)
    assert (found.name, found.shape, found.scale) == ("layer.1:map", (16, 4, 4), -3.0)
    images = torch.rand(2, 3, 32, 32)
    with Probe(network, taps=["layer.1:map", "layer.1"]) as look:
        features = look(images).features
    torch.testing.assert_close(features["layer.1:map"].flatten(2), features["layer.1"][:, 1:].transpose(1, 2))


def test_maps_with_channels_last_are_stages_of_the_right_axes_also_where_sizes_do_not_tell() -> None:
    network = Network(Windowed(), SPEC).eval()
    found = stages(network)
    assert [(each.name, each.shape) for each in found] == [
        ("layers.0:map", (16, 16, 16)),
        ("layers.1:map", (32, 8, 8)),
        ("layers:map", (64, 4, 4)),
    ]
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(at(network, "layers.1:map", images), at(network, "layers.1", images).permute(0, 3, 1, 2))


def test_maps_with_channels_last_inside_of_a_block_are_no_stages() -> None:
    network = Network(convnext(), SPEC)
    assert [(each.name, each.shape) for each in stages(network)] == [("0", (8, 8, 8)), ("1", (16, 4, 4))]


def test_a_loss_compares_maps_of_a_convolutional_network_with_those_that_have_channels_last() -> None:
    found = match(Network(Windowed(), SPEC), Network(resnet(8, width=4, classes=5), SPEC))
    assert [(each.teacher.shape, each.student.shape) for each in found] == [((16, 16, 16), (8, 16, 16)), ((32, 8, 8), (16, 8, 8))]


def test_a_named_map_with_channels_last_is_refused_with_the_tap_to_write() -> None:
    network = Network(Windowed(), SPEC)
    with pytest.raises(InputError, match=r"tap 'layers.1': expected a map \(C, H, W\), got \[8, 8, 32\].*write `layers.1:map`"):
        AttentionTransfer(["layers.1"], ["layers.1"]).fit(network, network)
    assert [each.shape for each in layers(network, ["layers.1:map", "patches"])] == [(32, 8, 8), (16, 16, 16)]


def test_what_a_classifier_reads_at_each_place_is_pooled_over_the_places() -> None:
    found = pooled(Network(Windowed(pooled=False), SPEC))
    assert (found.name, found.shape) == ("head:in:map", (64,))
    assert pooled(Network(Windowed(), SPEC)).name == "head:in"


def test_where_only_patches_could_be_read_there_is_no_map() -> None:
    network = Network(Unread(), SPEC)
    with pytest.raises(InputError, match=r"Unread has no feature maps.*but for the patches of a transformer: name taps, as `blocks.3:map`"):
        stages(network)
    with pytest.raises(InputError, match=r"tap 'block:map': expected tokens \(N, L, D\) that fill the image.*got \[1, 70, 8\]"):
        layers(network, ["block:map"])

"""Norms: each kind of model is recognised for what can be known of it, and left as it was."""

from __future__ import annotations

from typing import Self

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Ensemble, Network
from tacit.core.norms import Norms, NoStatisticsError, norm_layers, norms_of
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from toy import BNNet, GroupNet


def conv(norm: nn.Module | None, *, bias: bool = True) -> nn.Sequential:
    """A convolution to two channels, and what follows it."""
    return nn.Sequential(nn.Conv2d(1, 2, 3, bias=bias), *([norm] if norm is not None else []), nn.ReLU())


class Stubborn(nn.BatchNorm2d):
    """Stays in training mode."""

    def train(self, mode: bool = True) -> Self:
        return super().train(True)


class FrozenNorm2d(nn.Module):
    """Somebody else's norm, of no class of torch."""


class Relapsing(BNNet):
    """Puts a norm into training mode in its own forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        self.bn2.train()
        return super().forward(x)


class Sidestepping(BNNet):
    """Reads the statistics of its norms, and never calls them."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.batch_norm(self.conv1(x), self.bn1.running_mean, self.bn1.running_var, training=True)
        logits: Tensor = self.head(self.conv2(hidden).mean(dim=(2, 3)))
        return logits


def learned() -> BNNet:
    """A network whose norms have seen a batch."""
    model = BNNet()
    model(torch.rand(4, 1, 6, 6))
    return model


def test_batch_norms_that_have_seen_a_batch_keep_statistics() -> None:
    found = norms_of(learned())
    assert found == Norms(running=2, convolutions=2, biased=2)
    assert found.found == "2 batch-norm layers, all with running statistics"


def test_statistics_of_no_batch_are_told_apart_from_learned_ones() -> None:
    assert norms_of(BNNet()).found.endswith("all with running statistics that are still 0 and 1, of no batch: never trained, or reset")
    some = learned()
    some.bn2.reset_running_stats()
    found = norms_of(some)
    assert (found.running, found.initial) == (2, 1)
    assert found.found.startswith("2 batch-norm layers, 1 with running statistics; 1 with running statistics that are still 0 and 1")


def test_only_what_is_as_it_was_made_counts_as_initial() -> None:
    model = BNNet()
    model.bn1.get_buffer("running_mean")[0] = 0.1
    assert norms_of(model).initial == 1
    model.bn2.get_buffer("num_batches_tracked").add_(1)
    assert norms_of(model).initial == 0


def test_other_norms_are_named_and_counted() -> None:
    found = norms_of(nn.Sequential(conv(nn.GroupNorm(1, 2)), conv(nn.InstanceNorm2d(2)), nn.LayerNorm(3), nn.LayerNorm(3), FrozenNorm2d()))
    assert found.others == {"GroupNorm": 1, "InstanceNorm2d": 1, "LayerNorm": 2, "FrozenNorm2d": 1}
    assert found.found == "no batch norm, but 1 GroupNorm, 1 InstanceNorm2d, 2 LayerNorm, 1 FrozenNorm2d"
    assert not found.may_be_folded


def test_batch_norms_without_statistics_normalise_by_the_batch() -> None:
    model = nn.Sequential(conv(nn.BatchNorm2d(2, track_running_stats=False)), conv(nn.BatchNorm2d(2, track_running_stats=False)))
    assert norms_of(model).found == "2 batch-norm layers, all without running statistics, normalising by the batch"
    assert norms_of(model[0]).found == "1 batch-norm layer, without running statistics, normalising by the batch"


def test_what_stays_in_training_mode_does_not_count_and_modes_are_put_back() -> None:
    model = nn.Sequential(conv(Stubborn(2)), conv(nn.BatchNorm2d(2))).train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    found = norms_of(model)
    assert (found.running, found.training) == (1, 1)
    assert "1 in training mode even after `eval()`, normalising by the batch" in found.found
    assert list(norm_layers(model)) == ["1.1"]
    assert [module.training for module in model.modules()] == modes


def test_a_model_in_training_mode_is_judged_as_it_will_be_used() -> None:
    assert list(norm_layers(BNNet().train())) == ["bn1", "bn2"]


def test_a_batch_norm_without_running_statistics_is_no_norm_layer() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.BatchNorm1d(8))
    assert list(norm_layers(model)) == ["3"]


def test_biases_everywhere_and_no_norm_may_be_a_folded_network() -> None:
    folded = nn.Sequential(conv(None), conv(None))
    assert norms_of(folded).may_be_folded
    assert norms_of(folded).found == (
        "no norm of any kind; its 2 convolutions all have biases, so that batch norm may have been folded in: "
        "give the checkpoint before that"
    )
    for never in (nn.Sequential(conv(None), conv(None, bias=False)), nn.Linear(2, 2), nn.Sequential(conv(None), nn.GroupNorm(1, 2))):
        assert not norms_of(never).may_be_folded
    assert norms_of(nn.Linear(2, 2)).found == "no norm of any kind"


def test_members_of_an_ensemble_count_together() -> None:
    spec = Spec(shape=(1, 6, 6), classes=5)
    assert norms_of(Ensemble.of([Network(learned(), spec), Network(BNNet(), spec)])).running == 4


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (GroupNet(), "found: no batch norm, but 1 GroupNorm"),
        (conv(nn.BatchNorm2d(2, track_running_stats=False)), "found: 1 batch-norm layer, without running statistics"),
        (conv(Stubborn(2)), "found: 1 batch-norm layer, in training mode even after"),
        (conv(None), "found: no norm of any kind; its convolution has a bias"),
    ],
)
def test_a_probe_says_what_it_found_in_place_of_statistics(model: nn.Module, said: str) -> None:
    with pytest.raises(NoStatisticsError, match="no batch-norm layer with running statistics") as caught:
        Probe(model, bn=True)
    assert said in str(caught.value)


@pytest.mark.parametrize(("model", "said"), [(Relapsing(), "bn2 normalises by the batch"), (Sidestepping(), "goes round its batch-norm")])
def test_a_forward_pass_that_goes_its_own_way_is_told_in_the_first_pass(model: nn.Module, said: str) -> None:
    with pytest.raises(InputError, match=said), Probe(Network(model, Spec(shape=(1, 6, 6), classes=5)).eval(), bn=True) as look:
        look(torch.rand(2, 1, 6, 6))

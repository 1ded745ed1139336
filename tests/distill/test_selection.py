"""Choosing weights: the average in closed form, the best so far, patience, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.distill.selection import Average, Selection, wearing

SPEC = Spec(shape=(1, 2, 2), classes=2)


class Small(nn.Module):
    """One weight, batch norm and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(x).flatten(1))
        return logits


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(Small(), SPEC)


def weights(one: Network) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in one.model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def put(one: Network, value: float) -> None:
    with torch.no_grad():
        for tensor in one.model.state_dict().values():
            tensor.fill_(value)


def test_the_average_is_the_sum_that_the_definition_says() -> None:
    net = network()
    put(net, 1.0)
    average, expected = Average(net, 0.5), 1.0
    for step, value in enumerate([3.0, -2.0, 7.0, 4.0, 1.0, 9.0, 9.0, 9.0, 9.0, 5.0, 2.0]):
        put(net, value)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        for key in ("head.weight", "norm.running_mean", "norm.running_var"):
            assert average.weights[key].flatten()[0].item() == pytest.approx(expected, rel=1e-5)
        assert average.weights["norm.num_batches_tracked"].item() == int(value)


def test_an_average_of_what_stays_is_what_stays() -> None:
    net = network()
    average = Average(net, 0.9)
    for _ in range(20):
        average.update()
    assert all(torch.allclose(value.float(), average.weights[key].float()) for key, value in weights(net).items())


def test_borrowed_weights_are_given_back_also_after_an_exception() -> None:
    net, other = network(0), weights(network(1))
    before, identities = weights(net), [id(p) for p in net.parameters()]

    def fail() -> None:
        with wearing(net, other):
            assert same(weights(net), other)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert same(weights(net), before)
    assert [id(p) for p in net.parameters()] == identities


def scored(net: Network, table: dict[float, float]) -> float:
    return table[round(float(net.model.state_dict()["head.bias"][0]), 3)]


def walk(selection: Selection, values: list[float], table: dict[float, float]) -> Iterator[None]:
    for step, value in enumerate(values, start=1):
        put(selection.network, value)
        selection.step()
        selection.judge(step, lambda: scored(selection.network, table))
        yield


def test_the_best_agreement_is_kept_the_later_of_equals_and_never_as_an_alias() -> None:
    net = network()
    selection = Selection(net, select="agreement")
    for _ in walk(selection, [1.0, 2.0, 3.0, 4.0], {1.0: 0.5, 2.0: 0.9, 3.0: 0.9, 4.0: 0.2}):
        pass
    assert (selection.best_step, selection.best_agreement, selection.name) == (3, 0.9, "agreement_synthetic")
    put(net, 8.0)
    selection.hand_over()
    assert float(net.model.state_dict()["head.bias"][0]) == 3.0
    put(net, 8.0)
    assert selection.best is not None
    assert float(selection.best["head.bias"][0]) == 3.0


def test_the_best_so_far_is_asked_again_when_the_held_out_set_has_moved() -> None:
    net, table = network(), {1.0: 0.9, 2.0: 0.8}
    selection = Selection(net, select="agreement")
    put(net, 1.0)
    selection.judge(1, lambda: scored(net, table))
    table |= {1.0: 0.6, 2.0: 0.7}  # harder images: yesterday's 0.9 is 0.6 today
    put(net, 2.0)
    assert selection.judge(2, lambda: scored(net, table)) == {"agreement_held_out": 0.7, "agreement_best": 0.7}
    assert selection.best_step == 2


def test_patience_ends_after_so_many_judgements_without_a_better_one() -> None:
    selection = Selection(network(), patience=2)
    assert selection.judges
    stops = [selection.stopped for _ in walk(selection, [1.0, 2.0, 2.0, 3.0, 3.0, 3.0], {1.0: 0.1, 2.0: 0.5, 3.0: 0.6})]
    assert stops == [False, False, False, False, False, True]
    assert not any(Selection(network()).stopped for _ in range(3))


def test_the_last_weights_stay_where_nothing_else_is_selected() -> None:
    net = network()
    selection = Selection(net, ema=0.9)
    put(net, 5.0)
    selection.step()
    before = weights(net)
    selection.hand_over()
    assert same(weights(net), before)
    assert selection.name == "last"
    assert selection.average is not None


def test_a_selected_average_has_a_decay_where_none_is_given() -> None:
    net = network()
    selection = Selection(net, select="ema")
    assert selection.average is not None
    assert selection.average.decay == 0.999
    put(net, 5.0)
    selection.step()
    selection.hand_over()
    assert same(weights(net), dict(selection.average.weights))


def test_a_selection_goes_on_where_it_was() -> None:
    table = {1.0: 0.5, 2.0: 0.4, 3.0: 0.6, 4.0: 0.1}
    through = Selection(network(), select="agreement", ema=0.7, patience=3)
    for _ in walk(through, [1.0, 2.0, 3.0, 4.0], table):
        pass
    first = Selection(network(), select="agreement", ema=0.7, patience=3)
    for _ in walk(first, [1.0, 2.0], table):
        pass
    second = Selection(network(3), select="agreement", ema=0.7, patience=3)
    second.load_state_dict(first.state_dict())
    for step, value in ((3, 3.0), (4, 4.0)):
        put(second.network, value)
        second.step()
        second.judge(step, lambda: scored(second.network, table))
    assert (second.best_step, second.waited, second.best_agreement) == (through.best_step, through.waited, through.best_agreement)
    assert second.average is not None
    assert through.average is not None
    assert same(second.average.weights, through.average.weights)


@pytest.mark.parametrize(("options", "words"), [
    ({"ema": 1.0}, "ema: expected a decay"),
    ({"ema": -0.1}, "ema: expected a decay"),
    ({"ema": 0.0, "patience": -1}, "0 or more"),
    ({"ema": 0.0, "patience": 2, "checks": 0}, "patience: agreement is measured at the checks"),
    ({"ema": 0.0, "select": "agreement", "checks": 0}, "select: agreement: agreement is measured at the checks"),
])  # fmt: skip
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Selection.check(**options)  # type: ignore[arg-type]

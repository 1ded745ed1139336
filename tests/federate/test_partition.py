"""How images are dealt to clients: nobody shares one, the rules are those that are published."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.federate import IID, PARTITIONS, ByColumn, Dirichlet, Own, Partition, Pathological, holders, holdings, set_aside
from tacit.federate.own import Table

LABELS = torch.arange(10).repeat_interleave(120)[torch.randperm(1200, generator=torch.Generator().manual_seed(9))]
WRITERS = [f"w{number % 37}" for number in range(1200)]


class EveryNth:
    """A partitioner as those of flwr-datasets: image i goes to client i modulo n."""

    def __init__(self, num_partitions: int, shift: int = 0) -> None:
        self.num_partitions, self.shift = num_partitions, shift
        self.dataset: Any = None

    def load_partition(self, number: int) -> Any:
        assert self.dataset.num_rows == len(self.dataset["label"])
        rows = list(range(number, len(self.dataset), self.num_partitions))
        return self.dataset.select([max(0, row - self.shift * (number > 0)) for row in rows])


class Loose(EveryNth):
    """One that breaks."""

    def load_partition(self, number: int) -> Any:
        raise KeyError("no such column")


MADE: dict[type[Partition], Partition] = {
    Dirichlet: Dirichlet(alpha=0.3),
    Pathological: Pathological(classes=3),
    IID: IID(),
    ByColumn: ByColumn(column="writer"),
    Own: Own(path=f"{__name__}:EveryNth", kwargs={"num_partitions": 8}),
}


def deal(rule: Partition, clients: int = 8, seed: int = 0, labels: Tensor = LABELS) -> list[Tensor]:
    return rule.deal(labels, clients, torch.Generator().manual_seed(seed), column=WRITERS if rule.asks else None)


@pytest.mark.parametrize("kind", PARTITIONS)
def test_no_image_has_two_clients_and_the_seed_decides(kind: type[Partition]) -> None:
    parts = deal(MADE[kind])
    together = torch.cat(parts)
    assert len(parts) == 8
    assert len(torch.unique(together)) == len(together) == len(LABELS)
    assert all(torch.equal(part, part.sort().values) and len(part) >= 10 for part in parts)
    assert all(torch.equal(one, two) for one, two in zip(parts, deal(MADE[kind]), strict=True))
    if kind is not Own:  # whose draws are its own
        assert any(not torch.equal(one, two) for one, two in zip(parts, deal(MADE[kind], seed=1), strict=True))


def slow_dirichlet(rule: Dirichlet, clients: int, generator: torch.Generator) -> list[set[int]]:
    """The published rule, image by image."""
    cap = rule.share * len(LABELS) / clients
    while True:
        held: list[set[int]] = [set() for _ in range(clients)]
        for label in torch.randperm(10, generator=generator).tolist():
            members = [number for number in range(len(LABELS)) if LABELS[number] == label]
            members = [members[place] for place in torch.randperm(len(members), generator=generator).tolist()]
            if rule.share < 1:
                members = members[: min(int(cap), int(rule.share * len(members)))]
            drawn = torch._sample_dirichlet(torch.full((clients,), rule.alpha, dtype=torch.float64), generator).numpy()
            drawn = np.array([share * (len(mine) < cap) for share, mine in zip(drawn, held, strict=True)])
            ends = [0, *(int(end) for end in np.cumsum(drawn / drawn.sum())[:-1] * len(members) + 1e-9), len(members)]
            for client in range(clients):
                held[client] |= set(members[ends[client] : ends[client + 1]])
        if min(map(len, held)) >= rule.least:
            return held


@pytest.mark.parametrize(("alpha", "share"), [(0.1, 1.0), (0.5, 0.5), (5.0, 1.0)])
def test_dirichlet_is_the_published_rule(alpha: float, share: float) -> None:
    rule = Dirichlet(alpha=alpha, share=share)
    for seed in range(3):
        slow = slow_dirichlet(rule, 6, torch.Generator().manual_seed(seed))
        assert [set(part.tolist()) for part in deal(rule, 6, seed)] == slow


def test_the_papers_share_of_mnist_is_15000_images_of_1500_a_class() -> None:
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # of MNIST's 60,000 training images
    labels = torch.repeat_interleave(torch.arange(10), torch.tensor(counts))
    held = torch.tensor(holdings(deal(Dirichlet(alpha=0.1, share=0.5), 20, labels=labels), labels, 10))
    assert held.sum(dim=0).tolist() == [1500] * 10
    assert int(held.sum(dim=1).min()) >= 10


def test_a_smaller_alpha_makes_clients_less_alike() -> None:
    largest = []
    for alpha in (0.05, 0.5, 50.0):
        held = torch.tensor(holdings(deal(Dirichlet(alpha=alpha), 6), LABELS, 10)).float()
        largest.append(float((held.max(dim=1).values / held.sum(dim=1)).mean()))
    assert largest[0] > largest[1] + 0.1 > largest[2] + 0.2


def test_a_pathological_client_has_its_classes_and_no_more() -> None:
    for clients, classes in ((8, 3), (3, 4), (5, 2), (20, 2), (7, 10)):
        held = torch.tensor(holdings(deal(Pathological(classes=classes), clients), LABELS, 10))
        assert (held > 0).sum(dim=1).tolist() == [classes] * clients
        dealt = held.sum(dim=0)
        assert set(dealt.tolist()) == {120}  # every class is dealt whole


def test_equal_numbers_for_all() -> None:
    assert {len(part) for part in deal(IID(), 7)} == {171, 172}


def test_all_images_of_a_writer_go_to_one_client() -> None:
    parts = deal(ByColumn(column="writer"), 5)
    owners = [{WRITERS[number] for number in part.tolist()} for part in parts]
    assert len(set.union(*owners)) == sum(map(len, owners)) == 37
    assert {len(one) for one in owners} == {7, 8}
    first, second, *others = sorted(owners[0])
    assert holders(parts, WRITERS)[0] == f"{first}, {second} and {len(others)} more"


def test_with_as_many_values_as_clients_each_client_is_one_of_them_in_their_order() -> None:
    sites = ["south", "east", "north"] * 4
    parts = ByColumn(column="site", least=4).deal(torch.zeros(12, dtype=torch.long), 3, torch.Generator(), column=sites)
    assert holders(parts, sites) == ["east", "north", "south"]
    assert parts[0].tolist() == [1, 4, 7, 10]
    assert holders([torch.arange(3), torch.tensor([0, 2])], sites) == ["east, north, south", "north, south"]


def test_a_partitioner_of_ones_own_is_used_by_import_path() -> None:
    parts = deal(Own(path=f"{__name__}:EveryNth", kwargs={"num_partitions": 4}), 4)
    assert parts[1].tolist() == list(range(1, 1200, 4))


def test_the_stand_in_for_a_table_does_what_partitioners_ask() -> None:
    table = Table({"number": [0, 1, 2], "label": [5, 6, 7]})
    assert (len(table), table.num_rows, table.column_names) == (3, 3, ["number", "label"])
    assert table[1] == {"number": 1, "label": 6}
    assert table.select([2, 0])["label"] == [7, 5]


@pytest.mark.parametrize(
    ("rule", "clients", "message"),
    [
        (IID(), 0, "clients: expected at least 1, got 0"),
        (IID(least=100), 20, "1200 images are too few for 20 clients of at least 100: fewer clients, or a lower `--partition.least`"),
        (Dirichlet(alpha=0.01, least=100), 12, "in 20 draws no one gave each of 12 clients 100 images: a larger alpha"),
        (Pathological(classes=11), 4, "classes: expected at most 10, the classes of the data, got 11"),
        (
            Pathological(classes=3),
            3,
            "3 clients of 3 classes each leave 1 of 10 classes to nobody: more clients, or `--partition.classes` of at",
        ),
        (ByColumn(column="writer"), 38, "'writer' has 37 values, too few for 38 clients"),
        (Own(path=f"{__name__}:EveryNth", kwargs={"num_partitions": 4}), 5, "makes 4 parts, and there are 5 clients"),
        (Own(path=f"{__name__}:EveryNth", kwargs={"num_partitions": 4, "shift": 1}), 4, "gave an image to two clients"),
        (Own(path=f"{__name__}:Loose", kwargs={"num_partitions": 4}), 4, "did not deal the images: KeyError: 'no such column'"),
        (Own(path=f"{__name__}:EveryNth", kwargs={"parts": 4}), 4, "did not deal the images: TypeError"),
        (Own(path="nowhere:EveryNth"), 4, "can't import 'nowhere'"),
    ],
)
def test_what_can_not_be_dealt_is_refused_in_words(rule: Partition, clients: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dirichlet, "TRIES", 20)
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace("'", ".")):
        deal(rule, clients)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Dirichlet, {"alpha": 0}, "alpha: expected a positive number, got 0"),
        (Dirichlet, {"share": 1.5}, "share: expected more than 0 and at most 1, got 1.5"),
        (Pathological, {"classes": 0}, "classes: expected at least 1, got 0"),
        (ByColumn, {}, "say which column"),
        (Own, {"path": "flwr_datasets"}, "expected package.module:Class"),
    ],
)
def test_fields_are_checked(kind: type[Partition], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**fields)


@pytest.mark.parametrize("kind", PARTITIONS)
def test_clients_without_images_are_refused(kind: type[Partition]) -> None:
    with pytest.raises(InputError, match="least: expected at least 1, got 0"):
        replace(MADE[kind], least=0)


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="expected one value of 'writer' for each of 1200 images, got 3"):
        ByColumn(column="writer").deal(LABELS, 2, torch.Generator(), column=["a", "b", "c"])


def test_each_client_sets_a_part_aside_and_keeps_one_image_at_least() -> None:
    parts = [torch.arange(100), torch.arange(100, 101), torch.arange(101, 104)]
    cut = set_aside(parts, 0.25, torch.Generator().manual_seed(0))
    assert [(len(train), len(test)) for train, test in cut] == [(75, 25), (1, 0), (2, 1)]
    for part, (train, test) in zip(parts, cut, strict=True):
        assert torch.equal(torch.cat([train, test]).sort().values, part)
    assert [len(test) for _, test in set_aside(parts, 0.0, torch.Generator())] == [0, 0, 0]
    with pytest.raises(InputError, match="held: expected at least 0 and less than 1, got 1"):
        set_aside(parts, 1.0, torch.Generator())


def test_holdings_count_images_by_client_and_class() -> None:
    assert holdings([torch.tensor([0, 1]), torch.tensor([2])], torch.tensor([1, 1, 0]), 3) == [[0, 2, 0], [1, 0, 0]]

"""Partitions: how the images of one set are dealt to clients, where a federation is tried on one machine.

`Dirichlet`: "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", Hsu et al., 2019,
https://arxiv.org/abs/1909.06335, class by class and with the balancing rule that "Data-Free Knowledge Distillation for Heterogeneous
Federated Learning", Zhu et al., 2021, https://arxiv.org/abs/2105.10056, uses in its experiments.
`Pathological`: "Communication-Efficient Learning of Deep Networks from Decentralized Data", McMahan et al., 2017,
https://arxiv.org/abs/1602.05629, sec. 3: a few classes a client.
`ByColumn`: "LEAF: A Benchmark for Federated Settings", Caldas et al., 2018, https://arxiv.org/abs/1812.01097: by writer, by person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tacit.core.chosen import Chosen
from tacit.core.errors import InputError

__all__ = ["IID", "ByColumn", "Dirichlet", "Partition", "Pathological", "holders", "holdings", "set_aside"]

NAMED = 3
"""Values of a column that a client is named by, at most."""


@dataclass(frozen=True, kw_only=True)
class Partition(Chosen):
    """A rule by which images are dealt to clients. It *is* the config of that rule, and holds no state."""

    least: int = 10
    """Fewest images that every client must get, at least 1."""

    def __post_init__(self) -> None:
        """Check the fields; subclasses that do call this too."""
        self.at_least(least=1)

    def deal(self, labels: Tensor, clients: int, generator: torch.Generator, *, column: Sequence[Any] | None = None) -> list[Tensor]:
        """Return the numbers of the images of each client, in rising order; no image goes to two clients.

        Args:
            labels: Class numbers, int64 of shape (N,), on the CPU.
            clients: How many clients there are, at least 1.
            generator: Source of every draw, on the CPU.
            column: One value an image, for rules that deal by them; see `asks`.

        Raises:
            InputError: Where the images do not suffice for `clients` and `least`.
        """
        if clients < 1:
            raise InputError(f"clients: expected at least 1, got {clients}")
        if len(labels) < clients * self.least:
            raise InputError(
                f"{len(labels)} images are too few for {clients} clients of at least {self.least}: fewer clients, or a lower "
                "`--partition.least`"
            )
        parts = [part.sort().values for part in self._deal(labels, clients, generator, column)]
        fewest = min(len(part) for part in parts)
        if fewest < self.least:
            raise InputError(
                f"{self.name}: a client got {fewest} images, at least {self.least} were asked for: fewer clients, a more even rule, or "
                "`--partition.least` lower"
            )
        return parts

    def _deal(self, labels: Tensor, clients: int, generator: torch.Generator, column: Sequence[Any] | None) -> list[Tensor]:
        raise NotImplementedError

    @property
    def asks(self) -> str | None:
        """Name of the column of the data that the rule deals by; None where labels are enough."""
        return None


@dataclass(frozen=True, kw_only=True)
class IID(Partition):
    """All clients alike: the images are shuffled and dealt in equal numbers."""

    def _deal(self, labels: Tensor, clients: int, generator: torch.Generator, column: Sequence[Any] | None) -> list[Tensor]:
        return list(torch.randperm(len(labels), generator=generator).tensor_split(clients))


@dataclass(frozen=True, kw_only=True)
class Dirichlet(Partition):
    """Class by class, in shares drawn from a Dirichlet distribution; the smaller `alpha`, the less alike the clients.

    With the mean number of images of a client as cap, a client that has as many gets nothing of the classes that are still to be dealt:
    shares are ``p_u [n_u < cap]``, made to add up to 1 again. Classes come in random order. The whole draw is repeated until every client
    has `least` images.
    """

    alpha: float = 0.1
    """Concentration, more than 0: 0.05 hardly any class in common, 1 mild, 100 all alike."""
    share: float = 1.0
    """Share of the images that is dealt, in (0, 1]. Below 1, no class gives more than the cap, `share` x images / clients: 0.5 of MNIST
    among 20 clients is 1,500 a class, 15,000 images in all (the paper's setting); of EMNIST's letters the paper deals 0.1."""

    TRIES: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha > 0:
            raise InputError(f"{self.name}.alpha: expected a positive number, got {self.alpha}")
        if not 0 < self.share <= 1:
            raise InputError(f"{self.name}.share: expected more than 0 and at most 1, got {self.share}")

    def _deal(self, labels: Tensor, clients: int, generator: torch.Generator, column: Sequence[Any] | None) -> list[Tensor]:
        cap = self.share * len(labels) / clients
        classes = [(labels == label).nonzero().flatten() for label in torch.unique(labels)]
        for _ in range(self.TRIES):
            dealt = self._draw(classes, clients, cap, generator)
            if dealt is not None and min(map(len, dealt)) >= self.least:
                return dealt
        raise InputError(
            f"{self.name}: in {self.TRIES} draws no one gave each of {clients} clients {self.least} images: a larger alpha, fewer clients, "
            "or `--partition.least` lower"
        )

    def _draw(self, classes: Sequence[Tensor], clients: int, cap: float, generator: torch.Generator) -> list[Tensor] | None:
        """Return one draw; None where a class met only clients that are full."""
        parts: list[list[Tensor]] = [[] for _ in range(clients)]
        held = torch.zeros(clients, dtype=torch.float64)
        for number in torch.randperm(len(classes), generator=generator).tolist():
            members = classes[number][torch.randperm(len(classes[number]), generator=generator)]
            if self.share < 1:
                members = members[: int(min(cap, int(self.share * len(members))))]
            shares = torch._sample_dirichlet(torch.full((clients,), self.alpha, dtype=torch.float64), generator) * (held < cap)
            if not float(shares.sum()) > 0:
                return None
            ends = (torch.cumsum(shares / shares.sum(), dim=0) * len(members) + 1e-9).long()[:-1]  # 1 may have come out as 0.9999...
            for client, part in enumerate(members.tensor_split(ends)):
                parts[client].append(part)
                held[client] += len(part)
        return [torch.cat(part) for part in parts]


@dataclass(frozen=True, kw_only=True)
class Pathological(Partition):
    """A few classes a client: each class is cut into as many pieces as it has takers, and the pieces are dealt."""

    classes: int = 2
    """Classes that each client gets, at least 1, and so many that every class has a client; two clients may have the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(classes=1)

    def _deal(self, labels: Tensor, clients: int, generator: torch.Generator, column: Sequence[Any] | None) -> list[Tensor]:
        known = torch.unique(labels)
        if self.classes > len(known):
            raise InputError(f"{self.name}.classes: expected at most {len(known)}, the classes of the data, got {self.classes}")
        if (left := len(known) - self.classes * clients) > 0:
            raise InputError(
                f"{self.name}: {clients} clients of {self.classes} classes each leave {left} of {len(known)} classes to nobody: more "
                f"clients, or `--partition.classes` of at least {-(-len(known) // clients)}"
            )
        # Cards are dealt round by round from shuffled packs of all classes, so that no client gets one twice and all classes have takers.
        takers: list[list[int]] = [[] for _ in known]
        pack: list[int] = []
        for client in range(clients):
            hand: list[int] = []
            while len(hand) < self.classes:
                if not any(card not in hand for card in pack):
                    pack += torch.randperm(len(known), generator=generator).tolist()
                hand.append(pack.pop(next(place for place, card in enumerate(pack) if card not in hand)))
            for card in hand:
                takers[card].append(client)
        parts: list[list[Tensor]] = [[] for _ in range(clients)]
        for label, those in zip(known, takers, strict=True):
            members = (labels == label).nonzero().flatten()
            members = members[torch.randperm(len(members), generator=generator)]
            for client, part in zip(those, members.tensor_split(len(those)) if those else (), strict=True):
                parts[client].append(part)
        return [torch.cat(part) for part in parts]


@dataclass(frozen=True, kw_only=True)
class ByColumn(Partition):
    """By a column of the data, as site, writer or person: all images of one value go to one client.

    With as many values as clients, each client has one, in their order; of more, values are shuffled and dealt in equal numbers.
    """

    column: str = ""
    """Name of the column (of a torch `Dataset` by import path, of the attribute that has one value an image)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.column:
            raise InputError(f"{self.name}: say which column of the data tells the clients apart, as `--partition.column writer`")

    @property
    def asks(self) -> str | None:
        return self.column

    def _deal(self, labels: Tensor, clients: int, generator: torch.Generator, column: Sequence[Any] | None) -> list[Tensor]:
        if column is None or len(column) != len(labels):
            got = 0 if column is None else len(column)
            raise InputError(f"{self.name}: expected one value of {self.column!r} for each of {len(labels)} images, got {got}")
        places: dict[Any, list[int]] = {}
        for place, value in enumerate(column):
            places.setdefault(value, []).append(place)
        values = _in_order(places)
        if len(values) < clients:
            raise InputError(f"{self.name}: {self.column!r} has {len(values)} values, too few for {clients} clients")
        order = torch.arange(len(values)) if len(values) == clients else torch.randperm(len(values), generator=generator)
        groups = order.tensor_split(clients)
        return [torch.tensor([place for number in group.tolist() for place in places[values[number]]]) for group in groups]


def _in_order(values: Iterable[Any]) -> list[Any]:
    return sorted(set(values), key=lambda value: (str(type(value)), value))


def holders(parts: Sequence[Tensor], column: Sequence[Any]) -> list[str]:
    """Return a name for each client, of the values of `column` that its images have, as ``north``, or ``f01, f17 and 3 more``."""
    found = []
    for part in parts:
        values = [str(value) for value in _in_order(column[place] for place in part.tolist())]
        found.append(", ".join(values) if len(values) <= NAMED else f"{', '.join(values[: NAMED - 1])} and {len(values) - NAMED + 1} more")
    return found


def set_aside(parts: Sequence[Tensor], share: float, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Return each client's part cut into what it learns from and what it tests itself on, both in rising order.

    Args:
        parts: Image numbers of each client.
        share: Share that is tested on, in [0, 1), rounded; each client learns from one image at least.
        generator: Source of the draws.
    """
    if not 0 <= share < 1:
        raise InputError(f"held: expected at least 0 and less than 1, got {share}")
    cut = []
    for part in parts:
        order = part[torch.randperm(len(part), generator=generator)]
        aside = min(round(share * len(part)), len(part) - 1)
        cut.append((order[aside:].sort().values, order[:aside].sort().values))
    return cut


def holdings(parts: Sequence[Tensor], labels: Tensor, classes: int) -> list[list[int]]:
    """Return how many images of each class each client holds: a row a client, a column a class."""
    return [torch.bincount(labels[part], minlength=classes).tolist() for part in parts]

"""What the suites of federated learning are made of: rows and suites, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from benchmarks.plans import Dataset, part_of_train
from benchmarks.suites import DATASETS
from tacit.federate import Algorithm, Dirichlet

__all__ = ["FederatedRow", "FederatedSuite", "split_name"]

SMALL = {"steps": 2, "batch": 4, "hidden": 8, "noise": 4}
"""Largest values of an algorithm's fields in a smoke run."""


def split_name(alpha: float) -> str:
    """Return the name of a split; its runs are in a folder of that name."""
    return f"dirichlet-{alpha:g}"


@dataclass(frozen=True, kw_only=True)
class FederatedRow:
    """One algorithm with its settings; the same everywhere but where a field says otherwise."""

    label: str
    algorithm: Algorithm
    proxy: int | None = None
    """So many images of the training set, its first, are given to the server without their labels; None: none."""
    lr: float | None = None
    """Another learning rate of the clients than the suite's."""
    every: int | None = None
    """Rounds between two tests, where there are many networks to test; None: the suite's."""
    seeds: tuple[int, ...] | None = None
    """Other seeds than the suite's."""
    rate_of: str = ""
    """Of a row that tries a learning rate: the row that it is tried for. Of any other: the row whose chosen one it takes; "": its own."""
    smoke: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the algorithm in a smoke run, over the usual small ones."""

    @property
    def apart(self) -> bool:
        """Whether there is no global model, so that the clients' own are tested."""
        return self.algorithm.part != "all" or self.algorithm.bn == "local"

    @property
    def proxy_split(self) -> str:
        """The split whose images the server is given."""
        return part_of_train(self.proxy)

    def shrunk(self) -> FederatedRow:
        """Return the row as a smoke run has it."""
        known = {field.name for field in fields(self.algorithm)}
        cut: dict[str, Any] = {name: min(most, getattr(self.algorithm, name)) for name, most in SMALL.items() if name in known}
        return replace(self, algorithm=replace(self.algorithm, **{**cut, **self.smoke}), proxy=self.proxy and 8, every=None)


@dataclass(frozen=True, kw_only=True)
class FederatedSuite:
    """Rows that can be compared: the same clients, images, steps and rounds for all."""

    name: str
    title: str
    rows: tuple[FederatedRow, ...]
    alphas: tuple[float, ...] = (0.05, 0.1, 1.0)
    """Splits: concentrations of the Dirichlet distribution."""
    lr: float = 0.01
    """Clients' learning rate in the first round."""
    tuned: bool = False
    """Whether each row has its own, as suite `learning-rates` chose it."""
    rounds: int = 200
    clients: int = 20
    active: int = 10
    local_steps: int | None = 20
    """Steps of a client in a round; None: the algorithm's."""
    momentum: float = 0.0
    """Of the clients' SGD."""
    batch: int = 32
    share: float = 0.5
    """Share of the training images that is dealt, as `Dirichlet.share`."""
    least: int = 10
    """Fewest images of a client."""
    held: float = 0.0
    """Share of its images that each client sets aside. Above 0, these are what is tested on, and the test set is not looked at."""
    every: int = 5
    """Rounds between two tests."""
    seeds: tuple[int, ...] = (0, 1, 2)
    folder: str = ""
    """Name of the suite whose runs these are too; "": runs are its own."""
    dataset: Dataset = DATASETS["mnist"]

    @property
    def place(self) -> str:
        """Name of the folder of its runs."""
        return self.folder or self.name

    def partition(self, alpha: float) -> Dirichlet:
        """Return how images are dealt."""
        return Dirichlet(alpha=alpha, share=self.share, least=self.least)

    def seeds_of(self, row: FederatedRow) -> tuple[int, ...]:
        """Return the seeds that a row is to have."""
        return self.seeds if row.seeds is None else row.seeds

    def shrunk(self) -> FederatedSuite:
        """Return the suite as a smoke run has it: two rounds of a few clients, the first seed and split."""
        few: dict[str, Any] = {"rounds": 2, "clients": 3, "active": 2, "local_steps": 2, "batch": 4, "every": 1}
        small = replace(self, rows=tuple(row.shrunk() for row in self.rows), **few)
        return replace(small, alphas=self.alphas[-1:], share=1.0, least=2, held=min(self.held, 0.5), seeds=self.seeds[:1])

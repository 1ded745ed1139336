"""Own: a partitioner of the user's, as those of flwr-datasets, by import path."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.models import import_object
from tacit.federate.partition import Partition

__all__ = ["Own", "Table"]

NUMBER, LABEL = "number", "label"


class Table:
    """What partitioners ask of a set: columns by name, rows by number, `select`. In the place of Hugging Face's `Dataset`."""

    def __init__(self, columns: Mapping[str, Sequence[int]]) -> None:
        self.columns = {name: list(values) for name, values in columns.items()}

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.columns)

    @property
    def num_rows(self) -> int:
        """Number of images."""
        return len(self)

    def __len__(self) -> int:
        return len(self.columns[NUMBER])

    def __getitem__(self, what: str | int) -> Any:
        return self.columns[what] if isinstance(what, str) else {name: values[what] for name, values in self.columns.items()}

    def select(self, rows: Sequence[int]) -> Self:
        """Return the rows with these numbers."""
        return type(self)({name: [values[int(row)] for row in rows] for name, values in self.columns.items()})


@dataclass(frozen=True, kw_only=True)
class Own(Partition):
    """A partitioner of yours: an object with ``num_partitions`` that is given a ``dataset`` and answers ``load_partition(number)``.

    The set that it is given has the columns ``number`` and ``label`` and any column that `column` names, one row an image: a `datasets`
    set where that package is installed, else a `Table`. Draws that it makes are its own: give it a seed.
    """

    path: str = ""
    """``package.module:Class`` or a function that makes one, as flwr_datasets.partitioner:DirichletPartitioner."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Its arguments."""
    column: str | None = None
    """A further column of the data that it goes by, under its own name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if ":" not in self.path:
            raise InputError(f"{self.name}.path: expected package.module:Class, got {self.path!r}")

    @property
    def asks(self) -> str | None:
        return self.column

    def _deal(self, labels: Tensor, clients: int, generator: torch.Generator, column: Sequence[Any] | None) -> list[Tensor]:
        make: Callable[..., Any] = import_object(self.path)
        try:
            partitioner = make(**self.kwargs)
            columns: dict[str, Any] = {NUMBER: list(range(len(labels))), LABEL: labels.tolist()}
            partitioner.dataset = _table(columns | ({self.column: list(column)} if self.column and column is not None else {}))
            count = int(partitioner.num_partitions)
            parts = [torch.tensor([int(n) for n in partitioner.load_partition(i)[NUMBER]], dtype=torch.long) for i in range(count)]
        except InputError:
            raise
        except Exception as error:  # other people's code may raise anything
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(f"{self.path} did not deal the images: {type(error).__name__}: {reason}") from error
        if count != clients:
            raise InputError(f"{self.path} makes {count} parts, and there are {clients} clients: give the same number to both")
        everything = torch.cat(parts)
        if len(torch.unique(everything)) != len(everything) or not bool(((everything >= 0) & (everything < len(labels))).all()):
            raise InputError(f"{self.path} gave an image to two clients, or one that there is not")
        return parts


def _table(columns: Mapping[str, Sequence[int]]) -> Any:
    if importlib.util.find_spec("datasets") is None:
        return Table(columns)
    from datasets import Dataset

    return Dataset.from_dict(dict(columns))

"""Consortium: who takes part in a federation that is tried on one machine, and with what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tacit.core.device import Runtime, derived_seed
from tacit.core.errors import InputError
from tacit.core.models import ModelRef
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.data import ImageSet, has_splits, load_data
from tacit.data.columns import load_column
from tacit.data.images import ANY_NUMBER
from tacit.federate import Engine, Partition, Plan, Site, holders, holdings, set_aside, sites_of
from tacit.federate.flower import Simulation
from tacit.verbs.base import DataLike, ModelLike, find_model

__all__ = ["ENGINES", "Carrier", "Consortium", "alone", "consortium", "described"]

DIGITS_MOMENTS = {"mean": (0.305,), "std": (0.376,)}


Carrier = Callable[[Plan, Sequence[Site], Path], Engine]
"""Makes an engine of a plan, each client's images, and the run folder."""


def _in_process(plan: Plan, sites: Sequence[Site], folder: Path) -> Engine:
    return plan.in_process(sites)


def _simulation(plan: Plan, sites: Sequence[Site], folder: Path) -> Engine:
    return Simulation(plan, sites, folder / "clients")


ENGINES: dict[str, Carrier] = {"in-process": _in_process, "simulation": _simulation}
"""Who carries messages, by name."""


@dataclass(frozen=True)
class Consortium:
    """Who takes part, and with what.

    Args:
        networks: One of each architecture, on the device.
        sites: Each client's images; none, where each has its own elsewhere.
        test: The global test set; None: there is none.
        counts: Images that are dealt, by client and class, those set aside included; none, where nobody here knows.
        class_names: Names of the classes.
        runtime: Device and precision.
        client_names: Of the clients, by the column that tells them apart; none, where none does.
    """

    networks: Sequence[Network]
    sites: Sequence[Site]
    test: ImageSet | None
    counts: list[list[int]]
    class_names: list[str]
    runtime: Runtime
    client_names: Sequence[str] = ()


def consortium(
    *,
    model: ModelLike | None,
    data: DataLike,
    split: str,
    eval_split: str | None,
    partition: Partition,
    clients: int,
    held: float,
    seed: int,
    start: Callable[..., Runtime],
) -> Consortium:
    """Load data and networks, and deal the images; everything follows from the options and `seed`, wherever it is called.

    Args:
        model: One network, or several, which clients have in turn; None: a `FedNet` for images of this shape.
        data: What is dealt and tested on.
        split: What is dealt.
        eval_split: What the global model is tested on; None: nothing.
        partition: How it is dealt.
        clients: Among how many.
        held: Share that each client sets aside.
        seed: Of networks and draws.
        start: Starts the device for networks.
    """
    named = _spec_named(model)
    train = _in_memory(data, split, named)
    networks = _networks(model, named or _spec_of(train, data), seed)
    spec = networks[0].spec
    if spec.task != "classification":
        raise InputError(f"federate: expected networks that name a class an image, got one for {spec.task}")
    train.check(spec)
    test: ImageSet | None = None
    if eval_split is not None and has_splits(data):
        try:
            test = _in_memory(data, eval_split, spec)
        except InputError as error:
            raise InputError(f"{error} (the option `eval_split`; null: no evaluation)") from error
    column = load_column(data, split, partition.asks) if partition.asks is not None else None
    draw = torch.Generator().manual_seed(derived_seed(seed, "partition"))
    parts = partition.deal(train.labels, clients, draw, column=column)
    cut = set_aside(parts, held, draw)
    runtime = start(*networks)
    test = test.to(runtime.device) if test is not None else None
    counts, called = holdings(parts, train.labels, spec.classes), holders(parts, column) if column is not None else []
    return Consortium(networks, sites_of(train, cut, public=test, device=runtime.device), test, counts, spec.class_names, runtime, called)


def alone(
    *,
    model: ModelLike | None,
    data: DataLike | None,
    split: str,
    test: DataLike | None,
    eval_split: str | None,
    held: float,
    seed: int,
    start: Callable[..., Runtime],
) -> Consortium:
    """Load what one party of a real federation has: networks, and a site its own images, or the server the global test set.

    Args:
        model: One network, or several; of a shape and classes that are said, since no party sees all the data.
        data: A site's own images; None: this is the server.
        split: Which of them are learned from.
        test: Where the global test set is; None: there is none.
        eval_split: Which split of it.
        held: Share that a site sets aside to test itself on.
        seed: Of networks and draws.
        start: Starts the device for networks.
    """
    networks = described(model, seed)
    if networks is None:
        raise InputError("model: sites with data of their own must be told what the network expects: give model.shape and model.classes")
    spec = networks[0].spec
    runtime = start(*networks)
    names = spec.class_names
    if data is None:
        found = _own(test, eval_split, spec) if test is not None and eval_split is not None else None
        return Consortium(networks, [], found.to(runtime.device) if found is not None else None, [], names, runtime)
    mine = _own(data, split, spec)
    parts = [torch.arange(len(mine))]
    cut = set_aside(parts, held, torch.Generator().manual_seed(derived_seed(seed, "partition")))
    counts = holdings(parts, mine.labels, spec.classes)
    return Consortium(networks, sites_of(mine, cut, device=runtime.device), None, counts, names, runtime)


def described(model: ModelLike | None, seed: int) -> list[Network] | None:
    """Return the networks of which shape and classes are told, so that nobody must look at data; None where they are not told."""
    spec = _spec_named(model)
    return None if spec is None else _networks(model, spec, seed)


def _own(data: DataLike, split: str, spec: Spec) -> ImageSet:
    """Return one party's images, with class numbers that mean the same at all others: by the names of their classes, where these have some.

    A folder numbers its own sub-folders, so that at a site that lacks a class all after it would be taken for others.
    """
    found = _in_memory(data, split, replace(spec, classes=ANY_NUMBER, names=()))
    if found.names and spec.names:
        try:
            found = found.numbered(spec.names)
        except InputError as error:
            raise InputError(f"data: {error} (the recipe's `model.names`; a folder's classes are its sub-folders)") from error
    elif found.names and len(found.names) != spec.classes:
        listed = ", ".join(found.names[:10]) + (", ..." if len(found.names) > 10 else "")
        count = f"{len(found.names)} class{'es' if len(found.names) > 1 else ''}"
        raise InputError(
            f"data: the images have {count} ({listed}), the model {spec.classes} without names, so that nobody can tell which these are: "
            "name all of them in the recipe, the same at all sites, as `--model.names '[benign, cyst, tumour]'`"
        )
    found.check(spec)
    return found


def _in_memory(data: DataLike, split: str, spec: Spec | None) -> ImageSet:
    found = load_data(data, split, spec)
    if not isinstance(found, ImageSet):
        raise InputError("data: clients and server of a federation keep their images in memory; give a set of up to 2 GB (8-bit images)")
    if found.labels.ndim != 1:
        raise InputError("data: expected one class an image, got a class for every pixel: federated training is for classification")
    return found


def _references(model: ModelLike | None) -> list[Any]:
    """Return the networks that are given, or where they are, one by one."""
    if model is None:
        return []
    if isinstance(model, ModelRef) and isinstance(model.path, list):
        if model.kwargs or model.weights:
            raise InputError(
                "model: kwargs and weights belong to one model: give several as folders that tacit wrote, or as callables alone"
            )
        return [replace(model, path=path) for path in model.path]
    return list(model) if isinstance(model, list | tuple) else [model]


def _spec_named(model: ModelLike | None) -> Spec | None:
    """Return what the first network expects, where that is told without looking at data."""
    for one in _references(model)[:1]:
        if isinstance(one, Network):
            return one.spec
        reference = one if isinstance(one, ModelRef) else ModelRef(path=str(one))
        if ":" not in str(reference.path) or (reference.shape is not None and reference.classes is not None):
            return find_model(reference).spec
    return None


def _spec_of(train: ImageSet, data: DataLike) -> Spec:
    """Return what a network for these images expects."""
    channels, height, width = (int(size) for size in train.images.shape[1:])
    classes = max(len(train.names), int(train.labels.max()) + 1)
    moments = DIGITS_MOMENTS if data == "digits" else {"mean": (0.5,) * channels, "std": (0.5,) * channels}
    return Spec(shape=(channels, height, width), classes=classes, names=train.names, **moments)


def _networks(model: ModelLike | None, spec: Spec, seed: int) -> list[Network]:
    references = _references(model)
    if not references:
        channels, height, width = spec.shape
        if height != width:
            raise InputError(f"model: the network that is taken where none is named is for square images, got {height}x{width}: name one")
        references = [ModelRef(path="tacit.zoo:fednet", kwargs={"classes": spec.classes, "channels": channels, "side": height})]
    return [find_model(one, spec, seed=seed) for one in references]

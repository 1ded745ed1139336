"""A federation between real sites: what Flower starts at the server and at each site, and the folder that it starts it from."""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from tacit.core.errors import InputError, nearest
from tacit.core.files import write_file
from tacit.core.network import Network
from tacit.data import local_folder
from tacit.federate import Client, Plan, Shelf, flower
from tacit.federate.flower import Deadlines, FlowerEngine, LocalPrivacy, Member, client_app, local_privacy, server_app
from tacit.federate.flower.apps import DATA
from tacit.federate.flower.privacy import OPTIONS
from tacit.verbs.base import Outcome
from tacit.verbs.consortium import Consortium, described

if TYPE_CHECKING:
    from tacit.verbs.federate import Federate

__all__ = ["export_app", "site_app", "steering_app"]

TEMPLATES = Path(flower.__path__[0]) / "app"
SETTINGS: dict[str, Any] = {
    "out": "",
    "data": "dealt",
    "transport": "array",
    "joining-seconds": 300.0,
    "reply-seconds": 3600.0,
    "least-clients": 1,
}
"""What `flwr run --run-config` can say, and what holds where it does not."""
NODE = ("client", "data", "state", *OPTIONS, "partition-id", "num-partitions")
"""What a node's config can say; Flower's simulation sets the last two."""
FEW = 3
"""Answers in a round with fewer of which a site can work out another's."""
MISMATCH = {
    "sites": "node-config: this node has data of its own, and the run deals out the recipe's: start it with --run-config 'data=\"sites\"'",
    "dealt": 'node-config: in this run each node has data of its own, and none is named here: say where, as data="/data/scans"',
}
"""What a node answers that was started for other data than the run, by its own."""


def secret_noise(count: int) -> Tensor:
    """Return draws, uniform in (0, 1), that nobody can know: for the noise of counts that really leave a site."""
    generator = torch.Generator().manual_seed(secrets.randbits(63))
    return torch.rand(count, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)


def site_app(make: Callable[[], Federate], *, mods: Sequence[Any] = ()) -> Any:
    """Return what runs at a site, a `flwr.clientapp.ClientApp`.

    A site that says ``dp-epsilon``, ``dp-delta`` and ``dp-clipping`` in its node-config clips what it learned and adds noise to it. A node
    whose config says what is not in `NODE`, or that has data of its own where the run deals the recipe's, or the other way round, is not
    used, and the reason is in the server's log.

    Args:
        make: Reads the recipe.
        mods: Flower's modifiers, for training.
    """
    recipe = functools.cache(make)

    @functools.lru_cache(maxsize=1)
    def member(number: int, data: str, state: str) -> Member:
        verb = recipe()
        found = verb.party(data) if data else verb.gather()
        site = replace(found.sites[0 if data else number], number=number)
        plan = verb.plan(found)
        folder = Path(state).expanduser() if state else Path.home() / ".tacit" / "federations" / _name(verb) / f"client-{number}"
        return Member(Client(site, plan.kind(number), seed=plan.seed, noise=secret_noise), Shelf(folder), model=folder / "model")

    def number(context: Any, query: Mapping[str, Any]) -> int:
        config: Mapping[str, Any] = context.node_config
        LocalPrivacy.of(config)  # which raises where it is half said
        if unknown := [name for name in config if name not in NODE]:
            raise InputError(f"node-config: no option is called {unknown[0]!r}{nearest(unknown[0], NODE, most=len(NODE))}")
        if "client" not in config and "partition-id" not in config:
            raise InputError('node-config: say which client this is, as `--node-config "client=0"`')
        found, clients = int(config["client"] if "client" in config else config["partition-id"]), recipe().clients
        if not 0 <= found < clients:
            raise InputError(f"node-config: client is {found}, expected 0 to {clients - 1}")
        mine = "sites" if config.get("data") else "dealt"
        if query.get(DATA, mine) != mine:
            raise InputError(MISMATCH[mine])
        return found

    def of(context: Any) -> Member:
        config = context.node_config
        return member(number(context, {}), str(config.get("data", "")), str(config.get("state", "")))

    return client_app(of, mods=[*mods, local_privacy], number=number)


def _name(verb: Federate) -> str:
    """Return a name for a folder: the same for the same recipe, also where it goes on with what may change."""
    decides = {key: value for key, value in verb.config().items() if key != "device" and key not in verb.free}
    return hashlib.sha256(yaml.safe_dump(decides).encode()).hexdigest()[:12]


def steering_app(make: Callable[[], Federate]) -> Any:
    """Return what runs at the server, a `flwr.serverapp.ServerApp`: tacit's own round loop, from the last checkpoint in ``out`` on.

    Args:
        make: Reads the recipe.
    """

    def main(grid: Any, context: Any) -> None:
        chosen = {**SETTINGS, **context.run_config}
        if not chosen["out"] or not Path(str(chosen["out"])).is_absolute():
            raise InputError("run-config: say where the run is kept on the server, as `--run-config 'out=\"/srv/runs/first\"'`")
        if chosen["data"] not in ("dealt", "sites"):
            raise InputError(f"run-config: data is dealt or sites, got {chosen['data']!r}")
        deadlines = Deadlines(
            joining=float(chosen["joining-seconds"]), replies=float(chosen["reply-seconds"]), least=int(chosen["least-clients"])
        )
        verb = replace(make(), out=Path(str(chosen["out"])), resume=True)

        def engine(plan: Plan, sites: Any, folder: Path) -> FlowerEngine:
            return FlowerEngine(grid, plan.clients, deadlines=deadlines, transport=chosen["transport"], data=chosen["data"])

        outcome = verb.over(verb.party if chosen["data"] == "sites" else verb.gather, engine)
        for label, text in outcome.rows:
            print(f"{label}: {text}", flush=True)

    return server_app(main)


def export_app(verb: Federate, folder: Path) -> Outcome:
    """Write a folder that `flwr run` takes: the recipe, the two apps, a script for certificates, and the commands.

    Data are looked at where nothing else says which shape and classes the network has, and not otherwise: the server may have none.

    Args:
        verb: The federation, with an algorithm.
        folder: New or empty.

    Raises:
        InputError: Where the folder is not empty, no algorithm is named, the recipe would name what is not at the sites, or asks for what
            does not go together.
    """
    if verb.algorithm is None:
        raise InputError("export_app: name one algorithm, as `--algorithm FedGen`")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"export_app: {folder} is not empty: choose another folder")
    given = _named(verb.config()["model"])
    places = _places(given)
    _check_absolute(places, "weights", "name the network as package.module:callable without weights")
    dealt, proxy = _read_from("data", verb.data), _read_from("algorithm.proxy", getattr(verb.algorithm, "proxy", None))
    _check_absolute([*dealt, *proxy], "images", "name a set of the Hugging Face hub, or package.module:callable")
    networks = described(verb.model, verb.seed) or verb.gather().networks
    plan = verb.plan(Consortium(networks, [], None, [], [], verb.open_runtime(*networks)))
    verb.algorithm.check(plan.central())  # rather here than at the sites, after rounds in vain
    config = {key: value for key, value in verb.config().items() if key not in ("export_app", "engine", "device", "model")}
    alone = len(networks) == 1
    config["model"] = given if given and (places or not alone) else _reference(networks[0], alone=alone)
    usual = {field.name: field.default for field in fields(verb)}
    said = {key: value for key, value in config.items() if value is not None or usual.get(key) is not None}
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    write_file(folder / "federation" / "recipe.yaml", text)
    for template in sorted(TEMPLATES.glob("*.txt")):
        name = template.stem if template.stem != "gitignore" else ".gitignore"
        inside = "federation/" if name in ("client_app.py", "server_app.py", "__init__.py") else ""
        write_file(folder / f"{inside}{name}", template.read_text(encoding="utf-8").replace("@CLIENTS@", str(verb.clients)))
    rows = [("algorithm", verb.algorithm.name), ("app", str(folder)), ("commands", str(folder / "README.md"))]
    rows += [("model", f"{place}, which must be there at the server and at each site") for place in places]
    if verb.rules.replies < FEW:
        why = "a site can work out another's part of what is learned"
        rows.append(("rules", f"replies is {verb.rules.replies}: in a round of fewer than {FEW} answers {why}"))
    rows += [("data", f"{place}, which must be there at the server and, in a trial, at each site") for place in dealt]
    rows += [("proxy", f"{place}, which must be there at the server") for place in proxy]
    return Outcome(folder=folder, result={}, rows=rows)


def _named(given: Any) -> dict[str, Any]:
    """Return how a network is named, as a config file has it; empty where it is not named, but given."""
    found = {"path": given} if isinstance(given, str | list) else given
    return found if isinstance(found, dict) and found.get("path") else {}


def _places(given: Mapping[str, Any]) -> list[str]:
    """Return the files and folders that a network so named is read from."""
    paths = given.get("path", [])
    weights = [str(given["weights"])] if given.get("weights") else []
    return [path for path in ([paths] if isinstance(paths, str) else paths) if ":" not in path] + weights


def _read_from(option: str, data: Any) -> list[str]:
    """Return the folder that data are read from, if there is one."""
    if data is not None and not isinstance(data, str):
        raise InputError(
            f"export_app: {option} is given in Python, and a recipe can't hold images: name a folder, a set of the Hugging Face hub, or "
            "package.module:callable"
        )
    folder = local_folder(data) if data is not None else None
    return [] if folder is None else [str(folder)]


def _check_absolute(places: Sequence[str], what: str, otherwise: str) -> None:
    if relative := [place for place in places if not Path(place).is_absolute()]:
        raise InputError(
            f"export_app: {relative[0]} is a relative path, and Flower brings no {what} to the sites: put it at the server and at each "
            f"site, at one absolute path, and give that, or {otherwise}"
        )


def _reference(network: Network, *, alone: bool) -> dict[str, Any]:
    """Return a network as a recipe names it, so that every site builds the same without looking at data."""
    origin, spec = network.origin, network.spec
    if origin is None or not alone:
        raise InputError("export_app: sites must build the network themselves: name it as package.module:callable or a folder")
    moments = {"mean": [float(value) for value in spec.mean], "std": [float(value) for value in spec.std]}
    names = {"names": list(spec.names)} if spec.names else {}
    output = {"output": spec.output} if spec.output is not None else {}
    known = {"shape": list(spec.shape), "classes": spec.classes, **moments, **names, **output, "crop": spec.crop}
    return {"path": origin.factory, "kwargs": dict(origin.kwargs), **known}

"""Simulation: all clients on this machine, in the worker processes of Flower's simulation (ray), with the round loop in this process.

Flower offers two ways (flwr 1.41). `flwr run` hands the app to a SuperLink that must be started and ended, and that knows the recipe from
files alone. `run_simulation`, which Flower calls deprecated, does the same in one process, so that networks and images given in Python
can be used as they are, errors come back as they are, and nothing stays behind: it is used here. Ray is bound to the loopback interface.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tacit.core.device import Runtime
from tacit.core.errors import import_extra
from tacit.core.network import Network
from tacit.federate.checks import FederationError
from tacit.federate.client import Client, Site
from tacit.federate.flower.apps import client_app, server_app
from tacit.federate.flower.engine import FlowerEngine
from tacit.federate.flower.member import Member
from tacit.federate.messages import Download, Lost, Upload, brief
from tacit.federate.plan import Plan
from tacit.federate.shelf import Shelf

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid

__all__ = ["QUIET", "Simulation", "Stage"]

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else ray binds the host's address
    "RAY_worker_niceness": "0",  # else its workers wait for every other process of a busy machine, and this one waits for them
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Settings of the environment: no reports to anybody, no look for new versions, no ports but on loopback."""
START = 120.0
"""Seconds that the simulation may take to start."""


@dataclass(frozen=True)
class Stage:
    """What a worker process builds its clients from.

    Args:
        plan: Of both sides, without its runtime.
        sites: Each client's images, on the CPU.
        folder: Where clients keep their states.
        device: Of the clients.
        precision: Of the clients.
        threads: Of torch, so that the last digits are those of other engines.
    """

    plan: Plan
    sites: Sequence[Site]
    folder: Path
    device: str
    precision: str
    threads: int

    @classmethod
    def of(cls, plan: Plan, sites: Sequence[Site], folder: Path) -> Stage:
        """Return what is needed elsewhere of a plan and sites."""
        networks = [copy.deepcopy(network).to("cpu") for network in plan.networks]
        bare = replace(plan, networks=networks, runtime=None)  # type: ignore[arg-type]
        at_home = [_on_cpu(site) for site in sites]
        return cls(bare, at_home, folder.resolve(), plan.runtime.device.type, plan.runtime.precision, torch.get_num_threads())

    def members(self) -> dict[int, Member]:
        """Return all clients, by number; those of one architecture share a network, since a worker runs one at a time."""
        runtime = Runtime(self.device, self.precision)  # type: ignore[arg-type]
        torch.set_num_threads(self.threads)
        plan = replace(self.plan, runtime=runtime)
        for network in plan.networks:
            runtime.place(network)
        kinds = {plan.kind_of(site.number): plan.kind(site.number) for site in self.sites}
        return {
            site.number: Member(
                Client(_on(site, runtime.device), kinds[plan.kind_of(site.number)], seed=plan.seed),
                Shelf(self.folder / f"client-{site.number}"),
            )
            for site in self.sites
        }


def _on(site: Site, device: torch.device) -> Site:
    moved = {name: found.to(device) for name in ("train", "test", "public") if (found := getattr(site, name)) is not None}
    return replace(site, **moved)


def _on_cpu(site: Site) -> Site:
    return _on(site, torch.device("cpu"))


_MEMBERS: dict[str, dict[int, Member]] = {}
"""Clients of this worker process, by the stage that they were built from."""


def _member(stage: Any, context: Context) -> Member:
    """Return the client that a simulated node is; called in a worker process."""
    if stage.hex() not in _MEMBERS:
        _MEMBERS.clear()
        _MEMBERS[stage.hex()] = import_extra("ray", "federate", "Flower's simulation").get(stage).members()
    return _MEMBERS[stage.hex()][int(context.node_config["partition-id"])]


class Simulation:
    """An engine that runs clients in Flower's simulation. It starts with the first download and ends with `close`.

    There is a worker process for each core, at most one for each client, and they share a GPU alike.

    Args:
        plan: Of both sides.
        sites: Each client's images; they go to the worker processes of this machine.
        folder: Where clients keep their states, so that a run can be resumed.
    """

    def __init__(self, plan: Plan, sites: Sequence[Site], folder: Path) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)  # read when they are imported
        import_extra("flwr.simulation", "federate", "the engine `simulation`")
        self.plan, self.sites, self.folder = plan, sites, folder
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = min(cores, len(sites))
        self._inner: FlowerEngine | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None

    @property
    def clients(self) -> Sequence[int]:
        """Numbers of all clients."""
        return self._started().clients

    @property
    def refused(self) -> Mapping[int, str]:
        """Why simulated nodes are not used, by node."""
        return self._inner.refused if self._inner is not None else {}

    def train(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        """Have clients learn."""
        return self._started().train(downloads)

    def measure(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        """Have clients test a model."""
        return self._started().measure(downloads)

    def models(self, downloads: Mapping[int, Download]) -> Iterable[tuple[int, Network]]:
        """Give the clients' networks, put together here of the downloads and of what each keeps in `folder`."""
        kinds = {kind: self.plan.kind(kind) for kind in sorted({self.plan.kind_of(number) for number in downloads})}
        for number, download in sorted(downloads.items()):
            kind = kinds[self.plan.kind_of(number)]
            kind.load(download, Shelf(self.folder / f"client-{number}").take(download.federation, download.round))
            yield number, kind.network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: clients keep their states in `folder`."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is kept here."""

    def _started(self) -> FlowerEngine:
        if self._inner is not None:
            return self._inner
        ray = import_extra("ray", "federate", "Flower's simulation")
        for name in ("flwr", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        ray.init(
            num_cpus=self.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": _paths()}},
        )
        stage = ray.put(Stage.of(self.plan, self.sites, self.folder))
        came: queue.Queue[Grid] = queue.Queue()
        self._thread = threading.Thread(target=self._simulate, args=(stage, came), daemon=True)
        self._thread.start()
        for _ in range(int(START * 10)):
            with contextlib.suppress(queue.Empty):
                grid = came.get(timeout=0.1)
                self._inner = FlowerEngine(grid, self.plan.clients, sleep=self._wait)
                return self._inner
            if not self._thread.is_alive():
                break
        self.close()
        raise FederationError(f"Flower's simulation did not start: {_told(self._failed) or f'nothing happened in {START:.0f} s'}")

    def _wait(self, seconds: float) -> None:
        """Wait for answers, but not for those of a simulation that broke: Flower hands out its grid before there are workers."""
        if self._thread is None or not self._thread.is_alive():
            raise FederationError(f"Flower's simulation broke: {_told(self._failed) or 'it ended, and did not say why'}")
        time.sleep(seconds)

    def _simulate(self, stage: Any, came: queue.Queue[Grid]) -> None:
        simulation = import_extra("flwr.simulation", "federate", "Flower's simulation")

        def main(grid: Grid, context: Context) -> None:
            came.put(grid)
            self._done.wait()

        resources = {"num_cpus": 1, "num_gpus": 1 / self.workers if self.plan.runtime.device.type == "cuda" else 0.0}
        try:
            simulation.run_simulation(
                server_app=server_app(main),
                client_app=client_app(lambda context: _member(stage, context), discreet=False),
                num_supernodes=self.plan.clients,
                backend_config={"client_resources": resources, "init_args": {}},
            )
        except BaseException as error:  # told by whoever waits for the grid
            self._failed = error

    def close(self) -> None:
        """End the simulation and its worker processes."""
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
            import_extra("ray", "federate", "Flower's simulation").shutdown()
        self._thread = self._inner = None


def _told(error: BaseException | None) -> str:
    """Return what an error says in one line: the first of those that led to it, since Flower's own say little."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    return "" if error is None else brief(f"{type(error).__name__}: {error}")


def _paths() -> str:
    return os.pathsep.join(path for path in (*sys.path, os.environ.get("PYTHONPATH", "")) if path)

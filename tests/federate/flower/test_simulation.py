"""Flower's own simulation gives the weights of the in-process engine, keeps what clients keep, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("flwr")

from tacit.core.device import Runtime
from tacit.core.errors import MissingExtraError
from tacit.core.models import load
from tacit.federate import Algorithm, Dirichlet, FedAvg, FedDistill, FederationError, FedGen
from tacit.federate.flower import Simulation
from tacit.verbs.federate import Federate
from toyfed import flat, plan, sites
from toyflower import over_grid

RECIPE: dict[str, Any] = {
    "algorithm": FedGen(steps=5, generated=1, latent=1),
    "partition": Dirichlet(alpha=0.5),
    "clients": 4,
    "active": 3,
    "rounds": 3,
    "local_steps": 5,
    "device": "cpu",
    "precision": "32-true",
}


@pytest.mark.flower
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # ray's own
def test_the_same_recipe_gives_the_same_weights_in_the_simulation(tmp_path: Path) -> None:
    near = Federate(**RECIPE, out=tmp_path / "near").run()
    far = Federate(**RECIPE, engine="simulation", out=tmp_path / "far").run()
    assert near.network is not None
    assert far.network is not None
    one, two = (flat(outcome.network.model.state_dict()) for outcome in (near, far) if outcome.network is not None)
    assert torch.allclose(one, two, rtol=0, atol=1e-5)
    assert near.metrics["student_accuracy"] == pytest.approx(far.metrics["student_accuracy"])
    assert near.metrics["client_accuracy"] == pytest.approx(far.metrics["client_accuracy"])
    assert torch.equal(flat(load(tmp_path / "far").model.state_dict()), two)
    assert json.loads((tmp_path / "far" / "result.json").read_text())["metrics"]["dropped"] == 0
    import ray

    assert not ray.is_initialized()


@pytest.mark.parametrize("algorithm", [FedGen(steps=2, share="head"), FedDistill(), FedAvg(bn="local")], ids=lambda one: one.name)
def test_clients_models_are_put_together_of_what_they_keep(algorithm: Algorithm, runtime: Runtime, tmp_path: Path) -> None:
    made = plan(algorithm, runtime, rounds=2, steps=3)
    near, far = made.server(made.in_process(sites())), over_grid(made, tmp_path)  # clients on disk, where the simulation has them
    for running in (near, far):
        running.run(lambda done: None)
    downloads = far.downloads(range(4))
    known = {number: flat(network.model.state_dict()).clone() for number, network in near.engine.models(near.downloads(range(4)))}
    found = {number: flat(network.model.state_dict()).clone() for number, network in Simulation(made, sites(), tmp_path).models(downloads)}
    assert sorted(found) == sorted(known) == [0, 1, 2, 3]
    assert all(torch.allclose(found[number], known[number], rtol=0, atol=1e-6) for number in known)
    assert not torch.allclose(found[0], found[1])


def test_a_simulation_whose_workers_never_came_is_not_waited_for(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*, server_app: Any, **_: Any) -> None:
        threading.Thread(target=server_app, args=(Nobody(), None), daemon=True).start()  # as Flower does: the grid comes first
        time.sleep(0.5)
        try:
            raise OSError("no room for workers")
        except OSError as error:
            raise RuntimeError("An error was encountered. Ending simulation.") from error

    class Nobody:
        """A grid to which no node ever comes."""

        def get_node_ids(self) -> list[int]:
            return []

    import flwr.simulation
    import ray

    monkeypatch.setattr(flwr.simulation, "run_simulation", broken)
    for name in ("init", "put", "shutdown"):
        monkeypatch.setattr(ray, name, lambda *_, **__: None)
    engine, began = Simulation(plan(FedAvg(), runtime), sites(), tmp_path), time.monotonic()
    with contextlib.closing(engine), pytest.raises(FederationError, match="simulation broke: OSError: no room for workers"):
        engine.clients  # noqa: B018
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("algorithm", [RECIPE["algorithm"], None])
def test_without_flower_one_line_says_how_to_get_it(algorithm: Algorithm | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "flwr.simulation", None)
    with pytest.raises(MissingExtraError, match=r"the engine `simulation` needs the package 'flwr': install it with `pip"):
        Federate(**{**RECIPE, "algorithm": algorithm}, engine="simulation", out=tmp_path / "run").run()
    assert not (tmp_path / "run").exists()

"""The app folder for real sites: what is in it is what both sides are built from."""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

pytest.importorskip("flwr")

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.supernode import fleet_http_client
from PIL import Image

from tacit.cli import main
from tacit.command import parse
from tacit.core.errors import InputError
from tacit.core.models import ModelRef, load, save
from tacit.core.network import Network
from tacit.data import ImageSet, digits
from tacit.evaluate import predict
from tacit.federate import IID, FedAvg, FedDF, FedDistill, FederationError, FedGen, Rules
from tacit.federate.flower import FlowerEngine
from tacit.verbs.federate import Federate
from tacit.verbs.flowerapp import _name, secret_noise, site_app, steering_app
from toyfed import SPEC, flat
from toyflower import InProcessGrid

FIELDS: dict[str, Any] = {
    "algorithm": FedGen(steps=2, generated=1, latent=1),
    "partition": IID(),
    "clients": 3,
    "active": 2,
    "rounds": 2,
    "local_steps": 3,
    "device": "cpu",
    "precision": "32-true",
}


def exported(folder: Path, **fields: Any) -> Path:
    return Federate(**{**FIELDS, **fields}, export_app=folder).run().folder or folder


def recipe(folder: Path) -> Any:
    return parse("federate", ["--config", str(folder / "federation" / "recipe.yaml"), "--device", "cpu"])


def logged(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


class Mine:
    """Images of one site."""

    def __init__(self, split: str = "train") -> None:
        self.inner = digits(split)

    def __len__(self) -> int:
        return 60

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return self.inner.images[number], int(self.inner.labels[number])


def test_the_folder_holds_all_that_flower_needs(tmp_path: Path) -> None:
    app = exported(tmp_path / "app")
    assert {path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file()} == {
        *("pyproject.toml", "README.md", "certificates.py", ".gitignore"),
        *("federation/__init__.py", "federation/client_app.py", "federation/server_app.py", "federation/recipe.yaml"),
    }
    described = tomllib.loads((app / "pyproject.toml").read_text())
    assert described["tool"]["flwr"]["app"]["components"] == {
        "serverapp": "federation.server_app:app",
        "clientapp": "federation.client_app:app",
    }
    assert "# A federation of 3 clients" in (app / "README.md").read_text()
    compile((app / "federation" / "client_app.py").read_text(), "client_app.py", "exec")


def test_the_recipe_says_the_same_federation_and_what_the_network_expects(tmp_path: Path) -> None:
    app = exported(tmp_path / "app")
    read = recipe(app)
    plain = yaml.safe_load((app / "federation" / "recipe.yaml").read_text())
    assert plain["model"]["shape"] == [1, 8, 8]
    assert read.algorithm == FIELDS["algorithm"]
    assert (read.clients, read.active, read.rounds, read.local_steps) == (3, 2, 2, 3)
    ours, theirs = Federate(**FIELDS).gather(), read.gather()
    for one, two in zip(ours.networks[0].model.state_dict().values(), theirs.networks[0].model.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert ours.networks[0].spec == theirs.networks[0].spec
    assert ours.counts == theirs.counts


def test_the_recipe_says_where_the_logits_of_a_network_are(tmp_path: Path) -> None:
    model = ModelRef(path="toy:DictNet", kwargs={"channels": 1, "classes": 10}, shape=(1, 8, 8), classes=10, output="logits")
    app = exported(tmp_path / "app", model=model, algorithm=FedAvg())
    assert recipe(app).gather().networks[0].spec.output == "logits"


def test_the_recipe_says_how_pictures_are_cut(tmp_path: Path) -> None:
    model = ModelRef(path="tacit.zoo:fednet", kwargs={"side": 8}, shape=(1, 8, 8), classes=10, names=tuple("abcdefghij"), crop=0.875)
    app = exported(tmp_path / "app", model=model)
    assert recipe(app).party().networks[0].spec == Federate(**{**FIELDS, "model": model}).party().networks[0].spec


def test_what_is_none_although_it_is_usually_not_stays_so(tmp_path: Path) -> None:
    app = exported(tmp_path / "app", eval_split=None)
    assert recipe(app).eval_split is None
    assert "active" not in yaml.safe_load((exported(tmp_path / "b", active=None) / "federation" / "recipe.yaml").read_text())


@pytest.mark.parametrize("data", ["dealt", "sites"])
def test_both_sides_of_the_app_run_the_federation_and_go_on_where_they_were(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, out = exported(tmp_path / "app"), tmp_path / "run"

    def node(client: int, message: Any) -> Any:
        config: dict[str, Any] = {"client": client, "state": str(tmp_path / f"client-{client}")}
        config |= {"data": "test_flowerapp:Mine"} if data == "sites" else {}
        return sites(message, Context(7, message.metadata.dst_node_id, config, RecordDict(), {}))

    monkeypatch.setitem(sys.modules, "test_flowerapp", sys.modules[__name__])
    sites = site_app(lambda: recipe(app))
    steering = steering_app(lambda: recipe(app))
    context = Context(7, 1, {}, RecordDict(), {"out": str(out), "data": data, "joining-seconds": 5.0})
    steering(InProcessGrid(sites, range(3), node), context)
    written = (out / "metrics.jsonl").read_text()
    assert written.count('"kind": "round"') == 2
    assert '"dropped"' not in written.replace('"dropped": 0', "")
    assert (out / "model" / "model.json").is_file()
    assert (out / "clients.png").exists() == (data == "dealt")
    again = InProcessGrid(sites, range(3), node)
    steering(again, context)
    assert [kind for _, kind in again.asked if kind == "train"] == []  # all rounds were done already
    if data == "dealt":
        near = Federate(**FIELDS, out=tmp_path / "near").run()
        near_log = (tmp_path / "near" / "metrics.jsonl").read_text()
        losses = [[line.split('"loss"')[1] for line in log.splitlines() if '"loss"' in line] for log in (near_log, written)]
        assert near.network is not None
        assert losses[0] == losses[1]


OWN: list[Any] = [FedGen(steps=2, share="head"), FedDistill(), FedAvg(bn="local")]


@pytest.mark.parametrize("algorithm", OWN, ids=lambda one: one.name)
def test_where_there_is_no_global_model_each_site_has_its_own(
    algorithm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app, out = exported(tmp_path / "app", algorithm=algorithm, active=3, data="digits"), tmp_path / "run"
    monkeypatch.setitem(sys.modules, "test_flowerapp", sys.modules[__name__])
    sites = site_app(lambda: recipe(app))
    noised = node_of(sites, tmp_path, data="test_flowerapp:Mine", **NOISED)
    plain = node_of(sites, tmp_path, data="test_flowerapp:Mine")

    def node(client: int, message: Any) -> Any:
        return (noised if client == 2 and isinstance(algorithm, FedAvg) else plain)(client, message)

    context = Context(7, 1, {}, RecordDict(), {"out": str(out), "data": "sites", "joining-seconds": 5.0, "transport": "bytes"})
    steering_app(lambda: recipe(app))(InProcessGrid(sites, range(3), node), context)
    said = capsys.readouterr().out
    assert "accuracy: not measured (no global model, which alone can be tested here)" in said
    assert "model: none here: each site has its own, in the folder `model` of its state" in said
    told = json.loads((out / "result.json").read_text())["metrics"]["client_accuracy"]
    assert len(told) == (2 if isinstance(algorithm, FedAvg) else 3)
    verb = recipe(app)
    for client in range(3):
        network, mine = load(tmp_path / f"client-{client}" / "model"), verb.party("test_flowerapp:Mine")
        assert mine.sites[0].test is not None
        accuracy = predict(network, mine.sites[0].test.batches(1024), mine.runtime).accuracy
        assert accuracy == told.get(str(client), accuracy)
        assert not torch.equal(flat(network.model.state_dict()), flat(mine.networks[0].model.state_dict()))


def test_a_site_that_never_learned_stores_no_model_and_with_a_global_one_none_does(tmp_path: Path) -> None:
    for name, algorithm in (("head", FedAvg(share="head")), ("all", FedAvg())):
        verb = replace(recipe(exported(tmp_path / name, algorithm=algorithm, active=1)), out=tmp_path / f"{name}-run")
        sites = site_app(functools.partial(recipe, tmp_path / name))

        def carrier(plan: Any, parts: Any, folder: Path, app: Any = sites, into: Path = tmp_path / f"{name}-at") -> FlowerEngine:
            return FlowerEngine(InProcessGrid(app, range(3), node_of(app, into)), 3, data="dealt")

        verb.over(verb.gather, carrier)
    asked = {client for client in range(3) if list((tmp_path / "head-at" / f"client-{client}").glob("*/after-*.pt"))}
    assert 0 < len(asked) < 3
    assert {client for client in range(3) if (tmp_path / "head-at" / f"client-{client}" / "model").exists()} == asked
    assert not list(tmp_path.glob("all-at/*/model"))


@pytest.mark.parametrize(
    ("config", "why"),
    [({"out": ""}, "say where the run is kept"), ({"out": "here"}, "say where"), ({"data": "mine"}, "data is dealt or sites")],
)
def test_settings_of_a_run_are_checked(config: dict[str, Any], why: str, tmp_path: Path) -> None:
    app = exported(tmp_path / "app")
    grid = InProcessGrid(site_app(lambda: recipe(app)), range(3))
    context = Context(7, 1, {}, RecordDict(), {"out": str(tmp_path / "run"), **config})
    with pytest.raises(InputError, match=why):
        steering_app(lambda: recipe(app))(grid, context)


NOISED = {"dp-clipping": 1.0, "dp-epsilon": 8.0, "dp-delta": 1e-5}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "say which client this is"),
        ({"client": 3}, "client is 3, expected 0 to 2"),
        ({"client": 0, "dp_epsilon": 8.0}, "node-config has no option 'dp_epsilon'; did you mean 'dp-epsilon'"),
        ({"client": 0, "dp-epsilon": 8.0}, "expected dp-clipping, dp-epsilon and dp-delta"),
        (
            {"client": 0, **NOISED, "dp-sensitivity": 1.0},
            "epsilon 8 and sensitivity 1, as Flower scales it, gives delta 0.15 and not",
        ),
        ({"client": 0, "epsilon": 8.0}, "no option is called 'epsilon'; did you mean 'dp-epsilon'"),
        ({"client": 0, "date": "/data/scans"}, "no option is called 'date'; did you mean 'data'"),
        ({"client": 0}, "each node has data of its own, and none is named here"),
    ],
)
def test_a_node_says_at_once_why_it_cannot_be_used(config: dict[str, Any], why: str, tmp_path: Path) -> None:
    app = exported(tmp_path / "app")
    grid = InProcessGrid(site_app(lambda: recipe(app)), range(3))
    message = Message(RecordDict({"config": ConfigRecord({"tacit.data": "sites"})}), 5, "query")
    with pytest.raises(InputError, match=why):
        grid.app(message, Context(7, 5, config, RecordDict(), {}))


def test_a_node_says_who_it_is_before_it_loads_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = exported(tmp_path / "app")
    monkeypatch.setattr("tacit.verbs.federate.consortium", None)
    monkeypatch.setattr("tacit.verbs.federate.alone", None)
    grid = InProcessGrid(site_app(lambda: recipe(app)), range(3))
    everything = {"client": 2, "data": "/not/there", "state": "/nor/this", **NOISED, "dp-sensitivity": 2.0}
    simulated = {"partition-id": 2, "num-partitions": 3}
    for config, mode in ((everything, "sites"), (simulated, "dealt")):
        message = Message(RecordDict({"config": ConfigRecord({"tacit.data": mode})}), 5, "query")
        reply = grid.app(message, Context(7, 5, config, RecordDict(), {}))  # type: ignore[arg-type]
        assert reply.content.config_records["config"]["tacit.client"] == 2


def node_of(app: Any, folder: Path, **config: Any) -> Any:
    """Return a hook by which all nodes have this in their config."""

    def node(client: int, message: Any) -> Any:
        said = {"client": client, "state": str(folder / f"client-{client}"), **config}
        try:
            return app(message, Context(7, message.metadata.dst_node_id, said, RecordDict(), {}))
        except Exception as error:
            return Message(Error(2, str(error)), reply_to=message)

    return node


def test_a_run_that_deals_data_does_not_use_nodes_that_have_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, out = exported(tmp_path / "app"), tmp_path / "run"
    monkeypatch.setitem(sys.modules, "test_flowerapp", sys.modules[__name__])
    sites = site_app(lambda: recipe(app))
    own, dealt = node_of(sites, tmp_path, data="test_flowerapp:Mine"), node_of(sites, tmp_path)

    def node(client: int, message: Any) -> Any:
        return (own if client == 1 else dealt)(client, message)

    context = Context(7, 1, {}, RecordDict(), {"out": str(out), "joining-seconds": 4.0})
    steering_app(lambda: recipe(app))(InProcessGrid(sites, range(3), node), context)
    refused = logged(out, "refused")
    assert [(line["step"], line["node"]) for line in refused] == [(1, "981"), (2, "981")]
    assert all("start it with --run-config 'data=" in line["why"] for line in refused)
    assert [line["replies"] for line in logged(out, "round")] == [2, 2]


def test_a_site_whose_config_asks_for_noise_refuses_what_would_stay_exact(tmp_path: Path) -> None:
    app = exported(tmp_path / "app", algorithm=replace(FIELDS["algorithm"], bn="local"))
    sites, verb = site_app(lambda: recipe(app)), replace(recipe(app), out=tmp_path / "run")

    def carrier(plan: Any, parts: Any, folder: Path) -> FlowerEngine:
        return FlowerEngine(InProcessGrid(sites, range(3), node_of(sites, tmp_path, **NOISED)), 3, transport="bytes", data="dealt")

    with pytest.raises(FederationError, match=r"in no round was anything learned.*tells exact label counts beside the weights"):
        verb.over(verb.gather, carrier)
    whys = {line["why"] for line in logged(tmp_path / "run", "dropped")}
    assert [why for why in whys if "privacy: FedGen tells exact label counts beside the weights" not in why] == []
    assert whys


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="export_app: name one algorithm"):
        exported(tmp_path / "a", algorithm=None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="is not empty"):
        exported(tmp_path / "full")
    with pytest.raises(InputError, match="sites must build the network themselves"):
        exported(tmp_path / "b", model=Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), SPEC), algorithm=FedAvg())


def test_a_model_that_the_app_does_not_hold_must_be_at_one_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained = ModelRef(path="tacit.zoo:fednet", kwargs={"side": 8}, shape=(1, 8, 8), classes=10).load(seed=5)
    save(trained, tmp_path / "model")
    models: list[Any] = ["model", ModelRef(path="model"), ModelRef(path="tacit.zoo:fednet", weights=Path("model/weights.safetensors"))]
    for model in models:
        with pytest.raises(InputError, match=r"export_app: model.* is a relative path, and Flower brings no weights"):
            exported(tmp_path / "a", model=model, algorithm=FedAvg())
    for number, model in enumerate((str(tmp_path / "model"), ModelRef(path=str(tmp_path / "model")))):
        outcome = Federate(**{**FIELDS, "model": model}, export_app=tmp_path / f"app-{number}").run()
        assert ("model", f"{tmp_path / 'model'}, which must be there at the server and at each site") in outcome.rows
        found = recipe(tmp_path / f"app-{number}").gather().networks[0]
        assert torch.equal(flat(found.model.state_dict()), flat(trained.model.state_dict()))


def test_a_server_without_data_exports_the_network_that_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.verbs.federate.consortium", None)  # nothing is dealt
    model = ModelRef(path="toy:DictNet", kwargs={"channels": 3, "classes": 7}, shape=(3, 224, 224), classes=7, output="logits")
    app = exported(tmp_path / "app", model=model, algorithm=FedAvg())
    found = recipe(app).party()
    assert (found.networks[0].spec.shape, found.networks[0].spec.classes, found.test) == ((3, 224, 224), 7, None)
    assert torch.equal(
        flat(found.networks[0].model.state_dict()), flat(Federate(**{**FIELDS, "model": model}).party().networks[0].model.state_dict())
    )


def test_data_that_the_app_does_not_hold_must_be_at_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    model = ModelRef(path="tacit.zoo:fednet", kwargs={"side": 8}, shape=(1, 8, 8), classes=10)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"data": "scans"}, "scans is a relative path, and Flower brings no images"),
        ({"data": "scans#age"}, "scans is a relative path"),
        ({"data": "./missing"}, "missing is a relative path"),
        ({"algorithm": FedDF(proxy="scans")}, "scans is a relative path"),
        ({"data": digits()}, "data is given in Python, and a recipe can't hold images"),
        ({"data": Mine()}, "data is given in Python"),
    ]
    for fields, why in cases:
        with pytest.raises(InputError, match=f"export_app: {why}"):
            exported(tmp_path / "app", **{"model": model, "algorithm": FedAvg(), **fields})
        assert not (tmp_path / "app").exists()
    scans = str(tmp_path / "scans")
    for number, data in enumerate((scans, "ylecun/mnist", "digits", "toyfed:masked")):
        outcome = Federate(**{**FIELDS, "model": model, "data": data}, export_app=tmp_path / f"app-{number}").run()
        assert [text for label, text in outcome.rows if label == "data"] == (
            [f"{scans}, which must be there at the server and, in a trial, at each site"] if data == scans else []
        )
        assert recipe(tmp_path / f"app-{number}").data == data
    rows = Federate(**{**FIELDS, "model": model, "algorithm": FedDF(proxy=scans)}, export_app=tmp_path / "proxy").run().rows
    assert ("proxy", f"{scans}, which must be there at the server") in rows


def test_a_recipe_that_counts_rounds_of_one_answer_is_told_what_that_means(tmp_path: Path) -> None:
    for replies in (1, 2, 3):
        rows = dict(Federate(**{**FIELDS, "active": 3, "rules": Rules(replies=replies)}, export_app=tmp_path / f"app-{replies}").run().rows)
        assert rows.get("rules", "").startswith(f"replies is {replies}: in a round of fewer than 3 answers a site") == (replies < 3)


def test_the_commands_keep_on_loopback_what_starts_runs_and_let_sites_have_what_nodes_ask_for(tmp_path: Path) -> None:
    text = (exported(tmp_path / "app") / "README.md").read_text()
    assert re.findall(r"--host (\S+) --port 8000", text) == ["127.0.0.1"]
    assert "0.0.0.0" not in text
    certificates = next(line for line in text.splitlines() if line.startswith("python certificates.py"))
    assert "--host 127.0.0.1" in certificates  # by which the SuperLink's own processes know it
    assert re.findall(r"location (\S+) { (proxy_pass|return)", text) == [("/v1/fleet/", "proxy_pass"), ("/", "return")]
    asked = re.findall(r'path="(/[^"]*)"', inspect.getsource(fleet_http_client))
    assert len(asked) > 5
    assert [path for path in asked if not path.startswith("/v1/fleet/")] == []


def test_the_command_line_writes_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["federate", "--algorithm", "FedAvg", "--export_app", str(tmp_path / "app")]) == 0
    assert str(tmp_path / "app" / "README.md") in capsys.readouterr().out
    assert recipe(tmp_path / "app").algorithm == FedAvg()


def test_a_site_finds_what_it_kept_also_where_the_run_gets_more_rounds() -> None:
    verb = Federate(**FIELDS)
    assert _name(verb) == _name(replace(verb, rounds=9, rules=Rules(patience=9), device="cuda"))
    assert _name(verb) != _name(replace(verb, lr=0.1))


def test_noise_that_leaves_a_site_is_another_each_time() -> None:
    one, two = secret_noise(1000), secret_noise(1000)
    assert not torch.equal(one, two)
    assert bool(((one > 0) & (one < 1)).all())
    assert abs(float(one.mean()) - 0.5) < 0.06


def test_a_site_with_its_own_data_wants_a_network_that_is_described(tmp_path: Path) -> None:
    verb = replace(Federate(**FIELDS), model=None)
    with pytest.raises(InputError, match=r"give model.shape and model.classes"):
        verb.party("digits")


def scans(folder: Path, *kinds: str) -> str:
    """Write two pictures of each class, all of one shade by the class's name; return the folder."""
    for kind in kinds:
        for number in range(2):
            path = folder / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), SHADES[kind]).save(path)
    return str(folder)


SHADES = {"benign": 10, "cyst": 100, "tumour": 200, "zyst": 100}
CASES = ModelRef(path="tacit.zoo:fednet", kwargs={"side": 8, "classes": 3}, shape=(1, 8, 8), classes=3, names=("benign", "cyst", "tumour"))


@pytest.mark.parametrize("kinds", [("benign", "cyst", "tumour"), ("benign", "tumour"), ("cyst", "tumour"), ("cyst",), ("tumour",)])
def test_a_site_that_lacks_a_class_numbers_the_others_as_all_sites_do(kinds: tuple[str, ...], tmp_path: Path) -> None:
    verb = Federate(**{**FIELDS, "model": CASES, "held": 0.0, "data": scans(tmp_path / "server", *kinds), "eval_split": "train"})
    train, test = verb.party(scans(tmp_path / "scans", *kinds)).sites[0].train, verb.party().test
    assert test is not None
    for found in (train, test):
        shades = [(int(found.images[place].float().mean()), int(found.labels[place])) for place in range(len(found))]
        assert sorted(set(shades)) == sorted((SHADES[kind], list(SHADES).index(kind)) for kind in kinds)
        assert found.names == CASES.names


def test_a_site_whose_classes_nobody_else_could_know_is_refused(tmp_path: Path) -> None:
    named, nameless = (Federate(**{**FIELDS, "model": model}) for model in (CASES, replace(CASES, names=None)))
    with pytest.raises(InputError, match="a class 'zyst', which the model does not name; did you mean 'cyst'"):
        named.party(scans(tmp_path / "a", "benign", "zyst", "tumour"))
    with pytest.raises(InputError, match="a class 'zyst', which the model does not name; did you mean 'cyst'"):
        named.party(scans(tmp_path / "one", "zyst"))
    with pytest.raises(InputError, match=r"the images have 1 class \(cyst\), the model 3 without names.* name all of them in the recipe"):
        nameless.party(scans(tmp_path / "other", "cyst"))
    with pytest.raises(InputError, match=r"the images have 2 classes \(benign, tumour\), the model 3 without names"):
        nameless.party(scans(tmp_path / "b", "benign", "tumour"))
    assert nameless.party(scans(tmp_path / "c", "benign", "cyst", "tumour")).counts
    for labels, why in (
        ([0, -1], "labels run from -1 to 0, expected 0 or more"),
        ([0, 2], "name 2 classes, and their labels run from 0 to 2"),
    ):
        with pytest.raises(InputError, match=why):
            named.party(ImageSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor(labels), ("benign", "cyst")))


def test_what_could_never_be_learned_is_refused_before_it_travels(tmp_path: Path) -> None:
    for fields, why in (
        ({"rules": Rules(replies=3)}, "a round must have 3 sound answers and asks 2 of 3 clients, .* raise `active`, or lower"),
        ({"active": 10}, "active: expected at most 3, the number of clients, got 10"),
        ({"algorithm": FedGen(head="nosuch")}, "nosuch"),
    ):
        with pytest.raises(InputError, match=why):
            exported(tmp_path / "app", **fields)
    assert not (tmp_path / "app").exists()

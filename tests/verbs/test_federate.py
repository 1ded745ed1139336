"""`tacit federate`, from the call and from the command line."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

import tacit
from tacit.cli import main
from tacit.command import parse
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.files import hash_tensors, read_tensors
from tacit.core.models import load
from tacit.core.network import Network
from tacit.data import ImageSet, digits
from tacit.distill import Training
from tacit.evaluate import predict
from tacit.federate import (
    ALGORITHMS,
    DENSE,
    IID,
    PARTITIONS,
    ByColumn,
    Client,
    Dirichlet,
    FedAvg,
    FedDF,
    FedDistill,
    FedEnsemble,
    FederationError,
    FedGen,
    Rules,
    Server,
    Upload,
)
from tacit.report.holdings import holdings
from tacit.synthesize import CMI, Gaussian
from tacit.verbs.federate import BOTH, Federate
from tacit.zoo import fednet, resnet
from toyfed import SPEC

QUICK: dict[str, Any] = {"rounds": 2, "clients": 4, "local_steps": 3, "partition": Dirichlet(alpha=0.5), "device": "cpu"}


class Written(Dataset[tuple[torch.Tensor, int]]):
    """Digits, each with its writer."""

    def __init__(self, split: str = "train") -> None:
        self.inner = digits(split)
        self.writer = [f"writer {number % 9}" for number in range(len(self.inner))]

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return self.inner.images[number], int(self.inner.labels[number])


class DropoutNet(nn.Sequential):
    """Draws at every step."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, classes))


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def test_without_arguments_two_algorithms_run_on_the_same_split(tmp_path: Path) -> None:
    outcome = tacit.federate(out=tmp_path / "run", **{**QUICK, "partition": None, "clients": 10})
    names = [algorithm.name for algorithm in BOTH]
    assert names == ["FedAvg", "FedGen"]
    assert [label for label, _ in outcome.rows][:2] == names
    results = [json.loads((tmp_path / "run" / name / "result.json").read_text()) for name in names]
    assert results[0]["metrics"]["client_counts"] == results[1]["metrics"]["client_counts"]
    assert outcome.metrics["baselines"] == [{"name": "FedAvg", "student_accuracy": results[0]["metrics"]["student_accuracy"]}]
    assert outcome.metrics["student_accuracy"] == results[1]["metrics"]["student_accuracy"]
    page = tacit.report(run_folder=tmp_path / "run").folder
    assert page is not None
    text = (page / "report.html").read_text()
    assert "By round" in text
    assert all(f"{name} ends at" in text for name in names)
    again = tacit.federate(out=tmp_path / "run", resume=True, **{**QUICK, "partition": None, "clients": 10})
    assert again.metrics["student_accuracy"] == outcome.metrics["student_accuracy"]


def test_a_run_folder_holds_what_the_rounds_brought(tmp_path: Path) -> None:
    outcome = tacit.federate(algorithm=FedGen(steps=2), out=tmp_path / "run", active=3, targets=(0.01, 0.999), **QUICK)
    metrics = outcome.metrics
    assert metrics["algorithm"] == "FedGen"
    assert metrics["rounds_to"] == {"0.01": 1, "0.999": None}
    assert torch.tensor(metrics["client_counts"]).sum() == len(digits("train"))
    assert (metrics["rounds"], metrics["dropped"], metrics["params_student"]) == (2, 0, 3394)
    assert len(metrics["client_accuracy"]) == 4
    own = lines(tmp_path / "run", "client")
    assert [line["step"] for line in own] == [1, 2]
    assert {client: own[-1][client] for client in "0123"} == metrics["client_accuracy"]
    tested = lines(tmp_path / "run", "evaluation")
    assert [line["step"] for line in tested] == [1, 2]
    assert tested[-1]["student_accuracy"] == metrics["student_accuracy"]
    traffic = lines(tmp_path / "run", "round")
    assert sum(line["bytes_up"] for line in traffic) == metrics["bytes_up"]
    assert sum(line["bytes_tests"] for line in traffic) == metrics["bytes_tests"]
    assert [line["replies"] for line in traffic] == [3, 3]
    assert dict(outcome.rows)["sent for tests"].endswith(", both ways, beside that")
    assert {"loss", "loss/teacher", "loss/diversity"} <= lines(tmp_path / "run", "train")[0].keys()
    kept, network = load(tmp_path / "run"), outcome.network
    assert network is not None
    assert hash_tensors(kept.model.state_dict()) == hash_tensors(network.model.state_dict())
    with Image.open(tmp_path / "run" / "clients.png") as picture:
        assert picture.format == "PNG"
    assert (tmp_path / "run" / "tensorboard").is_dir()


def test_a_measurement_that_is_no_number_does_not_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Client.measure

    def odd(self: Client, *args: Any) -> Upload:
        return Upload(examples=1, metrics={"accuracy": float("nan")}) if self.site.number == 1 else measure(self, *args)

    monkeypatch.setattr(Client, "measure", odd)
    outcome = tacit.federate(algorithm=FedAvg(), out=tmp_path / "run", **QUICK)
    assert sorted(outcome.metrics["client_accuracy"]) == ["0", "2", "3"]
    assert outcome.metrics["dropped"] == 2
    assert {line["why"] for line in lines(tmp_path / "run", "dropped")} == {
        "measuring: its metrics hold NaN, infinite values or such beyond 1e+30"
    }


@pytest.mark.parametrize("algorithm", [FedGen(steps=2, share="head"), FedDistill(), FedAvg(bn="local")], ids=lambda one: one.name)
def test_where_there_is_no_global_model_those_of_the_clients_are_stored(algorithm: Any, tmp_path: Path) -> None:
    verb = Federate(algorithm=algorithm, out=tmp_path / "run", **QUICK)
    outcome, found = verb.run(), verb.gather()
    assert outcome.network is None
    assert not (tmp_path / "run" / "model").exists()
    assert 0 < outcome.metrics["student_accuracy"] < 1
    assert ("model", f"{tmp_path / 'run' / 'models'}, one for each client") in outcome.rows
    for site in found.sites:
        stored = load(tmp_path / "run" / "models" / f"client-{site.number}")
        assert site.test is not None
        accuracy = predict(stored, site.test.batches(1024), found.runtime).accuracy
        assert accuracy == outcome.metrics["client_accuracy"][str(site.number)]


def test_the_table_says_what_was_tested_and_what_is_stored(tmp_path: Path) -> None:
    rows = {
        name: dict(tacit.federate(algorithm=one, out=tmp_path / name, **QUICK).rows)
        for name, one in (("e", FedEnsemble()), ("a", FedAvg()))
    }
    assert rows["e"]["accuracy"].endswith("last round (ensemble of the clients' last models)")
    assert rows["a"]["accuracy"].endswith("last round (global model)")
    assert rows["e"]["model"] == f"{tmp_path / 'e' / 'model'} (mean)"
    assert rows["a"]["model"] == str(tmp_path / "a" / "model")
    assert rows["e"]["  mean"] == rows["a"]["accuracy"].split()[0]  # it is trained as FedAvg is


@pytest.mark.parametrize("make", [lambda: None, DropoutNet], ids=["fednet", "dropout"])
def test_a_run_that_is_killed_goes_on_and_ends_with_the_very_same_weights(
    make: Callable[[], nn.Module | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def options(folder: str) -> dict[str, Any]:
        torch.manual_seed(0)
        module = make()
        model = Network(module, SPEC) if module is not None else None
        return {"algorithm": FedGen(steps=2), "out": tmp_path / folder, "model": model, **QUICK, "rounds": 4}

    whole = tacit.federate(**options("whole"))
    round_, calls = Server.round, []

    def dies(self: Server) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return round_(self)

    monkeypatch.setattr(Server, "round", dies)
    with pytest.raises(KeyboardInterrupt):
        tacit.federate(**options("broken"))
    monkeypatch.undo()
    broken = tacit.federate(**options("broken"), resume=True)
    assert whole.network is not None
    assert broken.network is not None
    assert hash_tensors(whole.network.model.state_dict()) == hash_tensors(broken.network.model.state_dict())
    timed = ("seconds", "took")
    logs = [
        [
            {key: value for key, value in json.loads(line).items() if key not in timed}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (tmp_path / "whole", tmp_path / "broken")
    ]
    assert logs[0] == logs[1]
    assert broken.metrics == whole.metrics


def test_a_run_that_is_done_gets_more_rounds_and_other_tests(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"algorithm": FedGen(steps=2), **QUICK}
    whole = tacit.federate(**{**fields, "rounds": 4}, out=tmp_path / "whole")
    tacit.federate(**{**fields, "rounds": 2}, targets=(0.9,), out=tmp_path / "more")
    more = tacit.federate(**{**fields, "rounds": 4}, targets=(0.01,), evaluate_every=0, out=tmp_path / "more", resume=True)
    assert whole.network is not None
    assert more.network is not None
    assert hash_tensors(whole.network.model.state_dict()) == hash_tensors(more.network.model.state_dict())
    assert [line["step"] for line in lines(tmp_path / "more", "round")] == [1, 2, 3, 4]
    assert [line["step"] for line in lines(tmp_path / "more", "evaluation")] == [1, 2, 4]
    assert more.metrics["rounds_to"] == {"0.9": None, "0.01": 4}  # known since it is looked for
    assert (more.metrics["rounds"], more.metrics["steps"]) == (4, whole.metrics["steps"])
    fewer = tacit.federate(**{**fields, "rounds": 1}, out=tmp_path / "more", resume=True)
    assert (fewer.metrics["rounds"], fewer.metrics["steps"]) == (4, whole.metrics["steps"])  # what is done is done
    with pytest.raises(InputError, match="was made with another local_steps"):
        tacit.federate(**{**fields, "local_steps": 9}, out=tmp_path / "more", resume=True)


def test_a_run_that_the_rules_stopped_goes_on_with_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = Client.train

    def breaks(self: Client, download: Any, state: Any) -> Any:
        if download.round == 1:
            raise OSError("the line is down")
        return train(self, download, state)

    monkeypatch.setattr(Client, "train", breaks)
    fields: dict[str, Any] = {"algorithm": FedAvg(), "out": tmp_path / "run", **QUICK, "rounds": 3}
    for resume in (False, True):
        with pytest.raises(FederationError, match="the line is down"):
            tacit.federate(**fields, rules=Rules(patience=1), resume=resume)
    tacit.federate(**fields, rules=Rules(patience=2), resume=True)
    assert [line["replies"] > 0 for line in lines(tmp_path / "run", "round")] == [True, False, True]


def test_clients_with_networks_of_their_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = [Network(fednet(side=8), SPEC), Network(resnet(8, channels=1, width=2), SPEC)]
    outcome = tacit.federate(
        algorithm=FedDF(steps=2, batch=16, method=Gaussian(batch=16, warmup=1)), model=networks, out=tmp_path / "r", **QUICK
    )
    assert set(outcome.metrics["beside"]) == {"architecture 1"}
    for place, name in enumerate(("model", "models/architecture-1")):
        stored = json.loads((tmp_path / "r" / name / "model.json").read_text())
        assert stored["class"] == f"{type(networks[place].model).__module__}.{type(networks[place].model).__qualname__}"
    tensors = read_tensors(tmp_path / "r" / "models" / "architecture-1" / "weights.safetensors")
    networks[1].model.load_state_dict(tensors)
    accuracy = predict(networks[1].eval(), digits("test").batches(270), Runtime("cpu", "32-true")).accuracy
    assert accuracy == pytest.approx(outcome.metrics["beside"]["architecture 1"], abs=0.002)
    assert str(tmp_path / "r" / "models" / "architecture-1") in dict(outcome.rows)["model"]
    assert outcome.result["images_synthesized"] == 2 * 2 * 16


def test_several_models_of_the_command_line_are_given_to_the_clients_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    words = [
        "--algorithm",
        "FedDistill",
        "--model",
        f"{__name__}:DropoutNet",
        "--model",
        f"{__name__}:small",
        "--rounds",
        "1",
        "--clients",
        "2",
    ]
    assert main(["federate", *words, "--local_steps", "2", "--out", "run"]) == 0
    again = ["federate", "--config", "run/config.yaml", "--out", "again"]
    assert main(again) == 0
    one, two = (json.loads((tmp_path / name / "result.json").read_text())["metrics"]["student_accuracy"] for name in ("run", "again"))
    assert one == two


def small(classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def test_clients_by_a_column_of_the_data(tmp_path: Path) -> None:
    outcome = tacit.federate(
        algorithm=FedAvg(),
        data=f"{__name__}:Written",
        partition=ByColumn(column="writer"),
        out=tmp_path / "r",
        rounds=1,
        clients=3,
        local_steps=1,
    )
    sizes = torch.tensor(outcome.metrics["client_counts"]).sum(dim=1)
    assert int(sizes.max() - sizes.min()) <= 3 * 1
    names = outcome.metrics["client_names"]
    assert sorted(", ".join(names).split(", ")) == [f"writer {number}" for number in range(9)]
    with pytest.raises(InputError, match="Written has no attribute 'author' with one value an image"):
        tacit.federate(algorithm=FedAvg(), data=f"{__name__}:Written", partition=ByColumn(column="author"), out=tmp_path / "s")
    with pytest.raises(InputError, match="the images of digits have no column 'writer'"):
        tacit.federate(algorithm=FedAvg(), partition=ByColumn(column="writer"), out=tmp_path / "t")


def test_data_in_memory_are_dealt_too_and_without_a_test_split_nothing_is_tested(tmp_path: Path) -> None:
    data = ImageSet(torch.randint(0, 256, (80, 3, 9, 9), dtype=torch.uint8), torch.arange(80) % 4)
    outcome = tacit.federate(
        algorithm=FedAvg(), data=data, partition=IID(), out=tmp_path / "r", held=0.0, rounds=1, clients=2, local_steps=2
    )
    assert outcome.metrics["student_accuracy"] is None
    assert outcome.metrics["client_accuracy"] is None
    assert outcome.rows[0] == ("accuracy", "not measured (no test split)")
    assert load(tmp_path / "r").spec.shape == (3, 9, 9)


# ------------------------------------------------------------------------------------------------------------------------ the command line


def parsed(*words: str) -> Federate:
    verb = parse("federate", list(words))
    assert isinstance(verb, Federate)
    return verb


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_an_algorithm_alone_equals_its_defaults(kind: Any) -> None:
    assert parsed("--algorithm", kind.__name__).algorithm == kind()


@pytest.mark.parametrize("kind", [kind for kind in PARTITIONS if kind.__name__ in ("Dirichlet", "Pathological", "IID")])
def test_a_partition_alone_equals_its_defaults(kind: Any) -> None:
    assert parsed("--partition", kind.__name__).partition == kind()


def test_fields_of_choices_may_come_in_any_order() -> None:
    wanted = FedGen(objective="paper", generated=2.0)
    assert parsed("--algorithm.objective", "paper", "--algorithm", "FedGen", "--algorithm.generated", "2").algorithm == wanted
    verb = parsed(
        "--partition.alpha", "0.05", "--partition", "Dirichlet", "--algorithm", "FedProx", "--algorithm.proximal=0.1", "--rounds", "3"
    )
    assert verb.partition == Dirichlet(alpha=0.05)
    assert verb.rounds == 3


def test_a_choice_inside_a_choice() -> None:
    verb = parsed("--algorithm.method.batch", "64", "--algorithm.method", "CMI", "--algorithm", "DENSE", "--algorithm.training.steps", "9")
    assert isinstance(verb.algorithm, DENSE)
    assert verb.algorithm.method == CMI(batch=64)
    assert verb.algorithm.training.steps == 9


@pytest.mark.parametrize(
    "algorithm",
    [FedGen(objective="paper", share="head"), FedDF(method=Gaussian(batch=8, warmup=2)), DENSE(training=Training(steps=7))],
    ids=str,
)
def test_a_config_repeats_the_run(algorithm: Any, tmp_path: Path) -> None:
    import yaml

    verb = Federate(algorithm=algorithm, partition=Dirichlet(alpha=0.3), rules=Rules(replies=2), targets=(0.5,))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(verb.config()))
    again = parsed("--config", str(tmp_path / "c.yaml"))
    assert (again.algorithm, again.partition, again.rules, again.targets) == (algorithm, verb.partition, verb.rules, verb.targets)
    other = parsed("--config", str(tmp_path / "c.yaml"), "--algorithm", "FedAvg", "--partition", "IID")
    assert (other.algorithm, other.partition) == (FedAvg(), IID())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--algorithm", "FedGan"], "no algorithm is called 'FedGan'; did you mean 'FedGen'?"),
        (["--partition", "dirichlt"], "no partition is called 'dirichlt'; did you mean 'Dirichlet'?"),
        (["--algorithm", "FedGen", "--algorithm.objektive", "paper"], "did you mean 'objective'?"),
        (["--algorithm", "FedGen", "--algorithm.objective", "code"], "objective"),
        (["--algorithm", "FedProx", "--algorithm.proximal", "-1"], "FedProx.proximal: expected 0 or more, got -1.0"),
        (["--engine", "simulation", "--algorithm", "FedAvg"], "pip install 'tacit[federate]'"),
        (["--engine", "ray"], "engine"),
        (["--clients", "0"], "clients: expected at least 1, got 0"),
        (["--active", "11"], "active: expected at most 10, the number of clients, got 11"),
        (["--clients", "200"], "1257 images are too few for 200 clients of at least 10"),
        (["--targets", "[1.5]"], "targets: expected shares between 0 and 1"),
        (["--lr_decay", "0"], "lr_decay: expected more than 0 and at most 1, got 0"),
        (["--held", "1"], "held: expected at least 0 and less than 1, got 1"),
        (["--data", "toyfed:masked"], "expected one class an image, got a class for every pixel"),
        (["--roundz", "3"], "no option is called --roundz; did you mean 'rounds'?"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "flwr"]:
        monkeypatch.delitem(sys.modules, name)  # a part that another test imported would be found without the whole
    monkeypatch.setitem(sys.modules, "flwr", None)  # as where it is not installed
    assert main(["federate", *words, "--rounds", "1"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("tacit: ")
    assert message in said


@pytest.mark.parametrize(("clients", "classes"), [(1, 2), (20, 10), (90, 100)])
def test_the_picture_has_room_for_many(clients: int, classes: int) -> None:
    counts = torch.randint(0, 50, (clients, classes), generator=torch.Generator().manual_seed(0)).tolist()
    with Image.open(io.BytesIO(holdings(counts, [f"$class {label}" for label in range(classes)]))) as picture:
        assert picture.width > 400
        assert len(set(picture.convert("RGB").tobytes())) > 10

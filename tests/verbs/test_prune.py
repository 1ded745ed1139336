"""`tacit prune`, from the call and from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tacit
from tacit.cli import main
from tacit.core.errors import InputError, MissingExtraError
from tacit.core.models import load
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.distill import Learner, Training
from tacit.prune import Steady
from tacit.synthesize import BNS, Pool
from toy import GroupNet

QUICK: dict[str, Any] = {"method": BNS(batch=64, steps=15, lr=0.1, copies=0), "images": 128, "acceptance": 64, "device": "cpu"}
SHORT = Training(steps=100, batch=64, lr=0.05)


def test_a_pruned_network_recovers_without_data(teacher_folder: Path, tmp_path: Path) -> None:
    outcome = tacit.prune(model=teacher_folder, data="digits", out=tmp_path / "run", training=SHORT, **QUICK)
    metrics = outcome.metrics
    assert metrics["agreement_synthetic"] > metrics["agreement_pruned"] + 0.2
    assert metrics["student_accuracy"] > metrics["accuracy_pruned"] + 0.3
    assert metrics["teacher_accuracy"] > 0.95
    for what in ("params_{}", "macs_{}", "size_{}_bytes"):
        assert 0.4 < metrics[what.format("student")] / metrics[what.format("teacher")] < 0.6
    assert metrics["acceptance"]["images"] == 64
    assert metrics["warnings"] == [text for text in metrics["warnings"] if "recovery lowered" not in text]
    assert outcome.result["selection"] == "last"
    assert outcome.result["images_synthesized"] == 192
    assert len(Pool.load(tmp_path / "run" / "pool")) == 128
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["student_accuracy"] for line in lines if line["kind"] == "evaluation"][-1] == metrics["student_accuracy"]
    kept, network = load(tmp_path / "run"), outcome.network
    assert network is not None
    assert not isinstance(network, Steady)
    ours = network.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in kept.state_dict().items())
    labels = [label for label, _ in outcome.rows]
    assert labels[:5] == ["channels taken", "images", "accuracy, before", "accuracy, pruned", "accuracy, recovered"]


def test_where_the_average_is_handed_over_the_accuracy_is_still_that_of_the_last_step(teacher_folder: Path, tmp_path: Path) -> None:
    few = Training(steps=6, batch=64, lr=0.05)
    options: dict[str, Any] = {**QUICK, "data": "digits", "training": few, "evaluations": 6, "select": "ema", "ema": 0.9}
    metrics = tacit.prune(model=teacher_folder, out=tmp_path / "run", **options).metrics
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "evaluation"][-1]
    assert metrics["student_accuracy"] == last["student_accuracy"]
    assert metrics["student_accuracy_selected"] == metrics["student_accuracy_ema"] == last["student_accuracy_ema"]
    assert metrics["student_accuracy"] != metrics["student_accuracy_selected"]


def test_it_may_be_left_as_it_is(teacher_folder: Path, tmp_path: Path) -> None:
    outcome = tacit.prune(model=teacher_folder, out=tmp_path / "run", recover=False, share=0.5, **QUICK)
    assert outcome.metrics["agreement_synthetic"] == outcome.metrics["agreement_pruned"]
    assert outcome.result["selection"] is None
    assert not [label for label, _ in outcome.rows if "recovered" in label]
    assert sum(p.numel() for p in load(tmp_path / "run").parameters()) == outcome.metrics["params_student"]


def test_batch_norm_is_steady_where_images_dont_carry_its_statistics(teacher_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"training": Training(steps=2, batch=16, lr=0.01, clip=1.0), "images": 32, "acceptance": 16, "device": "cpu"}
    noise = tacit.prune(model=teacher_folder, out=tmp_path / "a", source="Gaussian", **options)
    assert isinstance(noise.network, Steady)
    freed = tacit.prune(model=teacher_folder, out=tmp_path / "b", source="Gaussian", freeze_bn=False, **options)
    assert not isinstance(freed.network, Steady)
    real = tacit.prune(model=teacher_folder, out=tmp_path / "c", source="data", data="digits", **options)
    assert not isinstance(real.network, Steady)
    assert (real.metrics["method"], real.result["images_synthesized"]) == ("data", 0)
    before, after = load(tmp_path / "a").state_dict(), load(tmp_path / "b").state_dict()
    assert not torch.equal(before["model.stem.1.running_mean"], after["model.stem.1.running_mean"])


def test_a_run_goes_on_with_the_samples_that_it_made(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        **QUICK,
        "training": Training(steps=12, batch=16, lr=0.05),
        "importance": "random",
        "checkpoint_seconds": 0.0,
    }
    whole = tacit.prune(model=teacher_folder, out=tmp_path / "whole", **options)
    step = Learner.step

    def killed(self: Learner, progress: float | None = None) -> None:
        if self.done == 5:
            raise KeyboardInterrupt
        step(self, progress)

    monkeypatch.setattr(Learner, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        tacit.prune(model=teacher_folder, out=tmp_path / "cut", **options)
    monkeypatch.setattr(Learner, "step", step)
    monkeypatch.setattr("tacit.verbs.compressing.find_samples", None)  # the same would be painted again
    again = tacit.prune(model=teacher_folder, out=tmp_path / "cut", resume=True, **options)
    assert again.metrics["agreement_pruned"] == whole.metrics["agreement_pruned"]
    assert whole.network is not None
    assert again.network is not None
    ours = again.network.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in whole.network.state_dict().items())


def test_a_network_without_batch_norm_recovers_on_inception(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network(GroupNet(), Spec(shape=(1, 8, 8), classes=7))
    training = Training(steps=2, batch=16)
    outcome = tacit.prune(model=network, out=tmp_path / "run", images=32, acceptance=16, share=0.5, training=training, device="cpu")
    assert outcome.metrics["method"] == "Inception"


def test_a_missing_package_is_told_before_anything_is_made(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(
        MissingExtraError, match=r"pruning needs the package 'torch_pruning': install it with `pip install 'tacit\[prune\]'"
    ):
        tacit.prune(model=teacher_folder, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_a_recovery_that_went_astray_is_told(teacher_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"source": "Gaussian", "images": 32, "acceptance": 16, "device": "cpu"}
    with pytest.raises(InputError, match=r"recovery went astray: .* try a smaller `training\.lr`"):
        tacit.prune(model=teacher_folder, out=tmp_path / "run", training=Training(steps=1, batch=16, lr=1e30), **options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"share": 1.0}, "share: expected more than 0 and less than 1, got 1.0"),
        ({"importance": "size"}, "importance: expected one of"),
        ({"images": 1}, "images: expected at least 2"),
        ({"source": "data"}, "data: say which images"),
    ],
)
def test_wrong_options_are_told_before_the_work(given: dict[str, Any], said: str, teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        tacit.prune(model=teacher_folder, out=tmp_path / "run", **given)


def test_the_command_line_prints_the_table_or_the_result(teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "prune",
        str(teacher_folder),
        "--method",
        "BNS",
        "--method.steps",
        "4",
        "--method.copies",
        "0",
        "--images",
        "64",
        "--share",
        "0.5",
    ]
    words += ["--acceptance", "16", "--training.steps", "2", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert "50% of each layer, by magnitude" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["share"] == 0.5

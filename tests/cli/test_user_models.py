"""Anybody's model: defined outside the package, given by import path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tacit
from tacit.core.models import import_object, save
from tacit.core.network import Origin

Command = Callable[..., tuple[int, str, str]]
GREY = ("--teacher", "usermodels:grey_groupnorm", "--teacher.shape", "[1, 28, 28]", "--teacher.classes", "7")
COLOUR = (
    "--teacher.shape",
    "[3, 48, 40]",
    "--teacher.classes",
    "5",
    "--teacher.mean",
    "[0.5, 0.4, 0.4]",
    "--teacher.std",
    "[0.2, 0.2, 0.3]",
)
QUICK = ("--training.steps", "6", "--training.batch", "8")


def ok(said: tuple[int, str, str]) -> str:
    assert said[0] == 0, said
    return said[1]


def test_a_grey_groupnorm_model_is_told_which_methods_it_can_use(command: Command) -> None:
    found = json.loads(ok(command("inspect", *GREY, "--steps", "5", "--json")))
    assert found["norms"] == {"GroupNorm": 2}
    assert found["norms_with_running_statistics"] == 0
    assert found["recommended"] == "DFAD"
    assert not found["methods"]["DeepInversion"]["usable"]
    assert not found["methods"]["CMI"]["usable"]
    assert found["methods"]["DFAD"]["usable"]


@pytest.mark.parametrize("method", ["DeepInversion", "CMI"])
def test_bn_methods_refuse_a_groupnorm_model_before_any_work(command: Command, tmp_path: Path, method: str) -> None:
    student = ("--student", "usermodels:grey_groupnorm", "--student.kwargs.width", "4")
    code, _, err = command("distill", *GREY, *student, "--method", method, *QUICK, "--out", "run")
    assert code == 2
    assert "no batch-norm layer with running statistics" in err
    assert "use DFAD" in err
    assert not (tmp_path / "run").exists()


def test_dfad_distils_a_groupnorm_model(command: Command, tmp_path: Path) -> None:
    student = ("--student", "usermodels:grey_groupnorm", "--student.kwargs.width", "4")
    small = ("--method", "DFAD", "--method.width", "4", "--method.latent", "8", "--method.batch", "8")
    ok(command("distill", *GREY, *student, *small, *QUICK, "--data", "usermodels:grey_blocks", "--out", "run"))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["metrics"]["evaluation_images"] == 35
    assert result["images_synthesized"] == 48
    network = tacit.load(tmp_path / "run" / "model")
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 7)


@pytest.mark.parametrize(("form", "output"), [("dict", "out"), ("tuple", "1")])
def test_a_model_that_is_not_square_and_answers_with_a_dict_or_tuple(command: Command, tmp_path: Path, form: str, output: str) -> None:
    teacher = ("--teacher", "usermodels:Answering", "--teacher.kwargs.form", form, "--teacher.output", output, *COLOUR)
    student = (
        "--student",
        "usermodels:Answering",
        "--student.kwargs.form",
        form,
        "--student.kwargs.width",
        "4",
        "--student.output",
        output,
    )
    method = (
        "--method",
        "CMI",
        "--method.steps",
        "2",
        "--method.batch",
        "16",
        "--method.width",
        "4",
        "--method.every",
        "3",
    )
    ok(command("distill", *teacher, *student, *method, *QUICK, "--data", "usermodels:blocks", "--out", "run"))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 0 <= result["metrics"]["student_accuracy"] <= 1
    ok(command("synthesize", *teacher, "--method", "DeepInversion", "--method.steps", "2", "--images", "20", "--out", "made"))
    pool = tacit.Pool.load(tmp_path / "made" / "pool")
    assert pool.columns["images"].shape == (20, 3, 48, 40)


def test_a_scripted_model_is_refused_and_a_compiled_one_unwrapped(command: Command) -> None:
    expects = ("--teacher.shape", "[1, 28, 28]", "--teacher.classes", "7", "--steps", "2")
    code, _, err = command("inspect", "--teacher", "usermodels:scripted", *expects)
    assert code == 2
    assert "TorchScript" in err
    assert "give the nn.Module it was scripted from" in err
    assert "GroupNorm" in ok(command("inspect", "--teacher", "usermodels:compiled", *expects))


def test_several_teachers_make_an_ensemble(command: Command, tmp_path: Path) -> None:
    spec = tacit.Spec(shape=(1, 28, 28), classes=7)
    for number in (0, 1):
        torch.manual_seed(number)
        origin = Origin(factory="usermodels:grey_groupnorm", kwargs={})
        save(tacit.Network(import_object("usermodels:grey_groupnorm")(), spec, origin=origin), tmp_path / f"t{number}")
    found = json.loads(ok(command("inspect", "--teacher", "t0", "--teacher", "t1", "--steps", "2", "--json")))
    assert found["parameters"] == 2 * sum(p.numel() for p in import_object("usermodels:grey_groupnorm")().parameters())


def test_a_live_network_is_distilled_in_python_and_the_teacher_is_untouched(tmp_path: Path) -> None:
    spec = tacit.Spec(shape=(3, 48, 40), classes=5, output="out")
    answering = import_object("usermodels:Answering")
    teacher, student = answering(), answering(width=4)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    start = {key: value.clone() for key, value in student.state_dict().items()}
    outcome = tacit.distill(
        teacher=tacit.Network(teacher, spec),
        student=tacit.Network(student, spec),
        source="Gaussian",
        training=tacit.Training(steps=4, batch=8),
        out=tmp_path / "run",
    )
    assert all(torch.equal(value, teacher.state_dict()[key]) for key, value in before.items())
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())
    assert any(not torch.equal(value, student.state_dict()[key]) for key, value in start.items())
    assert outcome.network is not None
    assert outcome.metrics["params_student"] == sum(p.numel() for p in student.parameters())
    with pytest.raises(tacit.InputError, match="saved from a live object"):
        tacit.load(tmp_path / "run")

"""Models that keep no running statistics: every verb says what was found, and names methods that then run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import nn

import tacit
from quick_methods import QUICK
from tacit.cli import main
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, Teacher
from tacit.core.spec import Spec
from tacit.quantize import Scheme
from tacit.synthesize import METHODS, Synthesizer
from tacit.verbs.choose import naming_what_remains, remaining
from tacit.zoo import resnet
from toy import BNNet, GroupNet

SPEC = Spec(shape=(1, 8, 8), classes=10)


class Stubborn(nn.BatchNorm2d):
    """Stays in training mode."""

    def train(self, mode: bool = True) -> Self:
        return super().train(True)


def small(norm: nn.Module | None) -> nn.Module:
    """Two convolutions, with a norm or without, for images of 8 x 8."""
    first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
    return nn.Sequential(
        first, norm or nn.Identity(), nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "no batch norm, but 1 GroupNorm": lambda: GroupNet(classes=10),
    "without running statistics, normalising by the batch": lambda: small(nn.BatchNorm2d(4, track_running_stats=False)),
    "in training mode even after `eval()`": lambda: small(Stubborn(4)),
    "its 2 convolutions all have biases": lambda: small(None),
}
NEED_NONE = ["DFAD", "RDSKD", "DAFL", "MSKD", "ZSKT", "ZSKD", "Inception", "Gaussian"]
ALONE = ["RDSKD", "DAFL", "MSKD", "ZSKD", "Inception", "Gaussian"]


def named(error: InputError) -> list[str]:
    """Return the methods that an error names as those that remain."""
    found = re.search(r"; use ([\w, ]+), which need none$", str(error))
    assert found
    return re.split(", | or ", found[1])


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[str, Network]:
    torch.manual_seed(0)
    return request.param, Network(MODELS[request.param](), SPEC)


def student() -> Network:
    torch.manual_seed(0)
    return Network(resnet(8, channels=1, width=2), SPEC)


@pytest.mark.parametrize("kind", [kind for kind in METHODS if kind.__name__ not in NEED_NONE], ids=lambda kind: kind.__name__)
def test_distilling_by_statistics_is_refused_and_says_what_was_found(kind: Any, case: tuple[str, Network], tmp_path: Path) -> None:
    said, network = case
    with pytest.raises(InputError) as caught:
        tacit.distill(teacher=network, student=student(), method=kind(), out=tmp_path / "run", device="cpu")
    assert "no batch-norm layer with running statistics" in str(caught.value)
    assert said in str(caught.value)
    assert named(caught.value) == NEED_NONE
    assert not (tmp_path / "run").exists()


def test_the_methods_that_are_named_run(case: tuple[str, Network], runtime: Runtime) -> None:
    teacher, ours = Teacher.of(case[1]), student()
    assert remaining(teacher, ours) == NEED_NONE
    for kind in METHODS:
        if kind.__name__ in NEED_NONE:
            work = Synthesizer(teacher, kind(**QUICK[kind]), runtime=runtime, generator=runtime.generator(0), student=ours)
            assert work.round().images.shape[1:] == SPEC.shape


def test_painting_without_a_student_names_only_what_needs_none(case: tuple[str, Network], tmp_path: Path, runtime: Runtime) -> None:
    said, network = case
    verbs: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (tacit.synthesize, {"teacher": network, "method": METHODS[0]()}),
        (tacit.quantize, {"model": network, "source": "BNS"}),
    ]
    for verb, options in verbs:
        with pytest.raises(InputError) as caught:
            verb(**options, out=tmp_path / verb.__name__, device="cpu")
        assert said in str(caught.value)
        assert named(caught.value) == ALONE
    teacher = Teacher.of(network)
    for kind in METHODS:
        if kind.__name__ in ALONE:
            Synthesizer(teacher, kind(**QUICK[kind]), runtime=runtime, generator=runtime.generator(0)).round()


def test_quantizing_without_a_source_says_what_it_falls_back_to(
    case: tuple[str, Network], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, network = case
    options: dict[str, Any] = {"model": network, "images": 16, "acceptance": 8, "device": "cpu", "finetune": False}
    options |= {"scheme": Scheme(weights=4, activations=4), "out": tmp_path / "run"}
    outcome = tacit.quantize(**options)
    (warning,) = outcome.metrics["warnings"]
    assert said in warning
    assert "the images are made by Inception" in warning
    assert f"tacit: warning: {warning}\n" in capsys.readouterr().err
    assert outcome.metrics["method"] == "Inception"
    named = tacit.quantize(**{**options, "source": "Gaussian", "out": tmp_path / "named"})
    assert named.metrics["warnings"] == []


def test_similarity_says_what_was_found(case: tuple[str, Network]) -> None:
    said, network = case
    with pytest.raises(InputError, match="remembers nothing to compare with") as caught:
        tacit.similarity(model=network, sets=["uniform"])
    assert said in str(caught.value)


def test_inspect_has_a_row_for_batch_norm_and_the_reason_in_those_of_the_methods(case: tuple[str, Network]) -> None:
    said, network = case
    outcome = tacit.inspect(teacher=network, steps=1)
    rows = dict(outcome.rows)
    assert said in rows["batch norm"]
    assert said in rows["  DeepInversion"]
    assert rows["  DFAD"] == "usable"
    assert outcome.result["batch_norm"]["running"] == 0
    by_batch = "normalis" in said or "training mode" in said
    assert outcome.result["answers_apart"] is not by_batch
    assert ("depends on those beside it" in rows["batch norm"]) is by_batch


def test_inspect_does_not_say_that_statistics_of_no_batch_are_of_the_training_data() -> None:
    network = Network(BNNet(), Spec(shape=(1, 8, 8), classes=5))
    outcome = tacit.inspect(teacher=network, steps=1)
    assert "never trained, or reset" in dict(outcome.rows)["batch norm"]
    assert "they are of no batch, and say nothing of the training data" in outcome.result["why"]


def test_another_error_passes_as_it_is() -> None:
    with pytest.raises(InputError, match=r"^something else$"), naming_what_remains(Teacher.of(student()), None):
        raise InputError("something else")


def test_the_command_line_says_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["synthesize", "--teacher", "toy:GroupNet", "--teacher.shape", "[1, 28, 28]", "--teacher.classes", "7", "--method", "BNS"]
    assert main(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert (
        "BNS: the model has no batch-norm layer with running statistics to go by; found: no batch norm, but 1 GroupNorm; use RDSKD" in line
    )

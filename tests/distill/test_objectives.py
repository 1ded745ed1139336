"""Objectives as they are written on the command line and in YAML."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe, Signals
from tacit.core.spec import Spec
from tacit.distill import DISTILLERS, Learner, Stored, Training, build_objective
from tacit.losses import KD, L1, MSE, CrossEntropy, SoftCrossEntropy
from tacit.losses.attention import attention_distance
from tacit.synthesize import Pool
from tacit.zoo import resnet
from toy import Reach


def kinds(terms: Any) -> dict[str, tuple[float, str]]:
    objective = build_objective(terms)
    found = {}
    for name, loss in objective.losses.items():
        weight = objective.weights[name]
        assert isinstance(weight, float)
        found[name] = (weight, type(loss).__name__)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kd=1,ce=0.1", {"kd": (1.0, "KD"), "ce": (0.1, "CrossEntropy")}),
        ("l1", {"l1": (1.0, "L1")}),
        (" kd = 2 , l1 = 1e-3 ,", {"kd": (2.0, "KD"), "l1": (0.001, "L1")}),
        ([{"loss": "kd"}, {"loss": "ce", "weight": 2}], {"kd": (1.0, "KD"), "ce": (2.0, "CrossEntropy")}),
    ],
)
def test_names_and_weights_become_a_weighted_sum(text: Any, expected: dict[str, tuple[float, str]]) -> None:
    assert kinds(text) == expected


def test_a_loss_that_is_there_twice_has_two_names_and_counts_twice() -> None:
    terms = [{"loss": "kd", "weight": 0.5, "temperature": 1.0}, {"loss": "kd", "name": "soft", "weight": 2.0, "temperature": 4.0}]
    objective = build_objective(terms)
    view = View(torch.zeros(4, 1, 1, 1), teacher=Signals(torch.randn(4, 3)), student=Signals(torch.randn(4, 3)))
    parts = objective.parts(view)
    assert list(parts) == ["kd", "soft"]
    torch.testing.assert_close(objective.total(parts, view), 0.5 * KD(1.0)(view) + 2 * KD(4.0)(view))
    alike = build_objective([{"loss": "crd"}, {"loss": "crd", "name": "other"}]).losses
    assert alike["crd"] is not alike["other"]


def test_the_sum_is_that_of_the_losses() -> None:
    student, teacher, targets = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    view = View(torch.zeros(4, 1, 1, 1), targets, teacher=Signals(teacher), student=Signals(student))
    expected = 0.5 * KD()(view) + 2 * L1()(view) + 0.1 * CrossEntropy()(view)
    torch.testing.assert_close(build_objective("kd=0.5,l1=2,ce=0.1")(view), expected)


def test_the_list_form_passes_arguments_and_leaves_the_list_as_it_was() -> None:
    terms = [{"loss": "kd", "weight": 1.0, "temperature": 20.0}]
    loss = build_objective(terms).losses["kd"]
    assert isinstance(loss, KD)
    assert loss.temperature == 20.0
    assert terms == [{"loss": "kd", "weight": 1.0, "temperature": 20.0}]


@pytest.mark.parametrize("terms", ["kd=1,toy:Reach=0.5", [{"loss": "kd"}, {"loss": "toy:Reach", "weight": 0.5, "power": 2.0}]])
def test_a_loss_of_ones_own_is_given_by_import_path(terms: Any) -> None:
    objective = build_objective(terms)
    loss = objective.losses["Reach"]
    assert isinstance(loss, Reach)
    assert loss.power == (1.0 if isinstance(terms, str) else 2.0)
    assert objective.weights["Reach"] == 0.5


@pytest.mark.parametrize("name", DISTILLERS)
def test_every_distiller_can_be_named_alone(name: str) -> None:
    assert list(build_objective(name).losses) == [name.replace("-", "_")]


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("", "expected at least one loss, as `kd=1`"),
        (" , ", "expected at least one loss"),
        ([], "expected at least one loss"),
        ("kdd=1", "no loss is called 'kdd'; did you mean 'kd'?"),
        ("xyz=1", "no loss is called 'xyz'; "),
        ("kd=much", "the weight of kd must be a number, got 'much'"),
        ([{"loss": "kd", "weight": "1"}], "the weight of kd must be a number, got '1'"),
        ("kd=nan", "the weight of kd must be a"),
        ([{"loss": "kd", "weight": float("inf")}], "the weight of kd must be a"),
        ("kd=1,ce=-0.1", r"the weight of ce must be 0 or more, got -0\.1"),
        ([{"loss": "kd", "weight": True}], "the weight of kd must be a number, got True"),
        ([{"loss": "kd", "temperature": "hot"}], "kd: temperature: expected a number, got 'hot'"),
        ([{"loss": "kd", "temperature": float("inf")}], "kd: temperature: expected a number, got inf"),
        ([{"loss": "kd", "standardise": "yes"}], "kd: standardise: expected true or false, got 'yes'"),
        ([{"loss": "kd", "average": "median"}], "kd: average: expected one of logits, probabilities, got 'median'"),
        ([{"loss": "crd", "negatives": 2.5}], r"crd: negatives: expected a whole number or null, got 2\.5"),
        ([{"loss": "crd", "width": True}], "crd: width: expected a whole number, got True"),
        ([{"loss": "at", "teacher": 3, "student": 3}], "at: teacher: expected a list of names or null, got 3"),
        ([{"loss": "toy:Reach", "power": "two"}], "toy:Reach: power: expected a number, got 'two'"),
        ([{"loss": "rkd", "angle": -1}], "rkd: expected distance and angle of 0 or more, and not both 0, got 25.0 and -1"),
        ("kd=1,kd=2", "kd is given twice: in YAML, `name` gives each a name of its own"),
        ([{"loss": "kd", "name": "ce"}, {"loss": "ce"}], "ce is given twice"),
        ([{"loss": "kd", "name": "at 4"}], "the name of kd must be a word of its own, of letters, digits and `_`, got 'at 4'"),
        ([{"loss": "kd", "name": "keys"}], "the name of kd must be a word of its own"),
        ([{"loss": "kd", "name": 4}], "the name of kd must be a word of its own"),
        ([{"loss": "kd", "temprature": 2}], "kd has no option 'temprature'; did you mean 'temperature'?"),
        ([{"weight": 1.0}], "no loss is called ''"),
        ("toy:BNNet=1", "toy:BNNet is no tacit Loss"),
        ("toy:Reached=1", "toy has no 'Reached'; did you mean 'Reach'?"),
        ("nowhere:Loss", "can't import 'nowhere'"),
        (["kd=1", "ce=0.1"], r"expected `kd=1,ce=0.1`, or a list of mappings as {loss: kd, weight: 1}, got \['kd=1', 'ce=0.1'\]"),
        (None, "or a list of mappings as {loss: kd, weight: 1}, got None"),
        ([{"phase": ["kd=1"]}], r"or a list of mappings as {loss: kd, weight: 1}, got \['kd=1'\]"),
    ],
)
def test_what_can_not_be_built_is_refused_with_the_nearest_name(terms: Any, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("?", r"\?")):
        build_objective(terms)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        build_objective([{"loss": "kd", "temperature": temperature}])


GREY = Spec(shape=(1, 8, 8), classes=5)


def taught(terms: Any, student: Network, runtime: Runtime, logits: bool = True) -> Learner:
    """Return a learner on stored random images, with the answers of the teacher where `logits`."""
    torch.manual_seed(0)
    teacher, images = Teacher(resnet(8, classes=5, channels=1, width=4), GREY), torch.rand(16, 1, 8, 8)
    pool = Pool(GREY)
    pool.add(Batch(images, logits=teacher(images) if logits else None))
    source = Stored(pool, size=8, seed=0, device=torch.device("cpu"))
    objective, training = build_objective(terms), Training(steps=4, lr=0.01, schedule="constant")
    return Learner(student, source, objective, training, runtime=runtime, generator=runtime.generator(0), teacher=teacher)


def small(width: int = 2) -> Network:
    torch.manual_seed(1)
    return Network(resnet(8, classes=5, channels=1, width=width), GREY)


@pytest.mark.parametrize("logits", [True, False])
def test_attention_transfer_finds_its_layers_and_teaches_by_them(logits: bool, runtime: Runtime) -> None:
    student = small()
    learner = taught("kd=1,at=250", student, runtime, logits)
    assert learner.needs.teacher_taps
    assert len(learner.needs.teacher_taps) == len(learner.needs.student_taps) == 3
    seen = []
    for _ in range(20):
        learner.step()
        seen.append({name: float(part.detach()) for name, part in learner.parts.items()})
    assert seen[0].keys() == {"kd", "at"}
    assert sum(parts["at"] for parts in seen[-4:]) < sum(parts["at"] for parts in seen[:4])
    assert not any(module._forward_hooks for module in (*student.modules(), *(learner.teacher or student).modules()))


def test_attention_transfer_of_named_layers_is_the_distance_of_their_maps(runtime: Runtime) -> None:
    student = small()
    terms = [{"loss": "at", "weight": 3.0, "teacher": ["stages.1"], "student": ["stages.0"]}]
    learner = taught(terms, student, runtime)
    assert learner.needs.teacher_taps == ("stages.1",)
    before = copy.deepcopy(student).train()
    images = learner.source.batch(0).images
    assert learner.teacher is not None
    with Probe(learner.teacher, taps=("stages.1",)) as ask, Probe(before, taps=("stages.0",)) as look:
        wanted = attention_distance(look(images).features["stages.0"], ask(images).features["stages.1"])
    learner.step()
    torch.testing.assert_close(learner.loss, 3 * wanted)


def test_attention_transfer_of_weight_zero_asks_for_nothing_even_where_it_could_not_be_fitted(runtime: Runtime) -> None:
    flat = Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5)), GREY)
    assert taught("kd=1,at=0", flat, runtime).needs.teacher_taps == ()
    with pytest.raises(InputError, match="has no feature maps of shape"):
        taught("kd=1,at=1", flat, runtime)


def test_one_tap_may_be_written_without_a_list(runtime: Runtime) -> None:
    learner = taught([{"loss": "at", "teacher": "stages.1", "student": "stages.0"}], small(), runtime)
    assert (learner.needs.teacher_taps, learner.needs.student_taps) == (("stages.1",), ("stages.0",))


class Dropped(torch.nn.Module):
    """A layer that is left out in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(2, 2, 1)
        self.head = torch.nn.Linear(2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.first(x)
        logits: torch.Tensor = self.head((found if self.training else self.second(found)).mean((2, 3)))
        return logits


def test_a_tap_that_training_does_not_reach_is_told(runtime: Runtime) -> None:
    learner = taught([{"loss": "at", "teacher": "stages.1", "student": "second"}], Network(Dropped(), GREY), runtime)
    with pytest.raises(InputError, match="AttentionTransfer: the student's module at tap 'second' was not called in this pass"):
        learner.step()


def test_taps_that_do_not_exist_are_refused_before_any_step(runtime: Runtime) -> None:
    with pytest.raises(InputError, match=r"no module is called 'stage\.1'; did you mean 'stages"):
        taught([{"loss": "at", "teacher": ["stages.1"], "student": ["stage.1"]}], small(), runtime)
    with pytest.raises(InputError, match="give taps for both"):
        build_objective([{"loss": "at", "teacher": ["stages.1"]}])


@pytest.mark.parametrize(("name", "kind"), [("mse", MSE), ("soft-ce", SoftCrossEntropy)])
def test_mse_and_soft_cross_entropy_can_be_named_and_teach(name: str, kind: type, runtime: Runtime) -> None:
    learner = taught(f"{name}=0.5", small(), runtime)
    assert [type(loss) for loss in learner.objective.losses.values()] == [kind]
    first = None
    for _ in range(20):
        learner.step()
        first = float(learner.loss.detach()) if first is None else first
    assert float(learner.loss.detach()) < (first or 0.0)

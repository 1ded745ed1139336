"""The verbs that learn: what is stored, what is refused, what the outcome is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import tacit
from quick_methods import quick
from tacit.core.device import Runtime
from tacit.core.models import ModelRef, save
from tacit.core.network import Network
from tacit.data import digits
from tacit.distill.sources import Streamed
from tacit.synthesize import CMI, DFAD, RDSKD, DeepInversion, Gaussian, Method
from tacit.synthesize.canvas import Canvas, Noise, Round
from tacit.verbs.train import Train
from tacit.zoo import resnet

STUDENT = ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2})
SHORT = tacit.Training(steps=6, batch=16)
QUICK = DeepInversion(steps=2, batch=32, warmup=2)


class Dropping(nn.Module):
    """A student that draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.net = resnet(channels=1, width=2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(nn.functional.dropout(x, 0.3, self.training))
        return logits


class Drawing(Dataset[tuple[Tensor, int]]):
    """An evaluation set that draws from torch's global generator whenever it is read."""

    def __init__(self) -> None:
        self.digits = digits("test")

    def __len__(self) -> int:
        return 40

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        if number >= 40:
            raise IndexError
        torch.rand(3)
        return self.digits.images[number], int(self.digits.labels[number])


def distil(folder: Path, teacher: Path, **options: Any) -> tacit.Outcome:
    defaults: dict[str, Any] = {"student": STUDENT, "method": QUICK, "training": SHORT}
    return tacit.distill(teacher=str(teacher), out=folder, **{**defaults, **options})


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_student_with_dropout_is_the_same_with_and_without_evaluation_data(
    streamed: bool, tmp_path: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed:
        monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    spec = tacit.load(teacher_folder).spec
    for name, data in (("with", Drawing()), ("without", None)):
        torch.manual_seed(1)
        distil(tmp_path / name, teacher_folder, student=Network(Dropping(), spec), data=data, evaluations=3)
    assert weights(tmp_path / "with") == weights(tmp_path / "without")


@pytest.mark.parametrize("kind", [CMI, DFAD])
def test_crd_beside_kd_learns_from_images_that_are_made_on_the_way(kind: type[Method], tmp_path: Path, teacher_folder: Path) -> None:
    outcome = distil(tmp_path / "run", teacher_folder, method=quick(kind), objective="kd=1,crd=0.8", log_every=1)
    losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert outcome.metrics["steps"] == 6
    assert all(line["loss/crd"] > 0 for line in losses if line["kind"] == "train")


def test_the_student_comes_back_ready_to_be_used(tmp_path: Path, teacher_folder: Path) -> None:
    outcome = distil(tmp_path / "run", teacher_folder)
    assert outcome.network is not None
    assert not any(module.training for module in outcome.network.modules())


def test_the_config_names_the_method_that_was_chosen(tmp_path: Path, teacher_folder: Path) -> None:
    tacit.synthesize(teacher=str(teacher_folder), images=4, out=tmp_path / "run", max_seconds=1e-9)
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "class_path: tacit.synthesize.deep_inversion.DeepInversion" in config
    assert "warmup: 8" in config


def test_a_pool_brings_its_own_teachers_answers_and_no_others(tmp_path: Path, teacher_folder: Path) -> None:
    tacit.synthesize(teacher=str(teacher_folder), method=Gaussian(batch=64), images=64, out=tmp_path / "pool")
    torch.manual_seed(5)
    first = tacit.load(teacher_folder)
    other = Network(resnet(8, channels=1, width=8), first.spec, origin=first.origin)
    save(other, tmp_path / "other")
    plain: dict[str, Any] = {"method": None, "source": str(tmp_path / "pool"), "augmentation": "none"}
    distil(tmp_path / "a", teacher_folder, **plain)
    distil(tmp_path / "b", tmp_path / "other", **plain)
    losses = [json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[-1])["loss/kd"] for run in "ab"]
    assert losses[0] != losses[1], "the student of the second teacher learned the first one's answers"


def test_however_many_processes_decode_a_streamed_set_the_weights_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    spec = tacit.Spec(shape=(1, 8, 8), classes=10)
    options: dict[str, Any] = {"data": Drawing(), "eval_split": None, "training": SHORT}
    for workers in (0, 2):
        torch.manual_seed(1)
        tacit.train(model=Network(resnet(channels=1, width=2), spec), workers=workers, out=tmp_path / str(workers), **options)
    assert weights(tmp_path / "0") == weights(tmp_path / "2")
    torch.manual_seed(1)
    tacit.train(model=Network(resnet(channels=1, width=2), spec), workers=1, resume=True, out=tmp_path / "0", **options)


@pytest.mark.parametrize(
    ("cores", "devices", "given", "expected"), [(1, 1, None, 1), (4, 1, None, 3), (16, 4, None, 3), (64, 1, None, 8), (64, 1, 0, 0)]
)
def test_a_streamed_set_is_decoded_by_the_cores_that_are_left(
    cores: int, devices: int, given: int | None, expected: int, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    monkeypatch.setattr("tacit.verbs.learning.cores", lambda: cores)
    network = Network(resnet(channels=1, width=2), tacit.Spec(shape=(1, 8, 8), classes=10))
    source = Train(model=network, data=Drawing(), devices=devices, workers=given).real_source(network.spec, runtime)
    assert isinstance(source, Streamed)
    assert source.workers == expected
    with pytest.raises(tacit.InputError, match="workers: expected 0 or more, got -1"):
        Train(model=network, workers=-1)


def test_training_images_are_never_reported_as_evaluation(tmp_path: Path) -> None:
    network = Network(resnet(channels=1, width=2), tacit.Spec(shape=(1, 8, 8), classes=10))
    outcome = tacit.train(model=network, data=digits("train"), training=SHORT, out=tmp_path / "run")
    assert outcome.metrics["student_accuracy"] is None


def test_options_of_a_group_that_are_no_training_are_refused_at_once(tmp_path: Path, teacher_folder: Path) -> None:
    with pytest.raises(tacit.InputError, match=r"training: expected tacit\.Training\(steps=..., ...\), got a dict"):
        distil(tmp_path / "run", teacher_folder, training={"steps": 3})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seed", [0, 20241231, 2**40])
def test_any_seed_will_do(seed: int, tmp_path: Path, teacher_folder: Path) -> None:
    distil(tmp_path / "run", teacher_folder, seed=seed)
    network = Network(resnet(channels=1, width=2), tacit.Spec(shape=(1, 8, 8), classes=10))
    tacit.train(model=network, data="digits", training=SHORT, out=tmp_path / "train", seed=seed)


def test_a_budget_counts_the_first_samples_too_and_says_what_they_need(tmp_path: Path, teacher_folder: Path) -> None:
    with pytest.raises(tacit.InputError, match="went by before the student's first step"):
        distil(tmp_path / "run", teacher_folder, method=DeepInversion(steps=20, warmup=50, batch=64), max_seconds=0.001)
    with pytest.raises(tacit.InputError, match=r"1000 rounds come before the student's first step, and take about [\d,]+ of 2 s") as caught:
        distil(tmp_path / "long", teacher_folder, method=DeepInversion(steps=20, warmup=1000, batch=64), max_seconds=2)
    assert "give more with `--resume`" in str(caught.value)
    assert not (tmp_path / "long" / "model").exists()
    assert not (tmp_path / "run" / "model").exists()


def test_a_budget_ends_the_run_early_and_the_result_says_so(tmp_path: Path, teacher_folder: Path) -> None:
    outcome = distil(tmp_path / "run", teacher_folder, training=tacit.Training(steps=10**6, batch=16), max_seconds=1.0)
    assert 0.9 < sum(outcome.result["seconds"][kind] for kind in ("synthesis", "training")) < 4


def test_the_learning_rate_falls_from_the_students_first_step_however_long_the_first_samples_took(
    tmp_path: Path, teacher_folder: Path
) -> None:
    method, long = DeepInversion(steps=30, warmup=4, batch=64), tacit.Training(steps=10**6, batch=16, lr=0.1)
    outcome = distil(tmp_path / "run", teacher_folder, method=method, training=long, max_seconds=6.0, log_every=1)
    assert outcome.result["seconds"]["synthesis"] > 0.3, "the samples took a good part of the budget"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines if line["kind"] == "train"]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.01


def test_a_live_generator_needs_no_room_for_one_round_of_the_students_images(tmp_path: Path, teacher_folder: Path) -> None:
    once = RDSKD(batch=32, warmup=1, width=4, latent=8)
    made = tacit.synthesize(teacher=str(teacher_folder), method=once, images=50, max_images=20, out=tmp_path / "made")
    assert made.result["images_synthesized"] == 20


def test_painting_leaves_a_live_student_as_it_was(tmp_path: Path, teacher_folder: Path) -> None:
    student = Network(resnet(channels=1, width=2), tacit.load(teacher_folder).spec)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    tacit.synthesize(
        teacher=str(teacher_folder),
        student=student,
        method=DeepInversion(steps=1, batch=8),
        images=8,
        out=tmp_path / "run",
    )
    assert all(torch.equal(value, student.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize(("objective", "method", "words"), [
    ("ce=1", Gaussian(batch=8), "learns from labels"),
    ("ce=1", DFAD(batch=8, width=2, latent=4), "learns from labels"),
    ("kd=0", QUICK, "all weights are zero"),
    ("kd=nan", QUICK, "must be a number"),
])  # fmt: skip
def test_objectives_that_can_not_work_are_refused_before_any_work(
    objective: str, method: tacit.Method, words: str, tmp_path: Path, teacher_folder: Path
) -> None:
    with pytest.raises(tacit.InputError, match=words):
        distil(tmp_path / "run", teacher_folder, objective=objective, method=method)
    assert not (tmp_path / "run").exists()


class Plain(Noise):
    """Grey."""

    def sample(self, round: Round) -> torch.Tensor:
        return torch.full((round.images, *self.spec.shape), 0.5)


@dataclass(frozen=True, kw_only=True)
class Grey(Gaussian):
    """Images that are all alike."""

    def canvas(self, teacher: tacit.Teacher, generator: torch.Generator) -> Canvas:
        return Plain(teacher.spec)


def test_a_collapsed_or_one_sided_pool_is_said(tmp_path: Path, teacher_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = tacit.load(teacher_folder)
    outcome = tacit.synthesize(teacher=grey, method=Grey(batch=64), images=64, out=tmp_path / "run")
    assert len(outcome.metrics["warnings"]) == 2
    said = capsys.readouterr().err
    assert "the samples are all alike" in said
    assert "the teacher sees no sample of" in said


def test_options_that_do_not_touch_what_is_learned_may_change_on_resume(tmp_path: Path, teacher_folder: Path) -> None:
    distil(tmp_path / "run", teacher_folder, checkpoint_seconds=0)
    distil(tmp_path / "run", teacher_folder, checkpoint_seconds=5, log_every=3, resume=True)
    with pytest.raises(tacit.InputError, match="made with another training"):
        distil(tmp_path / "run", teacher_folder, training=tacit.Training(steps=7, batch=16), resume=True)


LIVE = DFAD(batch=16, width=4, latent=8, every=3)


def logged(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines if line["kind"] == kind]


@pytest.mark.parametrize("method", [LIVE, DeepInversion(steps=2, batch=32, warmup=1, every=4)], ids=lambda method: method.name)
def test_checks_change_nothing_that_is_learned(method: tacit.Method, tmp_path: Path, teacher_folder: Path) -> None:
    spec, long = tacit.load(teacher_folder).spec, tacit.Training(steps=12, batch=16)
    for name, checks in (("on", 5), ("off", 0)):
        torch.manual_seed(1)
        student = Network(Dropping(), spec)
        outcome = distil(
            tmp_path / name, teacher_folder, student=student, method=method, training=long, checks=checks, ema=0.9, log_every=1
        )
        assert (outcome.metrics["health"] is not None) == (checks > 0)
        assert outcome.result["seconds"]["evaluation"] > 0
    assert weights(tmp_path / "on") == weights(tmp_path / "off")
    assert logged(tmp_path / "on", "train") == logged(tmp_path / "off", "train")
    assert logged(tmp_path / "off", "health") == []
    health = [line for line in logged(tmp_path / "on", "health") if line["step"]]  # after the looks at the first samples
    assert [line["step"] for line in health] == [3, 5, 8, 10, 12]
    assert {"class_coverage", "teacher_confidence", "feature_distance", "duplicate_rate", "agreement_fresh", "kd_noise"} <= set(health[0])
    assert "agreement_old" in health[-1]


def test_what_is_selected_is_what_the_model_folder_and_the_student_hold(tmp_path: Path, teacher_folder: Path) -> None:
    spec, results = tacit.load(teacher_folder).spec, {}
    for select in ("last", "ema", "agreement"):
        torch.manual_seed(1)
        student = Network(resnet(channels=1, width=2), spec)
        options: dict[str, Any] = {"student": student, "method": LIVE, "training": tacit.Training(steps=40, batch=16), "data": "digits"}
        outcome = distil(tmp_path / select, teacher_folder, **options, select=select, ema=0.5, checks=8)
        kept = tacit.load(tmp_path / select / "model") if student.origin else student
        held = digits("test")
        with torch.no_grad():
            right = float((kept.eval()(held.images.float().div(255)).argmax(1) == held.labels).double().mean())
        results[select] = outcome.metrics
        wanted = outcome.metrics["student_accuracy" if select == "last" else "student_accuracy_selected"]
        assert right == pytest.approx(wanted)
    assert results["last"]["student_accuracy_selected"] is None
    assert len({metrics["student_accuracy"] for metrics in results.values()}) == 1
    assert len({metrics["student_accuracy_ema"] for metrics in results.values()}) == 1
    assert results["ema"]["student_accuracy_selected"] == results["ema"]["student_accuracy_ema"]
    assert results["agreement"]["best"]["step"] in range(5, 41, 5)
    assert len({weights(tmp_path / select) for select in results}) >= 2


def test_patience_ends_the_training_and_the_result_says_when(tmp_path: Path, teacher_folder: Path) -> None:
    still = tacit.Training(steps=40, batch=16, lr=0.0)
    outcome = distil(tmp_path / "run", teacher_folder, training=still, checks=20, patience=2, data="digits", evaluations=10)
    assert outcome.metrics["steps"] == 6  # the first check is the best, two more are no better
    assert outcome.result["selection"] == "last"
    evaluated = logged(tmp_path / "run", "evaluation")
    assert [line["step"] for line in evaluated] == [4, 6], "the curve ends where the training does"
    assert evaluated[-1]["student_accuracy"] == outcome.metrics["student_accuracy"]


def test_a_budget_of_images_ends_a_live_generators_training(tmp_path: Path, teacher_folder: Path) -> None:
    long = tacit.Training(steps=1000, batch=16)
    outcome = distil(tmp_path / "live", teacher_folder, method=LIVE, training=long, max_images=200, log_every=1)
    assert (outcome.metrics["steps"], outcome.result["images_synthesized"]) == (12, 192)
    rates = [line["lr"] for line in logged(tmp_path / "live", "train")]
    assert rates[0] == long.lr
    assert rates[-1] < 0.02 * long.lr  # the cosine ends with the images


def test_a_budget_of_images_lets_a_pool_teach_on(tmp_path: Path, teacher_folder: Path) -> None:
    method = DeepInversion(steps=1, batch=32, warmup=1, every=2)
    outcome = distil(
        tmp_path / "run", teacher_folder, method=method, training=tacit.Training(steps=10, batch=16), max_images=70, keep_images=40
    )
    assert (outcome.metrics["steps"], outcome.result["images_synthesized"], sum(outcome.metrics["class_counts"])) == (10, 64, 40)
    made = tacit.synthesize(teacher=str(teacher_folder), method=method, images=500, max_images=70, out=tmp_path / "made")
    assert made.result["images_synthesized"] == 64
    assert made.metrics["health"]["class_coverage"] > 0
    assert logged(tmp_path / "made", "health")[-1]["step"] == 2


@pytest.mark.parametrize(("options", "words"), [
    ({"max_images": 10}, "at least one round of DeepInversion, 32 images"),
    ({"method": LIVE, "keep_images": 10}, "keep_images: DFAD keeps no pool, its images are shown once"),
    ({"keep_images": 0}, "keep_images: expected at least 1"),
    ({"checks": 0, "patience": 1}, "patience: agreement is measured at the checks"),
    ({"method": None, "source": "data", "data": "digits", "select": "agreement"}, "select: agreement: no image is made"),
    ({"method": None, "source": "data", "data": "digits", "max_images": 100}, "max_images: no image is made"),
    ({"method": Gaussian(batch=8), "select": "agreement"}, "one image in 16 is held out"),
    ({"eval_split": "validation"}, "eval_split: it belongs to `source: data`"),
    ({"workers": 2}, "workers: it says who decodes real images"),
    ({"method": None, "source": "data", "data": "digits", "at_once": 4}, "at_once: it says how images are made, and none are made here"),
])  # fmt: skip
def test_budgets_and_selections_that_can_not_work_are_refused(
    options: dict[str, Any], words: str, tmp_path: Path, teacher_folder: Path
) -> None:
    with pytest.raises(tacit.InputError, match=words):
        distil(tmp_path / "run", teacher_folder, **options)
    assert not (tmp_path / "run").exists()


def test_training_can_hand_over_the_average(tmp_path: Path) -> None:
    found = {}
    for select in ("last", "ema"):
        torch.manual_seed(0)
        network = Network(resnet(channels=1, width=2), tacit.Spec(shape=(1, 8, 8), classes=10))
        found[select] = tacit.train(model=network, data="digits", training=SHORT, out=tmp_path / select, select=select, ema=0.5)
    assert found["ema"].result["selection"] == "ema"
    assert found["ema"].metrics["student_accuracy"] == found["last"].metrics["student_accuracy"]
    assert found["ema"].metrics["student_accuracy_selected"] == found["last"].metrics["student_accuracy_ema"]
    assert weights(tmp_path / "ema") != weights(tmp_path / "last")
    with pytest.raises(tacit.InputError, match="expected last or ema"):
        tacit.train(model=network, data="digits", out=tmp_path / "no", select="agreement")

"""`tacit quantize`, from the call and from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tacit
from tacit.cli import main
from tacit.core.batch import Batch
from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, Teacher
from tacit.core.norms import norm_layers
from tacit.core.spec import Spec
from tacit.data import ImageSet
from tacit.distill import Training
from tacit.distill.sources import Mixed
from tacit.quantize import Scheme, Simulated, adjust_norms
from tacit.quantize import plain as float_weights
from tacit.synthesize import BNS, CMI, DAFL, Gaussian, Inception, Method, Pool
from tacit.verbs.quantize import Quantize, _slow, _times
from tacit.verbs.samples import Samples, find_samples
from toy import BNNet, DictNet, GroupNet


class Unwritable(BNNet):
    """What it computes depends on the pixels in a way that no graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = super().forward(x if float(x.mean()) < 2 else x.flip(-1))
        return logits


@pytest.fixture
def rehearsed() -> None:
    """Asks for the trial export."""


@pytest.fixture(autouse=True)
def unrehearsed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the trial export before the work, which takes as long as the export after it, where a test does not ask for it."""
    if "rehearsed" not in request.fixturenames:
        monkeypatch.setattr("tacit.quantize.onnx.rehearse_onnx", lambda network: None)


QUICK: dict[str, Any] = {"method": BNS(batch=64, steps=15, lr=0.1, copies=0), "images": 64, "acceptance": 32, "device": "cpu"}


@pytest.mark.usefixtures("rehearsed")
def test_eight_bits_are_an_onnx_file_as_good_as_the_network(teacher_folder: Path, tmp_path: Path) -> None:
    outcome = tacit.quantize(model=teacher_folder, data="digits", out=tmp_path / "run", **QUICK)
    metrics = outcome.metrics
    assert metrics["student_accuracy"] >= metrics["teacher_accuracy"] - 0.015
    assert metrics["agreement_synthetic"] >= 0.85
    assert metrics["size_teacher_bytes"] / metrics["size_student_bytes"] > 2
    assert set(metrics["milliseconds"]["1"]) == {"torch", "float", "int8"}
    assert outcome.result["images_synthesized"] == 96
    assert tacit.load(tmp_path / "run" / "model.onnx").spec.names == tuple("0123456789")
    assert len(Pool.load(tmp_path / "run" / "pool")) == 64
    assert len(Pool.load(tmp_path / "run" / "acceptance")) == 32
    assert [one["name"] for one in metrics["baselines"]] == ["bf16", "weights only", "DFQ (Nagel)"]
    assert all(one["student_accuracy"] > metrics["teacher_accuracy"] - 0.03 for one in metrics["baselines"])
    assert metrics["baselines"][0]["bytes_in_float"] / metrics["baselines"][0]["bytes"] == pytest.approx(2.0, abs=0.01)
    assert 0 < metrics["similarity"]["BNS"]["divergence"] < 1
    assert outcome.text.startswith(f"{tmp_path / 'run' / 'model.onnx'}: W8A8, ")
    labels = [label for label, _ in outcome.rows]
    assert labels[:4] == ["scheme", "images", "accuracy, float", "accuracy, quantized"]
    assert labels[-1] == "file"


@pytest.mark.parametrize(
    ("given", "copies", "views"),
    [
        ({}, 0, "crops"),
        ({"scheme": Scheme(weights=4, activations=4)}, 0, "crops"),
        ({"scheme": Scheme(weights=4, activations=4), "freeze_bn": False}, 1, "shift"),
        ({"scheme": Scheme(weights=2, activations=4)}, 1, "shift"),
        ({"scheme": Scheme(weights=2, activations=4), "augmentation": "shift-flip"}, 1, "shift-flip"),
        ({"scheme": Scheme(weights=2, activations=4), "augmentation": "none"}, 0, "crops"),
        ({"scheme": Scheme(weights=2, activations=4), "freeze_bn": True}, 0, "crops"),
        ({"scheme": Scheme(weights=2, activations=4), "finetune": False}, 0, "crops"),
    ],
)
def test_images_are_painted_as_batch_norm_will_see_them(given: dict[str, Any], copies: int, views: str) -> None:
    method = Quantize(model="digits", **given).chosen_method(Teacher(BNNet(), Spec(shape=(1, 8, 8), classes=5)))
    assert isinstance(method, BNS)
    assert (method.copies, method.views) == (copies, views)


@pytest.mark.parametrize("scheme", [Scheme(), Scheme(weights=2, activations=4)])
def test_the_name_of_the_usual_method_means_its_usual_settings(scheme: Scheme) -> None:
    teacher, plain = Teacher(BNNet(), Spec(shape=(1, 8, 8), classes=5)), Teacher(GroupNet(), Spec(shape=(1, 8, 8), classes=7))
    usual = Quantize(model="digits", scheme=scheme)
    assert Quantize(model="digits", scheme=scheme, source="bns").chosen_method(teacher) == usual.chosen_method(teacher)
    assert Quantize(model="digits", scheme=scheme, source="Inception").chosen_method(teacher) == usual.chosen_method(plain)
    assert Quantize(model="digits", scheme=scheme, source="DAFL").chosen_method(teacher) == DAFL()


def test_a_network_without_feature_maps_is_fine_tuned_by_its_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 5))
    network = Network(flat, Spec(shape=(1, 8, 8), classes=5))
    options: dict[str, Any] = {**QUICK, "method": Gaussian(), "scheme": Scheme(weights=4, activations=4), "baselines": False}
    options["training"] = Training(steps=2, batch=16, optimizer="adam", lr=1e-4)
    tacit.quantize(model=network, out=tmp_path / "run", **options)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"loss/kd"' in lines
    assert "intermediate" not in lines
    with pytest.raises(InputError, match=r"objective: .* has no feature maps .*; `--objective kd=1` compares answers alone"):
        tacit.quantize(model=network, out=tmp_path / "maps", **{**options, "objective": "intermediate=1"})
    assert not (tmp_path / "maps" / "pool").exists()


def test_what_has_few_bits_already_is_not_quantized_again(teacher_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**QUICK, "method": Gaussian(), "baselines": False}
    file = tacit.quantize(model=teacher_folder, out=tmp_path / "a", **options)
    few = tacit.quantize(model=teacher_folder, out=tmp_path / "b", scheme=Scheme(weights=4, activations=4), finetune=False, **options)
    for verb in (tacit.quantize, tacit.prune):
        with pytest.raises(InputError, match=r"model\.onnx is run by an engine, so that its layers can't be reached"):
            verb(model=tmp_path / "a" / "model.onnx", out=tmp_path / "c")
        with pytest.raises(InputError, match="model: this network has few bits already"):
            verb(model=tmp_path / "b" / "model", out=tmp_path / "c")
    with pytest.raises(InputError, match="its layers can't be reached"):
        tacit.export(to="onnx", model=tmp_path / "a" / "model.onnx", out=tmp_path / "again.onnx")
    with pytest.raises(InputError, match=r"model\.onnx is run by an engine"):
        tacit.similarity(model=tmp_path / "a" / "model.onnx", sets=["digits"])
    assert file.text is not None
    assert few.text is not None
    assert " times smaller, " in file.text
    assert not (tmp_path / "c").exists()


def test_a_file_that_is_slower_or_larger_is_told() -> None:
    taken = {"1": {"torch": 2.0, "float": 4.0, "int8": 3.0}, "64": {"torch": 20.0, "float": 9.0, "int8": 10.0}}
    said = _slow({"file": "model.onnx", "milliseconds": taken}, [])
    assert said == {
        "slower than float": "model.onnx is slower than its engine in floating point in batches of 64: another engine may serve better",
        "slower than torch": "model.onnx is slower than torch in floating point in batches of 1: another engine may serve better",
    }
    assert _times(3.0, 2.0, "smaller", "larger") == "1.5 times smaller"
    assert _times(2.0, 4.0, "smaller", "larger") == "2.0 times larger"


def test_ranges_that_clip_other_images_are_told_without_data(teacher_folder: Path, tmp_path: Path) -> None:
    blurred = Inception(batch=64, steps=60, copies=1)  # so smooth, at 8x8, that they hardly excite the network
    options: dict[str, Any] = {"images": 64, "acceptance": 32, "baselines": False, "device": "cpu"}
    clipped = tacit.quantize(model=teacher_folder, out=tmp_path / "a", method=blurred, **options).metrics
    assert [text for text in clipped["warnings"] if text.startswith("on Gaussian noise the file names the network's class for")]
    sound = tacit.quantize(model=teacher_folder, out=tmp_path / "b", method=QUICK["method"], **options).metrics
    assert sound["acceptance_noise"]["cosine"] > 0.98 > clipped["acceptance_noise"]["cosine"]
    assert not [text for text in sound["warnings"] if text.startswith("on Gaussian noise")]


def test_what_is_calibrated_without_batch_norm_answers_as_before(teacher_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"images": 64, "acceptance": 32, "data": "digits", "baselines": False, "device": "cpu"}
    found = tacit.quantize(model=teacher_folder, out=tmp_path / "run", source="Inception", **options).metrics
    assert found["student_accuracy"] >= found["teacher_accuracy"] - 0.015
    assert len(set(Pool.load(tmp_path / "run" / "pool").columns["logits"].argmax(1).tolist())) >= 8


def test_fewer_bits_are_fine_tuned_and_kept_as_a_model_folder(teacher_folder: Path, tmp_path: Path) -> None:
    made = {"method": BNS(batch=64, steps=40, lr=0.1, copies=0), "images": 256}
    options: dict[str, Any] = {**QUICK, **made, "scheme": Scheme(weights=2, activations=2), "data": "digits"}
    training = Training(steps=150, batch=64, optimizer="adam", lr=2e-3, weight_decay=0.0)
    plain = tacit.quantize(model=teacher_folder, out=tmp_path / "plain", finetune=False, **options)
    tuned = tacit.quantize(model=teacher_folder, out=tmp_path / "tuned", training=training, mixup=0.0, **options)
    assert tuned.metrics["student_accuracy"] > plain.metrics["student_accuracy"] + 0.03
    before = tacit.load(teacher_folder)
    learned = dict(float_weights(tacit.load(tmp_path / "tuned"), before).named_parameters())
    assert not [name for name, weight in before.named_parameters() if torch.equal(weight, learned[name])]  # not the scales alone
    assert all(isinstance(tacit.load(tmp_path / name).model, Simulated) for name in ("plain", "tuned"))
    assert not (tmp_path / "tuned" / "model.onnx").exists()
    assert tuned.result["selection"] == "last"
    assert plain.result["selection"] is None
    assert tuned.metrics["size_student_bytes"] < tuned.metrics["size_teacher_bytes"] / 8
    lines = [json.loads(line) for line in (tmp_path / "tuned" / "metrics.jsonl").read_text().splitlines()]
    measured = [line["student_accuracy"] for line in lines if line["kind"] == "evaluation"]
    assert len(measured) == 10
    assert measured[-1] == tuned.metrics["student_accuracy"]


def test_fine_tuning_that_undoes_calibration_is_told(teacher_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**QUICK, "scheme": Scheme(weights=4, activations=4), "baselines": False}
    wild = Training(steps=20, batch=16, optimizer="sgd", lr=3.0, weight_decay=0.0)
    lost = tacit.quantize(model=teacher_folder, out=tmp_path / "lost", training=wild, **options)
    assert lost.metrics["agreement_synthetic"] < lost.metrics["agreement_calibrated"] - 0.1
    assert [text for text in lost.metrics["warnings"] if text.startswith("fine-tuning undid what calibration had")]
    calm = tacit.quantize(model=teacher_folder, out=tmp_path / "calm", training=replace(wild, optimizer="adam", lr=1e-4), **options)
    assert not [text for text in calm.metrics["warnings"] if text.startswith("fine-tuning undid")]


def test_eight_bits_can_be_fine_tuned_too(teacher_folder: Path, tmp_path: Path) -> None:
    training = Training(steps=3, batch=16, optimizer="adam", lr=1e-4)
    outcome = tacit.quantize(model=teacher_folder, out=tmp_path / "run", finetune=True, training=training, baselines=False, **QUICK)
    assert "baselines" not in outcome.metrics
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert outcome.metrics["agreement_synthetic"] >= 0.8


def test_a_stored_pool_and_real_images_serve_as_well(teacher_folder: Path, tmp_path: Path) -> None:
    made = tacit.synthesize(teacher=teacher_folder, out=tmp_path / "samples", method=QUICK["method"], images=64)
    assert made.folder is not None
    stored = tacit.quantize(
        model=teacher_folder, out=tmp_path / "a", source=str(made.folder), acceptance=100, device="cpu", baselines=False
    )
    assert (stored.metrics["method"], stored.metrics["acceptance"]["images"]) == ("BNS", 16)
    given: dict[str, Any] = {"source": "data", "data": "digits", "images": 100}
    real = tacit.quantize(model=teacher_folder, out=tmp_path / "b", device="cpu", baselines=False, **given)
    assert (real.metrics["method"], real.result["images_synthesized"]) == ("data", 0)
    assert real.metrics["student_accuracy"] >= 0.94
    assert not (tmp_path / "b" / "pool").exists()


@pytest.mark.parametrize("source", ["Gaussian", "a stored pool", "data"])
def test_images_of_the_acceptance_check_are_none_of_those_that_are_learned_from(
    source: str, teacher: Teacher, runtime: Runtime, tmp_path: Path
) -> None:
    images, place = torch.randint(256, (40, *teacher.spec.shape), generator=torch.Generator().manual_seed(0)), tmp_path / "pool"
    real = ImageSet(images.to(torch.uint8), torch.zeros(40, dtype=torch.long))
    pool = Pool(teacher.spec)
    pool.add(real.batch(torch.arange(40)))
    pool.save(place, {})
    given: dict[str, Any] = {"method": Gaussian(), "data": real, "split": "train", "images": 30, "fresh": 10, "seed": 0}
    found = find_samples(teacher, source=str(place) if source == "a stored pool" else source, runtime=runtime, clock=Clock(), **given)
    learned, fresh = ({image.numpy().tobytes() for image in one.columns["images"]} for one in (found.learned, found.fresh))
    assert (len(learned), len(fresh)) == (30, 10)
    assert not learned & fresh


def test_batch_norm_learns_where_the_images_carry_its_statistics_whoever_stored_them() -> None:
    pool = Pool(Spec(shape=(1, 8, 8), classes=10))

    def frozen(method: Method | None, **options: Any) -> bool:
        samples = Samples(learned=pool, fresh=pool, origin="", made=0, method=method.config() if method else None)
        return Quantize(model="x", **{"scheme": Scheme(weights=2, activations=4), **options}).freezes(samples)

    assert not any(map(frozen, (None, BNS(), CMI())))
    assert all(map(frozen, (Inception(), Gaussian(), DAFL(), BNS(bn=0.0))))
    assert frozen(BNS(), freeze_bn=True)
    assert frozen(BNS(), scheme=Scheme(weights=4, activations=4))
    assert not frozen(BNS(), scheme=Scheme(weights=4, activations=4), freeze_bn=False)


def test_a_pool_of_another_run_keeps_the_name_of_its_painter(teacher_folder: Path, tmp_path: Path) -> None:
    """Noise stays noise: batch norm must not learn on it, though the run's `method` is another."""
    first = tacit.quantize(
        model=teacher_folder, out=tmp_path / "a", source="Gaussian", images=64, acceptance=16, device="cpu", baselines=False
    )
    assert first.metrics["method"] == "Gaussian"
    scheme = Scheme(weights=4, activations=4)
    again = tacit.quantize(model=teacher_folder, out=tmp_path / "b", source=str(first.folder), scheme=scheme, finetune=False, device="cpu")
    assert (again.metrics["method"], again.metrics["images"]) == ("Gaussian", 48)
    assert isinstance(again.network, Network)
    assert isinstance(again.network.model, Simulated)
    assert again.network.model.freeze


def test_images_that_are_learned_from_measure_nothing(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="eval_split: the images of 'test' are learned from"):
        tacit.quantize(model=teacher_folder, out=tmp_path / "run", source="data", data="digits", split="test")


def test_a_model_that_gives_a_dict_is_quantized_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network(DictNet(), Spec(shape=(1, 8, 8), classes=5, output="logits"))
    outcome = tacit.quantize(model=network, out=tmp_path / "run", images=32, acceptance=16, device="cpu")
    assert tacit.load(tmp_path / "run" / "model.onnx")(torch.rand(2, 1, 8, 8)).shape == (2, 5)
    assert outcome.metrics["agreement_synthetic"] > 0.5


@pytest.mark.usefixtures("rehearsed")
def test_what_cannot_become_a_file_is_told_before_images_are_made(tmp_path: Path) -> None:
    network = Network(Unwritable(), Spec(shape=(1, 8, 8), classes=5))
    with pytest.raises(InputError, match="can't be written as ONNX"):
        tacit.quantize(model=network, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "pool").exists()


def test_what_cannot_be_quantized_is_told_before_images_are_made(tmp_path: Path) -> None:
    model = BNNet()
    torch.nn.utils.parametrizations.weight_norm(model.conv1)
    for weights in (4, 8):
        with pytest.raises(InputError, match="BNNet computes the weights of 'conv1' from others"):
            tacit.quantize(
                model=Network(model, Spec(shape=(1, 8, 8), classes=5)), out=tmp_path / "run", scheme=Scheme(weights=weights), device="cpu"
            )
        assert not (tmp_path / "run" / "pool").exists()


def test_a_run_goes_on_with_the_samples_that_it_made(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {**QUICK, "scheme": Scheme(weights=4, activations=4), "checkpoint_seconds": 0.0}
    training = Training(steps=12, batch=16, optimizer="adam", lr=1e-3)
    whole = tacit.quantize(model=teacher_folder, out=tmp_path / "whole", training=training, **options)
    from tacit.distill import Learner

    step = Learner.step

    def killed(self: Learner, progress: float | None = None) -> None:
        if self.done == 5:
            raise KeyboardInterrupt
        step(self, progress)

    monkeypatch.setattr(Learner, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        tacit.quantize(model=teacher_folder, out=tmp_path / "cut", training=training, **options)
    monkeypatch.setattr(Learner, "step", step)
    monkeypatch.setattr("tacit.verbs.compressing.find_samples", None)  # the same would be painted again
    again = tacit.quantize(model=teacher_folder, out=tmp_path / "cut", resume=True, training=training, **options)
    assert again.result["images_synthesized"] == whole.result["images_synthesized"] == 96
    assert whole.network is not None
    assert again.network is not None
    ours = again.network.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in whole.network.state_dict().items())


def test_fine_tuning_mixes_the_images_unless_mixup_is_0(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    class Noted(Mixed):
        def batch(self, step: int, rate: float = 1.0) -> Batch:
            shares.append(self.alpha)
            return super().batch(step, rate)

    monkeypatch.setattr("tacit.verbs.compressing.Mixed", Noted)
    options: dict[str, Any] = {"source": "Gaussian", "images": 16, "acceptance": 8, "baselines": False, "device": "cpu"}
    options |= {"model": teacher_folder, "scheme": Scheme(weights=4, activations=4), "training": Training(steps=2, batch=8)}
    tacit.quantize(out=tmp_path / "mixed", **options)
    assert shares == [0.5, 0.5]
    tacit.quantize(out=tmp_path / "plain", mixup=0.0, **options)
    assert shares == [0.5, 0.5]


def test_a_network_without_batch_norm_is_quantized_by_inception(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network(GroupNet(), Spec(shape=(1, 8, 8), classes=7))
    outcome = tacit.quantize(model=network, out=tmp_path / "run", images=64, acceptance=16, device="cpu")
    assert outcome.metrics["method"] == "Inception"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"images": 1}, "images: expected at least 2"),
        ({"acceptance": 0}, "acceptance: expected at least 1"),
        ({"mixup": -1.0}, "mixup: expected 0 or more"),
        ({"workers": 2}, "workers: it plays no part here, where 512 images are kept in memory: leave it out"),
        ({"select": "agreement"}, "select: fine-tuning makes no images"),
        ({"source": "nowhere"}, "source: nowhere is no method, no pool folder"),
        ({"source": "BNS", "method": Gaussian()}, "source: BNS, and method: Gaussian; choose one"),
        ({"scheme": Scheme(weights=4, activations=4), "engine": "openvino"}, "engine, target: no engine runs W4A4"),
        ({"scheme": Scheme(weights=4, activations=4), "target": "arm"}, "engine, target: no engine runs W4A4"),
        ({"scheme": Scheme(weights=4, activations=4), "objective": "crd=1,nothing=2"}, "no loss is called 'nothing'"),
        ({"source": "data"}, "data: say which images to calibrate with"),
    ],
)
def test_wrong_options_are_told_before_the_work(given: dict[str, Any], said: str, teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        tacit.quantize(model=teacher_folder, out=tmp_path / "run", **given)


def test_the_command_line_prints_the_table_or_the_result(teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["quantize", "--model", str(teacher_folder), "--method", "BNS", "--method.steps", "4", "--method.copies", "0", "--images", "64"]
    words += ["--acceptance", "16", "--scheme.weights", "4", "--scheme.activations", "4", "--training.steps", "2", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert "W4A4" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["scheme"]["weights"] == 4


def test_batch_norm_that_learned_is_told_once_more_what_it_reads(teacher_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**QUICK, "scheme": Scheme(weights=2, activations=4), "data": "digits", "baselines": False}
    training = Training(steps=30, batch=32, optimizer="adam", lr=2e-3, weight_decay=0.0)
    made = tacit.quantize(model=teacher_folder, out=tmp_path / "told", training=training, **options)
    assert made.network is not None
    images = Pool.load(tmp_path / "told" / "pool").columns["images"]
    stored = tacit.load(tmp_path / "told" / "model")
    before = {name: value.clone() for name, value in stored.model.state_dict().items() if isinstance(value, Tensor)}
    adjust_norms(stored, Teacher.of(tacit.load(teacher_folder)), images, Runtime("cpu", "32-true"))  # which changes nothing any more
    for name, value in stored.model.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(value, before[name], rtol=1e-4, atol=1e-5, msg=name)
    left = tacit.quantize(model=teacher_folder, out=tmp_path / "left", training=training, adjust_bn=False, **options)
    assert left.network is not None
    for ours, theirs in zip(norm_layers(made.network).values(), norm_layers(left.network).values(), strict=True):
        assert not torch.allclose(ours.get_buffer("running_var"), theirs.get_buffer("running_var"), rtol=1e-3)

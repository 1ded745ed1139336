"""A class a pixel, through the verbs: a teacher is trained on streets, students learn from it, and all is measured, shown and exported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tacit
from tacit.cli import main
from tacit.core.errors import InputError
from tacit.core.models import save
from tacit.core.network import Network, Origin
from tacit.core.palette import palette
from tacit.core.spec import Spec
from tacit.data import ImageSet, load_data, street
from tacit.synthesize import BNS, DFAD, Gaussian, Pool
from tacit.zoo import deeplab, lite_segmenter
from toy import QuarterNet

SIZE = (32, 32)
NAMES = street("test", 2, SIZE).names
SPEC = Spec(shape=(3, *SIZE), classes=11, mean=(0.45,) * 3, std=(0.23,) * 3, task="segmentation", names=NAMES)
SHORT: dict[str, Any] = {"device": "cpu", "precision": "32-true", "evaluations": 2, "log_every": 5}


def network(model: torch.nn.Module, spec: Spec = SPEC) -> Network:
    return Network(model, spec)


def student() -> Network:
    torch.manual_seed(1)
    return network(lite_segmenter(width=8))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tacit.Outcome:
    """A run of `tacit train`, on few streets."""
    kwargs = {"width": 8}
    torch.manual_seed(0)
    model = Network(deeplab(**kwargs), SPEC, origin=Origin(factory="tacit.zoo:deeplab", kwargs=kwargs))
    training = tacit.Training(steps=60, batch=16, lr=0.1)
    out = tmp_path_factory.mktemp("train") / "run"
    return tacit.train(model=model, data="street", out=out, training=training, augmentation="shift-flip", ema=0.9, **SHORT)


@pytest.fixture(scope="module")
def teacher(trained: tacit.Outcome) -> Network:
    assert trained.network is not None
    return trained.network


def test_a_teacher_is_trained_and_measured_by_mean_iou(trained: tacit.Outcome) -> None:
    found, folder = trained.metrics, trained.folder
    assert folder is not None
    assert found["student_miou"] > 0.15
    assert found["student_accuracy"] > 0.6
    assert found["student_miou"] == pytest.approx(np.mean([value for value in found["student_class_iou"] if value is not None]))
    assert found["student_miou_ema"] > 0
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in logged if line["kind"] == "evaluation"]
    assert [set(line) & {"student_miou", "student_miou_ema"} for line in measured] == [{"student_miou", "student_miou_ema"}] * 2
    rows = dict(trained.rows)
    assert re.fullmatch(r"\d+\.\d\d% of 500 images, last step", rows["mIoU"])
    assert rows.keys() >= {"pixel accuracy", "  of averaged weights"}


def test_pictures_of_image_truth_and_map_lie_beside_each_other(trained: tacit.Outcome) -> None:
    assert trained.folder is not None
    listed = json.loads((trained.folder / "samples" / "samples.json").read_text())["samples"]
    assert len(listed) == 12
    held = street("test", size=SIZE)
    first = listed[0]["maps"]
    assert list(first) == ["truth", "student"]
    with Image.open(trained.folder / "samples" / first["truth"]) as truth:
        assert np.array_equal(np.asarray(truth), held.labels[0].numpy()), "pixels are class numbers"
        shown = np.asarray(truth.convert("RGB"))
    assert tuple(shown[0, 0]) == palette(NAMES)[int(held.labels[0, 0, 0])]
    with Image.open(trained.folder / "samples" / listed[0]["file"]) as image:
        assert np.array_equal(np.asarray(image), held.images[0].permute(1, 2, 0).numpy())


def test_a_student_learns_pixel_by_pixel_from_real_images(teacher: Network, tmp_path: Path) -> None:
    training = tacit.Training(steps=40, batch=16, lr=0.05)
    options: dict[str, Any] = {"source": "data", "data": "street", "objective": "kd=1,ce=0.5", "training": training, **SHORT}
    outcome = tacit.distill(teacher=teacher, student=student(), out=tmp_path / "run", **options)
    found = outcome.metrics
    assert found["student_miou"] > 0.1
    assert found["teacher_miou"] > found["student_miou"]
    assert 0.4 < found["agreement"] <= 1
    assert len(found["teacher_class_iou"]) == len(found["student_class_iou"]) == 11
    assert sum(map(sum, found["confusion"])) == 500 * SIZE[0] * SIZE[1]
    page = (tacit.report(run_folder=tmp_path / "run").folder or tmp_path) / "report.html"
    text = page.read_text(encoding="utf-8")
    for said in (
        "Student mIoU",
        "Student pixel accuracy",
        "Mean IoU over time",
        "Intersection over union",
        "mean IoU; the teacher reaches",
    ):
        assert said in text, said
    assert text.count("<figcaption>truth</figcaption>") == text.count("<figcaption>student</figcaption>") == 12
    assert all(f"</span>{name}</li>" in text for name in NAMES)
    assert "rgb({}, {}, {})".format(*palette(NAMES)[3]) in text


def test_a_resumed_run_ends_with_the_same_weights(teacher: Network, tmp_path: Path) -> None:
    few = street("train", 64, SIZE)
    options: dict[str, Any] = {"teacher": teacher, "source": "data", "data": few, "augmentation": "shift-flip", "checkpoint_seconds": 0.0}
    options |= {**SHORT, "training": tacit.Training(steps=6, batch=8)}
    whole = tacit.distill(student=student(), out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        tacit.distill(student=Interrupted(student().model, SPEC), out=tmp_path / "parts", **options)
    again = tacit.distill(student=student(), out=tmp_path / "parts", resume=True, **options)
    assert whole.network is not None
    assert again.network is not None
    for key, value in whole.network.model.state_dict().items():
        assert torch.equal(value, again.network.model.state_dict()[key]), key


class Interrupted(Network):
    """Gives up at its fifth look at images it is to learn from."""

    looks = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.looks += self.training
        if self.looks == 5:
            raise KeyboardInterrupt
        return super().forward(images)


def test_a_network_of_ones_own_that_answers_with_a_dict_at_a_quarter_of_the_size_works_as_it_is(teacher: Network, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = QuarterNet(classes=11)
    spec = Spec(shape=(3, *SIZE), classes=11, task="segmentation", output="out", upsample="bilinear")
    few = street("train", 64, SIZE)
    options: dict[str, Any] = {"source": "data", "data": few, "training": tacit.Training(steps=4, batch=16), **SHORT}
    first = tacit.distill(teacher=teacher, student=Network(own, spec), out=tmp_path / "student", **options)
    assert first.network is not None
    assert first.network.model is own
    second = tacit.distill(teacher=Network(own, spec), student=student(), out=tmp_path / "teacher", **options)
    assert second.metrics["params_teacher"] == sum(p.numel() for p in own.parameters())
    told = tacit.evaluate(teacher=teacher, student=Network(own, spec), data="street")
    assert dict(told.rows).keys() >= {"teacher mIoU", "teacher pixel accuracy", "student mIoU", "agreement"}


def test_classes_that_do_not_fit_are_refused_before_any_work(teacher: Network, tmp_path: Path) -> None:
    wrong = Spec(shape=(3, *SIZE), classes=12, task="segmentation")
    with pytest.raises(InputError, match="the data have 11 classes a pixel can be of, the model 12"):
        tacit.train(model=Network(deeplab(classes=12, width=8), wrong), data="street", out=tmp_path / "run")
    masks = ImageSet(torch.zeros(2, 3, *SIZE, dtype=torch.uint8), torch.full((2, *SIZE), 11, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"masks hold values from 11 to 11, the model has 11 classes"):
        tacit.train(model=network(deeplab(width=8)), data=masks, out=tmp_path / "run")
    with pytest.raises(InputError, match="the student's classes must be the teacher's: expected 11, got 12"):
        tacit.distill(teacher=teacher, student=Network(lite_segmenter(classes=12, width=8), wrong), source="data", data="street")
    assert not (tmp_path / "run").exists()


def test_images_that_have_nothing_to_do_with_it_can_be_learned_from_without_their_labels(teacher: Network, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "source": "data",
        "unlabelled": True,
        "eval_split": None,
        "training": tacit.Training(steps=3, batch=8),
        **SHORT,
    }
    for name in ("textures", "street@other"):
        outcome = tacit.distill(teacher=teacher, student=student(), data=name, out=tmp_path / name, **options)
        assert outcome.metrics["student_accuracy"] is None
    with pytest.raises(InputError, match="which takes one label a pixel"):
        tacit.distill(teacher=teacher, student=student(), source="data", data="textures", out=tmp_path / "labelled")


@pytest.fixture(scope="module")
def made(teacher: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a pool of images made for the teacher."""
    out = tmp_path_factory.mktemp("made") / "run"
    tacit.synthesize(teacher=teacher, method=Gaussian(batch=16, warmup=1), images=40, out=out, device="cpu", precision="32-true")
    return out


def test_a_pool_keeps_what_the_teacher_names_in_8_bits_and_no_logits(teacher: Network, made: Path) -> None:
    pool = Pool.load(made / "pool")
    assert {name: (column.dtype, tuple(column.shape)) for name, column in pool.columns.items()} == {
        "images": (torch.uint8, (40, 3, *SIZE)),
        "seen": (torch.uint8, (40, *SIZE)),
        "confidence": (torch.float32, (40,)),
    }
    with torch.no_grad():
        logits = teacher.eval()(pool.columns["images"].float().div(255))
    assert torch.equal(pool.columns["seen"].long(), logits.argmax(dim=1))
    torch.testing.assert_close(pool.columns["confidence"], logits.softmax(dim=1).amax(dim=1).mean(dim=(1, 2)))
    assert pool.batch(torch.arange(3)).logits is None
    counted = [int((pool.columns["seen"] == label).flatten(1).any(dim=1).sum()) for label in range(11)]
    assert pool.class_counts == counted
    listed = json.loads((made / "samples" / "samples.json").read_text())["samples"]
    assert [list(entry["maps"]) for entry in listed] == [["teacher"]] * 12
    assert "Label maps" in (tacit.report(run_folder=made).folder / "report.html").read_text()  # type: ignore[operator]


def test_a_student_learns_from_a_stored_pool(teacher: Network, made: Path, tmp_path: Path) -> None:
    training = tacit.Training(steps=4, batch=8)
    outcome = tacit.distill(
        teacher=teacher, student=student(), source=str(made), data="street", out=tmp_path / "run", training=training, **SHORT
    )
    assert outcome.metrics["student_miou"] is not None
    listed = json.loads((tmp_path / "run" / "samples" / "samples.json").read_text())["samples"]
    assert list(listed[0]["maps"]) == ["teacher", "student"]


def test_an_exported_pool_is_read_by_hugging_face_and_by_us(made: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    tacit.export(to="imagefolder", source=made, out=tmp_path / "set")
    pool = Pool.load(made / "pool")
    found = load_data(str(tmp_path / "set"), "train", SPEC)
    assert isinstance(found, ImageSet)
    assert found.names == NAMES
    assert torch.equal(found.images, pool.columns["images"])
    assert torch.equal(found.labels, pool.columns["seen"])
    rows = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "set"), split="train")
    assert len(rows) == 40
    assert np.array_equal(np.asarray(rows[7]["mask"]), pool.columns["seen"][7].numpy())


def test_an_onnx_file_answers_every_pixel_with_the_upsampling_inside(teacher: Network, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    own = Network(QuarterNet(classes=11), Spec(shape=(3, *SIZE), classes=11, task="segmentation", output="out", upsample="bilinear"))
    few = street("test", 6, SIZE)
    for name, model in (("teacher", teacher), ("own", own)):
        tacit.export(to="onnx", model=model, out=tmp_path / f"{name}.onnx")
        again = tacit.load(tmp_path / f"{name}.onnx").check()
        images = few.images.float().div(255)
        with torch.no_grad():
            whole = model.eval()(images)
        assert again(images).shape == (6, 11, *SIZE)
        torch.testing.assert_close(again(images), whole, rtol=1e-3, atol=1e-4)
        scores = [tacit.evaluate(student=one, data=few).metrics["student_miou"] for one in (model, tmp_path / f"{name}.onnx")]
        assert scores[0] == pytest.approx(scores[1], abs=2e-3)


def test_the_command_line_evaluates_and_writes_pictures(teacher: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kwargs = {"width": 8}
    save(Network(teacher.model, SPEC, origin=Origin(factory="tacit.zoo:deeplab", kwargs=kwargs)), tmp_path / "model")
    assert main(["evaluate", str(tmp_path / "model"), "--data", "street", "--out", str(tmp_path / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found["student_miou"] > 0.15
    assert len(list((tmp_path / "run" / "samples").glob("*-student.png"))) == 12
    assert main(["evaluate", str(tmp_path / "model"), "--data", "digits"]) == 2
    assert "the images have shape [1, 8, 8], the model expects [3, 32, 32]" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["quantize", "prune"])
def test_a_network_is_made_smaller_from_images_without_any_class(verb: str, teacher: Network, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime" if verb == "quantize" else "torch_pruning")
    save(Network(teacher.model, SPEC, origin=Origin(factory="tacit.zoo:deeplab", kwargs={"width": 8})), tmp_path / "model")
    given: dict[str, dict[str, Any]] = {"quantize": {"baselines": False}, "prune": {"training": tacit.Training(steps=2, batch=8)}}
    options = given[verb]
    method = BNS(batch=16, steps=4, lr=0.1, copies=0)
    options |= {"data": "street", "method": method, "images": 16, "acceptance": 8}
    chosen = getattr(tacit, verb)(model=tmp_path / "model", out=tmp_path / "run", **options)
    assert "targets" not in Pool.load(tmp_path / "run" / "pool").columns
    assert len(chosen.metrics["student_class_iou"]) == len(chosen.metrics["class_names"]) == 11
    page = tacit.report(run_folder=tmp_path / "run").folder
    assert page is not None
    assert "mean IoU" in (page / "report.html").read_text()


def test_methods_that_want_a_class_an_image_are_refused_and_one_that_does_not_runs(teacher: Network, tmp_path: Path) -> None:
    found = tacit.inspect(teacher=teacher, steps=1).result
    can = {name for name, said in found["methods"].items() if said["usable"]}
    assert can == {"DeepInversion", "AdaptiveDeepInversion", "FastDFKD", "DFAD", "BNS", "Gaussian"}
    assert found["methods"]["CMI"]["reason"] == "makes images of one class each, and this teacher names a class for every pixel"
    with pytest.raises(InputError, match="CMI makes images of one class each, and this teacher names a class for every pixel"):
        tacit.distill(teacher=teacher, student=student(), source="CMI", out=tmp_path / "refused")
    method, training = DFAD(batch=8, width=8, every=2), tacit.Training(steps=4, batch=8, lr=0.01)
    outcome = tacit.distill(
        teacher=teacher, student=student(), method=method, data="street", out=tmp_path / "run", training=training, checks=2, **SHORT
    )
    assert outcome.metrics["student_miou"] is not None
    assert 0 <= outcome.metrics["agreement_synthetic"] <= 1
    assert 0 < outcome.metrics["health"]["class_coverage"] <= 1
    listed = json.loads((tmp_path / "run" / "samples" / "samples.json").read_text())["samples"]
    assert list(listed[0]["maps"]) == ["teacher", "student"], "synthetic images, never those of the evaluation data"

"""Cross-modal distillation from the command line: a teacher of one view, a student of another, what is measured, and what is refused."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sights
import tacit
from tacit.cli import main
from tacit.core.errors import InputError
from tacit.core.models import ModelRef, save
from tacit.core.network import Network, Origin
from tacit.core.spec import Spec
from tacit.data import digits, find_modality, load_data
from tacit.data.modalities import ViewsLike
from tacit.data.rendered.solids import IMAGES, solids
from tacit.distill import Learner
from tacit.synthesize import Gaussian
from tacit.zoo import resnet

STUDENT = ("--student", "tacit.zoo:resnet", "--student.kwargs", '{"channels": 1, "width": 8}')
CRD = ("--objective", "[{loss: crd, negatives: 1024, width: 64}]", "--unlabelled")
SHORT = ("--training.batch", "64", "--log_every", "1", "--precision", "32-true")


def network(channels: int, *, size: int = 8, classes: int = 10, width: int = 2) -> Network:
    torch.manual_seed(0)
    kwargs: dict[str, Any] = {"depth": 8, "channels": channels, "width": width, "classes": classes}
    return Network(
        resnet(**kwargs), Spec(shape=(channels, size, size), classes=classes), origin=Origin(factory="tacit.zoo:resnet", kwargs=kwargs)
    )


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


def distil(teacher: Path, out: Path, *words: str, steps: int = 4, student: tuple[str, ...] = STUDENT) -> int:
    shared = ["--teacher", str(teacher), *student, "--source", "data", "--data", "digits", "--views", "grey-edges"]
    return main(["distill", *shared, *SHORT, "--training.steps", str(steps), "--out", str(out), *words])


@pytest.fixture(scope="module")
def taught(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which a student of edges learned, without labels, from the teacher of grey digits."""
    out = tmp_path_factory.mktemp("cross-modal") / "student"
    assert distil(teacher_folder, out, *CRD, steps=200) == 0
    return out


def test_a_student_of_edges_learns_without_labels_what_tells_digits_apart(taught: Path, teacher_folder: Path, tmp_path: Path) -> None:
    found = result(taught)["metrics"]
    assert found["teacher_accuracy"] > 0.95, "the teacher was measured on grey digits, as it was trained"
    assert yaml.safe_load((taught / "config.yaml").read_text())["views"] == "grey-edges"
    untaught = network(1, width=8)
    save(untaught, tmp_path / "untaught")
    probed = {}
    for name, folder in (("taught", taught), ("untaught", tmp_path / "untaught")):
        assert (
            main(
                [
                    "evaluate",
                    str(folder),
                    "--probe",
                    "digits",
                    "--view",
                    "edges",
                    "--labels",
                    "20",
                    "--out",
                    str(tmp_path / f"probe-{name}"),
                ]
            )
            == 0
        )
        probed[name] = result(tmp_path / f"probe-{name}")["metrics"]["probe"]["student"]["accuracy"]
    assert probed["taught"] > probed["untaught"] + 0.08


def test_each_network_is_measured_on_its_own_view(taught: Path, teacher_folder: Path, tmp_path: Path) -> None:
    held = digits("test")
    pixels = held.images.float().div(255)
    wanted = {
        role: float((tacit.load(folder).eval()(find_modality(view)(pixels)).argmax(dim=1) == held.labels).double().mean())
        for role, folder, view in (("teacher", teacher_folder, "grey"), ("student", taught, "edges"))
    }
    first = result(taught)["metrics"]
    words = ["--teacher", str(teacher_folder), "--student", str(taught), "--data", "digits", "--views", "grey-edges", "--probe", "digits"]
    assert main(["evaluate", *words, "--out", str(tmp_path / "both")]) == 0
    both = result(tmp_path / "both")["metrics"]
    for role in ("teacher", "student"):
        assert first[f"{role}_accuracy"] == pytest.approx(wanted[role], abs=0.004)
        assert both[f"{role}_accuracy"] == first[f"{role}_accuracy"]
    assert both["agreement"] == first["agreement"]
    assert both["probe"]["teacher"]["accuracy"] > 0.95
    assert main(["evaluate", str(taught), "--data", "digits", "--view", "edges", "--out", str(tmp_path / "one")]) == 0
    assert result(tmp_path / "one")["metrics"]["student_accuracy"] == first["student_accuracy"]
    assert main(["evaluate", str(taught), "--data", "digits", "--out", str(tmp_path / "wrong")]) == 0
    assert result(tmp_path / "wrong")["metrics"]["student_accuracy"] != first["student_accuracy"], "without the view it sees something else"


def test_a_run_with_views_has_a_report(taught: Path) -> None:
    assert main(["report", str(taught)]) == 0
    assert "grey-edges" in (taught / "report.html").read_text()


def test_a_resumed_run_ends_with_the_very_same_weights(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    always = (*CRD, "--checkpoint-seconds", "0", "--augmentation", "shift-flip")
    assert distil(teacher_folder, whole, *always, steps=8) == 0
    taken = Learner.step

    def killed(self: Learner, progress: float | None = None) -> None:
        if self.done == 5:
            raise KeyboardInterrupt
        taken(self, progress)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step", killed)
        with contextlib.suppress(KeyboardInterrupt):
            distil(teacher_folder, broken, *always, steps=8)
    assert not (broken / "result.json").exists()
    assert distil(teacher_folder, broken, *always, "--resume", steps=8) == 0
    assert weights(broken) == weights(whole)


def test_labels_teach_beside_the_teacher_where_they_are_shown(teacher_folder: Path, tmp_path: Path) -> None:
    assert distil(teacher_folder, tmp_path / "run", "--objective", "ce=1,crd=0.8,kd=1") == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/ce", "loss/crd", "loss/kd"} <= lines[0].keys()


def test_luminance_teaches_chrominance_on_pictures_in_colour_from_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    from PIL import Image

    draw = torch.Generator().manual_seed(0)
    for split, label, number in ((s, c, n) for s in ("train", "test") for c in ("a", "b") for n in range(6)):
        (tmp_path / "set" / split / label).mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(256, (8, 8, 3), generator=draw, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / "set" / split / label / f"{number}.png")
    train = ["--model", "tacit.zoo:resnet", "--model.kwargs", '{"channels": 1, "width": 2, "classes": 2}']
    train += ["--model.shape", "[1, 8, 8]", "--model.classes", "2", "--view", "luminance", "--data", str(tmp_path / "set")]
    assert main(["train", *train, "--training.steps", "2", "--training.batch", "6", "--out", str(tmp_path / "teacher")]) == 0
    student = ["--student", "tacit.zoo:resnet", "--student.kwargs", '{"channels": 2, "width": 2, "classes": 2}']
    words = ["--teacher", str(tmp_path / "teacher"), *student, "--source", "data", "--data", str(tmp_path / "set")]
    words += ["--views", "luminance-chrominance", "--objective", "crd=1", "--training.steps", "2", "--training.batch", "6"]
    assert main(["distill", *words, "--out", str(tmp_path / "student")]) == 0
    assert tacit.load(tmp_path / "student").spec.shape == (2, 8, 8)
    assert result(tmp_path / "student")["metrics"]["evaluation_images"] == 12
    view = ["--view", "chrominance", "--probe", str(tmp_path / "set"), "--data", str(tmp_path / "set")]
    assert main(["evaluate", str(tmp_path / "student"), *view]) == 0


def test_pictures_in_colour_teach_depth_on_the_rendered_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 40), ("test", 20)):
        monkeypatch.setitem(IMAGES, split, count)
    solids.cache_clear()
    short = tacit.Training(steps=2, batch=16)
    teacher = tacit.train(model=network(3, size=32), data="solids", view="rgb", training=short, out=tmp_path / "teacher")
    assert teacher.metrics["student_accuracy"] is not None
    outcome = tacit.distill(
        teacher=str(tmp_path / "teacher"),
        student=network(1, size=32),
        source="data",
        data="solids",
        views="rgb-depth",
        objective="crd=1,at=1000",
        training=short,
        out=tmp_path / "student",
    )
    assert outcome.metrics["evaluation_images"] == 20
    held = load_data("solids", "test")
    assert not isinstance(held, str)
    depth = next(iter(held.batches(20))).images[:, 3:]
    student = tacit.load(tmp_path / "student").eval()
    labels = next(iter(held.batches(20))).targets
    assert labels is not None
    assert outcome.metrics["student_accuracy"] == pytest.approx(float((student(depth).argmax(dim=1) == labels).double().mean()))
    solids.cache_clear()


def test_an_unlabelled_set_may_have_classes_of_its_own(tmp_path: Path) -> None:
    student = ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2, "classes": 4})
    options: dict[str, Any] = {"teacher": network(1, classes=4), "student": student, "source": "data", "data": "digits"}
    options |= {"training": tacit.Training(steps=2, batch=16), "eval_split": None}
    with pytest.raises(InputError, match="labels run from 0 to 9, the model has 4 classes"):
        tacit.distill(**options, out=tmp_path / "labelled")
    found = tacit.distill(**options, unlabelled=True, out=tmp_path / "unlabelled").metrics
    assert found["steps"] == 2
    with pytest.raises(InputError, match="learns from labels"):
        tacit.distill(**options, unlabelled=True, objective="ce=1", out=tmp_path / "wrong")


def test_views_of_ones_own_are_found_by_import_path_or_given(tmp_path: Path) -> None:
    teacher, student = (Network(resnet(channels=1, width=2), Spec(shape=(1, 8, 4), classes=10)) for _ in range(2))
    options: dict[str, Any] = {"teacher": teacher, "student": student, "source": "data", "data": "digits", "objective": "crd=1"}
    options |= {"training": tacit.Training(steps=2, batch=16)}
    given: list[ViewsLike] = ["sights:SIDES", sights.SIDES, (sights.LEFT, sights.LEFT), "sights:LEFT-sights:LEFT"]
    for number, views in enumerate(given):
        assert tacit.distill(**options, views=views, out=tmp_path / str(number)).metrics["evaluation_images"] == 540


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--views", "luminance-edges"),
            r"have shape \[1, 8, 8\], .* \(view luminance: \[1, 8, 8\] is seen of images of shape \[3, 8, 8\]\)",
        ),
        (("--views", "full-small2"), r"the student's shape must be that of its view \(small2\): expected \(1, 4, 4\), got \(1, 8, 8\)"),
        (("--views", "grey-lowe"), "views: no view is called 'lowe'; did you mean 'low'"),
        (("--views", "grey"), "expected the teacher's view and the student's, as luminance-chrominance, got 'grey'"),
        (
            ("--source", "Gaussian"),
            "views: it belongs to `source: data`, got Gaussian: images made from a teacher are what that teacher sees",
        ),
        (("--method", "Gaussian"), "a method were both given"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: tuple[str, ...], message: str, teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(network(1), tmp_path / "student")
    assert distil(teacher_folder, tmp_path / "run", *words, student=("--student", str(tmp_path / "student"))) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))
    assert not (tmp_path / "run").exists()


def test_a_student_that_is_not_built_for_its_view_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    luminance = network(1)
    with pytest.raises(InputError, match=r"that of its view \(chrominance\): expected \(2, 8, 8\), got \(1, 8, 8\)"):
        tacit.distill(
            teacher=luminance, student=network(1), source="data", data="digits", views="luminance-chrominance", out=tmp_path / "a"
        )
    with pytest.raises(InputError, match=r"the student's shape must be the teacher's: expected \(1, 8, 8\), got \(2, 8, 8\)"):
        tacit.distill(teacher=luminance, student=network(2), source="data", data="digits", out=tmp_path / "b")
    with pytest.raises(InputError, match="unlabelled: it belongs to `source: data`, got no source"):
        tacit.distill(teacher=luminance, student=network(1), unlabelled=True, out=tmp_path / "c")
    with pytest.raises(InputError, match=r"view luminance: expected a model for images of shape \[1, 8, 8\], got one for \[3, 8, 8\]"):
        tacit.train(model=network(3), data="digits", view="luminance", out=tmp_path / "d")


def test_views_that_evaluate_can_not_use_are_refused(taught: Path, teacher_folder: Path, tmp_path: Path) -> None:
    both: dict[str, Any] = {"teacher": str(teacher_folder), "student": str(taught), "data": "digits"}
    with pytest.raises(InputError, match="view: each network's own view is given by `views`; leave out one"):
        tacit.evaluate(**both, view="grey", views="grey-edges")
    with pytest.raises(InputError, match="view: the images of a pool are what its teacher sees already"):
        tacit.evaluate(teacher=str(teacher_folder), pool=tmp_path, view="grey")


def test_inspect_shows_the_layers_of_networks_of_different_views() -> None:
    teacher, student = network(3, size=16), network(3, size=8)
    said = tacit.inspect(teacher=teacher, student=student, views="full-small2", steps=0).result
    shapes = [(pair["teacher"]["shape"], pair["student"]["shape"]) for pair in said["matched"]]
    assert shapes[0] == ([2, 16, 16], [2, 8, 8])
    assert shapes[-1] == ([8], [8])
    with pytest.raises(InputError, match=r"that of its view \(small4\)"):
        tacit.inspect(teacher=teacher, student=student, views="full-small4", steps=0)


def test_samples_made_from_a_teacher_of_two_channels_can_be_looked_at(tmp_path: Path) -> None:
    tacit.synthesize(teacher=network(2), method=Gaussian(batch=16), images=16, out=tmp_path / "run")
    report = tacit.report(run_folder=tmp_path / "run").folder
    assert report is not None
    assert "data:image/png" in (report / "report.html").read_text()
    tacit.export(to="imagefolder", source=tmp_path / "run", out=tmp_path / "exported")
    assert len(list((tmp_path / "exported").rglob("*.png"))) == 16

"""`tacit evaluate` of a pool: what is measured, what is refused, what repeats."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import tacit
from tacit.cli import main
from tacit.core.batch import Batch
from tacit.core.errors import InputError
from tacit.core.models import model_hash, save
from tacit.core.network import Network, Origin
from tacit.core.spec import Spec
from tacit.data import ImageSet, digits
from tacit.evaluate import linear_probe
from tacit.synthesize import Gaussian, Pool
from tacit.zoo import resnet

FEATURES = 32


@pytest.fixture(scope="module")
def noise(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of 96 images of noise."""
    folder = tmp_path_factory.mktemp("pools") / "noise"
    tacit.synthesize(teacher=str(teacher_folder), method=Gaussian(batch=32), images=96, out=folder)
    return folder


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory, teacher_network: Network) -> Path:
    """Another network for the same images, not trained."""
    folder, kwargs = tmp_path_factory.mktemp("models") / "judge", {"channels": 1, "width": 4}
    torch.manual_seed(3)
    save(Network(resnet(**kwargs), teacher_network.spec, origin=Origin(factory="tacit.zoo:resnet", kwargs=kwargs)), folder)
    return folder


def stored(folder: Path, teacher: Network, images: torch.Tensor, *, sha256: str = "another", logits: torch.Tensor | None = None) -> Path:
    pool = Pool(teacher.spec)
    pool.add(Batch(images.float() / 255, None, logits))
    pool.save(folder, {"teacher_sha256": sha256})
    return folder


def measured(teacher: Path, pool: Path, **options: Any) -> dict[str, Any]:
    return tacit.evaluate(teacher=str(teacher), pool=pool, **options).metrics


def test_the_command_line_prints_and_records_all_measures(
    noise: Path, teacher_folder: Path, judge_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "evaluate",
        "--teacher",
        teacher_folder,
        "--pool",
        noise,
        "--judge",
        judge_folder,
        "--data",
        "digits",
        "--out",
        tmp_path / "run",
    ]
    assert main(list(map(str, words))) == 0
    printed = capsys.readouterr().out
    for words_of in ("teacher accuracy", "images by class", "near-duplicates", "distance, judge", "fidelity, teacher", "Fréchet"):
        assert words_of in printed
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    found = result["metrics"]
    assert (found["pool_images"], sum(found["class_counts"])) == (96, 96)
    assert found["classes_covered"] == sum(1 for count in found["class_counts"] if count)
    assert 0 <= found["class_entropy"] <= math.log(10)
    assert 0.1 < found["teacher_confidence"] <= 1
    assert found["duplicate_rate"] == 0
    assert found["teacher_accuracy"] >= 0.95
    for name, images in (("diversity", 96), ("diversity_data", 540), ("fidelity", 96)):
        assert set(found[name]) == {"images", "teacher", "judge"}
        assert found[name]["images"] == images
        assert found[name]["teacher"] != found[name]["judge"]
    assert found["fidelity"]["teacher"]["coverage"] < 0.6, "noise is not like digits"
    assert all(found["fidelity"][role]["frechet"] > 0 for role in ("teacher", "judge"))
    assert result["seconds"]["evaluation"] > 0
    assert tacit.report(run_folder=tmp_path / "run").folder is not None


def test_real_images_in_a_pool_are_as_faithful_as_can_be(tmp_path: Path, teacher_folder: Path, teacher_network: Network) -> None:
    held = digits("test")
    images = torch.cat([held.images, held.images[:54]])
    found = measured(teacher_folder, stored(tmp_path / "pool", teacher_network, images[:540]), data="digits")
    faithful = found["fidelity"]["teacher"]
    assert (faithful["precision"], faithful["recall"], faithful["coverage"]) == (1, 1, 1)
    assert faithful["frechet"] == pytest.approx(0, abs=1e-4)
    assert found["diversity"] == found["diversity_data"]
    assert found["duplicate_rate"] == 0
    twice = measured(teacher_folder, stored(tmp_path / "twice", teacher_network, images))
    assert twice["duplicate_rate"] == pytest.approx(108 / 594)


def test_without_data_and_judge_only_the_pool_is_measured(noise: Path, teacher_folder: Path) -> None:
    found = measured(teacher_folder, noise)
    assert set(found["diversity"]) == {"images", "teacher"}
    assert [found[name] for name in ("fidelity", "diversity_data", "judge_agreement", "teacher_accuracy")] == [None] * 4
    assert found["params_teacher"] > 0
    assert "evaluation_images" not in found


def test_figures_repeat_and_depend_on_the_seed_of_the_draw_alone(noise: Path, teacher_folder: Path, judge_folder: Path) -> None:
    one, again, other = (
        measured(teacher_folder, noise, judge=str(judge_folder), data="digits", sample=40, seed=seed) for seed in (0, 0, 1)
    )
    assert one == again
    assert one["diversity"] != other["diversity"]
    assert one["fidelity"] != other["fidelity"]
    assert one["class_counts"] == other["class_counts"]
    assert (one["diversity"]["images"], one["fidelity"]["images"]) == (40, 40)


@pytest.mark.parametrize("own", [True, False])
def test_stored_answers_count_only_if_they_are_this_teachers(own: bool, tmp_path: Path, teacher_folder: Path) -> None:
    teacher = tacit.load(teacher_folder)
    claimed = torch.zeros(20, 10)
    claimed[:, 7] = 9.0
    pool = stored(tmp_path / "pool", teacher, digits("test").images[:20], sha256=model_hash(teacher) if own else "another", logits=claimed)
    assert (measured(teacher_folder, pool)["class_counts"][7] == 20) == own


def test_a_judge_is_asked_whether_it_sees_the_teachers_classes(noise: Path, teacher_folder: Path, judge_folder: Path) -> None:
    assert measured(teacher_folder, noise, judge=str(teacher_folder))["judge_agreement"] > 0.98
    assert measured(teacher_folder, noise, judge=str(judge_folder))["judge_agreement"] < 0.6
    stranger = Network(resnet(8, classes=3, channels=1, width=4), Spec(shape=(1, 8, 8), classes=3))
    found = measured(teacher_folder, noise, judge=stranger)
    assert found["judge_agreement"] is None
    assert found["diversity"]["judge"]["euclidean"] > 0


def test_too_few_images_leave_out_what_they_can_not_tell_and_say_so(
    tmp_path: Path, teacher_folder: Path, teacher_network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = stored(tmp_path / "pool", teacher_network, digits("test").images[:FEATURES])
    found = measured(teacher_folder, pool, data="digits")
    assert found["fidelity"]["teacher"]["precision"] > 0.8
    assert found["fidelity"]["teacher"]["frechet"] is None
    assert "no Fréchet distance by the teacher" in found["warnings"][-1]
    assert "it takes more images than features (32), got 32" in capsys.readouterr().err
    few = digits("test")
    found = measured(teacher_folder, pool, data=ImageSet(few.images[:5], few.labels[:5]))
    assert found["fidelity"] is None
    assert "fidelity was not measured" in found["warnings"][-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"teacher": None, "student": "teacher"}, "teacher: a pool is measured by the features"),
        ({"pool": None, "judge": "teacher", "data": "digits"}, "judge: it measures a pool"),
        ({"pool": None}, "data: say which images to measure on"),
        ({"student": "teacher"}, "data: say which images to measure on"),
        ({"sample": 1}, "sample: expected at least 2 images, got 1"),
        ({"pool": Path("nowhere")}, r"pool: nowhere is no pool folder, nor a run folder with one: expected a pool\.json"),
        (
            {"judge": Network(resnet(), Spec(shape=(3, 8, 8), classes=10))},
            r"judge: expected .* \[1, 8, 8\], got one for \[3, 8, 8\]",
        ),
    ],
)
def test_what_can_not_be_measured_is_refused(options: dict[str, Any], words: str, noise: Path, teacher_folder: Path) -> None:
    named: dict[str, Any] = {"teacher": "teacher", "pool": noise, **options}
    given: dict[str, Any] = {name: str(teacher_folder) if value == "teacher" else value for name, value in named.items()}
    with pytest.raises(InputError, match=words):
        tacit.evaluate(**given)


def test_an_empty_pool_and_one_of_other_images_are_refused(tmp_path: Path, teacher_folder: Path, teacher_network: Network) -> None:
    Pool(teacher_network.spec).save(tmp_path / "empty", {})
    with pytest.raises(InputError, match="empty holds no images"):
        measured(teacher_folder, tmp_path / "empty")
    other = Network(resnet(8, channels=3), Spec(shape=(3, 8, 8), classes=10))
    stored(tmp_path / "colour", other, torch.zeros(4, 3, 8, 8))
    with pytest.raises(InputError, match="was made for images"):
        measured(teacher_folder, tmp_path / "colour")


def test_without_a_pool_all_is_as_it_was(teacher_folder: Path) -> None:
    outcome = tacit.evaluate(teacher=str(teacher_folder), student=str(teacher_folder), data="digits")
    assert [label for label, _ in outcome.rows] == [
        "images", "teacher accuracy", "teacher parameters", "student accuracy", "student parameters", "agreement",
    ]  # fmt: skip
    assert outcome.metrics["agreement"] == 1
    assert sum(map(sum, outcome.metrics["confusion"])) == outcome.metrics["evaluation_images"] == 540
    assert not {"diversity", "fidelity", "pool_images", "warnings"} & set(outcome.metrics)


def test_a_probe_reads_what_a_frozen_network_sees(teacher_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(teacher_folder), "--probe", "digits", "--labels", "20", "--tap", "stages.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["probe"]["student"]
    assert (found["images"], found["features"]) == (200, 16)
    assert 0.6 < found["accuracy"] <= 1
    assert found["converged"] is True


def test_the_table_says_that_a_probe_was_not_found_and_its_penalty_can_be_chosen(
    teacher_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, plain = [], linear_probe

    def noted(*args: Any, **options: Any) -> Any:
        asked.append(options["strength"])
        return plain(*args, **options)

    monkeypatch.setattr("tacit.verbs.evaluate.linear_probe", noted)
    monkeypatch.setattr("tacit.evaluate.probe.STEPS", 1)
    for words in ([], ["--strength", "0.5"]):
        assert main(["evaluate", str(teacher_folder), "--probe", "digits", "--labels", "5", *words]) == 0
    assert asked == [1.0, 0.5]
    assert capsys.readouterr().out.count("; not converged: a smaller `--strength` is found sooner") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--labels", "5", "--data", "digits"], "labels: it belongs to `probe`, which is not given"),
        (["--probe", "digits", "--labels", "0"], "labels: expected at least 1 image a class"),
        (["--strength", "5", "--data", "digits"], "strength: it belongs to `probe`, which is not given"),
        (["--probe", "digits", "--strength", "0"], "strength: expected a positive number, got 0.0"),
        (["--probe", "digits", "--tap", "stagess.1"], "no module is called 'stagess.1'"),
        (["--probe", "digits", "--split", "train"], "split: the probe learns from 'train', so that 'train' can't measure it"),
        (["--probe", "digits", "--split", "test+train[:9]"], "so that 'test+train[:9]' can't measure it"),
    ],
)
def test_wrong_probes_are_told(words: list[str], said: str, teacher_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(teacher_folder), *words]) != 0
    assert said in capsys.readouterr().err


def test_a_probe_is_not_measured_on_the_images_that_it_learned_from(teacher_folder: Path) -> None:
    with pytest.raises(InputError, match="probe: expected a set that has splits by name, got one without"):
        tacit.evaluate(student=str(teacher_folder), probe=digits())

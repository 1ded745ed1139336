"""`tacit similarity`: the measure against torch's own divergences, its bias, and the order that it gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.distributions import Normal, kl_divergence

import tacit
from tacit.cli import main
from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.evaluate.divergence import bn_divergence, set_divergence
from tacit.synthesize import Pool
from tacit.verbs.similarity import _of_bns
from toy import GroupNet


def test_the_measure_is_the_mean_divergence_of_normal_distributions(teacher: Teacher, runtime: Runtime) -> None:
    shown = digits("test").images[:150]
    images = shown.float().div(255)
    with Probe(teacher, bn=True) as look:
        stats = look(images).bn
    layers = [kl_divergence(Normal(s.mean, s.var.sqrt()), Normal(s.running_mean, s.running_var.sqrt())).mean() for s in stats]
    normalised = (images - teacher.mean) / teacher.std
    inputs = Normal(normalised.mean(dim=(0, 2, 3)), normalised.var(dim=(0, 2, 3), correction=0).sqrt())
    layers.append(kl_divergence(inputs, Normal(torch.zeros(1), torch.ones(1))).mean())
    wanted = float(torch.stack(layers).mean())
    for size in (32, 64, 256):
        assert bn_divergence(teacher, shown, runtime, size=size) == pytest.approx(wanted, rel=1e-4)


def test_few_images_look_farther_away_and_the_bias_is_taken_out(teacher: Teacher, runtime: Runtime) -> None:
    images = digits("train").images
    few, many = (set_divergence(teacher, images, runtime, at=at) for at in (32, 200))
    assert few.divergence > 1.3 * many.divergence
    assert abs(few.debiased - many.divergence) < abs(few.divergence - many.divergence)
    assert (few.samples, many.samples, few.images) == (5, 5, 32)
    assert few.sd is not None
    with pytest.raises(InputError, match="images: expected at least 2000 images, got"):
        set_divergence(teacher, images, runtime, at=2000)


def test_real_images_are_nearest_and_noise_farthest(teacher_folder: Path, tmp_path: Path) -> None:
    found = tacit.similarity(model=teacher_folder, sets=["uniform", "Gaussian", "digits"], images=128, out=tmp_path / "run")
    ranked = found.metrics["similarity"]
    assert list(ranked) == ["digits", "Gaussian", "uniform"]
    assert ranked["digits"]["divergence"] < 0.3 * ranked["Gaussian"]["divergence"]
    assert (tmp_path / "run" / "result.json").is_file()


def test_the_command_line_takes_the_model_first(teacher_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similarity", str(teacher_folder), "uniform", "digits", "--images", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["digits", "uniform"]
    assert "nats at n = 64" in lines[0]


def test_only_divergences_have_a_unit(teacher_folder: Path) -> None:
    found = tacit.similarity(model=teacher_folder, sets=["uniform"], images=8, direction="mse")
    assert " at n = 8 (1 sample)" in found.rows[0][1]
    assert "nats" not in found.rows[0][1]


def test_what_bns_painted_is_noted_whether_it_is_made_or_read(teacher_folder: Path, teacher_network: Network, tmp_path: Path) -> None:
    for name, method in (("own", "tacit.synthesize.BNS"), ("other", "tacit.synthesize.Gaussian")):
        pool = Pool(teacher_network.spec)
        pool.add(Batch(torch.rand(8, *teacher_network.spec.shape)))
        pool.save(tmp_path / name / "pool", {"method": {"class_path": method, "init_args": {}}})
    own, other = str(tmp_path / "own"), str(tmp_path / "other")
    for sets, noted in (([own, other, "uniform"], [own]), ([other, "uniform"], [])):
        rows = tacit.similarity(model=teacher_folder, sets=sets, images=8).rows
        said = [f"BNS minimises this very number, so that the rank of {word} says nothing" for word in noted]
        assert [text for name, text in rows if name == "note"] == said
    assert [_of_bns(word) for word in ("BNS", "bns", "DFAD", "uniform", "digits")] == [True, True, False, False, False]


def test_what_cannot_be_measured_is_refused(teacher_folder: Path) -> None:
    for sets, said in (([], "give the model"), (["digits", "digits"], "each is to be given once"), (["nowhere"], "nowhere")):
        with pytest.raises(InputError, match=said):
            tacit.similarity(model=teacher_folder, sets=sets)
    with pytest.raises(InputError, match="images: expected at least 4, got 3"):
        tacit.similarity(model=teacher_folder, sets=["uniform"], images=3)
    with pytest.raises(InputError, match="no folder, and no method, called 'Gausian'; did you mean 'Gaussian'"):
        tacit.similarity(model=teacher_folder, sets=["Gausian"])
    with pytest.raises(InputError, match="sets: digits holds 540 images, and 600 are compared: say `--images 540`"):
        tacit.similarity(model=teacher_folder, sets=["digits"], images=600)
    with pytest.raises(InputError, match="remembers nothing to compare with"):
        tacit.similarity(model=Network(GroupNet(), Spec(shape=(1, 8, 8), classes=7)), sets=["uniform"])

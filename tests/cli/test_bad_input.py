"""Bad input of any kind: one line that a stranger can act on, exit code 2, before long work, nothing left half written."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tacit.core.models import import_object

Command = Callable[..., tuple[int, str, str]]
USER = ("--teacher", "usermodels:Answering", "--teacher.shape", "[3, 48, 40]", "--teacher.classes", "5", "--teacher.output", "out")


def refused(said: tuple[int, str, str], *parts: str) -> None:
    code, out, err = said
    assert code == 2, (out, err)
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("tacit: ")
    for part in parts:
        assert part in err, err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--teacher", "nowhere"), ("nowhere", "no such folder")),
        (("--teacher", "usermodels:Answerin", "--teacher.shape", "[3,48,40]", "--teacher.classes", "5"), ("did you mean 'Answering'",)),
        (("--teacher", "nomodule:x", "--teacher.shape", "[3,48,40]", "--teacher.classes", "5"), ("can't import 'nomodule'",)),
        (("--teacher", "usermodels:not_a_model", "--teacher.shape", "[3,48,40]", "--teacher.classes", "5"), ("expected an nn.Module",)),
        (("--teacher", "usermodels:Answering"), ("shape and classes",)),
        ((*USER, "--teacher.kwargs.widht", "3"), ("widht",)),
        ((*USER[:-2],), ("dict with the keys", "'out'", "output")),
        ((*USER[:-2], "--teacher.output", "oot"), ("'oot'", "'out'")),
        ((*USER, "--teacher.classes", "6"), ("expected logits of shape [2, 6]", "got [2, 5]")),
        ((*USER, "--teacher.shape", "[1, 48, 40]"), ("can't take images of shape [1, 48, 40]",)),
        ((*USER, "--teacher.shape", "[3, 48]"), ("teacher.shape",)),
        ((*USER, "--teacher.shape", "[3, 0, 40]"), ("positive",)),
        ((*USER, "--teacher.mean", "[0.5, 0.5]"), ("mean: expected 3 values", "got 2")),
        ((*USER, "--teacher.std", "[0.5, 0.5, 0]"), ("std: expected positive",)),
        ((*USER, "--method", "DeepInversoin"), ("no method is called 'DeepInversoin'", "did you mean 'DeepInversion'")),
        ((*USER, "--method", "DFAD"), ("DFAD paints against a student",)),
        ((*USER, "--method", "DeepInversion", "--method.setps", "3"), ("method: no option is called 'setps'", "did you mean 'steps'")),
        ((*USER, "--method", "DeepInversion", "--method.steps", "-3"), ("DeepInversion.steps: expected at least 1, got -3",)),
        ((*USER, "--method", "DeepInversion", "--method.batch", "0"), ("DeepInversion.batch: expected at least 1, got 0",)),
        ((*USER, "--method", "DeepInversion", "--method.lr", "fast"), ("lr", "fast")),
        ((*USER, "--images", "0"), ("images: expected at least 1, got 0",)),
        ((*USER, "--imags", "3"), ("no option is called --imags", "did you mean 'images'")),
        ((*USER, "--seed", "-1"), ("seed: expected 0 or more",)),
        ((*USER, "--device", "cuda"), ("device",)),
        ((*USER, "stray"), ("unexpected word 'stray'",)),
        ((*USER, "--config", "missing.yaml"), ("can't read missing.yaml",)),
    ],
)
def test_synthesize_refuses(command: Command, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    refused(command("synthesize", "--out", "run", *words), *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--objective", "kdd=1"), ("no loss is called 'kdd'", "did you mean 'kd'")),
        (("--objective", "kd=much"), ("weight of kd must be a number",)),
        (("--training.steps", "0"), ("training.steps: expected at least 1, got 0",)),
        (("--training.stesp", "3"), ("training.stesp", "did you mean 'training.steps'")),
        (("--student.classes", "4"), ("got [2, 5]",)),
        (("--student.kwargs.classes", "4", "--student.classes", "4"), ("the student's classes must be the teacher's: expected 5, got 4",)),
        (("--data", "usermodels:bad_labels"), ("labels run from 0 to 8", "5 classes")),
        (("--data", "empty"), ("holds no images",)),
        (("--data", "digits", "--split", "tset"), ("split: digits has 'train' and 'test'",)),
        (("--data", "digits"), ("images have shape [1, 8, 8]", "[3, 48, 40]")),
        (("--source", "nothing"), ("no pool folder",)),
        (("--source", "DFAD", "--method", "Gaussian"), ("choose one",)),
        (("--method", "MSKD", "--method.batch", "1"), ("MSKD.batch: expected at least 2, got 1",)),
        (("--method", "DeepInversion", "--method.jitter", "-0.5"), ("DeepInversion.jitter: expected 0 or more, got -0.5",)),
        (("--method", "usermodels.Bright"), ("method: can't use usermodels.Bright: module 'usermodels' has no attribute 'Bright'",)),
        (("--method", "nowhere.Bright"), ("method: can't use nowhere.Bright: No module named 'nowhere'",)),
        (("--method", "usermodels.Answering"), ("method: expected a class made of tacit's Method, got usermodels.Answering",)),
        (("--method", "usermodels:Answering"), ("named with a dot, as usermodels.Answering",)),
        (("--method", "usermodels.Unmakeable"), ("usermodels.Unmakeable can't be made: no such thing",)),
        (("--method", "DFAD", "--method.lr", "abc"), ("method.lr: expected a number, got abc",)),
        (("--student.shape", "[24, 40]"), ("student.shape: expected a list of 3, got [24, 40]",)),
        (("--max-seconds", "0"), ("max_seconds: expected more than 0",)),
        (("--max-seconds", "soon"), ("max_seconds: expected a number or null, got soon",)),
        (("--select", "best"), ("select: expected one of 'last', 'ema', 'agreement', got best",)),
        (("--cache_teacher", "perhaps"), ("cache_teacher: expected true or false or null, got perhaps",)),
        (("--training.milestones", "half"), ("training.milestones: expected a list, got half",)),
    ],
)
def test_distill_refuses(command: Command, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    student = ("--student", "usermodels:Answering", "--student.kwargs.width", "4", "--student.output", "out")
    refused(command("distill", "--out", "run", *USER, *student, *words), *parts)
    assert not (tmp_path / "run").exists()


def test_unknown_keys_of_a_config_are_refused_with_the_nearest_name(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("imagse: 3\n")
    refused(command("synthesize", *USER, "--config", "a.yaml"), "'imagse'", "did you mean 'images'")
    (tmp_path / "b.yaml").write_text("method:\n  class_path: DeepInversion\n  init_args:\n    stepps: 3\n")
    refused(command("synthesize", *USER, "--config", "b.yaml"), "method: no option is called 'stepps'", "did you mean 'steps'")
    (tmp_path / "c.yaml").write_text("a: [")
    refused(command("synthesize", *USER, "--config", "c.yaml"), "not YAML")


def weights(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    save_file(import_object("usermodels:Answering")().state_dict(), path)
    return path


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch evil-ran",)


def test_weights_that_are_missing_truncated_or_of_another_model_are_refused(command: Command, tmp_path: Path) -> None:
    path = weights(tmp_path)
    inspect = ("inspect", *USER, "--steps", "1")
    assert command(*inspect, "--teacher.weights", path)[0] == 0
    refused(command(*inspect, "--teacher.weights", "gone.pt"), "no weights at gone.pt")
    whole = path.read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(command(*inspect, "--teacher.weights", "half.safetensors"), "half.safetensors is truncated")
    torch.save(load_file(path), tmp_path / "whole.pt")
    assert command(*inspect, "--teacher.weights", "whole.pt")[0] == 0
    (tmp_path / "half.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:400])
    refused(command(*inspect, "--teacher.weights", "half.pt"), "half.pt")
    with (tmp_path / "evil.pt").open("wb") as file:
        pickle.dump(Evil(), file)
    refused(command(*inspect, "--teacher.weights", "evil.pt"), "never unpickles")
    assert not (tmp_path / "evil-ran").exists()
    renamed = {f"{key}.old": value for key, value in load_file(path).items()}
    save_file(renamed, tmp_path / "renamed.safetensors")
    refused(command(*inspect, "--teacher.weights", "renamed.safetensors"), "lacks body.0.weight, body.0.bias, body.1.weight", "and 4 more")
    refused(command(*inspect, "--teacher.weights", path, "--teacher.kwargs.width", "9"), "body.0.weight has shape [8, 3, 3, 3]")
    broken = load_file(path)
    broken["head.weight"][0, 0] = float("nan")
    save_file(broken, tmp_path / "nan.safetensors")
    refused(command(*inspect, "--teacher.weights", "nan.safetensors"), "NaN", "'head.weight'")


def test_an_output_folder_that_is_taken_is_refused_and_left_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused(command("synthesize", *USER, "--out", "mine"), "not empty", "--resume", "--overwrite")
    refused(command("synthesize", *USER, "--out", "mine", "--overwrite"), "was not written by tacit")
    refused(command("synthesize", *USER, "--out", "mine/thesis.txt"), "is a file")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    quick = ("synthesize", *USER, "--method", "Gaussian", "--method.batch", "4", "--images", "8")
    assert command(*quick, "--out", "run")[0] == 0
    refused(command(*quick, "--out", "run"), "not empty")
    assert command(*quick, "--out", "run", "--overwrite")[0] == 0
    refused(command(*quick, "--out", "run", "--resume", "--images", "9"), "made with another images")


def test_an_output_folder_that_can_not_be_written_to_is_refused(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: "locked" not in str(path))
    refused(command("synthesize", *USER, "--out", "locked/run"), "out: locked is not writable")
    assert not list((tmp_path / "locked").iterdir())


def test_a_file_in_the_way_of_the_output_folder_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(command("synthesize", *USER, "--out", "file/run"), "out: file is a file, expected a folder")


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["tacit", *sys.argv[2:]]
runpy.run_module("tacit.cli", run_name="__main__")
"""


def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_survives(
    tmp_path: Path, command: Command, environment: dict[str, str]
) -> None:
    def limited(size: int, *words: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", LIMITED, str(size), *words]
        return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False, env=environment)

    noise = ("synthesize", *USER, "--method", "Gaussian", "--method.batch", "8", "--checkpoint-seconds", "0")
    full = limited(1500, *noise, "--images", "64", "--out", "run")
    assert full.returncode == 2, full.stderr
    assert len(full.stderr.strip().splitlines()) == 1
    assert "can't write" in full.stderr
    assert command(*noise, "--images", "24", "--out", "part")[0] == 0
    checkpoint = tmp_path / "part" / "checkpoint" / "state.pt"
    before = checkpoint.read_bytes()
    again = limited(len(before) - 100, *noise, "--images", "24", "--out", "part", "--resume")
    assert again.returncode == 2, again.stderr
    assert "can't write" in again.stderr
    assert checkpoint.read_bytes() == before
    assert torch.load(checkpoint, weights_only=True)["pool"]["made"] == 24

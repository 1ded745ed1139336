"""Fake run folders, and a browser to look at their reports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from tacit.core.run import METRICS

__all__ = ["Browser"]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=2000",
]


@dataclass(frozen=True)
class Browser:
    """A headless Chromium; each call has a profile of its own."""

    program: str
    folder: Path

    def __call__(self, *flags: str, page: Path) -> str:
        profile = self.folder / f"profile-{len(list(self.folder.iterdir()))}"
        command = [self.program, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        return done.stdout.decode()


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Chromium or Chrome; skips where there is none, fails if TACIT_REQUIRE_BROWSER=1."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        reason = "no chromium, chromium-browser or google-chrome on the PATH"
        if os.environ.get("TACIT_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Browser(program, tmp_path_factory.mktemp("browser"))


def _result(verb: str, **metrics: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "verb": verb,
        "seed": 7,
        "seconds": {"synthesis": 21.4, "training": 16.2, "evaluation": 0.4, "total": 38.0},
        "images_synthesized": 2048,
        "peak_memory_mb": 412.3,
        "peak_cuda_memory_mb": None,
        "device": "cpu",
        "precision": "fp32",
        "versions": {"python": "3.11.9", "tacit": "0.1.0", "torch": "2.13.0"},
        "selection": "last",
        "metrics": {**dict.fromkeys(METRICS), **metrics},
    }


def _run(
    folder: Path,
    verb: str = "distill",
    *,
    config: dict[str, Any] | None = None,
    log: Sequence[dict[str, Any]] = (),
    samples: Sequence[tuple[Any, int, float]] = (),
    result: bool = True,
    **metrics: Any,
) -> Path:
    """Write a run folder; every part that is not given stays away."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(f"# tacit run: {verb}\n" + yaml.safe_dump(config or {"seed": 7}, sort_keys=False))
    if result:
        (folder / "result.json").write_text(json.dumps(_result(verb, **metrics)))
    if log:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    if samples:
        (folder / "samples").mkdir()
        listed = []
        for index, (pixels, label, confidence) in enumerate(samples):
            name = f"{label:03d}-{index:02d}.png"
            Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(folder / "samples" / name)
            listed.append({"file": name, "class": label, "confidence": confidence})
        (folder / "samples" / "samples.json").write_text(json.dumps({"samples": listed}))
    return folder


def _log(end: float, steps: int, parts: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return a log of `steps` lines of each kind, with an accuracy that ends at `end`."""
    draw, lines = np.random.default_rng(0), []
    for step in range(1, steps + 1):
        done, noise = step / steps, float(draw.normal(0, 0.05))
        when = {"step": step * 10, "seconds": round(37.2 * done, 2)}
        if parts:
            values = {
                f"loss/{name}": (2.3 / (index + 1)) * np.exp(-4 * done * (1 + index)) * (1 + noise) for index, name in enumerate(parts)
            }
            lines.append({"kind": "synthesis", **when, "step": step, **values, "loss": sum(values.values())})
            if step % (steps // 20 or 1) == 0:
                shares = {
                    "class_coverage": min(1.0, 0.3 + done),
                    "teacher_confidence": 0.5 + 0.4 * done,
                    "duplicate_rate": 0.02 * (1 - done),
                }
                agree = {"agreement_fresh": 0.2 + 0.7 * done, "agreement_old": 0.3 + 0.65 * done, "agreement_noise": 0.1 + 0.2 * done}
                lines.append({"kind": "health", **when, **shares, **agree, "feature_distance": 4.1 + done, "kd_noise": 1.0})
        kd = 1.9 * np.exp(-3 * done) * (1 + noise) + 0.05
        lines.append({"kind": "train", **when, "loss": kd, "loss/kd": kd, "lr": 0.1 * (1 - done)})
        if step % (steps // 12 or 1) == 0:
            accuracy = min(1.0, end * (1 - np.exp(-5 * done)) / (1 - np.exp(-5)))
            lines.append({"kind": "evaluation", **when, "student_accuracy": accuracy, "agreement": min(1.0, accuracy + 0.006)})
    return lines


@pytest.fixture
def run() -> Callable[..., Path]:
    """A function that writes a fake run folder."""
    return _run


@pytest.fixture
def log() -> Callable[..., list[dict[str, Any]]]:
    """A function that makes up a log."""
    return _log


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A whole demo folder, with all that the contract of a run folder names."""
    digits, draw = load_digits(), np.random.default_rng(1)
    confusion = np.diag(draw.integers(48, 56, 10))
    for row, column in ((8, 1), (8, 1), (8, 3), (3, 9), (9, 5), (4, 7), (1, 8), (8, 1)):
        confusion[row, column] += 1
    samples = []
    for label in range(10):
        for picture in digits.images[digits.target == label][:5]:
            noisy = np.clip(picture * 15 + draw.normal(0, 22, picture.shape), 0, 255)
            samples.append((noisy, label, float(draw.uniform(0.86, 0.999))))
    folder = _run(
        tmp_path / "demo",
        "demo",
        config={
            "seed": 7,
            "device": "cpu",
            "method": {"class_path": "tacit.synthesize.cmi.CMI", "init_args": {"contrast": 0.8}},
            "steps": 1200,
        },
        teacher_accuracy=0.9815,
        student_accuracy=0.9630,
        agreement=0.9722,
        params_teacher=77_754,
        params_student=6_106,
        size_teacher_bytes=319_432,
        size_student_bytes=27_244,
        method="CMI",
        confusion=confusion.tolist(),
        class_counts=[210, 198, 220, 188, 205, 214, 196, 230, 171, 216],
        class_confidence=[0.98, 0.93, 0.97, 0.95, 0.96, 0.97, 0.98, 0.96, 0.89, None],
        student_class_accuracy=[1.0, 0.963, 1.0, 0.945, 0.96, 0.98, 1.0, 0.981, 0.906, 0.944],
        baselines=[{"name": "Same student on Gaussian noise", "student_accuracy": 0.412}],
        warnings=["Class 8 was made less often than the others."],
    )
    _run(folder / "teacher-run", "train", log=[line for line in _log(0.98, 60) if line["kind"] == "train"], student_accuracy=0.9815)
    _run(folder / "synthetic", "distill", log=_log(0.963, 120, ("ce", "bn", "contrast")), samples=samples, student_accuracy=0.963)
    _run(folder / "noise", "distill", log=_log(0.412, 120), student_accuracy=0.412)
    return folder


def _maps(folder: Path, *, side: int = 8, images: int = 2, who: tuple[str, ...] = ("teacher", "student")) -> Path:
    """Write pictures as the verbs do: the map of image n is class n everywhere, of a palette of black, red and green."""
    (folder / "samples").mkdir(parents=True)
    listed = []
    for number in range(images):
        Image.fromarray(np.full((side, side, 3), 40 * number, dtype=np.uint8)).save(folder / "samples" / f"{number}.png")
        files = {name: f"{number}-{name}.png" for name in who}
        for file in files.values():
            picture = Image.new("P", (side, side), number)
            picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
            picture.save(folder / "samples" / file)
        listed.append({"file": f"{number}.png", "class": None, "confidence": None, "maps": files})
    (folder / "samples" / "samples.json").write_text(json.dumps({"samples": listed}))
    return folder


@pytest.fixture
def dense(run: Callable[..., Path], tmp_path: Path) -> Path:
    """A run of a segmentation student."""
    folder = run(
        tmp_path / "dense",
        log=[{"kind": "evaluation", "step": n, "seconds": n, "student_miou": n / 10, "student_accuracy": 0.2} for n in (1, 2, 3)],
        config={"seed": 7, "source": "data"},
        class_names=["sky", "road", "car"],
        teacher_miou=0.61, student_miou=0.523, teacher_accuracy=0.91, student_accuracy=0.87, agreement=0.9,
        teacher_class_iou=[0.9, 0.8, 0.13], student_class_iou=[0.8, 0.75, None], student_class_accuracy=[0.9, 0.9, None],
        confusion=[[900, 100, 0], [10, 990, 0], [3, 3, 0]], evaluation_images=5, params_teacher=100, params_student=10,
    )  # fmt: skip
    return _maps(folder)


@pytest.fixture
def maps() -> Callable[..., Path]:
    """A function that writes label maps into a run folder."""
    return _maps


@pytest.fixture
def federation(run: Callable[..., Path], tmp_path: Path) -> Path:
    """A run of two federated algorithms on one split, as `tacit federate` leaves it; the second lost some answers."""
    counts = [[120, 0, 6], [0, 30, 0], [1, 40, 250]]
    names = ["cat", "dog", "cow"]
    folder = run(
        tmp_path / "fed", "federate", config={"seed": 7, "held": 0.1}, algorithm="FedGen", class_names=names, student_accuracy=0.91
    )
    for name, end, letter in (("FedAvg", 0.8, 1_000_000), ("FedGen", 0.91, 2_000_000)):
        lines: list[dict[str, Any]] = []
        for step in (1, 2, 3, 4):
            when = {"step": step, "seconds": 1.5 * step}
            lines.append({"kind": "round", **when, "took": 1.5, "replies": 2, "bytes_down": letter, "bytes_up": 500_000})
            lines.append({"kind": "train", **when, "loss": 2.0 / step})
            lines.append({"kind": "evaluation", **when, "student_accuracy": end * step / 4})
            if name == "FedGen" and step != 3:
                lines.append({"kind": "dropped", "step": step, "client": 1, "why": "NaN in encode.weight"})
        run(
            folder / name,
            "federate",
            config={"seed": 7, "algorithm": {"class_path": f"tacit.federate.{name}", "init_args": {}}},
            log=lines,
            algorithm=name,
            class_names=names,
            student_accuracy=end,
            evaluation_images=540,
            params_student=3394,
            rounds=4,
            rounds_to={"0.85": 4 if name == "FedGen" else None, "0.2": 1},
            client_accuracy={"0": 0.75, "1": end, "2": 1.0},
            client_accuracy_mean=0.85,
            client_counts=counts,
            bytes_down=4 * letter,
            bytes_up=2_000_000,
            bytes_tests=3_000_000,
            dropped=3 if name == "FedGen" else 0,
            beside={"ensemble": 0.935} if name == "FedGen" else None,
        )
    return folder

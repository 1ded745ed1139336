"""One thread, a runtime, and a tiny teacher of handwritten digits for all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
import torch.nn.functional as F

from tacit.core.device import Runtime
from tacit.core.models import save
from tacit.core.network import Network, Origin, Teacher
from tacit.core.run import Run
from tacit.core.spec import Spec
from tacit.data import augment, digits
from tacit.zoo import resnet

DIGITS = Spec(shape=(1, 8, 8), classes=10, mean=(0.305,), std=(0.376,), names=tuple("0123456789"))


def pytest_configure() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["HF_DATASETS_CACHE"] = str(tmp_path_factory.mktemp("datasets-cache"))


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The CPU, in plain fp32."""
    return Runtime("cpu", "32-true")


@pytest.fixture(scope="session")
def teacher_network() -> Network:
    """A ResNet-8 that reads at least 95 % of the held-out digits; not to be changed by a test."""
    kwargs: dict[str, Any] = {"depth": 8, "channels": 1, "width": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(resnet(**kwargs), DIGITS, origin=Origin(factory="tacit.zoo:resnet", kwargs=kwargs))
    data, held, draw, steps = digits("train"), digits("test"), torch.Generator().manual_seed(0), 240
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
    for _ in range(steps):
        batch = data.batch(torch.randint(len(data), (96,), generator=draw))
        assert batch.targets is not None
        loss = F.cross_entropy(network(augment(batch.images, "shift", draw)), batch.targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    network.eval().requires_grad_(False)
    right = network(held.images.float().div(255)).argmax(dim=1) == held.labels
    assert float(right.float().mean()) >= 0.95
    return network


@pytest.fixture(scope="session")
def teacher(teacher_network: Network) -> Teacher:
    """The same, frozen."""
    return Teacher.of(teacher_network)


@pytest.fixture(scope="session")
def teacher_folder(teacher_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as a folder that `tacit.load` reads."""
    folder = tmp_path_factory.mktemp("models") / "teacher"
    save(teacher_network, folder)
    return folder


@pytest.fixture
def no_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """For short runs of large networks: a checkpoint of a ResNet-34 takes longer than two steps (`cli/test_resume.py` tests them)."""
    monkeypatch.setattr(Run, "checkpoint", lambda *_: None)

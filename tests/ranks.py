"""What two processes learn together, to be held against what one learns of both their batches: run as ``python ranks.py OUT``.

Lightning Fabric starts the second process. Each writes ``OUT/<rank>.pt``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.loss import NonFiniteLossError, View
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.distill import Learner, Training, build_objective
from tacit.losses import InstanceContrast
from tacit.synthesize import DeepInversion, FastDFKD
from tacit.synthesize.canvas import Canvas, Pixels, Round
from tacit.synthesize.fast_dfkd import MetaGenerator
from tacit.synthesize.loop import Synthesizer

__all__ = ["OBJECTIVES", "learned", "meta_learned", "painted", "remembered", "stopped"]

SPEC = Spec(shape=(1, 6, 6), classes=3)
IMAGES, SIZE, STEPS = 24, 4, 7
BANKS: dict[str, dict[str, Any]] = {
    "memory": {"bank": "memory", "negatives": IMAGES},
    "first": {"bank": "memory", "negatives": IMAGES, "normaliser": "first"},
    "ema": {"bank": "memory", "negatives": IMAGES, "normaliser": "ema", "form": "nce"},
    "queue": {"bank": "queue", "rows": 13},
    "batch": {"bank": "batch"},
    "batch, nce": {"bank": "batch", "form": "nce"},
}
OBJECTIVES: dict[str, list[dict[str, Any]]] = {
    name: [{"loss": "crd", "width": 8, "temperature": 0.5, **options}, {"loss": "ce"}] for name, options in BANKS.items()
}


class Halves:
    """Images in an order of their own for each step, of which each process is shown its part."""

    most_steps: int | None = None
    gives_targets = True
    pieces = 0
    population = IMAGES

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank, self.ranks = rank, ranks
        draw = torch.Generator().manual_seed(0)
        self.images = torch.rand(IMAGES, *SPEC.shape, generator=draw)
        self.labels = torch.arange(IMAGES) % SPEC.classes

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(step))
        size = 2 * SIZE // self.ranks
        picked = order[self.rank * size : (self.rank + 1) * size]
        return Batch(self.images[picked], self.labels[picked], index=picked)

    def prepare(self) -> Iterator[int]:
        yield from ()

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        raise NotImplementedError


def network(width: int) -> Network:
    """Return a network that does the same to an image whoever is beside it."""
    model = nn.Sequential(nn.Conv2d(1, width, 3), nn.GroupNorm(1, width), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, SPEC.classes))
    return Network(model, SPEC)


def learned(name: str, runtime: Runtime) -> dict[str, Tensor]:
    """Return weights of the student, heads and memories after a few steps; the heads are drawn by each process for itself."""
    rank, ranks = runtime.fabric.global_rank, runtime.fabric.world_size
    torch.manual_seed(0)
    teacher, student = Teacher.of(network(6)), network(4)
    torch.manual_seed(1 + rank)
    learner = Learner(
        student,
        Halves(rank, ranks),
        build_objective(OBJECTIVES[name]),
        Training(steps=STEPS, batch=SIZE, lr=0.1, weight_decay=0.0, schedule="constant"),
        runtime=runtime,
        generator=torch.Generator().manual_seed(rank),
        teacher=teacher,
    )
    for _ in range(STEPS):
        learner.step()
    kept = {**{f"student.{key}": value for key, value in student.state_dict().items()}, **learner.objective.state_dict()}
    return {key: value.detach().clone() for key, value in kept.items()}


def remembered(runtime: Runtime) -> Tensor:
    """Return the bank of CMI's contrast after two batches, which has the oldest image pushed out."""
    rank, ranks = runtime.fabric.global_rank, runtime.fabric.world_size
    teacher = normed()
    loss, draw = InstanceContrast(teacher, width=4, bank=4 * SIZE - 1), torch.Generator().manual_seed(rank)
    with torch.no_grad(), Probe(teacher, taps=loss.needs.teacher_taps) as look:
        for step in range(2):
            images = Halves(rank, ranks).batch(step).images
            loss.remember(View(images, teacher=look(images), look=look, generator=draw))
    return loss.get_buffer("bank").clone()


class Given(Pixels):
    """Pixels that start as a process's part of `Halves`."""

    part: tuple[int, int]

    def begin(self, round: Round) -> None:
        self.pixels = nn.Parameter(Halves(*self.part).batch(0).images)


@dataclass(frozen=True, kw_only=True)
class Aligned(DeepInversion):
    """Pixels whose statistics alone are asked for, not moved."""

    part: tuple[int, int] = (0, 1)
    """Rank, and how many there are."""

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        canvas = Given(teacher.spec)
        canvas.part = self.part
        return canvas

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images


def normed() -> Teacher:
    """Return a teacher with batch norm, which remembers other statistics than random images have."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(80, SPEC.classes))
    return Teacher(model, SPEC)


def painted(runtime: Runtime) -> Tensor:
    """Return what this process painted, by the statistics of the batches of all."""
    part = (runtime.fabric.global_rank, runtime.fabric.world_size)
    method = Aligned(batch=2 * SIZE // part[1], steps=3, ce=0.0, tv=0.0, l2=0.0, part=part)
    painter = Synthesizer(normed(), method, runtime=runtime, generator=torch.Generator().manual_seed(part[0]))
    painter.round()
    assert isinstance(painter.canvas, Given)
    return painter.canvas.pixels.detach().clone()


def meta_learned(runtime: Runtime) -> Tensor:
    """Return the weights of Fast-DFKD's generator after three rounds, before the third of which its first layers start again."""
    draw = torch.Generator().manual_seed(runtime.fabric.global_rank)
    method = FastDFKD(batch=SIZE, steps=2, latent=4, width=4, warmup=1, reset=1, adv=0.0)
    painter = Synthesizer(normed(), method, runtime=runtime, generator=draw, student=network(4))
    for _ in range(3):
        painter.round()
    assert isinstance(painter.canvas, MetaGenerator)
    return torch.cat([parameter.detach().flatten() for parameter in painter.canvas.net.parameters()])


def stopped(runtime: Runtime) -> str:
    """Return what this process says where the loss of the last one is not finite, at a step that all of them take."""
    last = runtime.fabric.global_rank == runtime.fabric.world_size - 1
    try:
        runtime.guard({"kd": torch.tensor(math.inf if last else 1.0)}, "student step 3", 3)
    except NonFiniteLossError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    together = Runtime("cpu", "32-true", devices=2, strategy="ddp")
    found: dict[str, Any] = {name: learned(name, together) for name in OBJECTIVES}
    found |= {"contrast": remembered(together), "painted": painted(together), "meta": meta_learned(together), "stopped": stopped(together)}
    torch.save(found, Path(sys.argv[1]) / f"{together.fabric.global_rank}.pt")
    together.fabric.barrier()

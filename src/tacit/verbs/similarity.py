"""`tacit similarity`: which of several sets of images is nearest to what a network was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from tacit.core.device import Clock, Runtime
from tacit.core.enginefile import refuse_file
from tacit.core.errors import InputError, nearest
from tacit.core.network import Teacher
from tacit.core.norms import NoStatisticsError, norm_layers
from tacit.data import load_data
from tacit.data.load import StreamedSet
from tacit.evaluate.divergence import SetDivergence, set_divergence
from tacit.losses.bn_divergence import Direction
from tacit.synthesize import BNS, METHODS
from tacit.verbs.base import ModelLike, Outcome, RunVerb, as_function, find_model, model_option
from tacit.verbs.choose import method_named
from tacit.verbs.pools import find_pool, load_pool, method_of
from tacit.verbs.samples import paint

__all__ = ["Similarity", "similarity"]

UNIFORM = "uniform"


@dataclass(frozen=True, kw_only=True)
class Similarity(RunVerb):
    """Rank sets of images by how far their statistics are from those that a network's batch norms remember; no labels are read.

    `tacit similarity MODEL SET...`: a set is a run or pool folder, `digits`, a Hugging Face id or folder, `uniform` for uniform noise, or
    the name of a method, whose images are made on the way.
    """

    sets: Sequence[str | Path] = ()
    """The sets; the first word is the model, where `model` is not given."""
    model: ModelLike | None = model_option()
    """The trained network, with batch norm."""
    split: str = "test"
    """Split of those sets that have some."""
    images: int = 256
    """Images of a sample, the same for all sets: the measure falls with it. Larger sets are measured on up to five samples."""
    direction: Direction = "code"
    """Which divergence of normal distributions: code, paper, symmetric or mse."""

    name: ClassVar[str] = "similarity"
    positional: ClassVar[str] = "sets"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 4:
            raise InputError(f"images: expected at least 4, got {self.images}")

    def run(self) -> Outcome:
        """Measure; a run folder is written only where `out` names one."""
        words = [str(word) for word in ([self.sets] if isinstance(self.sets, str | Path) else self.sets)]
        model = self.model if self.model is not None else words.pop(0) if words else None
        if model is None or not words:
            raise InputError("sets: give the model and then the sets, as `tacit similarity runs/teacher digits uniform`")
        if len(set(words)) < len(words):
            raise InputError(f"sets: each is to be given once, got {' '.join(words)}")
        run = self.plan_run() if self.out is not None else None
        teacher = Teacher.of(find_model(model, seed=self.seed))
        refuse_file(teacher)
        if not norm_layers(teacher):
            raise InputError(
                f"{NoStatisticsError.of(teacher)}: it remembers nothing to compare with; `tacit evaluate --pool` has other measures"
            )
        runtime, clock = self.open_runtime(teacher), Clock()
        found: dict[str, SetDivergence] = {}
        for word in words:
            images = self._images(word, teacher, runtime, clock)
            if len(images) < self.images:
                raise InputError(f"sets: {word} holds {len(images)} images, and {self.images} are compared: say `--images {len(images)}`")
            with clock("evaluation"):
                found[word] = set_divergence(teacher, images, runtime, at=self.images, direction=self.direction, seed=self.seed)
        ranked = sorted(found, key=lambda word: found[word].divergence)
        metrics = {"similarity": {word: asdict(found[word]) for word in ranked}, "direction": self.direction}
        result = self.result(runtime, clock, metrics, images=None, selection=None)
        if run is not None:
            run.open(resume=self.resume, overwrite=self.overwrite)
            run.finish(result)
        unit = "" if self.direction == "mse" else " nats"
        return Outcome(
            folder=run.folder if run else None, result=result, rows=_rows(found, ranked, self.images, unit, bns=[*filter(_of_bns, ranked)])
        )

    def _images(self, word: str, teacher: Teacher, runtime: Runtime, clock: Clock) -> Tensor:
        if word == UNIFORM:
            draw = torch.Generator().manual_seed(self.seed)
            return torch.rand(self.images, *teacher.spec.shape, generator=draw)
        if (method := method_named(word)) is not None:
            return paint(teacher, method, self.images, runtime=runtime, seed=self.seed, clock=clock, title=word).columns["images"]
        inside = find_pool(Path(word))
        if inside is not None:
            return load_pool(inside, teacher, runtime).columns["images"]
        names = [*(kind.__name__ for kind in METHODS), UNIFORM]
        if not Path(word).exists() and (hint := nearest(word, names)).startswith("; did"):
            raise InputError(f"sets: there is no folder, and no method, called {word!r}{hint}")
        real = load_data(word, self.split, teacher.spec)
        if isinstance(real, StreamedSet):
            order = torch.randperm(len(real), generator=torch.Generator().manual_seed(self.seed))  # stored class by class, often
            return real.batch(order[: 5 * self.images]).images
        return real.images


def _of_bns(word: str) -> bool:
    """Whether the images of a set are BNS's: made on the way, or in a pool that says so."""
    method = method_named(word)
    if method is not None or word == UNIFORM:
        return isinstance(method, BNS)
    inside = find_pool(Path(word))
    described = method_of(inside) if inside is not None else None
    return described is not None and str(described["class_path"]).rpartition(".")[2] == BNS.__name__


def _rows(found: dict[str, SetDivergence], ranked: list[str], at: int, unit: str, *, bns: list[str]) -> list[tuple[str, str]]:
    rows = []
    for word in ranked:
        one = found[word]
        spread = f" ± {one.sd:.4f}" if one.sd is not None else ""
        times = f"{one.samples} sample{'s' * (one.samples > 1)}"
        rows.append((word, f"{one.divergence:.4f}{spread}{unit} at n = {at} ({times}), {one.debiased:.4f} debiased"))
    if bns:
        rows.append(("note", f"BNS minimises this very number, so that the rank of {' and '.join(bns)} says nothing"))
    return rows


similarity = as_function(Similarity)

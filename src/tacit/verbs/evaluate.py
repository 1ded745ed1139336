"""`tacit evaluate`: how right a network is, how far a student agrees with its teacher, how diverse and faithful a pool is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, count_parameters
from tacit.core.spec import Spec
from tacit.data import Data, ImageSet, Modality, Views, any_classes, find_modality, find_views, has_splits, seen
from tacit.data.modalities import ModalityLike, ViewsLike
from tacit.evaluate import Probed, linear_probe, predict
from tacit.evaluate.probe import few
from tacit.synthesize import Pool
from tacit.verbs.base import (
    DataLike,
    ModelLike,
    Outcome,
    RunVerb,
    as_function,
    check_pair,
    data_option,
    find_model,
    load_for,
    model_option,
    view_option,
)
from tacit.verbs.maps import save_evaluated
from tacit.verbs.pool_measures import measure_pool, pool_rows
from tacit.verbs.pools import find_pool, load_pool
from tacit.verbs.scores import score_rows

__all__ = ["Evaluate", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class Evaluate(RunVerb):
    """Measure a teacher, a student or both on labelled images; a pool, by itself or beside those; what other labels their features tell.

    `tacit evaluate MODEL --data digits`: a network alone can be given without a name; a file that an engine runs (`model.onnx`) too.
    """

    teacher: ModelLike | None = model_option()
    """The teacher; several make an ensemble."""
    student: ModelLike | None = model_option()
    """The student."""
    data: DataLike | None = data_option()
    """digits; solids, street or textures, which are rendered; a Hugging Face id, a folder, or package.module:callable."""
    view: ModalityLike | None = view_option()
    """What the networks see of `data` and `probe`, as in `tacit train`; not given: the images as they are."""
    views: ViewsLike | None = view_option()
    """The same, for each of teacher and student its own, as in `tacit distill`: luminance-chrominance."""
    split: str = "test"
    """Split of `data`."""
    pool: Path | None = None
    """A run or pool folder, whose images are measured by the teacher's features; beside `data`, where given."""
    judge: ModelLike | None = model_option()
    """Another network, whose features measure the pool too: a method that optimises the teacher's can't be judged by these alone."""
    probe: DataLike | None = data_option()
    """Another labelled set: from what the frozen networks see of its train split a linear classifier learns, and is measured on `split`."""
    tap: str | None = None
    """For `probe`, the layer whose output is read, as stages.1; not given: what the network's own classifier reads, of an
    ensemble those of all members."""
    labels: int | None = None
    """For `probe`, labelled images a class; not given: all."""
    strength: float | None = None
    """For `probe`, the inverse weight of the L2 penalty on the linear classifier (scikit-learn's C); not given: 1."""
    sample: int = 2048
    """Most images of the pool, and of the data, that are compared; drawn by `seed`."""

    name: ClassVar[str] = "evaluate"
    positional: ClassVar[str] = "student"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample < 2:
            raise InputError(f"sample: expected at least 2 images, got {self.sample}")
        if self.labels is not None and self.labels < 1:
            raise InputError(f"labels: expected at least 1 image a class, got {self.labels}")
        if self.strength is not None and not 0 < self.strength < math.inf:
            raise InputError(f"strength: expected a positive number, got {self.strength}")
        for name in ("tap", "labels", "strength"):
            if getattr(self, name) is not None and self.probe is None:
                raise InputError(f"{name}: it belongs to `probe`, which is not given")

    def run(self) -> Outcome:
        """Measure; a run folder is written only where `out` names one."""
        self._check_options()
        run = self.plan_run() if self.out is not None else None
        teacher = find_model(self.teacher) if self.teacher is not None else None
        views = self._views()
        beside = (views.student_spec(teacher.spec) if views else teacher.spec) if teacher else None
        student = find_model(self.student, beside) if self.student is not None else None
        spec = (teacher or student or _unreachable()).spec
        if teacher is not None and student is not None:
            check_pair(teacher.spec, student.spec, views)
        looks = {"teacher": views.teacher, "student": views.student} if views else {}
        look = looks.get("teacher" if teacher else "student")
        judge = self._find_judge(spec)
        runtime, clock = self.open_runtime(teacher, student, judge), Clock()
        pool = self._find_pool(teacher, runtime) if teacher is not None else None
        held = load_for(spec, self.data, self.split, look).to(runtime.device) if self.data is not None else None
        networks = {role: network for role, network in (("teacher", teacher), ("student", student)) if network is not None}
        metrics: dict[str, Any] = {"class_names": spec.class_names}
        metrics |= {f"params_{role}": count_parameters(network) for role, network in networks.items()}
        rows: list[tuple[str, str]] = []
        with clock("evaluation"):
            if held is not None:
                metrics |= _on_data(networks, held, looks, runtime)
                rows += _data_rows(metrics, networks)
            if self.probe is not None:
                metrics["probe"] = {role: asdict(found) for role, found in self._probe(networks, spec, looks, runtime).items()}
                rows += [(f"{role} probe", _probe_row(found)) for role, found in metrics["probe"].items()]
            if pool is not None and teacher is not None:
                roles = {"teacher": teacher} if judge is None else {"teacher": teacher, "judge": judge}
                metrics |= measure_pool(pool, roles, held, runtime, seed=self.seed, most=self.sample)
                rows += pool_rows(metrics, spec)
        result = self.result(runtime, clock, metrics, images=None, selection=None)
        if run is not None:
            run.open(resume=self.resume, overwrite=self.overwrite)
            if held is not None:
                save_evaluated(run.folder / "samples", held, networks, looks, runtime)
            run.finish(result)
            rows.append(("run", str(run.folder)))
        return Outcome(folder=run.folder if run else None, result=result, rows=rows)

    def _check_options(self) -> None:
        if self.teacher is None and self.student is None:
            raise InputError("give a `teacher`, a `student`, or both")
        if self.pool is not None and self.teacher is None:
            raise InputError("teacher: a pool is measured by the features of the network that it was made from; give a `teacher`")
        if self.view is not None and self.views is not None:
            raise InputError("view: each network's own view is given by `views`; leave out one of them")
        if self.pool is not None and (self.view is not None or self.views is not None):
            raise InputError("view: the images of a pool are what its teacher sees already; leave out the views, or the pool")
        if self.judge is not None and self.pool is None:
            raise InputError("judge: it measures a pool; give a run or pool folder, as `--pool runs/synthesize`")
        if self.data is None and self.probe is None and (self.pool is None or self.student is not None):
            raise InputError("data: say which images to measure on, as `--data digits`")
        if self.probe is not None and not has_splits(self.probe):
            raise InputError("probe: expected a set that has splits by name, got one without: name one, or a callable that takes `split`")
        if self.probe is not None and any(part.partition("[")[0].strip() == "train" for part in self.split.split("+")):
            raise InputError(
                f"split: the probe learns from 'train', so that {self.split!r} can't measure it; name another, as `--split test`"
            )

    def _views(self) -> Views | None:
        if self.view is None:
            return find_views(self.views) if self.views is not None else None
        view = find_modality(self.view)
        return Views(teacher=view, student=view)

    def _probe(self, networks: Mapping[str, Network], spec: Spec, looks: Mapping[str, Modality], runtime: Runtime) -> dict[str, Probed]:
        """Return what a linear classifier reads from each network."""
        assert self.probe is not None
        look = looks.get("teacher" if "teacher" in networks else "student")
        sets = [load_for(any_classes(spec), self.probe, split, look) for split in ("train", self.split)]
        each, found, strength = self.labels, {}, 1.0 if self.strength is None else self.strength
        if each is not None and isinstance(sets[0], ImageSet) and sets[0].labels.ndim == 1:  # labels at hand: no others are looked at
            sets[0], each = sets[0].part(few(sets[0].labels, each, self.seed)), None
        for role, network in networks.items():
            train, held = (seen(each.batches(512), looks.get(role)) for each in sets)
            found[role] = linear_probe(network, train, held, runtime, tap=self.tap, each=each, strength=strength, seed=self.seed)
        return found

    def _find_judge(self, spec: Spec) -> Network | None:
        judge = find_model(self.judge, spec) if self.judge is not None else None
        if judge is not None and judge.spec.shape != spec.shape:
            raise InputError(f"judge: expected a network for images of shape {list(spec.shape)}, got one for {list(judge.spec.shape)}")
        return judge

    def _find_pool(self, teacher: Network, runtime: Runtime) -> Pool | None:
        if self.pool is None:
            return None
        if teacher.spec.task != "classification":
            raise InputError(f"pool: its measures are for classifiers, the teacher's task is {teacher.spec.task}; leave `pool` out")
        inside = find_pool(Path(self.pool))
        if inside is None:
            raise InputError(f"pool: {self.pool} is no pool folder, nor a run folder with one: expected a pool.json that tacit wrote")
        pool = load_pool(inside, teacher, runtime)
        if not len(pool):
            raise InputError(f"pool: {inside} holds no images")
        return pool


def _on_data(networks: Mapping[str, Network], held: Data, looks: Mapping[str, Modality], runtime: Runtime) -> dict[str, Any]:
    """Return accuracies by role, and, of a teacher and a student, their agreement."""
    answers = {role: predict(network, seen(held.batches(512), looks.get(role)), runtime) for role, network in networks.items()}
    metrics: dict[str, Any] = {"evaluation_images": len(held)}
    for role, said in answers.items():
        metrics |= {**said.metrics(role), **said.metrics_by_class(role)}
    if len(answers) == 2:
        metrics["agreement"] = answers["student"].agreement(answers["teacher"])
        few = networks["teacher"].spec.classes <= 100
        metrics["confusion"] = answers["student"].confusion(answers["teacher"]) if few else None
    return metrics


def _data_rows(metrics: Mapping[str, Any], roles: Iterable[str]) -> list[tuple[str, str]]:
    rows = [("images", f"{metrics['evaluation_images']:,}")]
    for role in roles:
        rows += score_rows(metrics, role, missing="unknown: no pixel has a class")
        if metrics[f"params_{role}"]:  # a file that an engine runs has none that can be counted
            rows.append((f"{role} parameters", f"{metrics[f'params_{role}']:,}"))
    return rows + ([("agreement", f"{metrics['agreement']:.2%}")] if "agreement" in metrics else [])


def _probe_row(found: Mapping[str, Any]) -> str:
    text = f"{found['accuracy']:.2%} of {found['held']:,} images, from {found['images']:,} labels and {found['features']:,} features"
    return text if found["converged"] else f"{text}; not converged: a smaller `--strength` is found sooner"


def _unreachable() -> Network:
    raise AssertionError


evaluate = as_function(Evaluate)

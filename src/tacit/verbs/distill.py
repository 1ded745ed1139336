"""`tacit distill`: a student learns from a teacher, without data or with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tacit.core.batch import Batch
from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.input_range import input_fault
from tacit.core.models import model_hash
from tacit.core.network import Network, Teacher, count_parameters, stored_bytes
from tacit.core.run import Run
from tacit.core.spec import Spec
from tacit.data import Data, Modality, Views, any_classes, find_views, seen
from tacit.data.modalities import ViewsLike
from tacit.distill import Learner, Source, Stored, Synthetic, build_phases
from tacit.distill.advice import Advice, pool_faults
from tacit.distill.health import StudentMonitor
from tacit.distill.objectives import Terms
from tacit.distill.selection import Selection
from tacit.distill.sources import Unlabelled, Viewed
from tacit.evaluate import Answers, agreement, predict
from tacit.synthesize import Method, Pool, Synthesizer
from tacit.verbs.base import ModelLike, Outcome, as_function, check_pair, find_model, model_option, view_option
from tacit.verbs.choose import choose_method, method_named, naming_what_remains
from tacit.verbs.learning import LearningVerb
from tacit.verbs.maps import named_maps, save_evaluated
from tacit.verbs.pictures import pool_metrics, save_samples
from tacit.verbs.pools import held_out_pool, stored_pool
from tacit.verbs.scores import other_rows, score_rows

__all__ = ["Distill", "distill"]

MISSING = "not measured (give --data)"


@dataclass(frozen=True, kw_only=True)
class Distill(LearningVerb):
    """Teach a student what a teacher knows: from samples made of the teacher itself, from a stored pool, or from real data."""

    teacher: ModelLike = model_option(required=True)
    """The trained network; several make an ensemble. It is never changed."""
    student: ModelLike = model_option(required=True)
    """The network that learns; a live one is trained in place."""
    source: str | None = None
    """A method's name, a run or pool folder, or `data` for real data; not given: `method`."""
    method: Method | None = None
    """How samples are made; not given: what `tacit inspect` recommends."""
    objective: Terms = "kd=1"
    """What the student minimises: `kd=1,ce=0.1`, or a list of {loss, weight, name, ...}. In phases: `ab=0.003 @0.25; kd=1,ce=1`, with the
    share of the steps behind the `@` (not given: what is left), or a list of {phase, share}. `ab` or `fsp` beside others teaches first,
    alone, unless `@1` stands behind the objective; `ft` begins with a phase in which the student stays as it is."""
    cache_teacher: bool | None = None
    """Whether the teacher is asked only once of an image that comes again unchanged (augmentation none); what is learned is the same. Not
    given: where each image comes twice or more, and 1 GiB holds the answers."""
    max_images: int | None = None
    """Budget of synthesized images that the student can be shown; what a generator makes to learn from by itself does not count. When it is
    used up, a pool goes on teaching; with a live generator training ends, and the learning rate falls with the images."""
    keep_images: int | None = None
    """Most images that a growing pool keeps; the oldest are forgotten."""
    checks: int = 20
    """How often the health of images and student is measured on the way, where images are made; 0: never. It steers nothing but `select`
    and `patience`, and its time counts as evaluation."""
    patience: int = 0
    """Checks in a row without a better agreement on held-out synthetic images after which training ends; 0: it goes on to the last step."""
    eval_split: str | None = "test"
    """With `source: data`, the split on which the student is measured; null: none."""
    views: ViewsLike | None = view_option()
    """With `source: data`, what teacher and student see of each image: luminance-chrominance, grey-edges, full-low4, full-small2,
    rgb-depth, any other two of these, or package.module:name; not given: both see the image."""
    unlabelled: bool = False
    """With `source: data`, learn as if the images had no labels: no loss is shown any, and they need not be the teacher's classes."""

    name: ClassVar[str] = "distill"

    def __post_init__(self) -> None:
        super().__post_init__()
        Selection.check(ema=self.ema, patience=self.patience, checks=self.checks, select=self.select)
        if self.keep_images is not None and self.keep_images < 1:
            raise InputError(f"keep_images: expected at least 1, got {self.keep_images}")
        self.check_real(real=self.source == "data", eval_split=self.eval_split)
        if self.source != "data" and (self.views is not None or self.unlabelled):
            given = "views" if self.views is not None else "unlabelled"
            raise InputError(
                f"{given}: it belongs to `source: data`, got {self.source or 'no source'}: images made from a teacher are what that "
                "teacher sees, without labels, and no other view of them is known"
            )

    def run(self) -> Outcome:
        """Distil; return the run folder and the student with the weights that `select` names."""
        run, clock = self.plan_run(), Clock()
        teacher = Teacher.of(find_model(self.teacher, seed=self.seed))
        views = find_views(self.views) if self.views is not None else None
        looks = (views.teacher, views.student) if views else (None, None)
        student = find_model(self.student, views.student_spec(teacher.spec) if views else teacher.spec, seed=self.seed)
        check_pair(teacher.spec, student.spec, views)
        objective = build_phases(self.objective)
        runtime = self.open_runtime(teacher, student)
        real = self.source == "data"
        source = self._real(teacher.spec, views, runtime) if real else self._source(teacher, student, runtime, clock, run)
        split, option = (self.eval_split, "eval_split") if real else (self.split or "test", "split")
        held = self.held_out(split, option, teacher.spec, runtime, looks[0])
        asking: dict[str, Any] = {"teacher": teacher, "cache_teacher": self.cache_teacher}
        generator = runtime.generator(self.seed, "objective")
        learner = Learner(student, source, objective, self.training, runtime=runtime, generator=generator, **asking)
        selection = Selection(student, select=self.select, ema=self.ema, patience=self.patience)
        monitor = StudentMonitor(source, student, checks=self.checks, seed=self.seed) if isinstance(source, Synthetic) else None
        advice = monitor.advice if monitor is not None else Advice(quiet=not runtime.main)
        if isinstance(source, Stored) and isinstance(source.samples, Pool):
            advice.give(pool_faults(source.samples))
        if not real:
            advice.give(input_fault(teacher))
        state = self.open_run(run, runtime)

        def evaluate() -> Answers:
            assert held is not None
            return predict(student, seen(held.batches(512), looks[1]), runtime)

        title = f"distill {source.method.name}" if isinstance(source, Synthetic) else "distill"
        measure = evaluate if held is not None else None
        self.learn(learner, run, clock, state, title=title, evaluate=measure, selection=selection, monitor=monitor)
        with clock("evaluation"):
            metrics = self._measure(teacher, student, held, looks, runtime)
            unseen = self._unseen(source, teacher, runtime)
            if unseen is not None:
                metrics["agreement_synthetic"] = agreement(student, teacher, unseen, runtime)
            if monitor is not None:
                metrics |= _on_samples(monitor, run.folder)
            elif real and held is not None:
                networks = {"teacher": teacher, "student": student}
                save_evaluated(run.folder / "samples", held, networks, dict(zip(networks, looks, strict=True)), runtime)
            elif isinstance(source, Stored) and isinstance(source.samples, Pool):
                save_samples(run.folder / "samples", source.samples, others=_asked(student, runtime))
                metrics |= {**pool_metrics(source.samples), "warnings": advice.texts}
            metrics |= {"steps": learner.done, **learner.told, **self.hand_over(selection, run, measure)}
            if selection.select != "last" and unseen is not None:
                metrics["agreement_synthetic_selected"] = agreement(student, teacher, unseen, runtime)
        result = self.result(runtime, clock, metrics, images=getattr(source, "images_made", 0), selection=selection.name)
        run.finish(result)
        return Outcome(folder=run.folder, result=result, rows=_rows(result, run.folder), network=student)

    def _real(self, spec: Spec, views: Views | None, runtime: Runtime) -> Source:
        """Return the source of real images, for a teacher of `spec`."""
        if self.method is not None:
            raise InputError("source: 'data' and a method were both given; choose one")
        self._check_without_method()
        spec = any_classes(spec) if self.unlabelled else spec
        source: Source = self.real_source(spec, runtime, views.teacher if views is not None else None)
        source = Viewed(source, views.teacher, views.student) if views is not None else source
        return Unlabelled(source) if self.unlabelled else source

    def _source(self, teacher: Teacher, student: Network, runtime: Runtime, clock: Clock, run: Run) -> Source:
        method, named = self.method, method_named(self.source) if self.source else None
        options: dict[str, Any] = {"size": self.training.batch, "augmentation": self.augmentation}
        if self.source is not None and named is None:
            if method is not None:
                raise InputError(f"source: {self.source!r} and a method were both given; choose one")
            self._check_without_method()
            part = (runtime.fabric.global_rank, runtime.fabric.world_size)
            _, pool = stored_pool(self.source, teacher, runtime)
            return Stored(pool, seed=self.seed, device=runtime.device, part=part, **options)
        if named is not None and method is not None and named.name != method.name:
            raise InputError(f"source: {named.name}, and method: {method.name}; choose one")
        method = method or named or choose_method(teacher, student=student)
        if method.pooled and method.batch < 16 and (self.select == "agreement" or self.patience):
            raise InputError(f"method: one image in 16 is held out to choose by; expected a `batch` of at least 16, got {method.batch}")
        run.config = replace(self, method=method).config()  # what was chosen, so that the config repeats the run
        with naming_what_remains(teacher, student):
            synthesizer = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(self.seed), student=student)

        later = self.training.steps // method.every if method.every else 0
        stride = max(1, later // 1000)  # a live generator's rounds are many: a thousand of them tell the story

        def log_round() -> None:
            if synthesizer.rounds % stride:
                return
            parts = {f"loss/{name}": float(part) for name, part in synthesizer.parts.items()}
            run.log(synthesizer.rounds, {"seconds": clock.budgeted, **parts}, kind="synthesis")

        if self.keep_images is not None and not method.pooled:
            raise InputError(f"keep_images: {method.name} keeps no pool, its images are shown once; leave it out")
        provenance = {"teacher_sha256": model_hash(teacher), "method": method.config(), "seed": self.seed}
        options |= {"keep": self.keep_images, "budget": self.max_images}
        return Synthetic(synthesizer, clock=clock, provenance=provenance, on_round=log_round, **options)

    def _unseen(self, source: Source, teacher: Teacher, runtime: Runtime) -> Batch | None:
        """Return samples that the student did not learn from, where there are any: of the source, or beside a stored pool."""
        if isinstance(source, Synthetic):
            return source.unseen() if len(source.held_out) or not source.method.pooled else None
        held = held_out_pool(self.source, teacher, runtime) if self.source is not None and self.source != "data" else None
        return held.batch(torch.arange(len(held), device=held.device)) if held is not None else None

    def _check_without_method(self) -> None:
        """Refuse options that need images to be made, where none are."""
        wanted = {
            "max_images": self.max_images is not None,
            "keep_images": self.keep_images is not None,
            "select: agreement": self.select == "agreement",
            "patience": self.patience > 0,
        }
        for name, given in wanted.items():
            if given:
                raise InputError(f"{name}: no image is made from the source {self.source!r}; leave it out, or give a method")

    def _measure(
        self, teacher: Teacher, student: Network, held: Data | None, looks: Sequence[Modality | None], runtime: Runtime
    ) -> dict[str, Any]:
        metrics: dict[str, Any] = {
            "teacher_sha256": model_hash(teacher),
            "params_teacher": count_parameters(teacher),
            "params_student": count_parameters(student),
            "class_names": teacher.spec.class_names,
            "size_teacher_bytes": stored_bytes(teacher.model),
        }
        if held is not None:
            pairs = zip((teacher, student), looks, strict=True)
            theirs, ours = (predict(network, seen(held.batches(512), look), runtime) for network, look in pairs)
            metrics |= {
                **theirs.metrics("teacher"),
                **ours.metrics("student"),
                "agreement": ours.agreement(theirs),
                **theirs.metrics_by_class("teacher"),
                **ours.metrics_by_class("student"),
                "confusion": ours.confusion(theirs) if teacher.spec.classes <= 100 else None,
                "evaluation_images": len(ours.labels),
            }
        return metrics


def _on_samples(monitor: StudentMonitor, folder: Path) -> dict[str, Any]:
    """Return what the samples say of the student, and of themselves; pictures of them are written."""
    source, teacher, runtime = monitor.source, monitor.teacher, monitor.runtime
    shown = source.pool if source.method.pooled else _as_pool(source, teacher, runtime)
    save_samples(folder / "samples", shown, others=_asked(monitor.student, runtime))
    monitor.advice.give(pool_faults(shown, source.method))
    told = {"warnings": monitor.advice.texts, "health": monitor.values or None}
    return {"method": source.method.name, **pool_metrics(shown), **told}


def _asked(student: Network, runtime: Runtime) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return whose label maps are shown beside the teacher's, where there are any."""
    return {"student": lambda images: named_maps(student, images, runtime)}


def _as_pool(source: Synthetic, teacher: Teacher, runtime: Runtime) -> Pool:
    """Return a fresh sample of a live generator, with the teacher's answers, to be looked at."""
    pool, shown = Pool(teacher.spec, device=runtime.device), source.unseen()
    with runtime.autocast():
        logits = teacher(shown.images).float()
    pool.add(replace(shown, logits=logits))
    return pool


def _learned(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return rows on the phases, where there were several, and on answers that were recalled."""
    took = ", ".join(f"{phase['name']} {phase['steps']:,}" for phase in metrics.get("phases", ()))
    rows = [("steps by phase", took)] if took else []
    if given := metrics.get("teacher_answers"):
        asked, recalled = given["asked"], given["recalled"]
        rows.append(("teacher's answers", f"{recalled:,} of {asked + recalled:,} from memory"))
    return rows


def _rows(result: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    metrics, seconds = result["metrics"], result["seconds"]

    def share(name: str) -> str:
        return MISSING if metrics[name] is None else f"{metrics[name]:.2%}"

    ratio = metrics["params_teacher"] / metrics["params_student"]
    rows = [
        *score_rows(metrics, "teacher", missing=MISSING),
        *score_rows(metrics, "student", note=", last step", missing=MISSING),
        *other_rows(metrics),
        ("agreement", share("agreement")),
        ("parameters", f"{metrics['params_teacher']:,} -> {metrics['params_student']:,} ({ratio:.1f} times fewer)"),
        ("images synthesized", f"{result['images_synthesized']:,}"),
        *_learned(metrics),
        ("seconds", f"{seconds['synthesis']:.1f} synthesis, {seconds['training']:.1f} training"),
        ("model", str(folder / "model")),
    ]
    if metrics["agreement_synthetic"] is not None:
        place = [name for name, _ in rows].index("agreement") + 1
        chosen = result["selection"] != "last"
        rows.insert(place, (f"agreement, held-out samples{', last step' if chosen else ''}", share("agreement_synthetic")))
        if metrics.get("agreement_synthetic_selected") is not None:
            rows.insert(place + 1, ("agreement, held-out samples, selected weights", share("agreement_synthetic_selected")))
    return rows


distill = as_function(Distill)

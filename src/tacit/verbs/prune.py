"""`tacit prune`: a network with fewer channels, which recovers without its training data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tacit.core.device import Clock
from tacit.core.errors import InputError
from tacit.core.models import save
from tacit.core.network import Network, count_parameters, stored_bytes, work_per_image
from tacit.distill import Training
from tacit.evaluate import accept, predict
from tacit.prune import Importance, Steady, check_options
from tacit.prune.structured import prune as pruned_copy
from tacit.verbs.base import Outcome, as_function
from tacit.verbs.compressing import CompressVerb
from tacit.verbs.pictures import save_samples
from tacit.verbs.scores import other_rows

__all__ = ["Prune", "prune"]


@dataclass(frozen=True, kw_only=True)
class Prune(CompressVerb):
    """Take whole channels out of a network, and let it recover by distillation from what it was."""

    share: float = 0.3
    """Of its channels that each layer loses, above 0 and below 1; weights and work fall by more, as layers lose inputs too."""
    importance: Importance = "magnitude"
    """What ranks the channels of a layer: magnitude (the weights that make and read them), bn-scale (of their batch norm) or random."""
    recover: bool = True
    """Whether the pruned network is trained, by distillation from the network as it was."""
    training: Training = field(default_factory=lambda: Training(steps=600, batch=64, lr=0.05, clip=1.0))
    """How the pruned network is trained."""

    name: ClassVar[str] = "prune"

    @property
    def norms_learn(self) -> bool:
        return self.recover and not self.freeze_bn

    def run(self) -> Outcome:
        """Prune and recover; return the run folder with the network."""
        run, clock = self.plan_run(), Clock()
        check_options(self.share, self.importance)
        teacher = self.find_teacher()
        method = self.chosen_method(teacher)
        run.config = replace(self, method=method if self.source is None else self.method).config()
        runtime = self.open_runtime(teacher)
        advice = self.advise(teacher, runtime)
        if self.recover:
            self.check_terms(teacher)
        held = self.measured_on(teacher.spec, runtime)
        student = pruned_copy(teacher, self.share, importance=self.importance, seed=self.seed).requires_grad_(True)
        state = self.open_run(run, runtime)
        samples = self.samples(teacher, method, runtime, clock, run)
        if self.freezes(samples):
            student = Steady(student.model, student.spec, origin=student.origin, normalise=student.normalise)
        runtime.place(student)
        metrics: dict[str, Any] = {"share": self.share, "importance": self.importance, "method": samples.origin}
        metrics |= {"images": len(samples.learned), "class_names": teacher.spec.class_names}
        metrics |= _sizes(teacher, student)
        shown = samples.fresh.columns["images"]
        with clock("evaluation"):
            metrics["agreement_pruned"] = accept(teacher, student, shown, runtime).agreement
            if held is not None:
                metrics["accuracy_pruned"] = predict(student, held.batches(512), runtime).accuracy
        if self.recover:
            title = f"recover from {self.share:.0%} fewer channels"
            recovered = self.finetune_on(samples, teacher, student, held, run, clock, state, runtime, title=title)
            _check(student)
            metrics |= {**recovered, "size_student_bytes": metrics["size_student_bytes"]}
        else:
            save(student, run.folder / "model")
        with clock("evaluation"):
            found = accept(teacher, student, shown, runtime)
            metrics |= {"agreement_synthetic": found.agreement, "acceptance": asdict(found), **self.likeness(samples, teacher, runtime)}
            if held is not None:
                metrics |= self.on_data(teacher, student, held, runtime, known=metrics)
        save_samples(run.folder / "samples", samples.learned)
        advice.give(self.faults(samples, learned=self.recover) | _faults(metrics, recovered=self.recover))
        metrics["warnings"] = advice.texts
        result = self.result(runtime, clock, metrics, images=samples.made, selection=self.select if self.recover else None)
        run.finish(result)
        return Outcome(folder=run.folder, result=result, rows=_rows(result, run.folder), network=student)


def _check(student: Network) -> None:
    try:
        student.check()
    except InputError as error:
        raise InputError(f"recovery went astray: {error}; try a smaller `training.lr`, or `training.clip` of 1") from error


def _sizes(teacher: Network, student: Network) -> dict[str, int]:
    """Return parameters, bytes of weights and buffers, and the multiply-adds of convolutions and linear layers, before and after."""
    found: dict[str, int] = {}
    for role, network in (("teacher", teacher), ("student", student)):
        found[f"params_{role}"] = count_parameters(network)
        found[f"macs_{role}"] = work_per_image(network)
        found[f"size_{role}_bytes"] = stored_bytes(network.model)
    return found


def _faults(metrics: dict[str, Any], *, recovered: bool) -> dict[str, str]:
    before, after = metrics["agreement_pruned"], metrics["agreement_synthetic"]
    if recovered and after < before:
        said = f"recovery lowered the agreement on fresh samples from {before:.1%} to {after:.1%}: try a smaller `--training.lr`"
        return {"recovery": said}
    return {}


def _rows(result: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    metrics, seconds = result["metrics"], result["seconds"]
    rows = [
        ("channels taken", f"{metrics['share']:.0%} of each layer, by {metrics['importance']}"),
        ("images", f"{metrics['images']:,} of {metrics['method']}"),
    ]
    if metrics["student_accuracy"] is not None:
        rows += [
            ("accuracy, before", f"{metrics['teacher_accuracy']:.2%}"),
            ("accuracy, pruned", f"{metrics['accuracy_pruned']:.2%}"),
            ("accuracy, recovered", f"{metrics['student_accuracy']:.2%}, last step"),
            *other_rows(metrics),
        ]
    images = metrics["acceptance"]["images"]
    rows += [
        ("agreement, pruned", f"{metrics['agreement_pruned']:.2%} of {images} fresh samples (a proxy, not an accuracy)"),
        ("agreement, recovered", f"{metrics['agreement_synthetic']:.2%} of them"),
        *(
            (name, f"{metrics[one]:,} -> {metrics[two]:,} ({metrics[one] / metrics[two]:.1f} times fewer)")
            for name, one, two in (
                ("parameters", "params_teacher", "params_student"),
                ("multiply-adds", "macs_teacher", "macs_student"),
                ("bytes", "size_teacher_bytes", "size_student_bytes"),
            )
        ),
        ("seconds", f"{seconds['synthesis']:.1f} synthesis, {seconds['training']:.1f} training"),
        ("model", str(folder / "model")),
    ]
    if result["selection"] is None:
        rows = [(name, text) for name, text in rows if not name.endswith(", recovered")]
    return rows


prune = as_function(Prune)

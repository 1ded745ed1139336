"""`tacit evaluate`: how right a network is, and how far a student agrees with its teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tacit.core.device import Clock
from tacit.core.errors import InputError
from tacit.core.network import Network, count_parameters
from tacit.data import load_data
from tacit.evaluate import Answers, predict
from tacit.verbs.base import DataLike, ModelLike, Outcome, RunVerb, as_function, check_pair, data_option, find_model, model_option

__all__ = ["Evaluate", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class Evaluate(RunVerb):
    """Measure a teacher, a student, or both on labelled images."""

    teacher: ModelLike | None = model_option()
    """The teacher; several make an ensemble."""
    student: ModelLike | None = model_option()
    """The student."""
    data: DataLike | None = data_option()
    """digits, a Hugging Face id, a folder, or package.module:callable."""
    split: str = "test"
    """Split of `data`."""

    name: ClassVar[str] = "evaluate"

    def run(self) -> Outcome:
        """Measure; a run folder is written only where `out` names one."""
        if self.teacher is None and self.student is None:
            raise InputError("give a `teacher`, a `student`, or both")
        if self.data is None:
            raise InputError("data: say which images to measure on, as `--data digits`")
        run = self.plan_run() if self.out is not None else None
        teacher = find_model(self.teacher) if self.teacher is not None else None
        student = find_model(self.student, teacher.spec if teacher else None) if self.student is not None else None
        spec = (teacher or student or _unreachable()).spec
        if teacher is not None and student is not None:
            check_pair(teacher.spec, student.spec)
        runtime, clock = self.open_runtime(teacher, student), Clock()
        held = load_data(self.data, self.split, spec).to(runtime.device)
        answers: dict[str, Answers] = {}
        with clock("evaluation"):
            for role, network in (("teacher", teacher), ("student", student)):
                if network is not None:
                    answers[role] = predict(network, held.batches(512), runtime)
        metrics: dict[str, Any] = {"evaluation_images": len(held), "class_names": [spec.class_name(label) for label in range(spec.classes)]}
        rows = [("images", f"{len(held):,}")]
        for role, network in (("teacher", teacher), ("student", student)):
            if network is not None:
                metrics |= {f"{role}_accuracy": answers[role].accuracy, f"params_{role}": count_parameters(network)}
                rows += [(f"{role} accuracy", f"{answers[role].accuracy:.2%}"), (f"{role} parameters", f"{count_parameters(network):,}")]
                metrics["class_accuracy"] = answers[role].class_accuracy
        if len(answers) == 2:
            metrics["agreement"] = answers["student"].agreement(answers["teacher"])
            metrics["confusion"] = answers["student"].confusion(answers["teacher"]) if spec.classes <= 100 else None
            rows.append(("agreement", f"{metrics['agreement']:.2%}"))
        result = self.result(runtime, clock, metrics, images=None, selection=None)
        if run is not None:
            run.open(resume=self.resume, overwrite=self.overwrite)
            run.finish(result)
            rows.append(("run", str(run.folder)))
        return Outcome(folder=run.folder if run else None, result=result, rows=rows)


def _unreachable() -> Network:
    raise AssertionError


evaluate = as_function(Evaluate)

"""`tacit train`: a network learns from labels; teachers, and students to compare with, are made so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tacit.core.device import Clock
from tacit.core.errors import InputError
from tacit.core.network import count_parameters
from tacit.data import find_modality, seen
from tacit.data.modalities import ModalityLike
from tacit.distill import Learner, Source, build_objective
from tacit.distill.selection import Selection
from tacit.distill.sources import Viewed
from tacit.evaluate import Answers, predict
from tacit.verbs.base import ModelLike, Outcome, as_function, find_model, model_option, view_option
from tacit.verbs.learning import LearningVerb
from tacit.verbs.maps import save_evaluated
from tacit.verbs.scores import other_rows, score_rows

__all__ = ["Train", "train"]


@dataclass(frozen=True, kw_only=True)
class Train(LearningVerb):
    """Train a network on labelled images."""

    model: ModelLike = model_option(required=True)
    """The network; a live one is trained in place."""
    eval_split: str | None = "test"
    """Split of `data` on which the network is measured; null: none. Data without splits are learned from, never measured on."""
    view: ModalityLike | None = view_option()
    """What the network sees of the images: luminance, chrominance, grey, edges, low4, small2, rgb, depth, or package.module:name; not
    given: the images as they are."""

    name: ClassVar[str] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_real(real=True, eval_split=self.eval_split)
        if self.select == "agreement":
            raise InputError("select: agreement with a teacher can't choose here, where labels teach: expected last or ema")

    def run(self) -> Outcome:
        """Train; return the run folder and the network as it is after the last step."""
        run = self.plan_run()
        network = find_model(self.model, seed=self.seed)
        runtime = self.open_runtime(network)
        view = find_modality(self.view) if self.view is not None else None
        stored = self.real_source(network.spec, runtime, view)
        names: tuple[str, ...] = getattr(stored.samples, "names", ())
        if not network.spec.names and len(names) == network.spec.classes:
            network.spec = replace(network.spec, names=names)
        source: Source = Viewed(stored, view) if view is not None else stored
        held = self.held_out(self.eval_split, "eval_split", network.spec, runtime, view)
        clock = Clock()
        learner = Learner(network, source, build_objective("ce"), self.training, runtime=runtime, generator=runtime.generator(self.seed))
        selection = Selection(network, select=self.select, ema=self.ema)
        state = self.open_run(run, runtime)

        def evaluate() -> Answers:
            assert held is not None
            return predict(network, seen(held.batches(512), view), runtime)

        measure = evaluate if held is not None else None
        self.learn(learner, run, clock, state, title="train", evaluate=measure, selection=selection)
        with clock("evaluation"):
            answers = predict(network, seen(held.batches(512), view), runtime) if held is not None else None
            metrics: dict[str, Any] = {
                **({**answers.metrics("student"), **answers.metrics_by_class("student")} if answers is not None else {}),
                "params_student": count_parameters(network),
                "evaluation_images": len(held) if held is not None else None,
                "class_names": network.spec.class_names,
                "steps": learner.done,
                **self.hand_over(selection, run, measure),
            }
            if held is not None:
                save_evaluated(run.folder / "samples", held, {"student": network}, {"student": view}, runtime)
        result = self.result(runtime, clock, metrics, images=None, selection=selection.name)
        run.finish(result)
        rows = [
            *score_rows(metrics, "student", title="", note=f" of {len(held or ()):,} images, last step", missing="not measured"),
            *other_rows(metrics),
            ("parameters", f"{count_parameters(network):,}"),
            ("seconds", f"{clock.report()['total']:.1f}"),
            ("model", str(run.folder / "model")),
        ]
        return Outcome(folder=run.folder, result=result, rows=rows, network=network)


train = as_function(Train)

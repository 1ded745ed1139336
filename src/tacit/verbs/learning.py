"""What `train` and `distill` share: a learner driven to its end, with logs, checkpoints, budget and evaluation."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from tacit.core.device import Clock, Runtime, cores, derived_seed
from tacit.core.errors import InputError
from tacit.core.models import save
from tacit.core.progress import Progress
from tacit.core.run import Run
from tacit.core.spec import Spec
from tacit.data import Augmentation, Modality, has_splits
from tacit.data.load import Data, StreamedSet
from tacit.distill import Learner, Stored, Training
from tacit.distill.health import StudentMonitor
from tacit.distill.selection import Select, Selection, wearing
from tacit.distill.sources import Streamed
from tacit.evaluate import Answers
from tacit.verbs.base import DataLike, LaunchVerb, data_option, load_for

__all__ = ["LearningVerb"]

FAR_BEYOND = 1.5
"""Share of the seconds that images for the student to begin with would take at this pace, from which on a run is given up at once."""
EVAL_SPLIT = "test"
"""Where the option `eval_split` is not given."""
SELDOM = 20
"""How many times as long as a checkpoint takes it is at least until the next, so that a large one costs little of the time."""


@dataclass(frozen=True, kw_only=True)
class LearningVerb(LaunchVerb):
    """Options of the verbs that train a network."""

    data: DataLike | None = data_option()
    """digits; solids, street or textures, which are rendered; a Hugging Face id, a folder, or package.module:callable."""
    split: str | None = None
    """Split of `data` that is used; not given: train where the data are learned from, test where they serve evaluation."""
    training: Training = field(default_factory=Training)
    """How the network is optimised."""
    augmentation: Augmentation = "shift"
    """What is done to pooled, stored and real images (not to a live generator's) before each look: none, shift by up to an eighth,
    shift-flip, which mirrors too, or crop-flip, a window of 8 to 100 %."""
    evaluations: int = 10
    """How often the network is evaluated on the way, where evaluation data are given; it never steers the training."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    workers: int | None = None
    """Where all of `data` is learned from, processes a device that decode images of a set too large for memory; 0: the one that learns
    does it. What is learned is the same. Not given: as many as there are cores for the device beside its own, from 1 to 8."""
    ema: float = 0.0
    """Decay of an average of the weights, which is measured too; 0: none is kept. It warms up as min(ema, (1 + t) / (10 + t))."""
    select: Select = "last"
    """Which weights are handed over: those of the last step, their average (ema; decay 0.999 where none is given), or those that agreed
    best with the teacher on held-out synthetic images (agreement). Evaluation data never choose."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.training, Training):
            raise InputError(f"training: expected tacit.Training(steps=..., ...), got a {type(self.training).__name__}")
        Selection.check(ema=self.ema)
        if self.evaluations < 0 or self.log_every < 1:
            raise InputError("evaluations: expected 0 or more; log_every: at least 1")
        if self.workers is not None and self.workers < 0:
            raise InputError(f"workers: expected 0 or more, got {self.workers}")

    def check_real(self, *, real: bool, eval_split: str | None) -> None:
        """Refuse options that play no part: some where images are real, which are not made, and some where they are not."""
        if real and self.at_once is not None:
            raise InputError("at_once: it says how images are made, and none are made here: leave it out")
        if not real and self.workers is not None:
            raise InputError("workers: it says who decodes real images that are learned from, and none are here: leave it out")
        if not real and eval_split != EVAL_SPLIT:
            raise InputError(
                "eval_split: it belongs to `source: data`; where no real images are learned from, `split` says which of `data` are for "
                "evaluation"
            )

    def real_source(self, spec: Spec, runtime: Runtime, view: Modality | None = None) -> Stored | Streamed:
        """Return the source that shows the training data; where `view` is what a network of `spec` sees of them, as they are before."""
        if self.data is None:
            raise InputError("data: say which data to learn from, as `--data digits`")
        real = load_for(spec, self.data, self.split or "train", view).to(runtime.device)
        options: dict[str, Any] = {
            "size": self.training.batch,
            "seed": self.seed,
            "device": runtime.device,
            "part": (runtime.fabric.global_rank, runtime.fabric.world_size),
            "augmentation": self.augmentation,
        }
        if not isinstance(real, StreamedSet):
            return Stored(real, **options)
        spare = min(max(cores() // self.devices - 1, 1), 8)
        return Streamed(real, workers=spare if self.workers is None else self.workers, **options)

    def held_out(self, split: str | None, option: str, spec: Spec, runtime: Runtime, view: Modality | None = None) -> Data | None:
        """Return `split` of `data` for evaluation; None where there are no data, or no split to tell them from what is learned."""
        if self.data is None or split is None or (option == "eval_split" and not has_splits(self.data)):
            return None
        try:
            return load_for(spec, self.data, split, view).to(runtime.device)
        except InputError as error:
            raise InputError(f"{error} (the option `{option}`; null: no evaluation)" if option == "eval_split" else str(error)) from error

    def learn(
        self,
        learner: Learner,
        run: Run,
        clock: Clock,
        state: dict[str, Any] | None,
        *,
        title: str,
        evaluate: Callable[[], Answers] | None,
        selection: Selection,
        monitor: StudentMonitor | None = None,
    ) -> None:
        """Drive `learner` to its last step, from `state` where a run is resumed.

        Args:
            learner: What learns.
            run: Where logs and checkpoints go.
            clock: Counts the seconds.
            state: The last checkpoint.
            title: For the progress bar.
            evaluate: Returns what the network, as it is, says of real data; None where there are none.
            selection: Is told of every step, and judges at every check; may stop the training.
            monitor: Looks at images and student on the way.
        """
        torch.manual_seed(derived_seed(self.seed, "learning"))  # data sets may have drawn, and evaluation data must change nothing
        if state is not None:
            learner.load_state_dict(state["learner"], run.folder)
            clock.seconds = dict(state["seconds"])
            selection.load_state_dict(state["selection"])
            if monitor is not None:
                monitor.load_state_dict(state["health"])
        source, runtime = learner.source, learner.runtime
        if runtime.main and len(learner.phases) > 1:
            lengths = (f"{phase.name} ({learner.timetable.length(number):,})" for number, phase in enumerate(learner.phases))
            print(f"tacit: {title} in {len(learner.phases)} phases, by steps: {', then '.join(lengths)}", file=sys.stderr)
        steps, saved, took = self.training.steps, time.monotonic(), 0.0
        begun: float | None = state["begun"] if state is not None else None  # share of the seconds that had gone by before the first step
        stride = max(1, steps // self.evaluations) if evaluate is not None and self.evaluations else 0

        def checkpoint(*, due: bool) -> None:
            nonlocal saved, took
            if due or runtime.agreed(time.monotonic() - saved) >= max(self.checkpoint_seconds, SELDOM * took):
                began = time.monotonic()
                runtime.settle(f"before the checkpoint of step {learner.done}")
                source.save(run.folder)
                held = {"learner": learner.state_dict(), "seconds": clock.seconds, "begun": begun, "selection": selection.state_dict()}
                run.checkpoint(learner.done, {**held, "health": monitor.state_dict() if monitor is not None else None})
                saved = time.monotonic()
                took = runtime.agreed(saved - began)

        def spent() -> float:
            return runtime.agreed(clock.budgeted) / self.max_seconds if self.max_seconds else 0.0

        def share(begun: float) -> float:
            timed = 1.0 if begun >= 1.0 else (spent() - begun) / (1.0 - begun)
            return max(learner.done / steps, timed, learner.done / source.most_steps if source.most_steps else 0.0)

        def look(measure: Callable[[], Answers]) -> dict[str, float]:
            with clock("evaluation"), torch.random.fork_rng():
                measured = {**measure().metrics("student"), **self._averaged(selection, measure)}
            run.log(learner.done, {"seconds": clock.budgeted, **measured}, kind="evaluation")
            return measured

        def check(watching: StudentMonitor, done: float) -> None:
            with clock("evaluation"), torch.random.fork_rng():
                watching.observe(done)
                judging = selection.judges and not learner.phase.still
                chosen = selection.judge(learner.done, lambda: runtime.agreed(watching.agreement())) if judging else {}
            run.log(learner.done, {"seconds": clock.budgeted, **watching.logged, **chosen}, kind="health")

        with Progress(f"{title}: first samples", source.pieces, "rounds", quiet=not runtime.main) as progress:
            for made in source.prepare():
                if monitor is not None:
                    if monitor.due_first():
                        with clock("evaluation"), torch.random.fork_rng():
                            monitor.observe_first()
                        run.log(0, {"seconds": clock.budgeted, **monitor.logged}, kind="health")
                    progress.update(made, {**monitor.losses, **monitor.notes})
                checkpoint(due=False)
                if spent() >= 1.0:
                    break
                needed = spent() * source.pieces / made
                if learner.done == 0 and needed > FAR_BEYOND and spent() > 0.25:  # a first round may be slower than the others
                    raise InputError(
                        f"max_seconds: {source.pieces} rounds come before the student's first step, and take about "
                        f"{needed * (self.max_seconds or 0):,.0f} of {self.max_seconds:g} s at this pace: give more with `--resume`, or a "
                        "smaller `--method.warmup`"
                    )
        begun = spent() if begun is None or not learner.done else begun
        if learner.done == 0:
            checkpoint(due=True)
        with Progress(title, steps, "steps", quiet=not runtime.main, done=learner.done, share=share(begun)) as progress:
            notes: dict[str, float | str] = {}
            parts: dict[str, float] = {}
            while True:
                done = share(begun)
                if monitor is not None and learner.done and monitor.due(done):
                    check(monitor, done)
                    notes |= monitor.notes
                if done >= 1.0 or selection.stopped:
                    break
                with clock("training"):
                    learner.step(done)
                    if not learner.phase.still:
                        selection.step()
                    if learner.done % self.log_every == 0 or learner.done == steps:
                        parts = {name: float(part.detach()) for name, part in learner.parts.items()}
                        logged = {"seconds": clock.budgeted, "loss": float(learner.loss.detach()), "lr": learner.lr, **learner.place}
                        run.log(learner.done, {**logged, **{f"loss/{name}": part for name, part in parts.items()}}, kind="train")
                if evaluate is not None and stride and learner.done % stride == 0:
                    notes |= look(evaluate)
                progress.update(learner.done, {**learner.place, **notes, **parts}, share=done)
                checkpoint(due=False)
            if evaluate is not None and stride and learner.done % stride:  # a budget ended it between two evaluations
                notes |= look(evaluate)
            progress.update(learner.done, {**learner.place, **notes, **parts}, final=True)
        if learner.done == 0:
            raise InputError(
                f"max_seconds: {self.max_seconds:g} s went by before the student's first step; give more with `--resume`, or a smaller "
                "`--method.warmup`"
            )
        checkpoint(due=True)
        learner.student.eval()

    @staticmethod
    def _averaged(selection: Selection, evaluate: Callable[[], Answers]) -> dict[str, float]:
        """Return the scores of the averaged weights, where an average is kept."""
        if selection.average is None:
            return {}
        with wearing(selection.network, selection.average.weights):
            return evaluate().metrics("student", "_ema")

    def hand_over(self, selection: Selection, run: Run, evaluate: Callable[[], Answers] | None) -> dict[str, Any]:
        """Put the weights that `select` names into the network and into ``model/``; return what is known of them, as metrics.

        To be called when everything that is said of the last step has been measured.
        """
        metrics: dict[str, Any] = self._averaged(selection, evaluate) if evaluate is not None else {}
        selection.hand_over()
        if evaluate is not None and selection.select != "last":
            metrics |= evaluate().metrics("student", "_selected")
        if selection.best is not None:
            metrics["best"] = {"step": selection.best_step, "agreement_synthetic": selection.best_agreement}
        save(selection.network, run.folder / "model")
        return {**metrics, "size_student_bytes": (run.folder / "model" / "weights.safetensors").stat().st_size}

"""What `train` and `distill` share: a learner driven to its end, with logs, checkpoints, budget and evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.network import Spec
from tacit.core.progress import Progress
from tacit.core.run import Run
from tacit.data import Augmentation, load_data
from tacit.data.load import Data, StreamedSet
from tacit.distill import Learner, Stored, Training
from tacit.distill.sources import Streamed
from tacit.verbs.base import DataLike, RunVerb, data_option

__all__ = ["LearningVerb"]


@dataclass(frozen=True, kw_only=True)
class LearningVerb(RunVerb):
    """Options of the verbs that train a network."""

    data: DataLike | None = data_option()
    """digits, a Hugging Face id, a folder, or package.module:callable."""
    split: str | None = None
    """Split of `data` that is used; not given: train where the data are learned from, test where they serve evaluation."""
    training: Training = field(default_factory=Training)
    """How the network is optimised."""
    augmentation: Augmentation = "shift"
    """What is done to stored images before each look: none, shift (by up to an eighth), or shift-flip."""
    evaluations: int = 10
    """How often the network is evaluated on the way, where evaluation data are given; it never steers the training."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    max_seconds: float | None = None
    """Stop after this many seconds of synthesis and training; the learning rate then falls with the time."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints; one is always made before the first step and after the last."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluations < 0 or self.log_every < 1 or self.checkpoint_seconds < 0:
            raise InputError("evaluations and checkpoint_seconds: expected 0 or more; log_every: at least 1")
        if self.max_seconds is not None and self.max_seconds <= 0:
            raise InputError(f"max_seconds: expected more than 0, got {self.max_seconds}")

    def real_source(self, spec: Spec, runtime: Runtime) -> tuple[Data, Stored | Streamed]:
        """Return the training data, and the source that shows them."""
        if self.data is None:
            raise InputError("data: say which data to learn from, as `--data digits`")
        real = load_data(self.data, self.split or "train", spec).to(runtime.device)
        options: dict[str, Any] = {
            "size": self.training.batch,
            "seed": self.seed,
            "device": runtime.device,
            "augmentation": self.augmentation,
        }
        return real, (Streamed(real, **options) if isinstance(real, StreamedSet) else Stored(real, **options))

    def learn(
        self,
        learner: Learner,
        run: Run,
        clock: Clock,
        state: dict[str, Any] | None,
        *,
        title: str,
        evaluate: Callable[[], dict[str, float]] | None,
    ) -> None:
        """Drive `learner` to its last step, from `state` where a run is resumed.

        Args:
            learner: What learns.
            run: Where logs and checkpoints go.
            clock: Counts the seconds.
            state: The last checkpoint.
            title: For the progress bar.
            evaluate: Measures the student on real data; None where there are none.
        """
        if state is not None:
            learner.load_state_dict(state["learner"], run.folder)
            clock.seconds = dict(state["seconds"])
        steps, saved = self.training.steps, time.monotonic()
        stride = max(1, steps // self.evaluations) if evaluate is not None and self.evaluations else 0

        def checkpoint() -> None:
            learner.source.save(run.folder)
            run.checkpoint(learner.done, {"learner": learner.state_dict(), "seconds": clock.seconds})

        def share() -> float:
            return learner.runtime.agreed(max(learner.done / steps, clock.budgeted / self.max_seconds if self.max_seconds else 0.0))

        for _ in learner.source.prepare():
            if time.monotonic() - saved >= self.checkpoint_seconds:
                checkpoint()
                saved = time.monotonic()
        if learner.done == 0:
            checkpoint()
        with Progress(title, steps, "steps") as progress:
            notes: dict[str, float] = {}
            while (done := share()) < 1.0:
                with clock("training"):
                    learner.step(done)
                if learner.done % self.log_every == 0 or learner.done == steps:
                    parts = {name: float(part.detach()) for name, part in learner.parts.items()}
                    logged = {"seconds": clock.budgeted, "loss": float(learner.loss.detach()), "lr": learner.lr}
                    run.log(learner.done, {**logged, **{f"loss/{name}": part for name, part in parts.items()}}, kind="train")
                    notes = {**notes, **parts}
                if evaluate is not None and stride and learner.done % stride == 0:
                    with clock("evaluation"):
                        measured = evaluate()
                    run.log(learner.done, {"seconds": clock.budgeted, **measured}, kind="evaluation")
                    notes = {**notes, **measured}
                progress.update(learner.done, notes)
                if time.monotonic() - saved >= self.checkpoint_seconds:
                    checkpoint()
                    saved = time.monotonic()
            progress.update(learner.done, notes, final=True)
        checkpoint()

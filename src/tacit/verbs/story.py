"""Story: what the rounds of a federation brought, for log, table and result; it goes on where a run is resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tacit.core.device import Clock
from tacit.core.run import Run
from tacit.federate import Round

__all__ = ["Story"]

ADDED = ("bytes_down", "bytes_up", "bytes_tests", "dropped", "images_made", "skipped", "diverged")
"""What is added up over the rounds."""
CHANCE, FALL, ENOUGH = 0.05, 0.1, 10
"""Accuracy above that of guessing, accuracy below the best on the way, and rounds from which on these are warned of."""


class Story:
    """Rounds, one after the other.

    Args:
        targets: Accuracies of which is told in which round they were first reached.
    """

    def __init__(self, targets: Sequence[float]) -> None:
        self.reached: dict[str, int | None] = {f"{target:g}": None for target in targets}
        self.total: dict[str, float] = dict.fromkeys(ADDED, 0.0)
        self.accuracy: float | None = None
        self.own: dict[int, float] = {}
        self.beside: dict[str, float] = {}
        self.rounds = 0
        self.best: tuple[float, int] = (0.0, 0)

    def note(self, done: Round) -> None:
        """Take note of a round."""
        self.rounds = done.number
        news = {"bytes_down": done.bytes_down, "bytes_up": done.bytes_up, "bytes_tests": done.bytes_tests}
        news |= {"dropped": len(done.dropped) + len(done.unmeasured), "images_made": int(done.numbers.get("images_made", 0))}
        news["diverged"] = sum("NaN" in why or "beyond" in why for why in done.dropped.values())
        news["skipped"] = int(done.numbers.get("skipped", 0))
        self.total = {name: self.total[name] + value for name, value in news.items()}
        if done.accuracy is not None or done.own:
            self.accuracy, self.own, self.beside = done.accuracy, dict(done.own), dict(done.beside)
            self.best = max(self.best, (self._known or 0.0, done.number), key=lambda found: found[0])
        for target, first in self.reached.items():
            if first is None and done.accuracy is not None and done.accuracy >= float(target):
                self.reached[target] = done.number

    @property
    def _known(self) -> float | None:
        """The last accuracy: of the global model on the test set; else the mean of the clients' on their own images."""
        return self.accuracy if self.accuracy is not None else fmean(self.own.values()) if self.own else None

    def faults(self, classes: int) -> dict[str, str]:
        """Return warnings of a federation whose server broke, that learned nothing, or lost what it knew, by kind."""
        known, (best, when), skipped = self._known, self.best, int(self.total["skipped"])
        broke = (
            f"what the server learns itself broke in {skipped} of {self.rounds} rounds, so that they brought a mean of the clients' weights"
        )
        found = {"skipped": f"{broke} alone: try a tenth of the server's own rate (`server_lr` or `generator_lr`)"} if skipped else {}
        if diverged := int(self.total["diverged"]):
            found["diverged"] = (
                f"{diverged} answers were dropped for weights that exploded: `lr` is too high for these clients; try a tenth of it "
                "(FedGen's own losses weigh ten times the labels' at first)"
            )
        if known is None or self.rounds < ENOUGH:
            return found
        if known <= 1 / classes + CHANCE:
            return found | {
                "chance": f"after {self.rounds} rounds accuracy is {known:.1%}, about that of guessing: training diverged, as it does "
                "where `lr` is too high; try a tenth of it (FedGen's own losses weigh ten times the labels' at first)"
            }
        if known < best - FALL:
            return found | {
                "fall": f"accuracy was {best:.1%} after round {when} and is {known:.1%} now: a lower `lr`, or fewer `local_steps`, keep it"
            }
        return found

    @staticmethod
    def log(run: Run, done: Round, clock: Clock) -> None:
        """Write a round to the log: its traffic, its losses, what was dropped and who was not used and why, and its tests."""
        seconds = clock.budgeted
        traffic = {"replies": done.replies, "dropped": len(done.dropped), "bytes_down": done.bytes_down, "bytes_up": done.bytes_up}
        traffic["bytes_tests"] = done.bytes_tests
        rest = {name: value for name, value in done.numbers.items() if not name.startswith("loss/")}
        run.log(done.number, {"seconds": seconds, "took": done.seconds, **traffic, **rest}, kind="round")
        if done.loss is not None:
            parts = {name: value for name, value in done.numbers.items() if name.startswith("loss/")}
            run.log(done.number, {"seconds": seconds, "loss": done.loss, **parts}, kind="train")
        for client, why in done.dropped.items():
            run.log(done.number, {"client": client, "why": why}, kind="dropped")
        for client, why in done.unmeasured.items():
            run.log(done.number, {"client": client, "why": f"measuring: {why}"}, kind="dropped")
        for node, why in done.refused.items():
            run.log(done.number, {"node": str(node), "why": why}, kind="refused")
        tested = {"student_accuracy": done.accuracy, "client_accuracy": done.mean_own}
        tested |= {f"beside/{name}": value for name, value in done.beside.items()}
        if known := {name: value for name, value in tested.items() if value is not None}:
            run.log(done.number, {"seconds": seconds, **known}, kind="evaluation")
        if done.own:
            run.log(done.number, {str(client): value for client, value in done.own.items()}, kind="client")

    def shown(self, done: Round) -> dict[str, float | str]:
        """Return what a progress bar shows."""
        found: dict[str, float | str] = {} if done.loss is None else {"loss": done.loss}
        if self.accuracy is not None:
            found["accuracy"] = self.accuracy
        return found | ({"dropped": self.total["dropped"]} if self.total["dropped"] else {})

    def metrics(self) -> dict[str, Any]:
        """Return what stands in the result."""
        return {
            "student_accuracy": self.accuracy,
            "rounds": self.rounds,
            "rounds_to": self.reached,
            "client_accuracy": {str(client): value for client, value in self.own.items()} or None,
            "client_accuracy_mean": fmean(self.own.values()) if self.own else None,
            "beside": self.beside or None,
            "bytes_down": int(self.total["bytes_down"]),
            "bytes_up": int(self.total["bytes_up"]),
            "bytes_tests": int(self.total["bytes_tests"]),
            "dropped": int(self.total["dropped"]),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what is known so far, as plain values."""
        return {name: getattr(self, name) for name in ("reached", "total", "accuracy", "own", "beside", "rounds", "best")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken; targets may have changed, and those that are new count from now."""
        for name, value in state.items():
            setattr(self, name, {**getattr(self, name), **value} if name in ("reached", "total") else value)

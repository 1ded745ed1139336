"""Server: the only round loop. It knows no algorithm and no engine by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import torch

from tacit.core.device import derived_seed
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.data.images import ImageSet
from tacit.evaluate import predict
from tacit.federate.algorithms.base import Algorithm
from tacit.federate.central import Central
from tacit.federate.checks import Expected, FederationError, Rules, sift
from tacit.federate.engines import Engine
from tacit.federate.messages import Download, Lost, Number, Upload

__all__ = ["Round", "Rounds", "Server"]


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How many rounds there are, who takes part, and when the model is tested."""

    rounds: int = 40
    """Rounds in all."""
    active: int | None = None
    """Clients that take part in a round, drawn anew each time; None: all."""
    every: int = 1
    """Rounds between two tests; the last round is always tested. 0: only that one."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or (self.active is not None and self.active < 1) or self.every < 0:
            raise InputError(f"rounds and active: expected at least 1, got {self.rounds} and {self.active}; evaluate_every: 0 or more")


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round brought.

    Args:
        number: Rounds done, this one included.
        replies: Sound answers.
        dropped: Why the others were not used, by client.
        refused: Why nodes that are there were not asked at all, by the engine's number for each.
        learned: Whether the server learned from them.
        numbers: Of the algorithm, for the log.
        loss: Mean loss of the clients that tell it; None: nobody did.
        bytes_down: Sent to clients for training.
        bytes_up: Sound answers' bytes.
        accuracy: On the global test set: of the global model, or the mean of the clients' own; None where not tested.
        own: Each client's accuracy on its own test images.
        beside: Accuracy on the global test set of other networks that the algorithm finds worth a look.
        bytes_tests: Sent both ways to have clients test models; of answers, those that were used.
        unmeasured: Why what a client measured was not used, by client.
        seconds: Wall seconds of training, on both sides.
    """

    number: int
    replies: int
    dropped: Mapping[int, str]
    learned: bool
    numbers: Mapping[str, float]
    loss: float | None
    bytes_down: int
    bytes_up: int
    seconds: float
    refused: Mapping[int, str] = field(default_factory=dict)
    accuracy: float | None = None
    own: Mapping[int, float] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)
    bytes_tests: int = 0
    unmeasured: Mapping[int, str] = field(default_factory=dict)

    @property
    def mean_own(self) -> float | None:
        """Mean of the clients' accuracies on their own images."""
        return fmean(self.own.values()) if self.own else None


class Server:
    """Runs the rounds of one algorithm over one engine.

    Args:
        central: What the server holds.
        algorithm: What is done.
        engine: Who carries messages.
        rounds: How often, and with whom.
        rules: When a round counts.
        test: The global test set; None: there is none.
    """

    def __init__(
        self, central: Central, algorithm: Algorithm, engine: Engine, *, rounds: Rounds, rules: Rules, test: ImageSet | None = None
    ) -> None:
        self.central, self.algorithm, self.engine, self.rules = central, algorithm, engine, rules
        most = algorithm.rounds
        self.rounds = rounds if most is None else replace(rounds, rounds=min(rounds.rounds, most))
        self.test = test
        self.failures = 0
        """Rounds in a row in which too much failed."""
        self.learned = 0
        """Rounds from which something was learned."""
        self._began = time.perf_counter()
        algorithm.check(central)
        algorithm.begin(central)

    def run(self, note: Callable[[Round], None]) -> None:
        """Do the rounds that are left; `note` is told of each when all of it is done.

        Raises:
            FederationError: Where too much failed for too long, or nothing was learned in any round.
        """
        done = None
        while self.central.round < self.rounds.rounds:
            done = self.round()
            note(done)
        if not self.learned:
            last = f"; in the last one: {_reasons(done)}" if done is not None else ""
            raise FederationError(f"in no round was anything learned{last}")

    def round(self) -> Round:
        """Do one round."""
        with self.central.clock("training"):
            downloads = self.ask()
            done = self.take(downloads, self.engine.train(downloads))
        every, number = self.rounds.every, self.central.round
        if number == self.rounds.rounds or (every and number % every == 0):
            with self.central.clock("evaluation"):
                done = self.measure(done)
        return done

    def ask(self) -> dict[int, Download]:
        """Begin a round: return the downloads to who takes part in it."""
        self._began = time.perf_counter()
        return self.downloads(self.sample())

    def take(self, downloads: Mapping[int, Download], came: Mapping[int, Upload | Lost], *, least: int = 1) -> Round:
        """End a round: learn from what came back, untested yet.

        Args:
            downloads: As `ask` returned them.
            came: By client; one that is missing did not answer.
            least: Sound answers without which nothing is learned, where that is more than the rules say.

        Raises:
            FederationError: Where too much failed for too long.
        """
        central = self.central
        replies, dropped = self.sift(downloads, came)
        numbers, why = self._learn(replies, max(least, self.rules.replies))
        if why is not None:
            dropped |= dict.fromkeys(replies, why)
        central.round += 1
        losses = [reply.metrics["loss"] for reply in replies.values() if "loss" in reply.metrics]
        done = Round(
            number=central.round,
            replies=len(replies),
            dropped=dropped,
            learned=why is None,
            numbers=numbers,
            loss=fmean(losses) if losses else None,
            bytes_down=sum(download.bytes for download in downloads.values()),
            bytes_up=sum(reply.bytes for reply in replies.values()),
            seconds=time.perf_counter() - self._began,
            refused=dict(self.engine.refused),
        )
        self._count_failures(done, len(downloads))
        return done

    def sift(self, downloads: Iterable[int], came: Mapping[int, Upload | Lost]) -> tuple[dict[int, Upload], dict[int, str]]:
        """Return which answers of a round are sound, and why the others are not, by client; as `sound` does for measurements.

        Args:
            downloads: Who was asked.
            came: By client; one that is missing did not answer.
        """
        kinds = {client: self.central.kinds[client] for client in downloads}
        expected = {kind: replace(self.algorithm.expected(self.central, kind), images=self.rules.images) for kind in set(kinds.values())}
        return sift(came, {client: expected[kind] for client, kind in kinds.items()})

    def sample(self) -> list[int]:
        """Return who takes part in this round, in rising order; the draw depends on (seed, round) and who is there."""
        there = sorted(self.engine.clients)
        wanted = len(there) if self.rounds.active is None else self.rounds.active
        if not there:
            return []
        draw = torch.Generator().manual_seed(derived_seed(self.central.seed, "sampling", self.central.round))
        return sorted(there[place] for place in torch.randperm(len(there), generator=draw)[:wanted].tolist())

    def measure(self, done: Round) -> Round:
        """Return a round with what tests found: on the global test set, on each client's own images, and of what stands beside."""
        central = self.central
        if not self.learned:
            return done
        judged = self.algorithm.judged(central)
        accuracy = self.accuracy(judged) if judged is not None else None
        beside = {name: self.accuracy(network) for name, network in self.algorithm.beside(central).items()}
        downloads = self.questions(sorted(self.engine.clients))
        replies, unmeasured = self.sound(downloads, self.engine.measure(downloads))
        told = {client: reply.metrics for client, reply in replies.items()}
        public = [numbers["public"] for numbers in told.values() if "public" in numbers]
        if judged is None and public:
            accuracy = fmean(public)
        return replace(
            done,
            accuracy=accuracy,
            own={client: numbers["accuracy"] for client, numbers in told.items() if "accuracy" in numbers},
            beside={name: value for name, value in beside.items() if value is not None},
            bytes_tests=sum(download.bytes for download in downloads.values()) + sum(reply.bytes for reply in replies.values()),
            unmeasured=unmeasured,
        )

    @staticmethod
    def sound(downloads: Iterable[int], came: Mapping[int, Upload | Lost]) -> tuple[dict[int, Upload], dict[int, str]]:
        """Return which measurements are sound, and why the others are not, by client.

        Args:
            downloads: Who was asked.
            came: By client; one that is missing did not answer.
        """
        return sift(came, dict.fromkeys(downloads, Expected(shares=True)))

    def questions(self, clients: Sequence[int]) -> dict[int, Download]:
        """Return a download to each of `clients` that asks it to measure the model."""
        config: dict[str, Number] = {"public": self.algorithm.judged(self.central) is None}
        found = self.downloads(clients)
        made = {id(download): replace(download, generator=None, tensors={}, config=config) for download in found.values()}
        return {client: made[id(download)] for client, download in found.items()}

    def accuracy(self, network: Network) -> float | None:
        """Return accuracy on the global test set; None where there is none."""
        return predict(network, self.test.batches(1024), self.central.runtime).accuracy if self.test is not None else None

    def downloads(self, clients: Sequence[int]) -> dict[int, Download]:
        """Return a download to each of `clients`; those of one architecture get the same."""
        kinds = sorted({self.central.kinds[client] for client in clients})
        downloads = {kind: self._within(self.algorithm.download(self.central, kind)) for kind in kinds}
        return {client: downloads[self.central.kinds[client]] for client in clients}

    def _within(self, download: Download) -> Download:
        """Return a download that says how many images a site may say it has, where a site that does not tell would say more."""
        local, most = self.central.local, self.rules.images
        return download if most >= local.steps * local.batch else replace(download, config={**download.config, "images": most})

    def _learn(self, replies: Mapping[int, Upload], least: int) -> tuple[dict[str, float], str | None]:
        """Let the algorithm do its part; return its numbers, and why nothing was learned, if so."""
        if len(replies) < least:
            return {}, f"{len(replies)} sound answers, at least {least} were asked for"
        torch.manual_seed(derived_seed(self.central.seed, "server", self.central.round))
        before = self.central.memory()
        try:
            numbers = self.algorithm.learn(self.central, replies)
            self.central.check()
        except FederationError as error:
            self.central.load_state_dict(before)
            return {}, str(error)
        if self.algorithm.keeps:
            self.central.latest |= {client: dict(reply.weights) for client, reply in replies.items()}
            self.central.examples |= {client: float(reply.examples) for client, reply in replies.items()}
        self.learned += 1
        return numbers, None

    def _count_failures(self, done: Round, asked: int) -> None:
        failed = 1.0 if not (asked and done.learned) else len(done.dropped) / asked
        self.failures = self.failures + 1 if failed > self.rules.failures else 0
        if self.failures >= self.rules.patience:
            diverged = any("NaN" in why or "beyond" in why for why in done.dropped.values())
            raise FederationError(
                f"in {self.failures} rounds in a row more than {self.rules.failures:.0%} of the answers failed ({_reasons(done)})"
                + ("; too high a learning rate is a common cause" if diverged else "")
            )

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next round depends on."""
        return {
            "central": self.central.state_dict(),
            "engine": self.engine.state_dict(),
            "failures": self.failures,
            "learned": self.learned,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.central.load_state_dict(state["central"])
        self.engine.load_state_dict(state["engine"])
        self.failures, self.learned = state["failures"], state["learned"]


def _reasons(done: Round) -> str:
    return "; ".join(f"client {client}: {why}" for client, why in list(done.dropped.items())[:3]) or "there are no clients"

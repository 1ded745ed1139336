"""Strategy: the same algorithms for those who drive a federation by Flower's own loop, `Strategy.start`.

tacit's own loop (`Server` over `FlowerEngine`) also resumes and keeps deadlines for joining; this is for apps that are built around a
strategy, and for Flower's wrappers of strategies, as those for differential privacy.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from tacit.core.errors import InputError, import_extra
from tacit.data.images import ImageSet
from tacit.federate.central import Central
from tacit.federate.flower.engine import LEEWAY, Deadlines, FlowerEngine, answer
from tacit.federate.flower.privacy import CLIPPING, check_central, noising
from tacit.federate.flower.records import Transport, arrays_of, check_transport, download_record, tensors_of
from tacit.federate.messages import Download, Lost, Upload
from tacit.federate.plan import Plan
from tacit.federate.server import Round, Server
from tacit.federate.sharing import statistics_keys

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import Strategy

__all__ = ["make_strategy"]

log = logging.getLogger("tacit")


def make_strategy(plan: Plan, *, test: ImageSet | None = None, deadlines: Deadlines | None = None, transport: Transport = "array") -> Any:
    """Return a `flwr.serverapp.strategy.Strategy` that does what the plan's algorithm does.

    Its `initial_arrays` are what `start` wants; its `server` holds models and generator, and can be given a state to go on from. The number
    of rounds is given to `start`, and not to the strategy: one-shot algorithms want ``num_rounds=1``, and clients test the model every
    `plan.rounds.every` rounds, not after the last as such (0: never). Samples, checks and means are those of tacit's own loop.

    Args:
        plan: Of both sides.
        test: The global test set, for ``evaluate_fn=strategy.evaluate``, which is told of after every round.
        deadlines: How long is waited for clients to be there. Answers are waited for up to `start`'s own ``timeout``; `replies` is how long
            a download stays valid (and a minute more), and should be no less.
        transport: How generator and whole numbers are carried.
    """
    check_transport(transport)
    return _kind()(plan.server(plan.in_process([]), test), plan.clients, deadlines or Deadlines(), transport)


@functools.cache
def _kind() -> type[Any]:
    """Return the class, made when Flower is first needed."""
    flower = import_extra("flwr.app", "federate", "Flower")
    base: type[Strategy] = import_extra("flwr.serverapp.strategy", "federate", "Flower").Strategy

    class TacitStrategy(base):  # type: ignore[valid-type,misc]
        """One of tacit's algorithms, round by round, as Flower asks for it."""

        def __init__(self, server: Server, clients: int, deadlines: Deadlines, transport: Transport) -> None:
            self.server, self.count, self.deadlines, self.transport = server, clients, deadlines, transport
            self._downloads: dict[int, Download] = {}
            self._lost: dict[int, Lost] = {}
            self._sent: list[tuple[int, Message]] = []
            self._least = 1

        @property
        def initial_arrays(self) -> ArrayRecord:
            """What is shared of the global model now."""
            central = self.server.central
            floats = {
                key: value
                for key, value in central.sharing[0].out(central.networks[0]).items()
                if self.transport == "array" or value.is_floating_point()
            }
            return arrays_of(floats)

        def load(self, arrays: ArrayRecord) -> None:
            """Put arrays into the global model: those of the last round, to which a wrapper may have added noise."""
            central = self.server.central
            tensors = tensors_of(arrays)
            for kind, network in enumerate(central.networks):
                if kind == 0 or central.part == "head":
                    Central.load(network, central.sharing[kind].at_home(tensors))

        def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
            """Draw who takes part, and write to them.

            A wrapper that gave up the round before, as Flower's do where a site answered with an error, did not hand its answers on: that
            round is counted here, as one in which nothing was learned.

            Raises:
                FederationError: Where too much failed for too long.
                InputError: Where a wrapper adds noise that would not cover everything, or all rounds that the algorithm has are done.
            """
            if self._downloads:
                given_up = dict.fromkeys(self._downloads, Lost("a wrapper of the strategy gave up the round"))
                self._end({**given_up, **self._lost})
            algorithm, done = self.server.algorithm, self.server.central.round
            if algorithm.rounds is not None and done >= algorithm.rounds:
                raise InputError(f"{algorithm.name} has {algorithm.rounds} round and no more: start(..., num_rounds={algorithm.rounds})")
            wrapper = noising()
            noised = CLIPPING in config or wrapper is not None
            if noised:
                central = self.server.central
                sharing, model = central.sharing[0], central.network.model
                state = model.state_dict()
                check_central(self.server.algorithm, {key: state[key] for key in sharing.names.values()}, statistics_keys(model))
            self.load(arrays)
            self._over(grid)
            self._downloads = self.server.ask()
            self._least = max(len(self._downloads), getattr(wrapper, "num_sampled_clients", 1)) if noised else 1
            return self._messages(self._downloads, "train", config)

        def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
            """Check what came back and learn from it; arrays are None where nothing was learned.

            Where a wrapper adds noise to the mean, nothing is learned from fewer answers than the noise is for.
            """
            done = self._end({**self._lost, **self._by_client(replies)}, least=self._least)
            numbers: dict[str, Any] = {"replies": done.replies, "dropped": len(done.dropped), **done.numbers}
            metrics = flower.MetricRecord(numbers | ({"loss": done.loss} if done.loss is not None else {}))
            return (self.initial_arrays if done.learned else None), metrics

        def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
            """Ask all clients that are there to measure the model, every so many rounds."""
            self.load(arrays)
            every = self.server.rounds.every
            if not self.server.learned or not every or server_round % every:
                self._sent = []
                return []
            return self._messages(self.server.questions(self._over(grid).clients), "evaluate", config)

        def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
            """Return the means of what clients measured."""
            sound, why = self.server.sound([client for client, _ in self._sent], self._by_client(replies))
            for client, reason in why.items():
                log.warning("round %d: what client %d measured is dropped: %s", server_round, client, reason)
            told = [reply.metrics for reply in sound.values()]
            names = sorted({name for metrics in told for name in metrics})
            if not names:
                return None
            made: MetricRecord = flower.MetricRecord({name: fmean(metrics[name] for metrics in told if name in metrics) for name in names})
            return made

        def evaluate(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
            """Return accuracy on the global test set, for ``start(evaluate_fn=...)``.

            None where there is no such set or no global model, or nothing was learned yet.
            """
            if not self.server.learned:
                return None
            self.load(arrays)
            judged = self.server.algorithm.judged(self.server.central)
            accuracy = self.server.accuracy(judged) if judged is not None else None
            return None if accuracy is None else flower.MetricRecord({"accuracy": accuracy})

        def summary(self) -> None:
            """Say what is done."""
            log.info("%s, %d clients, %s of them in a round", self.server.algorithm.name, self.count, self.server.rounds.active or "all")

        def checked(self, grid: Grid) -> Grid:
            """Return the grid for Flower's wrappers of strategies: answers that are not sound are taken out before a wrapper sees them.

            A wrapper that clips at the server works on what came as it is: numpy would make a tensor of one number fit any shape, and one
            that fits none would end the run. ``wrapper.start(strategy.checked(grid), ...)``.
            """
            return cast("Grid", _Sieve(grid, self._sound))

        def _sound(self, replies: Iterable[Message]) -> list[Message]:
            """Return the messages of a round whose answers are sound; remember why others are not. Measurements stay as they are."""
            asked, came = {message.metadata.message_id: client for client, message in self._sent}, list(replies)
            if any(message.metadata.message_type != "train" for _, message in self._sent):
                return came
            sound, why = self.server.sift(self._downloads, self._by_client(came))
            self._lost = {client: Lost(reason) for client, reason in why.items()}
            return [reply for reply in came if asked.get(reply.metadata.reply_to_message_id) in sound]

        def _end(self, came: Mapping[int, Upload | Lost], *, least: int = 1) -> Round:
            """End a round with what came."""
            downloads, self._downloads, self._lost = self._downloads, {}, {}
            done = self.server.take(downloads, came, least=least)
            for client, why in done.dropped.items():
                log.warning("round %d: the answer of client %d is dropped: %s", done.number, client, why)
            return done

        def _over(self, grid: Grid) -> FlowerEngine:
            engine = self.server.engine
            if not isinstance(engine, FlowerEngine) or engine.grid is not grid:
                engine = FlowerEngine(grid, self.count, deadlines=self.deadlines, transport=self.transport)
                self.server.engine = engine
            return engine

        def _messages(self, downloads: dict[int, Download], kind: str, config: ConfigRecord) -> list[Message]:
            engine = self.server.engine
            assert isinstance(engine, FlowerEngine)
            self._sent = []
            added: dict[str, Any] = dict(config)
            for client, download in downloads.items():
                if client in engine.nodes:
                    content = download_record(replace(download, config={**download.config, **added}), self.transport)
                    valid = self.deadlines.replies + LEEWAY
                    self._sent.append(
                        (client, flower.Message(content, engine.nodes[client], kind, ttl=valid, group_id=str(download.round)))
                    )
            return [message for _, message in self._sent]

        def _by_client(self, replies: Iterable[Message]) -> dict[int, Upload | Lost]:
            """Return answers by client, whatever order they came in; an error's own sender is not the node that failed."""
            asked = {message.metadata.message_id: client for client, message in self._sent}
            came = ((asked.get(reply.metadata.reply_to_message_id), reply) for reply in replies)
            return {client: answer(reply) for client, reply in came if client is not None}

    return TacitStrategy


class _Sieve:
    """A grid that hands on only those answers that `sound` returns."""

    def __init__(self, grid: Grid, sound: Callable[[Iterable[Message]], list[Message]]) -> None:
        self.grid, self.sound = grid, sound

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.sound(self.grid.send_and_receive(messages, timeout=timeout))

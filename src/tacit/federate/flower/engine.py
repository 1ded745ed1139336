"""Engine over a Flower grid: downloads go out as messages, answers are collected until a deadline, errors become reasons."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tacit.core.errors import InputError, import_extra
from tacit.core.network import Network
from tacit.federate.flower.apps import CLIENT, DATA
from tacit.federate.flower.records import Transport, check_transport, download_record, read_upload
from tacit.federate.messages import Download, Lost, Upload, brief

if TYPE_CHECKING:
    from flwr.app import Message, RecordDict
    from flwr.serverapp import Grid

__all__ = ["Deadlines", "FlowerEngine", "reason"]

log = logging.getLogger("tacit")
SHORT, LONG = 0.02, 2.0
"""Seconds between two looks for answers, at first and at most."""
LEEWAY = 60.0
"""Seconds that a message stays valid beyond its deadline, since clocks of sites differ."""


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """How long the server waits, and for whom."""

    joining: float = 300.0
    """Seconds that are waited for clients to be there: for all of them before the first round, later for `least`."""
    replies: float = 3600.0
    """Seconds that are waited for the answers of a round, and again for those of its test; who is later is left out of the round."""
    least: int = 1
    """Clients that must be there for a round to begin before `joining` is over."""

    def __post_init__(self) -> None:
        if not (self.joining >= 0 and self.replies > 0 and self.least >= 1):
            raise InputError(
                f"deadlines: expected joining of 0 or more, replies of more than 0 seconds and least of 1 or more, got {self.joining}, "
                f"{self.replies} and {self.least}"
            )


class FlowerEngine:
    """Carries downloads over a Flower `Grid`, whatever stands behind it: a simulation, or a SuperLink with SuperNodes.

    Nodes have random numbers; each is asked once which client it is, so that samples and means are those of every other engine. A node that
    takes the number of one that is there already, or one that there is not, is left out.

    Args:
        grid: Of the run.
        clients: How many clients there are.
        deadlines: How long is waited.
        transport: How generator and whole numbers are carried.
        data: Whose images are learned from, so that a node that was started for the other is refused: those of the ``sites``, or parts of
            one set that are ``dealt`` to them. None: nodes are not asked.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        grid: Grid,
        clients: int,
        *,
        deadlines: Deadlines | None = None,
        transport: Transport = "array",
        data: Literal["dealt", "sites"] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        check_transport(transport)
        self.grid, self.count, self.transport, self.sleep = grid, clients, transport, sleep
        self.deadlines = deadlines or Deadlines()
        self.asked = {} if data is None else {DATA: data}
        """What the query says that each node is sent first."""
        self.nodes: dict[int, int] = {}
        """Number of the node of each client that is there."""
        self.refused: dict[int, str] = {}
        """Nodes that are there and not used, and why."""
        self._asked: dict[str, int] = {}
        self._again: set[int] = set()
        self._silent: set[int] = set()
        self._started = False
        self._flower = import_extra("flwr.app", "federate", "Flower")

    @property
    def clients(self) -> Sequence[int]:
        """Numbers of the clients that are there, having waited for enough of them up to the deadline."""
        wanted = min(self.count, self.deadlines.least) if self._started else self.count
        self._again = set(self.refused)  # who failed to say who it is has another try
        until, pause = time.monotonic() + self.deadlines.joining, SHORT
        while not self._meet() >= wanted and time.monotonic() < until:
            self.sleep(pause)
            pause = min(LONG, pause * 1.5)
        self._started = True
        if len(self.nodes) < wanted:
            log.warning("%d of %d clients are there after %.0f s", len(self.nodes), wanted, self.deadlines.joining)
        return sorted(self.nodes)

    def _meet(self) -> int:
        """Look who came and who left; return how many clients are there."""
        present = set(self.grid.get_node_ids())
        self.nodes = {client: node for client, node in self.nodes.items() if node in present}
        self.refused = {node: why for node, why in self.refused.items() if node in present}
        self._asked = {key: node for key, node in self._asked.items() if node in present}
        for reply in self.grid.pull_messages(list(self._asked)) if self._asked else ():
            node = self._asked.pop(reply.metadata.reply_to_message_id, None)
            if node is not None and (why := self._introduced(node, reply)) is not None:
                self.refused[node] = why
                log.warning("node %d is not used: %s", node, why)
        known = {*self.nodes.values(), *self._asked.values(), *(set(self.refused) - self._again)}
        for node in sorted(present - known):
            self._again.discard(node)
            key = self.push(self._flower.RecordDict({"config": self._flower.ConfigRecord(self.asked)}), node, "query", "introduction")
            if key is not None:
                self._asked[key] = node
        return len(self.nodes)

    def _introduced(self, node: int, reply: Message) -> str | None:
        """Take note of which client a node is; return why it can't be used, if so."""
        if reply.has_error():
            return reason(reply)
        client = reply.content.config_records["config"].get(CLIENT) if "config" in reply.content.config_records else None
        if isinstance(client, bool) or not isinstance(client, int) or not 0 <= client < self.count:
            return f"it says that it is client {client!r}, expected 0 to {self.count - 1}"
        if client in self.nodes:
            return f"it says that it is client {client}, and node {self.nodes[client]} is"
        self.nodes[client] = node
        self.refused.pop(node, None)
        return None

    def push(self, content: RecordDict, node: int, kind: str, group: str) -> str | None:
        """Send one message; return its number, or None where it was not taken."""
        message = self._flower.Message(content, dst_node_id=node, message_type=kind, group_id=group, ttl=self.deadlines.replies + LEEWAY)
        return next(iter(self.grid.push_messages([message])), None)

    def train(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        """Have clients learn; return what came back before the deadline, and why the others did not."""
        replies, self._silent = self._exchange(downloads, "train")
        return replies

    def measure(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        """Have clients test a model; return what came back before the deadline.

        Who let the deadline of this round's training pass is not asked, so that a site that hangs holds up a round once and not twice.
        """
        asked = {client: download for client, download in downloads.items() if client not in self._silent}
        replies, _ = self._exchange(asked, "evaluate")
        late = Lost("it was not asked, having let the training's deadline pass")
        return replies | {client: late for client in downloads if client not in asked}

    def _exchange(self, downloads: Mapping[int, Download], kind: str) -> tuple[dict[int, Upload | Lost], set[int]]:
        """Send downloads; return what came of each, and who did not answer in time."""
        replies: dict[int, Upload | Lost] = {}
        contents: dict[int, RecordDict] = {}
        waiting: dict[str, int] = {}
        for client, download in sorted(downloads.items()):
            if client not in self.nodes:
                replies[client] = Lost("its node is not there")
                continue
            if id(download) not in contents:
                contents[id(download)] = download_record(download, self.transport)
            key = self.push(contents[id(download)], self.nodes[client], kind, str(download.round))
            if key is None:
                replies[client] = Lost("its node did not take the message")
            else:
                waiting[key] = client
        until, pause = time.monotonic() + self.deadlines.replies, SHORT
        while waiting:
            for reply in self.grid.pull_messages(list(waiting)):
                client_ = waiting.pop(reply.metadata.reply_to_message_id, None)
                if client_ is not None:
                    replies[client_] = answer(reply)
            if not waiting or time.monotonic() >= until:
                break
            self.sleep(pause)
            pause = min(LONG, pause * 1.5)
        replies |= {client: Lost(f"no answer within {self.deadlines.replies:g} s") for client in waiting.values()}
        return replies, set(waiting.values())

    def models(self, downloads: Mapping[int, Download]) -> Iterable[tuple[int, Network]]:
        """Give none: clients keep their networks themselves."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: clients keep their states themselves."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is kept here."""

    def close(self) -> None:
        """Nothing is held open."""


def answer(reply: Message) -> Upload | Lost:
    """Return what a message brought."""
    if reply.has_error():
        return Lost(reason(reply))
    try:
        return read_upload(reply.content)
    except Exception as error:  # what a client sends can be anything
        return Lost(f"its answer can't be read: {type(error).__name__}: {error}")


def reason(reply: Message) -> str:
    """Return why there is no answer: the last line of what is often a whole traceback."""
    lines = [line for line in str(reply.error.reason or "").splitlines() if line.strip()]
    return f"error {reply.error.code}: {brief(lines[-1] if lines else 'no reason given')}"

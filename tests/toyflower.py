"""A Flower grid without Flower's engine: messages are answered in this process, at once, by a client app."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
pytest.importorskip("flwr")

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from tacit.federate import Client, FedGen, Plan, Server, Shelf
from tacit.federate.flower import Deadlines, FlowerEngine, Member, client_app
from toyfed import TEST, flat, sites

__all__ = ["FEDGEN", "QUICK", "InProcessGrid", "broken", "identify", "members", "over_grid", "weights"]


def identify() -> None:
    """Give this process the identity that messages want (flwr 1.41)."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 7, 1


class InProcessGrid(Grid):
    """Nodes with numbers of no meaning; `hook` sees each download first, and may answer, or say that nothing comes."""

    def __init__(self, app: ClientApp, clients: Iterable[int], hook: Callable[[int, Message], Any] | None = None) -> None:
        identify()
        self.app, self.hook = app, hook
        self.nodes = {991 - 10 * client: client for client in clients}  # in another order than the clients
        self.answers: dict[str, Message] = {}
        self.asked: list[tuple[int, str]] = []

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        pushed: list[str] = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = key = str(uuid4())
            pushed.append(key)
            client = self.nodes.get(message.metadata.dst_node_id, -1)
            self.asked.append((client, message.metadata.message_type))
            reply = self.hook(client, message) if self.hook is not None else message
            if reply is message:
                context = Context(7, message.metadata.dst_node_id, {"partition-id": client}, RecordDict(), {})
                try:
                    reply = self.app(message, context)
                except Exception as error:
                    reply = Message(Error(2, str(error)), reply_to=message)
            if reply is not None:
                self.answers[key] = reply
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self.answers.pop(key) for key in reversed(list(message_ids)) if key in self.answers]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


def members(plan: Plan, sites: Any, folder: Any, *, mods: Any = ()) -> ClientApp:
    """Return an app whose node of partition k is client k; every message meets a new `Member`, as after a restart."""
    kinds = {plan.kind_of(site.number): plan.kind(site.number) for site in sites}

    def member(context: Context) -> Member:
        number = int(context.node_config["partition-id"])
        client = Client(sites[number], kinds[plan.kind_of(number)], seed=plan.seed)
        return Member(client, Shelf(folder / f"client-{number}"))

    return client_app(member, mods=mods)


QUICK = Deadlines(joining=0.2, replies=0.2)
FEDGEN = FedGen(steps=5, generated=1, latent=1)


def over_grid(
    made: Plan, folder: Path, *, hook: Any = None, deadlines: Deadlines = QUICK, mods: Any = (), transport: Any = "array"
) -> Server:
    grid = InProcessGrid(members(made, sites(made.clients), folder, mods=mods), range(made.clients), hook)
    return made.server(FlowerEngine(grid, made.clients, deadlines=deadlines, transport=transport), TEST)


def weights(server: Server) -> torch.Tensor:
    central = server.central
    modules = [*central.networks, *([central.generator] if central.generator is not None else [])]
    return torch.cat([flat(state) for state in [*(module.state_dict() for module in modules), central.tensors] if state])


def broken(message: Message, context: Any, call_next: Any) -> Message:
    if context.node_config["partition-id"] == 2:
        raise RuntimeError("the disk of this site is full\nsee the manual")
    reply: Message = call_next(message, context)
    return reply

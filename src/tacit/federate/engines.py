"""Engines: who carries messages to clients and back. The server's loop never asks which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.federate.client import Client
from tacit.federate.messages import Download, Lost, Upload

__all__ = ["Engine", "InProcess"]


class Engine(Protocol):
    """Carries downloads to clients and answers back. It keeps each client's state between rounds, and its own deadline.

    An engine may answer for fewer clients than were asked, and late ones are left out; it never raises for what one client did.
    """

    @property
    def clients(self) -> Sequence[int]:
        """Numbers of the clients that can be asked now, in rising order."""

    @property
    def refused(self) -> Mapping[int, str]:
        """Why nodes that are there are not used, by the engine's own number for each; empty where every client is at hand."""

    def train(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        """Have clients learn; return what came back, by client."""

    def measure(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        """Have clients test a model; return what came back, by client. Nothing that they keep changes."""

    def models(self, downloads: Mapping[int, Download]) -> Iterable[tuple[int, Network]]:
        """Give the clients' networks, with the weights sent and what each kept, one after the other; none where they are elsewhere."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the next round depends on and is kept here; empty where clients keep it themselves."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""

    def close(self) -> None:
        """End what it started; called once, when all rounds are done or something broke."""


class InProcess:
    """All clients in this process, one after the other: no sockets, no copies but of weights.

    Args:
        clients: With numbers of their own.
    """

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = {client.site.number: client for client in sorted(clients, key=lambda client: client.site.number)}
        self._federation = ""
        self._states: dict[int, dict[str, Tensor]] = {}

    @property
    def clients(self) -> Sequence[int]:
        """Numbers of all clients."""
        return list(self._clients)

    @property
    def refused(self) -> Mapping[int, str]:
        """None: there are no nodes here."""
        return {}

    def train(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        """Have clients learn, in the order of their numbers. What the user must mend is raised, all else is an answer that got lost."""
        return self._ask(downloads, self._train)

    def measure(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        """Have clients test a model, as `train` has them learn."""
        return self._ask(downloads, lambda number, download: self._clients[number].measure(download, self._kept(number, download)))

    def models(self, downloads: Mapping[int, Download]) -> Iterable[tuple[int, Network]]:
        """Give the clients' networks; those of one architecture are one object, which changes with the next."""
        for number, download in sorted(downloads.items()):
            kind = self._clients[number].kind
            kind.load(download, self._kept(number, download))
            yield number, kind.network.eval()

    def _train(self, number: int, download: Download) -> Upload:
        if download.federation != self._federation:
            self._federation, self._states = download.federation, {}
        reply, self._states[number] = self._clients[number].train(download, self._kept(number, download))
        return reply

    @staticmethod
    def _ask(downloads: Mapping[int, Download], work: Callable[[int, Download], Upload]) -> dict[int, Upload | Lost]:
        replies: dict[int, Upload | Lost] = {}
        for number, download in sorted(downloads.items()):
            try:
                replies[number] = work(number, download)
            except InputError:
                raise
            except Exception as error:  # as with clients elsewhere: one that breaks does not stop the others
                replies[number] = Lost(f"{type(error).__name__}: {error}")
        return replies

    def _kept(self, number: int, download: Download) -> dict[str, Tensor]:
        """Return what a client kept of the download's federation; empty where it kept nothing, or that of another one."""
        return self._states.get(number, {}) if download.federation == self._federation else {}

    def state_dict(self) -> dict[str, Any]:
        """Return what clients keep."""
        return {"states": self._states, "federation": self._federation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give clients back what they kept."""
        self._states = {number: dict(kept) for number, kept in state["states"].items()}
        self._federation = state.get("federation", "")  # which older checkpoints lack

    def close(self) -> None:
        """Nothing is held open."""

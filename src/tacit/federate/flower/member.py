"""Member: one client at its own place. What it keeps from round to round lies on its own disk."""

from __future__ import annotations

from pathlib import Path

from tacit.core.models import save
from tacit.federate.client import Client
from tacit.federate.messages import Download, Upload
from tacit.federate.shelf import Shelf

__all__ = ["Member"]


class Member:
    """A client and its shelf: Flower forgets what a client keeps when its process ends.

    Args:
        client: Learns and measures.
        shelf: Of this client alone.
        model: Where the client's own model is stored each time it is tested, where there is no global one; None: nowhere.
    """

    def __init__(self, client: Client, shelf: Shelf, *, model: Path | None = None) -> None:
        self.client, self.shelf, self.model = client, shelf, model

    @property
    def number(self) -> int:
        """The client's number."""
        return self.client.site.number

    def train(self, download: Download) -> Upload:
        """Learn for a round, and keep what does not travel."""
        answer, kept = self.client.train(download, self.shelf.take(download.federation, download.round))
        if kept:
            self.shelf.put(download.federation, download.round, kept)
        return answer

    def measure(self, download: Download) -> Upload:
        """Test the model of the download, and store it where it is this client's own; nothing that is kept for the next round changes."""
        self.store(download)
        return self.client.measure(download, self.shelf.take(download.federation, download.round))

    def store(self, download: Download) -> None:
        """Store the model of the download, with what this client keeps, as a folder that tacit reads.

        Not where whole networks travel, so that the server has all of it, nor before this client has learned.
        """
        kind, kept = self.client.kind, self.shelf.take(download.federation, download.round)
        if self.model is None or kind.sharing.whole or not kept:
            return
        kind.load(download, kept)
        save(kind.network, self.model)

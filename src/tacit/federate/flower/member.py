"""Member: one client at its own place. What it keeps from round to round lies on its own disk."""

from __future__ import annotations

from tacit.federate.client import Client
from tacit.federate.messages import Download, Upload
from tacit.federate.shelf import Shelf

__all__ = ["Member"]


class Member:
    """A client and its shelf: Flower forgets what a client keeps when its process ends.

    Args:
        client: Learns and measures.
        shelf: Of this client alone.
    """

    def __init__(self, client: Client, shelf: Shelf) -> None:
        self.client, self.shelf = client, shelf

    @property
    def number(self) -> int:
        """The client's number."""
        return self.client.site.number

    def train(self, letter: Download) -> Upload:
        """Learn for a round, and keep what does not travel."""
        answer, kept = self.client.train(letter, self.shelf.take(letter.federation, letter.round))
        if kept:
            self.shelf.put(letter.federation, letter.round, kept)
        return answer

    def measure(self, letter: Download) -> Upload:
        """Test the model of the letter; nothing that is kept changes."""
        return self.client.measure(letter, self.shelf.take(letter.federation, letter.round))

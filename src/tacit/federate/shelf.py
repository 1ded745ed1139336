"""Shelf: what a client keeps from round to round, on its own disk."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.files import write_file
from tacit.federate.messages import Tensors

__all__ = ["Shelf"]


class Shelf:
    """A folder with the client's last two states, each under the round after which it was kept.

    Two, because a server that died after a client's answer goes on from its own checkpoint and asks for that round again: the client must
    then start from what it kept before it.

    Args:
        folder: Of this client and this federation alone; made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, round: int) -> dict[str, Tensor]:
        """Return what was kept before round number `round` (0, 1, ...); empty where nothing was."""
        found = [number for number in self._rounds() if number < round]
        if not found:
            return {}
        path = self._path(max(found))
        try:
            state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a broken file can raise anything
            raise InputError(f"{path} can't be read: {error}; delete it, and this client begins anew") from error
        return state

    def put(self, round: int, state: Tensors) -> None:
        """Keep `state` as it is after round number `round`; the file appears whole or not at all."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        write_file(self._path(round), buffer.getvalue())
        kept = sorted(number for number in self._rounds() if number <= round)[-2:]
        for number in self._rounds():
            if number not in kept:  # older ones, and those of a future that a resumed server has taken back
                self._path(number).unlink(missing_ok=True)

    def _path(self, round: int) -> Path:
        return self.folder / f"after-{round:06d}.pt"

    def _rounds(self) -> list[int]:
        return [int(path.stem.removeprefix("after-")) for path in self.folder.glob("after-*.pt")]

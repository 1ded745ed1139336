"""Shelf: what a client keeps from round to round, on its own disk."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.files import write_file
from tacit.federate.messages import Tensors

__all__ = ["Shelf"]


class Shelf:
    """A folder with the client's last two states of each federation, each under the round after which it was kept.

    Two, because a server that died after a client's answer goes on from its own checkpoint and asks for that round again: the client must
    then start from what it kept before it.

    Args:
        folder: Of this client alone; made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, federation: str, round: int) -> dict[str, Tensor]:
        """Return what was kept in a federation before round number `round` (0, 1, ...); empty where nothing was."""
        folder = self._folder(federation)
        found = [number for number in _rounds(folder) if number < round]
        if not found:
            return {}
        path = _path(folder, max(found))
        try:
            state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a broken file can raise anything
            raise InputError(f"{path} can't be read: {error}; delete it, and this client begins anew") from error
        return state

    def put(self, federation: str, round: int, state: Tensors) -> None:
        """Keep `state` as it is after round number `round` of a federation; the file appears whole or not at all."""
        buffer, folder = io.BytesIO(), self._folder(federation)
        torch.save(dict(state), buffer)
        write_file(_path(folder, round), buffer.getvalue())
        kept = sorted(number for number in _rounds(folder) if number <= round)[-2:]
        for number in _rounds(folder):
            if number not in kept:  # older ones, and those of a future that a resumed server has taken back
                _path(folder, number).unlink(missing_ok=True)

    def _folder(self, federation: str) -> Path:
        """Return where a federation's states lie; its name comes from elsewhere, and is no path."""
        return self.folder / hashlib.sha256(federation.encode()).hexdigest()[:16] if federation else self.folder


def _path(folder: Path, round: int) -> Path:
    return folder / f"after-{round:06d}.pt"


def _rounds(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("after-")) for path in folder.glob("after-*.pt")]

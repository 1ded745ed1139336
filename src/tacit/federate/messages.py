"""What travels between the server and its clients: plain tensors and numbers, so that any transport can carry it.

A `Download` is what the server sends to one client, an `Upload` the client's answer, `Lost` stands for one that did not come.
Tensors are on the CPU. Nothing here refers to images: those never leave a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["Download", "Lost", "Number", "Tensors", "Upload", "brief"]

Tensors = Mapping[str, Tensor]
Number = int | float | str | bool
"""What a config may hold."""
WORD = 8
"""Bytes that a number counts as."""


LONGEST = 300
"""Characters of a reason that are kept."""


def brief(text: str) -> str:
    """Return a reason in one line, cut where it is long: what others send may be anything."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _size(*groups: Tensors | None) -> int:
    return sum(tensor.numel() * tensor.element_size() for group in groups for tensor in (group or {}).values())


@dataclass(frozen=True, kw_only=True)
class Download:
    """From the server to a client.

    Args:
        round: Rounds done before this one.
        federation: Name of the federation, another for each: what a client kept of another one is not for this one.
        weights: What is shared of the global model, by the names that `Sharing` gives; empty where no weights are.
        generator: Weights and buffers of the server's generator; None as long as it has not been trained, or there is none.
        tensors: What else an algorithm sends, as mean logits.
        config: Numbers: those of the local training (``steps``, ``batch``, ``lr``, ``momentum``, ``weight_decay``), and those of the
            algorithm; ``public`` asks for the global test set, where it is at hand.
    """

    round: int
    federation: str = ""
    weights: Tensors = field(default_factory=dict)
    generator: Tensors | None = None
    tensors: Tensors = field(default_factory=dict)
    config: Mapping[str, Number] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """How much is sent, without the transport's own and the federation's name."""
        return _size(self.weights, self.generator, self.tensors) + WORD * (1 + len(self.config))


@dataclass(frozen=True, kw_only=True)
class Upload:
    """From a client to the server.

    Args:
        weights: What is shared of the client's model, by the same names as in the download; empty in an answer that only measures.
        examples: Images that the client learns from (of a measurement, that it tested itself on), more than 0.
        counts: How many images of each class it saw in this round, one number a class; noise may have been added. None: withheld, or
            nobody asked.
        tensors: What else an algorithm asks for, as mean logits.
        metrics: Numbers, as ``loss``, ``accuracy``.
    """

    weights: Tensors = field(default_factory=dict)
    examples: int
    counts: tuple[float, ...] | None = None
    tensors: Tensors = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """How much is sent, without the transport's own."""
        return _size(self.weights, self.tensors) + WORD * (1 + len(self.counts or ()) + len(self.metrics))


@dataclass(frozen=True)
class Lost:
    """No answer came from a client; why, in words."""

    reason: str

"""Believed: an ensemble in which each member is believed about each class by what it saw of that class.

Where clients hold few classes each, the mean of their logits asks all of them about all classes, and those that never saw one outvote
the few that did. "Fine-tuning Global Model via Data-Free Knowledge Distillation for Non-IID Federated Learning", Zhang et al., 2022,
https://arxiv.org/abs/2203.09249, sec. 3.3, weighs a client's answer by its share of the class that an image was made for. An ensemble that
is asked of any image knows no such class; here the weights are put on each class's own logit instead, which is tacit's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tacit.core.network import Ensemble, Network
from tacit.federate.latent import class_weights
from tacit.federate.messages import Upload

__all__ = ["Believed", "beliefs", "held"]


class Believed(Ensemble):
    """Several networks as one: the logit of each class is the mean of theirs, weighted by class.

    Args:
        networks: Of one shape and one number of classes.
        weights: Of shape (networks, classes), positive; each column adds up to 1.
    """

    weights: Tensor

    def __init__(self, networks: Sequence[Network], weights: Tensor) -> None:
        super().__init__(networks)
        self.register_buffer("weights", weights.float())

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (N, classes) for images in [0, 1]."""
        said = torch.stack([network(images) for network in self.networks])
        return (said * self.weights.to(said.dtype)[:, None]).sum(dim=0)

    @staticmethod
    def by(networks: Sequence[Network], weights: Tensor) -> Network:
        """Return `networks` as one, believed by `weights`; `InputError` where they disagree on shape, classes or task."""
        plain = Ensemble.of(networks)
        return Network(Believed(networks, weights.to(next(plain.parameters()).device)), plain.spec, normalise=False)


def held(replies: Mapping[int, Upload]) -> Tensor | None:
    """Return how many images of each class each client has, of shape (clients, classes); None where one told no counts.

    A client tells how many images of each class it was *shown*; those with few images were shown them more often, so that the counts are
    brought to the client's number of images.
    """
    told = [reply.counts for reply in replies.values()]
    if not told or any(counts is None for counts in told):
        return None
    shown = torch.tensor([counts for counts in told if counts is not None], dtype=torch.float64)
    images = torch.tensor([float(reply.examples) for reply in replies.values()], dtype=torch.float64)
    return shown * (images / shown.sum(dim=1).clamp(min=1))[:, None]


def beliefs(replies: Mapping[int, Upload]) -> Tensor | None:
    """Return how much each client is to be believed about each class, as `class_weights` has it; None where one told no counts."""
    counts = held(replies)
    return None if counts is None else class_weights(counts)

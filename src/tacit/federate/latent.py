"""FedGen's losses, in the space of features: what the server's generator minimises, and what a client does beside its labels.

"Data-Free Knowledge Distillation for Heterogeneous Federated Learning", Zhu et al., 2021, https://arxiv.org/abs/2105.10056, eqs. 4-5, and
what the authors' code has beside them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["agreement_loss", "class_weights", "latent_diversity", "mean_logit_loss", "student_loss", "teacher_loss"]


def class_weights(counts: Tensor) -> Tensor:
    """Return how much each client is to be believed about each class: ``(1 + n_k(y)) / sum_j (1 + n_j(y))``, of shape (clients, classes).

    Args:
        counts: Images of each class that each client saw, of shape (clients, classes), 0 or more.
    """
    smoothed = 1 + counts
    return smoothed / smoothed.sum(dim=0)


def teacher_loss(said: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_k mean_b w_k(y_b) NLL_k(b)``: each client's own loss, weighted by its share of the class; of shape ().

    Args:
        said: What each client's head says, of shape (clients, N, classes).
        labels: The wanted classes, of shape (N,).
        weights: As `class_weights` gives them.
    """
    clients, count, classes = said.shape
    each = F.cross_entropy(said.reshape(-1, classes), labels.repeat(clients), reduction="none").view(clients, count)
    return (weights[:, labels] * each).mean(dim=1).sum()


def mean_logit_loss(said: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the clients' mean logits (eq. 4), of shape (); arguments as of `teacher_loss`."""
    return F.cross_entropy(said.mean(dim=0), labels)


def latent_diversity(noise: Tensor, features: Tensor) -> Tensor:
    """Return ``exp(-mean_ij d(noise_i, noise_j) d'(features_i, features_j))`` over all pairs, itself included, of shape ().

    d is the mean squared difference of two noises, d' the mean absolute difference of two features; 1 where all features are the same.

    Args:
        noise: Of shape (N, width).
        features: Of shape (N, ...).
    """
    flat = features.flatten(1)
    apart = torch.cdist(flat, flat, p=1) / flat.shape[1]
    drawn = (noise[:, None] - noise[None]).square().mean(dim=2)
    return torch.exp(-(drawn * apart).mean())


def student_loss(said: Tensor, labels: Tensor, weights: Tensor, student: Tensor) -> Tensor:
    """Return the KL divergence of the global head from the clients' weighted logits, mean over all elements, of shape ().

    Args:
        said: As of `teacher_loss`; weighted by the share of the class and added up.
        labels: The wanted classes, of shape (N,).
        weights: As `class_weights` gives them.
        student: What the global head says, of shape (N, classes).
    """
    together = (weights[:, labels].unsqueeze(2) * said).sum(dim=0)
    return F.kl_div(F.log_softmax(student, dim=1), F.softmax(together, dim=1), reduction="sum") / student.numel()


def agreement_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the KL divergence of the answers from wanted ones, summed over classes, mean over images, of shape ().

    Args:
        logits: Of shape (N, classes).
        wanted: Probabilities of the same shape; no gradient goes there.
    """
    return F.kl_div(F.log_softmax(logits, dim=1), wanted.detach(), reduction="batchmean")

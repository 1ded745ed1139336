"""Linear probe: how much of another task can be read, by a linear classifier, from what a frozen network sees.

The protocol of "Contrastive Representation Distillation", Tian et al., 2020, https://arxiv.org/abs/1910.10699, sec. 4.2: backbone and
batch norm stay as they are, and a linear layer learns the labels of another set; here by logistic regression with an L2 penalty on
standardised features, which has one solution, in place of a schedule of SGD.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.features import watch
from tacit.core.network import Network

__all__ = ["STEPS", "Probed", "few", "linear_probe"]

STEPS = 500
"""Most steps of L-BFGS, after which the classifier is taken as it is."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a linear classifier reads from a layer."""

    accuracy: float
    """On held-out images."""
    images: int
    """Labelled images that it learned from."""
    held: int
    """Held-out images."""
    features: int
    """Length of a feature."""
    converged: bool
    """Whether the classifier was found within `STEPS`."""


def few(labels: Tensor, each: int, seed: int) -> Tensor:
    """Return the numbers of `each` random images a class, in the order of classes; all of a class that has fewer."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=draw)
    return torch.cat([order[labels[order] == label][:each] for label in sorted(set(labels.tolist()))])


def linear_probe(
    network: Network,
    train: Iterable[Batch],
    held: Iterable[Batch],
    runtime: Runtime,
    *,
    tap: str | None = None,
    each: int | None = None,
    strength: float = 1.0,
    seed: int = 0,
) -> Probed:
    """Return how well the classes of another set are told apart from the features of `network`, which stays as it is.

    Args:
        network: Any classifier, of any classes.
        train: Labelled images, of the network's shape, in batches.
        held: Others of the same classes.
        runtime: Device.
        tap: Which layer; not given: what the network's own classifier reads.
        each: Labelled images a class; not given: all.
        strength: Inverse weight of the L2 penalty on the classifier, more than 0 (scikit-learn's C).
        seed: Of the choice of images.

    Raises:
        InputError: Where there are fewer than two classes, or the layer can't be tapped.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    features, labels = _features(network, train, runtime, tap, (each, seed))
    classes = len(set(labels.tolist()))
    if classes < 2:
        raise InputError(f"probe: expected images of at least 2 classes to learn from, got {classes}")
    mean, std = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    unseen, truth = _features(network, held, runtime, tap, (None, seed))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ConvergenceWarning)
        classifier = LogisticRegression(C=strength, max_iter=STEPS).fit(((features - mean) / std).numpy(), labels.numpy())
    said = torch.from_numpy(classifier.predict(((unseen - mean) / std).numpy()))
    accuracy = float((said == truth).double().mean())
    return Probed(accuracy=accuracy, images=len(labels), held=len(truth), features=features.shape[1], converged=not warned)


def _features(
    network: Network, batches: Iterable[Batch], runtime: Runtime, tap: str | None, kept: tuple[int | None, int]
) -> tuple[Tensor, Tensor]:
    """Return features and labels of a set, or of some of each class."""
    found, labels = [], []
    for batch in batches:
        assert batch.targets is not None
        found.append(watch(network, batch.images, runtime, tap=tap).features.cpu())
        labels.append(batch.targets.cpu())
    features, marks = torch.cat(found), torch.cat(labels)
    if marks.ndim != 1:
        raise InputError("probe: expected images with one label each, got masks")
    each, seed = kept
    rows = few(marks, each, seed) if each is not None else slice(None)
    return features[rows], marks[rows]

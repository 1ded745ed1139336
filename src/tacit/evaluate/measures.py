"""Measuring: the answers of networks to labelled images, and how far two of them agree."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.features import AT_ONCE
from tacit.core.network import Network
from tacit.core.spec import VOID
from tacit.core.state import evaluation_mode
from tacit.evaluate.answers import Answers
from tacit.evaluate.maps import Maps

__all__ = ["agreement", "predict"]


@torch.no_grad()
def predict(network: Network, batches: Iterable[Batch], runtime: Runtime) -> Answers:
    """Return the class that `network` names for every image, or every pixel, in evaluation mode; its modes are put back."""
    said, labels = [], []
    with evaluation_mode(network):
        for batch in batches:
            with runtime.autocast():
                logits = network(batch.images.to(runtime.device))
            named = logits.argmax(dim=1).cpu()
            said.append(named if named.ndim == 1 else named.to(torch.uint8))
            if batch.targets is not None:
                labels.append(batch.targets.cpu().to(said[-1].dtype))
    predicted = torch.cat(said)
    if predicted.ndim == 1:
        return Answers(predicted, torch.cat(labels) if labels else torch.full_like(predicted, -1), network.spec.classes)
    return Maps(predicted, torch.cat(labels) if labels else torch.full_like(predicted, VOID), network.spec.classes)


def agreement(student: Network, teacher: Network, batch: Batch, runtime: Runtime) -> float | None:
    """Return the share of `batch`, images or pixels, on which student and teacher name the same class; None for no images."""
    if not len(batch.images):
        return None
    parts = [Batch(images) for images in torch.split(batch.images, AT_ONCE)]
    return predict(student, parts, runtime).agreement(predict(teacher, parts, runtime))

"""Label maps of networks and of the truth, for pictures beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tacit.core.batch import as_bytes
from tacit.core.device import Runtime
from tacit.core.network import Network
from tacit.core.state import evaluation_mode
from tacit.data import Data, Modality
from tacit.verbs.pictures import SHOWN, save_maps

__all__ = ["named_maps", "save_evaluated"]


@torch.no_grad()
def named_maps(network: Network, images: Tensor, runtime: Runtime) -> Tensor:
    """Return the class that `network` names for each pixel of images, float in [0, 1]: uint8 of shape (N, H, W)."""
    with evaluation_mode(network), runtime.autocast():
        logits: Tensor = network(images.to(runtime.device))
        return logits.argmax(dim=1).to(torch.uint8)


def save_evaluated(
    folder: Path, held: Data, networks: Mapping[str, Network], looks: Mapping[str, Modality | None], runtime: Runtime
) -> None:
    """Write a few evaluation images with the truth and the maps that networks name; nothing where there is one label an image.

    Args:
        folder: Where pictures go.
        held: Labelled images.
        networks: By role.
        looks: What each of them sees of the images, where that is not the images themselves.
        runtime: Where they are.
    """
    picked = torch.arange(min(SHOWN, len(held))) * len(held) // min(SHOWN, len(held))
    batch = held.batch(picked.to(runtime.device))
    if batch.targets is None or batch.targets.ndim != 3:
        return
    maps, spec = {"truth": batch.targets.to(torch.uint8)}, next(iter(networks.values())).spec
    for role, network in networks.items():
        look = looks.get(role)
        maps[role] = named_maps(network, batch.images if look is None else look(batch.images), runtime)
    save_maps(folder, spec, as_bytes(batch.images), maps)

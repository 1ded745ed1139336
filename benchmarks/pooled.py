"""L2 between pooled features, the baseline of cross-modal distillation; a loss of one's own is named in an objective as any other."""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.core.loss import View
from tacit.losses.pairs import PairedTaps, as_vector

__all__ = ["PooledL2"]


class PooledL2(PairedTaps):
    """Squared distance of what the two networks' classifiers read, which must be of one length: mean over images, sum over pairs."""

    level = "pooled"

    def forward(self, view: View) -> Tensor:
        pairs = [(as_vector(answered), as_vector(taught)) for answered, taught in self.seen(view)]
        return torch.stack([(answered - taught).square().sum(dim=1).mean() for answered, taught in pairs]).sum()

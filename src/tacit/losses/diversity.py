"""Diversity: images of different latents, or different answers, must differ.

`ModeSeeking`: "Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis", Mao et al., 2019,
https://arxiv.org/abs/1903.05628, eq. 3. `InterSample`: "Robustness and Diversity Seeking Data-Free Knowledge Distillation", Han et al.,
2021, https://arxiv.org/abs/2011.03749 (norms as in the authors' code: over the whole half of a batch, not pair by pair).
Both compare the first half of a batch with the second; the last image of an odd batch is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.core.loss import Loss, Needs, View

__all__ = ["InterSample", "ModeSeeking", "inter_sample", "mode_seeking"]


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    half = len(x) // 2
    return x[:half].float(), x[half : 2 * half].float()


def mode_seeking(images: Tensor, latents: Tensor) -> Tensor:
    """Return ``1 / (mean |x2 - x1| / mean |z2 - z1| + 1e-5)``, of shape ().

    Args:
        images: Of shape (N, C, H, W), as the teacher's layers see them: normalised.
        latents: Of shape (N, width).
    """
    (x1, x2), (z1, z2) = _halves(images), _halves(latents)
    return 1 / ((x2 - x1).abs().mean() / (z2 - z1).abs().mean() + 1e-5)


def inter_sample(images: Tensor, shares: Tensor) -> Tensor:
    """Return ``1 / (||x2 - x1|| / ||p2 - p1|| + 1e-20)``, of shape ().

    Args:
        images: Of shape (N, C, H, W), as the teacher's layers see them: normalised.
        shares: The teacher's softmax, of shape (N, classes).
    """
    (x1, x2), (p1, p2) = _halves(images), _halves(shares)
    apart, answers = torch.linalg.vector_norm(x2 - x1), torch.linalg.vector_norm(p2 - p1) + 1e-20
    # one division, and a floor: two divisions, or the square of the smallest numbers, would make the gradient NaN where all are the same
    alike: Tensor = answers / (apart + 1e-20 * answers).clamp_min(1e-20)
    return alike


class ModeSeeking(Loss):
    """How little the images change with their latents; see `mode_seeking`. For canvases that have latents.

    Args:
        std: As of `InterSample`; MSGAN's images are of about unit deviation, too.
    """

    needs = Needs(teacher=False)

    def __init__(self, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("std", std.detach().clone(), persistent=False)

    def forward(self, view: View) -> Tensor:
        if view.latent is None:
            raise ValueError("mode seeking compares images with their latents, and this canvas has none")
        return mode_seeking(view.canvas / self.get_buffer("std"), view.latent)


class InterSample(Loss):
    """How little the images change with the teacher's answers; see `inter_sample`.

    Args:
        std: The deviation by which the teacher's input is divided, of shape (C, 1, 1): distances are of normalised images.
    """

    def __init__(self, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("std", std.detach().clone(), persistent=False)

    def forward(self, view: View) -> Tensor:
        return inter_sample(view.canvas / self.get_buffer("std"), view.teacher.logits.softmax(dim=1))

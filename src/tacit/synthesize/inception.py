"""Inception: pixels that excite the wanted class and are smooth, seen under many augmentations at once.

The I of "The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274, sec. 3.2.
Images start as normal noise with the moments of the preprocessing; every step shows the teacher four augmented copies of each: mirrored,
cropped and resized, with holes. The authors take 1,000 steps at lr 0.1 on normalised images, a tenth of that from step 800 on; pixels are
in [0, 1] here, where 0.025 is about the same. They round the images to 8 bits at every step, or every 20.

More steps are not better. On a ResNet-20 of CIFAR-10 (lr 0.05, one augmented copy) the statistics of the images were 0.18, 0.16, 0.22,
0.35 and 0.59 nats from those that the network remembers after 10, 20, 30, 50 and 200 steps, where noise with the right moments has 0.46 and
real images 0.016: by then the wanted logits were 8, 17, 26, 36 and 49, where real images reach 11 (128 images each, trials of which no file
is kept). `tacit similarity` measures it without data.

Smoothness is a mean over all values of an image, so that its pull on each of them grows as the image shrinks, and the class's does not. At
a weight of 1, which the authors use at 32x32 too, small images get so smooth that they excite less than real ones, and ranges calibrated on
them clip; with hardly any they calibrate well, but teach a network nothing that helps. `balanced` is between. Trials of which no file is
kept (calibrated alone on images of seed 0; accuracy at W8A8 / W4A4 in %):

    network, accuracy                           weight 1, 60 steps, 4 copies    balanced, 20 steps    Gaussian noise
    ResNet-8 on digits of 8x8, 99.4                 15.0 / 11.1                     99.4 / 97.2           99.4 / 98.1
    ResNet-20 on CIFAR-10, 91.6 (1,500 images)      85.2 / 73.7                          -                91.7 / 85.9
    the same, 90.8 (3,000 images)                        -                          90.9 / 87.4                -

Fine-tuned to W4A4, the ResNet-20 came to 88.2 % on balanced images and to 86.4 % on those of a tenth of the smoothness,
512 images each; on 1,024 at a weight of 1, which calibrate worse, to 89.4 % (benchmarks, 20 steps, three seeds; balanced: 88.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from tacit.core.augment import LEARNED_AREA, cutout, resized_crop, shifted
from tacit.core.loss import Loss, Objective, Weight
from tacit.core.network import Teacher
from tacit.core.spec import Spec
from tacit.losses import Smoothness, TargetLogit
from tacit.synthesize.canvas import Canvas, RoundedPixels
from tacit.synthesize.method import IterativeMethod

__all__ = ["Inception", "Views"]

Views = Literal["crops", "shift", "shift-flip", "crop-flip"]


@dataclass(frozen=True, kw_only=True)
class Inception(IterativeMethod):
    """Pixels, made once and stored: the wanted classes' logits, and smoothness; needs no batch norm."""

    batch: int = 128
    steps: int = 400
    lr: float = 0.025
    warmup: int = 8
    """Batches painted before the student's first step."""
    logit: float = 1.0
    """Weight of the pull on the wanted class's logit."""
    smooth: float = 1.0
    """Weight of smoothness."""
    sigma: float = 1.0
    """Deviation of the blur that smoothness compares with, in pixels."""
    copies: int = 4
    """Augmented copies of each image that a step shows the teacher; 0: the images as they are."""
    views: Views = "crops"
    """How copies are changed: crops (the authors': mirrored, cropped and resized, with holes), or as the student will see them: shift,
    shift-flip, crop-flip."""
    rounding: int = 20
    """Steps between two roundings of the images to 8 bits."""

    takes_turns: ClassVar[bool] = True
    pull: ClassVar[str] = "logit"
    minimum: ClassVar[dict[str, float]] = {**IterativeMethod.minimum, "copies": 0, "rounding": 1, "sigma": 1e-3}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {**IterativeMethod.choices, "views": get_args(Views)}

    @classmethod
    def balanced(cls, spec: Spec, **fields: Any) -> Self:
        """Return the method with smoothness that pulls a value of an image of `spec` as a weight of 1 does at 72x72."""
        return cls(smooth=min(1.0, math.prod(spec.shape) / (3 * 72**2)), **fields)

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        return RoundedPixels(teacher.spec, every=self.rounding)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(**self.terms(teacher))

    def terms(self, teacher: Teacher) -> dict[str, tuple[Weight, Loss]]:
        """Return the weighted losses, for methods that add one."""
        smoothness = Smoothness(teacher.mean, teacher.std, sigma=self.sigma)
        return {"logit": (self.logit, TargetLogit()), "smooth": (self.smooth, smoothness)}

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not self.copies:
            return images
        shown = images.repeat(self.copies, 1, 1, 1)
        if self.views == "crop-flip":
            return resized_crop(shown, generator, area=LEARNED_AREA, flip=True)
        if self.views != "crops":
            return shifted(shown, generator, flip=self.views == "shift-flip")
        draws = torch.rand(3, len(shown), 1, 1, 1, generator=generator, device=shown.device)
        shown = torch.where(draws[0] < 0.2, shown.flip(-1), shown)
        shown = torch.where(draws[1] < 0.5, resized_crop(shown, generator, area=(1 / 9, 1.0), ratio=1.0), shown)
        return torch.where(draws[2] < 0.5, cutout(shown, generator), shown)

    def rate(self, step: int, student: float) -> float:
        return 1.0 if step < 0.8 * self.steps else 0.1

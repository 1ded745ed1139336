"""Losses: a tensor function first, the `Loss` around it; one file a family."""

from tacit.losses.bn_alignment import BNAlignment
from tacit.losses.class_prior import ClassPrior
from tacit.losses.disagreement import Competition, DecisionAdversarial, Disagreement
from tacit.losses.logits import KD, L1, CrossEntropy
from tacit.losses.pixels import PixelNorm, TotalVariation

__all__ = [
    "KD",
    "L1",
    "BNAlignment",
    "ClassPrior",
    "Competition",
    "CrossEntropy",
    "DecisionAdversarial",
    "Disagreement",
    "PixelNorm",
    "TotalVariation",
]

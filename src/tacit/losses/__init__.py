"""Losses: a tensor function first, the `Loss` around it; one file a family."""

from tacit.losses.activation import Activation
from tacit.losses.activation_boundary import ActivationBoundary
from tacit.losses.attention import AttentionTransfer
from tacit.losses.bn_alignment import BNAlignment
from tacit.losses.bn_divergence import BNDivergence
from tacit.losses.class_balance import ClassBalance
from tacit.losses.class_prior import ClassPrior
from tacit.losses.contrast import InstanceContrast
from tacit.losses.correlation import CorrelationCongruence
from tacit.losses.crd import CRD
from tacit.losses.decoupled import DecoupledKD
from tacit.losses.disagreement import Competition, DecisionAdversarial, Disagreement, Divergence
from tacit.losses.dist import Dist
from tacit.losses.diversity import InterSample, ModeSeeking
from tacit.losses.factor import FactorTransfer
from tacit.losses.fitnet import FitNet
from tacit.losses.fsp import FSP
from tacit.losses.inception import Smoothness, TargetLogit
from tacit.losses.increment import Increment
from tacit.losses.intermediate import Intermediate
from tacit.losses.logits import KD, L1, MSE, CrossEntropy, SoftCrossEntropy
from tacit.losses.neuron_selectivity import NeuronSelectivity
from tacit.losses.overhaul import FeatureOverhaul
from tacit.losses.pixels import PixelNorm, TotalVariation
from tacit.losses.probabilistic import ProbabilisticTransfer
from tacit.losses.relational import RelationalKD
from tacit.losses.review import ReviewKD
from tacit.losses.similarity_preserving import SimilarityPreserving
from tacit.losses.singular_vectors import SingularVectors
from tacit.losses.variational import VariationalInformation

__all__ = [
    "CRD",
    "FSP",
    "KD",
    "L1",
    "MSE",
    "Activation",
    "ActivationBoundary",
    "AttentionTransfer",
    "BNAlignment",
    "BNDivergence",
    "ClassBalance",
    "ClassPrior",
    "Competition",
    "CorrelationCongruence",
    "CrossEntropy",
    "DecisionAdversarial",
    "DecoupledKD",
    "Disagreement",
    "Dist",
    "Divergence",
    "FactorTransfer",
    "FeatureOverhaul",
    "FitNet",
    "Increment",
    "InstanceContrast",
    "InterSample",
    "Intermediate",
    "ModeSeeking",
    "NeuronSelectivity",
    "PixelNorm",
    "ProbabilisticTransfer",
    "RelationalKD",
    "ReviewKD",
    "SimilarityPreserving",
    "SingularVectors",
    "Smoothness",
    "SoftCrossEntropy",
    "TargetLogit",
    "TotalVariation",
    "VariationalInformation",
]

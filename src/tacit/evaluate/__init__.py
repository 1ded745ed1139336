"""Evaluation: networks on labelled images, two networks without labels, and sets of images by their diversity and fidelity."""

from tacit.core.features import Seen, penultimate, watch
from tacit.core.similarity import duplicate_rate, pairwise_distance, subsample
from tacit.evaluate.acceptance import Acceptance, accept
from tacit.evaluate.answers import Answers
from tacit.evaluate.divergence import SetDivergence, bn_divergence, set_divergence
from tacit.evaluate.diversity import class_histogram
from tacit.evaluate.fidelity import density_coverage, frechet_distance, precision_recall
from tacit.evaluate.maps import Maps
from tacit.evaluate.measures import agreement, predict
from tacit.evaluate.probe import Probed, linear_probe

__all__ = [
    "Acceptance",
    "Answers",
    "Maps",
    "Probed",
    "Seen",
    "SetDivergence",
    "accept",
    "agreement",
    "bn_divergence",
    "class_histogram",
    "density_coverage",
    "duplicate_rate",
    "frechet_distance",
    "linear_probe",
    "pairwise_distance",
    "penultimate",
    "precision_recall",
    "predict",
    "set_divergence",
    "subsample",
    "watch",
]

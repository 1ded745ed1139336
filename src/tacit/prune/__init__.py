"""Pruning: a network with fewer channels, which recovers by distillation on samples that it gave of itself."""

from tacit.prune.graph import Importance
from tacit.prune.steady import Steady
from tacit.prune.structured import check_options, prune

__all__ = ["Importance", "Steady", "check_options", "prune"]

"""Distillation: a student learns from a teacher, on whatever a source gives."""

from tacit.distill.loop import Learner, Training
from tacit.distill.objectives import DISTILLERS, build_objective, build_phases
from tacit.distill.phases import Phase
from tacit.distill.sources import Source, Stored
from tacit.distill.synthetic import Synthetic

__all__ = ["DISTILLERS", "Learner", "Phase", "Source", "Stored", "Synthetic", "Training", "build_objective", "build_phases"]

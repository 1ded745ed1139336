"""Synthesis: samples out of a trained network. `METHODS` is the whole registry: adding a method is its file and its name here."""

from tacit.synthesize.adaptive_deep_inversion import AdaptiveDeepInversion
from tacit.synthesize.deep_inversion import DeepInversion
from tacit.synthesize.dfad import DFAD
from tacit.synthesize.gaussian import Gaussian
from tacit.synthesize.generative_inversion import GenerativeInversion
from tacit.synthesize.loop import Synthesizer
from tacit.synthesize.method import Method
from tacit.synthesize.pool import Pool

__all__ = ["DFAD", "METHODS", "AdaptiveDeepInversion", "DeepInversion", "Gaussian", "GenerativeInversion", "Method", "Pool", "Synthesizer"]

METHODS: tuple[type[Method], ...] = (DeepInversion, AdaptiveDeepInversion, GenerativeInversion, DFAD, Gaussian)
"""All methods, recommended first to last: the first that a teacher allows is the one that is used where none is named."""

"""Synthesis: samples out of a trained network. `METHODS` is the whole registry: adding a method is its file and its name here."""

from tacit.synthesize.deep_inversion import DeepInversion
from tacit.synthesize.dfad import DFAD
from tacit.synthesize.gaussian import Gaussian
from tacit.synthesize.generative_inversion import GenerativeInversion
from tacit.synthesize.loop import Synthesizer
from tacit.synthesize.method import Method
from tacit.synthesize.pool import Pool

__all__ = ["DFAD", "METHODS", "DeepInversion", "Gaussian", "GenerativeInversion", "Method", "Pool", "Synthesizer"]

METHODS: tuple[type[Method], ...] = (Gaussian, DeepInversion, GenerativeInversion, DFAD)

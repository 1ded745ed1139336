"""Synthesis: samples out of a trained network. `METHODS` is the whole registry: adding a method is its file and its name here."""

from tacit.synthesize.adaptive_deep_inversion import AdaptiveDeepInversion
from tacit.synthesize.bns import BNS
from tacit.synthesize.cmi import CMI
from tacit.synthesize.dafl import DAFL
from tacit.synthesize.deep_inversion import DeepInversion
from tacit.synthesize.dfad import DFAD
from tacit.synthesize.dfq import DFQ
from tacit.synthesize.fast_dfkd import FastDFKD
from tacit.synthesize.gaussian import Gaussian
from tacit.synthesize.inception import Inception
from tacit.synthesize.loop import Synthesizer
from tacit.synthesize.method import IterativeMethod, Method
from tacit.synthesize.mskd import MSKD
from tacit.synthesize.nayer import NAYER
from tacit.synthesize.pool import Pool
from tacit.synthesize.rdskd import RDSKD
from tacit.synthesize.zskd import ZSKD
from tacit.synthesize.zskt import ZSKT

__all__ = [
    "BNS",
    "CMI",
    "DAFL",
    "DFAD",
    "DFQ",
    "METHODS",
    "MSKD",
    "NAYER",
    "RDSKD",
    "ZSKD",
    "ZSKT",
    "AdaptiveDeepInversion",
    "DeepInversion",
    "FastDFKD",
    "Gaussian",
    "Inception",
    "IterativeMethod",
    "Method",
    "Pool",
    "Synthesizer",
]

METHODS: tuple[type[Method], ...] = (
    DeepInversion,
    AdaptiveDeepInversion,
    FastDFKD,
    CMI,
    NAYER,
    DFQ,
    DFAD,
    RDSKD,
    DAFL,
    MSKD,
    ZSKT,
    BNS,
    ZSKD,
    Inception,
    Gaussian,
)
"""All methods, recommended first to last: the first that a teacher allows is the one that is used where none is named.

That is the order for defaults, of which a user changes none. Where settings are chosen for a budget, NAYER, Fast-DFKD, DFQ and CMI ended
above DeepInversion by 0.3 to 0.6 points (MNIST, ResNet-8, seed 0, benchmarks). At their defaults and 2,000 student steps, digits of 8x8
were learned to 96.3 % by DeepInversion in 164 s, to 96.7 by CMI in 376 s and to 86.1 by Fast-DFKD in 100 s (seed 0 on a busy CPU, trials
of which no file is kept; Fast-DFKD's before its average of statistics was of images as shown, see `BNAlignment`).
"""

"""Quantization: fewer bits for weights and activations, calibrated and fine-tuned on samples that the network gives of itself."""

from tacit.quantize.adjust import adjust_norms
from tacit.quantize.baselines import Baseline, make_baselines
from tacit.quantize.calibrate import calibrate
from tacit.quantize.engines import clip_weights, write
from tacit.quantize.fake import Quantizer, fake_quantize
from tacit.quantize.latency import compare_latency
from tacit.quantize.onnx import quantize_onnx, to_onnx
from tacit.quantize.scheme import Scheme
from tacit.quantize.simulate import Simulated, plain, simulate, stored_bits

__all__ = [
    "Baseline",
    "Quantizer",
    "Scheme",
    "Simulated",
    "adjust_norms",
    "calibrate",
    "clip_weights",
    "compare_latency",
    "fake_quantize",
    "make_baselines",
    "plain",
    "quantize_onnx",
    "simulate",
    "stored_bits",
    "to_onnx",
    "write",
]

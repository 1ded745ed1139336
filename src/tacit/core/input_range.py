"""What images a network was trained on, as far as it can be told: whether the constants of its preprocessing fit what it remembers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, linalg, nn

from tacit.core.network import Network

__all__ = ["implied_input_mean", "input_fault", "input_range"]

UNTOLD = "no batch norm that remembers anything follows the first convolution"


def implied_input_mean(network: Network) -> list[float] | None:
    """Return the mean input, by channel and after normalisation, that the first batch norm remembers; None where that can't be told.

    Where a convolution feeds a batch norm, the running mean is about ``sum(weights) @ mean + bias`` (padding aside): least squares gives
    the mean that the training images had. It is near 0 where they were normalised, and near 0.3 to 0.5 where they were in [0, 1].
    A batch norm whose statistics are still 0 and 1 remembers nothing.
    """
    modules = [m for m in network.modules() if not list(m.children())]
    first = next((i for i, m in enumerate(modules) if isinstance(m, nn.Conv2d)), None)
    if first is None or first + 1 >= len(modules):
        return None
    conv, norm = modules[first], modules[first + 1]
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or conv.groups != 1:
        return None
    if conv.in_channels != network.spec.shape[0] or conv.out_channels != norm.num_features or conv.out_channels < conv.in_channels:
        return None
    if norm.running_var is not None and bool((norm.running_mean == 0).all()) and bool((norm.running_var == 1).all()):
        return None
    weights = conv.weight.detach().double().sum(dim=(2, 3)).cpu()
    wanted = norm.running_mean.double().cpu() - (conv.bias.detach().double().cpu() if conv.bias is not None else 0.0)
    solved: Tensor = linalg.lstsq(weights, wanted[:, None]).solution[:, 0]
    return [float(value) for value in solved]


def input_range(network: Network) -> dict[str, Any]:
    """Return what images in [0, 1] become (`low`, `high`, by channel), the `implied_mean`, and the `verdict` on them."""
    spec, implied = network.spec, implied_input_mean(network)
    low = [(0 - m) / s for m, s in zip(spec.mean, spec.std, strict=True)]
    high = [(1 - m) / s for m, s in zip(spec.mean, spec.std, strict=True)]
    if implied is None:
        return {"low": low, "high": high, "implied_mean": None, "verdict": f"not told: {UNTOLD}"}
    outside = any(not lo - 0.25 * (hi - lo) <= m <= hi + 0.25 * (hi - lo) for m, lo, hi in zip(implied, low, high, strict=True))
    shifted = all(m == 0 for m in spec.mean) and all(abs(m) < 0.12 for m in implied)
    if outside:
        verdict = "wrong: the training images had a mean outside of what [0, 1] becomes here; check `mean` and `std`"
    elif shifted:
        verdict = "doubtful: the training images were centred at 0 and no `mean` is given; check `mean` and `std`"
    elif any(spec.mean) and all(s == 1 for s in spec.std):
        verdict = "doubtful: a `mean` is given and no `std`; check both"
    else:
        verdict = "plausible"
    return {"low": low, "high": high, "implied_mean": implied, "verdict": verdict}


def input_fault(network: Network) -> dict[str, str]:
    """Return a warning, by kind, where the constants of the preprocessing don't fit what the network remembers; else nothing."""
    verdict: str = input_range(network)["verdict"]
    bad = verdict.startswith(("wrong", "doubtful"))
    return {"input": f"the input range is {verdict}, or samples will be of other images than those the teacher learned from"} if bad else {}

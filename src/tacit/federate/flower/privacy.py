"""Privacy: which of Flower's modifiers go with which algorithms, and why the others don't (flwr 1.41).

- `LocalDpMod`, by which a site clips its update and adds noise to it, goes with FedAvg, FedProx, FedEnsemble and FedDF, and with FedGen,
  FedFTG and DENSE where counts are withheld or noised. Loss, number of images and measurements, which it leaves exact, are withheld.
  Refused: FedDistill and FedDistillPlus, whose mean logits would get no noise.
- Flower's four wrappers of strategies, which add noise to the mean of updates that sites (`fixedclipping_mod`, `adaptiveclipping_mod`) or
  the server clipped, go with FedAvg and FedProx. Refused: algorithms in which the server learns from each client's own weights: what it
  makes of them would get no noise. The noise is for a mean of so many clients that count alike (`average: equal`): a round with fewer
  sound answers than were asked for is not learned from.
- SecAgg+ goes with none: it hides each client's weights, which those need, answers could not be checked one by one, and Flower has it for
  its older interface alone.

The modifiers want the transport `bytes`. They add noise to floating point tensors of one dimension or more alone, so that a network with
parameters of no dimension is refused; and noise can make a running variance negative, so that those must stay at home (`bn: local`).
FedEnsemble, FedDF, FedFTG and DENSE ask for whole networks: they go with networks without batch norm alone.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from tacit.core.errors import InputError, import_extra, nearest
from tacit.federate.algorithms.base import Algorithm, Averaging, Counting
from tacit.federate.client import Kind
from tacit.federate.messages import Download, Upload
from tacit.federate.sharing import statistics_keys

if TYPE_CHECKING:
    from flwr.app import Context, Message

__all__ = [
    "CLIPPING",
    "OPTIONS",
    "LocalPrivacy",
    "check_central",
    "check_mods",
    "check_plain",
    "check_private",
    "gaussian_delta",
    "local_privacy",
    "noising",
    "private",
    "withheld",
]

CLIPPING = "clipping_norm"
"""What Flower's wrappers of strategies put into the config of a download where sites clip."""
WRAPPERS = "DifferentialPrivacy"
"""What the names of those wrappers begin with."""
LOCAL = "LocalDpMod"
"""The modifier by which a site adds noise."""
OPTIONS = ("dp-clipping", "dp-epsilon", "dp-delta", "dp-sensitivity")
"""What a node's config can say of noise."""
log = logging.getLogger("tacit")
WEIGHED = (torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True, kw_only=True)
class LocalPrivacy:
    """What a site asks for: the Gaussian mechanism on its own update, once a round; rounds add up, and nobody counts them here."""

    clipping: float
    """Largest norm of an update."""
    epsilon: float
    """Of one round; smaller hides more."""
    delta: float
    """Probability with which that does not hold."""
    sensitivity: float
    """What the noise is scaled for. Two clipped updates can be twice the clipping apart, however little their images differ: less than that
    is too little noise, and more is needed for an epsilon that is too large for Flower's scale."""

    def __post_init__(self) -> None:
        if not (self.clipping > 0 and self.epsilon > 0 and 0 < self.delta < 1 and self.sensitivity > 0):
            raise InputError(
                "privacy: expected dp-clipping, dp-epsilon and dp-sensitivity of more than 0 and dp-delta between 0 and 1, got "
                f"{self.clipping}, {self.epsilon}, {self.sensitivity} and {self.delta}"
            )
        if (why := self.lacking()) is not None:
            raise InputError(f"privacy: {why}")

    def lacking(self) -> str | None:
        """Return what the noise lacks for what is claimed of it, and what would mend that; None where it holds.

        Flower's standard deviation is ``sensitivity * sqrt(2 ln(1.25 / delta)) / epsilon``, which is proven for an epsilon below 1.
        """
        apart, scale = 2 * self.clipping, math.sqrt(2 * math.log(1.25 / self.delta)) / self.epsilon
        if (exact := gaussian_delta(self.epsilon, self.sensitivity * scale / apart)) <= self.delta:
            return None
        low, high = 0.0, 1.0
        while gaussian_delta(self.epsilon, high) > self.delta:
            low, high = high, 2 * high
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if gaussian_delta(self.epsilon, middle) <= self.delta else (middle, high)
        wanted = high * apart / scale
        digits = 10.0 ** (2 - math.floor(math.log10(wanted)))
        return (
            f"noise for epsilon {self.epsilon:g} and sensitivity {self.sensitivity:g}, as Flower scales it, gives delta {exact:.2g} and "
            f"not {self.delta:g}, since two updates clipped to {self.clipping:g} can be {apart:g} apart: take a smaller dp-epsilon, or "
            f"dp-sensitivity={math.ceil(wanted * digits) / digits:g} or more"
        )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LocalPrivacy | None:
        """Return what a node's config asks for; None: nothing. `InputError` where it asks by half, or by other names."""
        names = [name for name in config if name.lower().startswith(("dp-", "dp_"))]
        if not names:
            return None
        if unknown := [name for name in names if name not in OPTIONS]:
            raise InputError(f"privacy: node-config has no option {unknown[0]!r}{nearest(unknown[0], OPTIONS)}")
        try:
            clipping, epsilon, delta = (float(config[f"dp-{name}"]) for name in ("clipping", "epsilon", "delta"))
        except (KeyError, ValueError) as error:
            raise InputError(f"privacy: expected dp-clipping, dp-epsilon and dp-delta as numbers: {error}") from error
        return cls(clipping=clipping, epsilon=epsilon, delta=delta, sensitivity=float(config.get("dp-sensitivity", 2 * clipping)))


def gaussian_delta(epsilon: float, scale: float) -> float:
    """Return the delta that Gaussian noise gives at an epsilon, exactly.

    "Improving the Gaussian Mechanism for Differential Privacy: Analytical Calibration and Optimal Denoising", Balle and Wang, 2018,
    https://arxiv.org/abs/1805.06530, theorem 5.

    Args:
        epsilon: 0 or more.
        scale: Standard deviation, in units of how far apart what is to be hidden can be.
    """
    near, far = 0.5 / scale - epsilon * scale, 0.5 / scale + epsilon * scale
    # exp(epsilon) * P(N > far) is density(near) * P(N > far) / density(far), which can't overflow
    tail = 0.5 * math.erfc(far / math.sqrt(2)) * math.sqrt(2 * math.pi) * math.exp(far * far / 2) if far < 30 else 1 / far
    return 0.5 * math.erfc(-near / math.sqrt(2)) - math.exp(-near * near / 2) / math.sqrt(2 * math.pi) * tail


def local_privacy(message: Message, context: Context, call_next: Any) -> Message:
    """Clip and noise an update where the node's config asks for it: Flower's `LocalDpMod`, with numbers that each site chooses."""
    asked = LocalPrivacy.of(context.node_config)
    if asked is None:
        reply: Message = call_next(message, context)
        return reply
    mod = import_extra("flwr.clientapp.mod", "federate", "privacy").LocalDpMod(
        clipping_norm=asked.clipping, sensitivity=asked.sensitivity, epsilon=asked.epsilon, delta=asked.delta
    )
    made: Message = mod(message, context, call_next)
    return made


def private(mods: Sequence[Any], context: Context) -> bool:
    """Return whether a site adds noise to its own update: by a modifier, of Flower's class or one made of it, or by its config."""
    return any(_is_a(mod, LOCAL) for mod in mods) or LocalPrivacy.of(context.node_config) is not None


def withheld(answer: Upload, download: Download) -> Upload:
    """Return an answer without what gets no noise: its loss, and its number of images.

    In the place of these is how many a round shows to any site or, where that is less, the most that a site may say (`Rules.images`).
    """
    shown = int(download.config["steps"]) * int(download.config["batch"])
    return replace(answer, examples=min(shown, int(download.config.get("images", shown))), metrics={})


def check_private(kind: Kind) -> None:
    """Raise `InputError` where noise on the weights would not cover all that a client sends, or break it."""
    algorithm, model = kind.algorithm, kind.network.model
    if not kind.sharing.names or type(algorithm).report is not Algorithm.report:
        raise InputError(f"privacy: {algorithm.name} sends mean logits, to which Flower's modifiers add no noise: choose another algorithm")
    if isinstance(algorithm, Counting) and algorithm.counts == "told" and not algorithm.count_noise:
        raise InputError(f"privacy: {algorithm.name} tells exact label counts beside the weights: set `counts: withheld`, or `count_noise`")
    _check_tensors(model.state_dict(), set(kind.sharing.names.values()), statistics_keys(model))


def check_plain() -> None:
    """Raise `InputError` where a modifier of another make has Flower's add noise, so that nobody knew of it before it called."""
    if _caller(LOCAL) is not None:
        raise InputError(
            f"privacy: {LOCAL} is called by another modifier, so that it can't be seen what a site must not tell: its loss, its number of "
            f"images and what it measures would get no noise. Give {LOCAL} itself, or a class that is made of it"
        )


def noising() -> Any | None:
    """Return the wrapper of Flower's that called, from however far above, and that adds noise to the mean; None where there is none.

    Wrappers that clip at the server leave no trace in what they hand down, so that the calls themselves are looked at.
    """
    return _caller(WRAPPERS)


def _caller(name: str) -> Any | None:
    """Return the object whose method called, from however far above, and one of whose classes has a name that begins so."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if _is_a(caller, name):
            return caller
        frame = frame.f_back
    return None


def _is_a(value: Any, name: str) -> bool:
    return any(kind.__name__.startswith(name) for kind in type(value).__mro__)


def check_central(algorithm: Algorithm, shared: Mapping[str, torch.Tensor], statistics: set[str]) -> None:
    """Raise `InputError` where noise on the mean would not cover all that the server makes of clients' weights.

    Args:
        algorithm: What is done.
        shared: Tensors that travel, by the network's keys.
        statistics: Which of them are running statistics.
    """
    if (
        algorithm.splits
        or algorithm.keeps
        or algorithm.mixes
        or isinstance(algorithm, Counting)
        or type(algorithm).report is not Algorithm.report
    ):
        raise InputError(
            f"privacy: with {algorithm.name} the server learns from each client's own weights or logits, to which no noise is added: what "
            "it sends out would be outside the accounting. Take FedAvg or FedProx, or let each site add noise (dp-epsilon)"
        )
    if not isinstance(algorithm, Averaging) or algorithm.average != "equal":
        raise InputError(
            f"privacy: the noise is for a mean in which all clients count alike, and {algorithm.name} lets one with many images move it by "
            "more: set `average: equal`"
        )
    _check_tensors(shared, set(shared), statistics)


def _check_tensors(state: Mapping[str, torch.Tensor], travels: set[str], statistics: set[str]) -> None:
    for key in sorted(travels):
        value = state[key]
        if key in statistics and value.is_floating_point():
            raise InputError(
                f"privacy: noise can make the running statistics {key} negative: leave them with each client (`bn: local`) or, where the "
                "algorithm asks for whole networks, as FedEnsemble, FedDF, FedFTG and DENSE do, take a network without batch norm"
            )
        if value.is_floating_point() and value.dtype not in WEIGHED:
            raise InputError(f"privacy: {key} is {value.dtype}, to which Flower's modifiers add no noise: use fp32")
        if value.is_floating_point() and not value.ndim:
            raise InputError(f"privacy: {key} is a single number, which Flower's modifiers neither clip nor noise (flwr 1.41)")


def check_mods(mods: Sequence[Any]) -> None:
    """Raise `InputError` where modifiers can't be used at all; warn where one adds less noise than it claims."""
    for mod in mods:
        if str(getattr(mod, "__name__", "")).startswith("secagg"):
            raise InputError(
                f"mods: {mod.__name__} hides each client's weights from the server: FedGen, FedFTG, FedDF, FedEnsemble and DENSE need each "
                "client's predictor, answers could not be checked one by one, and Flower runs it in its older interface alone (1.41)"
            )
        if _is_a(mod, LOCAL):
            try:
                LocalPrivacy(clipping=mod.clipping_norm, epsilon=mod.epsilon, delta=mod.delta, sensitivity=mod.sensitivity)
            except InputError as error:
                log.warning("%s: %s", type(mod).__name__, error)

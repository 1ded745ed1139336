"""Algorithm: what is sent, what clients minimise, how answers are put together. One loop on each side runs all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.chosen import Chosen
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.federate.central import Central
from tacit.federate.checks import Expected
from tacit.federate.head import Split
from tacit.federate.messages import Download, Number, Upload
from tacit.federate.sharing import Part, Statistics
from tacit.federate.work import Work

__all__ = ["Algorithm", "Averaging", "Counting"]


@dataclass(frozen=True, kw_only=True)
class Algorithm(Chosen):
    """A federated algorithm. Holds no state: it *is* the config; what it remembers is in `Central` and `Work`.

    The hooks are in the order in which they are called. A subclass overrides what it does its own way; no loop asks for its name.
    """

    splits: ClassVar[bool] = False
    """Whether networks are split into features and head, even where whole ones travel."""
    anchors: ClassVar[bool] = False
    """Whether a client's loss looks at the weights that it was sent (`Work.anchor`)."""
    mixes: ClassVar[bool] = False
    """Whether clients may have different architectures although whole networks travel."""
    keeps: ClassVar[bool] = False
    """Whether the server keeps the last weights of every client."""
    tested: ClassVar[str] = "global model"
    """What `judged` returns, in words."""
    rounds: ClassVar[int | None] = None
    """Most rounds that make sense: 1 for one-shot algorithms; None: any number."""
    local_steps: ClassVar[int] = 20
    """Steps of a client in a round, where nobody says otherwise."""

    def __post_init__(self) -> None:
        """Check the fields; subclasses that do call this too."""

    @property
    def part(self) -> Part:
        """What of a client's network travels."""
        return "all"

    @property
    def bn(self) -> Statistics:
        """Whether running statistics of batch norm travel with it."""
        return "aggregate"

    @property
    def head(self) -> str | None:
        """Where the head begins, as `Split` takes it."""
        return None

    # ------------------------------------------------------------------------------------------------ on the server, before the rounds

    def check(self, central: Central) -> None:
        """Raise `InputError` where the clients' architectures don't allow this algorithm."""
        if len(central.networks) == 1:
            return
        if self.part == "all" and not self.mixes:
            raise InputError(
                f"{self.name} averages whole networks, so that all clients must have the same architecture, and there are "
                f"{len(central.networks)}: FedDistill, FedDF, DENSE and head sharing (`share: head`) allow several"
            )
        if self.part == "head" or self.splits:
            layouts = [split.layout for split in central.splits if split is not None]
            if any(layout != layouts[0] for layout in layouts):
                raise InputError(
                    f"{self.name} shares heads, and those of the architectures differ: give them latents of one width and equal heads"
                )

    def make_generator(self, network: Network, split: Split | None) -> nn.Module | None:
        """Build the generator that is sent to clients; None: there is none. Called on both sides."""
        return None

    def begin(self, central: Central) -> None:
        """Make what the server needs before its first round."""

    # ------------------------------------------------------------------------------------------------------------ every round, in turn

    def numbers(self, central: Central) -> dict[str, Number]:
        """Return what a download says beside the local training's own numbers."""
        return {}

    def tensors(self, central: Central) -> dict[str, Tensor]:
        """Return what a download holds beside weights and generator."""
        return {}

    def download(self, central: Central, kind: int) -> Download:
        """Return the download to clients of one architecture."""
        generator = central.generator.state_dict() if central.generator is not None and central.ready else None
        return Download(
            round=central.round,
            federation=central.federation,
            weights=central.sharing[kind].out(central.networks[kind]),
            generator={key: value.detach().cpu().clone() for key, value in generator.items()} if generator is not None else None,
            tensors={key: value.detach().cpu().clone() for key, value in self.tensors(central).items()},
            config={**central.local.numbers(central.round), **self.numbers(central)},
        )

    def loss(self, work: Work, labels: Tensor, logits: Tensor) -> Tensor:
        """Return what a client minimises in one step, of shape ().

        Args:
            work: The client's training.
            labels: Class numbers, of shape (N,).
            logits: What its network says of these images, fp32 of shape (N, classes).
        """
        return F.cross_entropy(logits, labels)

    def observe(self, work: Work, labels: Tensor, logits: Tensor) -> None:
        """Take note of a step, after it; `logits` are detached."""

    def report(self, work: Work) -> dict[str, Tensor]:
        """Return what a client sends beside its weights, in fp32."""
        return {}

    def tell_counts(self, seen: Tensor, noise: Callable[[int], Tensor]) -> tuple[float, ...] | None:
        """Return what a client tells of the labels that it saw.

        Args:
            seen: How many images of each class it was shown in this round.
            noise: Gives so many draws, uniform in (0, 1), that nobody else can know.
        """
        return None

    def expected(self, central: Central, kind: int) -> Expected:
        """Return what an answer of clients of one architecture must look like."""
        sent = central.sharing[kind].out(central.networks[kind])
        return Expected(weights=Expected.like(sent), reach=Expected.reach_of(sent), positive=central.sharing[kind].positive)

    def learn(self, central: Central, replies: Mapping[int, Upload]) -> dict[str, float]:
        """Do the server's part of a round; return numbers for the log: ``skipped`` where what it learns itself broke and was put back.

        Args:
            central: What the server holds.
            replies: Sound, at least one, in the order of their clients.

        Raises:
            FederationError: Where nothing could be learned; all is as it was before then.
        """
        return {}

    def beside(self, central: Central) -> dict[str, Network]:
        """Return networks that are worth a look beside the one that is judged, by name."""
        return {}

    def judged(self, central: Central) -> Network | None:
        """Return the network that stands for the federation; None where there is none, so that the clients' own are looked at."""
        return central.network if all(sharing.whole for sharing in central.sharing) else None


@dataclass(frozen=True, kw_only=True)
class Counting(Algorithm):
    """An algorithm that asks clients how many images of each class they were shown in the round, and can do without."""

    counts: Literal["told", "withheld"] = "told"
    """Whether clients tell their label counts; where they are withheld, all classes and clients count alike."""
    count_noise: float = 0.0
    """Scale of the Laplace noise that each client adds to each of its counts before it tells them (then rounded, and at least 0). Noise of
    scale b hides of which class an image is with epsilon = 2 r / b in a round, where r is how often one is shown in it at most: local_steps
    x batch / images that the client learns from, rounded up. An image of another class takes r from one count and gives r to another.
    Rounds in which a client takes part add up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.counts not in ("told", "withheld"):
            raise InputError(f"{self.name}.counts: expected told or withheld, got {self.counts!r}")
        self.at_least(count_noise=0)

    def tell_counts(self, seen: Tensor, noise: Callable[[int], Tensor]) -> tuple[float, ...] | None:
        if self.counts == "withheld":
            return None
        if not self.count_noise:
            return tuple(float(count) for count in seen)
        shifted = noise(len(seen)).double().cpu() - 0.5
        laplace = -self.count_noise * shifted.sign() * torch.log1p(-2 * shifted.abs())
        return tuple((seen.cpu().double() + laplace).round().clamp(min=0).tolist())

    def expected(self, central: Central, kind: int) -> Expected:
        usual = super().expected(central, kind)
        if self.counts == "withheld":
            return usual
        most = central.local.steps * central.local.batch + 40 * self.count_noise * central.classes
        return replace(usual, classes=central.classes, most=most)  # noise beyond 40 scales comes once in 10^17 draws


@dataclass(frozen=True, kw_only=True)
class Averaging(Algorithm):
    """An algorithm whose global model is the mean of what clients send, weighted by their numbers of images or not."""

    share: Part = "all"
    """What of the network travels: all, or the head alone, the rest of it staying with each client."""
    bn: Statistics = "aggregate"
    """Running statistics of batch norm: aggregate averages them with the weights, local leaves each client its own."""
    head: str | None = None
    """Module whose output is the features, as `encode`; not given: what goes into the layer that makes the logits."""
    average: Literal["examples", "equal"] | None = None
    """How much a client counts in the mean: by its number of images, or as much as any other, which noise on the mean (central
    differential privacy) wants; not given: by its number of images, or what the algorithm has."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share not in ("all", "head"):
            raise InputError(f"{self.name}.share: expected all or head, got {self.share!r}")
        if self.average not in (None, "examples", "equal"):
            raise InputError(f"{self.name}.average: expected examples or equal, got {self.average!r}")
        if self.bn not in get_args(Statistics):
            raise InputError(f"{self.name}.bn: expected {' or '.join(get_args(Statistics))}, got {self.bn!r}")

    @property
    def part(self) -> Part:
        return self.share

    def weights(self, replies: Mapping[int, Upload]) -> list[float]:
        """Return the weight of each answer."""
        return [1.0 if self.average == "equal" else float(reply.examples) for reply in replies.values()]

    def learn(self, central: Central, replies: Mapping[int, Upload]) -> dict[str, float]:
        central.aggregate(replies, self.weights(replies))
        return super().learn(central, replies)

"""Client: one participant's side of a round. The only loop in which clients learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import SGD

from tacit.core.device import SMALL, Runtime, derived_seed
from tacit.core.network import Network, work_per_image
from tacit.data.images import ImageSet
from tacit.evaluate import predict
from tacit.federate.algorithms.base import Algorithm
from tacit.federate.checks import not_finite
from tacit.federate.head import Split
from tacit.federate.messages import Download, Tensors, Upload
from tacit.federate.sharing import Sharing
from tacit.federate.work import Work

__all__ = ["Client", "Kind", "Site"]


@dataclass(frozen=True)
class Site:
    """What one client has, and never gives away.

    Args:
        number: The client's number, from 0.
        train: What it learns from, at least one image.
        test: What it tests itself on; None: nothing.
        public: The global test set, where it is at hand here, as in a simulation: for algorithms without a global model.
    """

    number: int
    train: ImageSet
    test: ImageSet | None = None
    public: ImageSet | None = None


class Kind:
    """One architecture as clients have it: a network, used by all clients of this kind in turn, and what of it travels.

    Args:
        network: Not shared with the server; its weights of now are those that every client begins with.
        algorithm: Says what travels.
        runtime: Device and precision.
    """

    def __init__(self, network: Network, algorithm: Algorithm, runtime: Runtime) -> None:
        self.network, self.algorithm, self.runtime = network, algorithm, runtime
        runtime.place(network)
        if work_per_image(network) < SMALL:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # few maps: channels_last costs more than it gives
        wanted = algorithm.splits or algorithm.part == "head"
        self.split = Split(network, algorithm.head) if wanted else None
        self.sharing = Sharing(network, part=algorithm.part, bn=algorithm.bn, split=self.split)
        self.generator = algorithm.make_generator(network, self.split)
        if self.generator is not None:
            self.generator.to(runtime.device).eval().requires_grad_(False)
        self.first = {key: value.clone() for key, value in network.model.state_dict().items()}
        travels = set(self.sharing.names.values())
        self.anchored = [parameter for key, parameter in network.model.named_parameters() if key in travels]

    def load(self, download: Download, state: Tensors) -> None:
        """Give the network the weights of the download and, for what does not travel, those that the client kept."""
        self.network.model.load_state_dict({**self.first, **state, **self.sharing.at_home(download.weights)})

    def work(self, download: Download, rng: torch.Generator) -> Work:
        """Return what the algorithm sees of the training that this download asks for."""
        came = download.generator is not None and self.generator is not None
        if came:
            assert self.generator is not None
            assert download.generator is not None
            self.generator.load_state_dict(dict(download.generator))
        return Work(
            network=self.network,
            split=self.split,
            download=download,
            generator=self.generator if came else None,
            tensors={key: value.to(self.runtime.device) for key, value in download.tensors.items()},
            rng=rng,
            anchor=[(parameter, parameter.detach().clone()) for parameter in self.anchored] if self.algorithm.anchors else [],
        )


class Client:
    """One participant. What it keeps from round to round is given and taken back, so that an engine can store it as it likes.

    Args:
        site: Its images.
        kind: Its architecture.
        seed: Of every draw but the noise of its counts; the same on all engines.
        noise: Gives so many draws, uniform in (0, 1), for the noise of its counts. None: they follow from `seed`, which is good for trials
            alone, since whoever knows the seed can take such noise away again.
    """

    def __init__(self, site: Site, kind: Kind, *, seed: int, noise: Callable[[int], Tensor] | None = None) -> None:
        self.site, self.kind, self.seed, self.noise = site, kind, seed, noise

    def train(self, download: Download, state: Tensors) -> tuple[Upload, dict[str, Tensor]]:
        """Learn for one round; return the answer, and what this client keeps: what it kept before, where its training diverged.

        Every step has a whole batch: the images come in an endless stream, shuffled anew each time all were shown, so that a client with
        fewer images than a batch has some of them twice.

        Args:
            download: From the server.
            state: What this client kept from its last round; empty in its first.
        """
        kind, site, config = self.kind, self.site, download.config
        steps, size = int(config["steps"]), int(config["batch"])
        algorithm, network = kind.algorithm, kind.network
        rng = self._rng("client", download.round)
        kind.load(download, state)
        work = kind.work(download, rng)
        lr, momentum, decay = (float(config[name]) for name in ("lr", "momentum", "weight_decay"))
        fused = kind.runtime.device.type in ("cpu", "cuda")  # a tenth of a small network's step
        optimizer = SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=decay, fused=fused)
        epochs = -(-steps * size // len(site.train))
        shown = torch.cat([torch.randperm(len(site.train), generator=rng, device=rng.device) for _ in range(epochs)])[: steps * size]
        network.train()
        summed = torch.zeros((), device=kind.runtime.device)
        for index in shown.view(steps, size):
            batch = site.train.batch(index)
            assert batch.targets is not None
            with kind.runtime.autocast():
                logits = network(batch.images).float()
            loss = algorithm.loss(work, batch.targets, logits)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            algorithm.observe(work, batch.targets, logits.detach())
            work.step += 1
            summed += loss.detach()
        network.eval()
        seen = torch.bincount(site.train.labels[shown], minlength=work.classes)
        noise = self.noise or (lambda count: torch.rand(count, generator=self._rng("noise", download.round), device=rng.device))
        upload = Upload(
            weights=kind.sharing.out(network),
            examples=len(site.train),
            counts=algorithm.tell_counts(seen, noise),
            tensors={key: value.detach().float().cpu() for key, value in algorithm.report(work).items()},
            metrics={"loss": float(summed) / steps},
        )
        kept = kind.sharing.kept(network)
        diverged = any(not_finite(part) is not None for part in (upload.weights, upload.tensors, kept))
        return upload, dict(state) if diverged else kept

    def measure(self, download: Download, state: Tensors) -> Upload:
        """Test the model of the download, with what this client keeps, on its own test images and, where asked, the global ones."""
        kind, site = self.kind, self.site
        kind.load(download, state)
        metrics: dict[str, float] = {}
        for name, held in (("accuracy", site.test), ("public", site.public if download.config.get("public") else None)):
            if held is not None and len(held):
                metrics[name] = predict(kind.network, held.batches(1024), kind.runtime).accuracy
        return Upload(examples=max(1, len(site.test) if site.test is not None else 0), metrics=metrics)

    def _rng(self, role: str, round: int) -> torch.Generator:
        seed = derived_seed(self.seed, role, self.site.number, round)
        torch.manual_seed(seed)  # dropout and the like
        return torch.Generator(self.kind.runtime.device).manual_seed(seed)

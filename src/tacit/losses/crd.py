"""CRD: of all images, the student's features must tell which one the teacher saw, and the teacher's which one the student saw.

"Contrastive Representation Distillation", Tian et al., 2020, https://arxiv.org/abs/1910.10699, eq. 17 and 18, as in the authors' code:
both networks' penultimate features are embedded on a sphere; each side is compared, at temperature 0.07, with one positive and K negatives
out of a memory of the other side's embeddings, which move by half towards the new ones after each step.

What the code calls Z cancels the number of images: with s = <a, b> / T, h = sigmoid(s - ln K - ln mean exp(s)), so that everything is done
on logits, with no exponential that overflows, and the mean over random unit vectors in d dimensions is known (`sphere_log_mean`; it is near
exp(1 / (2 d T^2)) where d is large: 0.5 % below it at d = 128, 73 % at d = 16). That holds for a memory, whose rows begin about as such
vectors. Embeddings just made are all alike at first (features after a ReLU have a mean far from 0): in a queue, the known mean left
ResNet-8 at 42 % on CIFAR-10 where the memory gave 65 %, so that there it is measured.
A row of the memory moves once an epoch, and its first positive is noise. In few epochs (`FEW`) `bank: batch` or `queue` is better: in ten,
67.4 and 66.9 % against 64.6 %, and 70.8 and 69.5 % against 69.0 % beside `kd`; in forty, batch 79.0 against 78.6 %, and 81.8 against 81.1 %
(one seed; `benchmarks/RESULTS.md`).
Nor does `nce` hold such embeddings apart: beside `ce=1` at a rate of 0.05, on `digits`, those of a batch fell into one (the own image found
among 200 at chance, 0.5 %, mean cosine 0.998 or more, accuracy 83 to 92 %), where `infonce` found it in 66 to 69 %, at a mean cosine of
0.08 to 0.11 and an accuracy of 97 to 98 % (three seeds, no file kept). So it is what queue and batch take, where no form is asked for.
A queue holds the teacher's features, which the head of now embeds; they don't age. Embeddings of an earlier student or head are told from
new ones by their age: with 16,384, 1,024 and 256 rows of them CIFAR-10 ended at 59.9, 61.5 and 66.9 % (no files kept of these), with the
teacher's features at 67.6 and 66.9 (16,384 and 1,024), where labels alone give 63.4 (one seed). On `digits` without labels, a linear
classifier with 10 labels a class read 96.3 +- 0.9 % from what a queue had taught, 95.2 from batch and memory (nine seeds; no files kept).
Negatives are drawn on the device, once for all of a batch or for each image. Those of the image itself, which a queue may hold from
epochs before, don't count where images have numbers, nor those of its class where labels are known (in the paper's table 6 that is worth
more than the form of the loss or the number of negatives).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.gather import gather, gather_with_gradient, rank
from tacit.core.loss import View, positive_temperature
from tacit.core.match import Match
from tacit.losses.embeddings import SIDES, Embeddings, sphere_log_mean
from tacit.losses.pairs import PairedTaps, as_vector, in_fp32

__all__ = ["CRD", "infonce_loss", "nce_loss"]

Form = Literal["nce", "infonce"]
Bank = Literal["memory", "queue", "batch"]
Sampling = Literal["exact", "relax", "free"]
Normaliser = Literal["analytic", "first", "ema"]
KEEP = 0.99
"""Share of its last value that a moving normaliser keeps."""
FEW = 40
"""Looks at each image below which a memory that nobody asked for is warned of: with 10, 37 and 38, batches were ahead of it."""
HARDLY_MOVES = "each image is shown {:.2g} times, and its row of the memory moves no oftener: `bank: batch` is likely to teach better"
log = logging.getLogger("tacit")


def nce_loss(positive: Tensor, negatives: Tensor, excluded: Tensor, log_mean: Tensor | float) -> Tensor:
    """Return ``-ln h(positive) - sum over negatives of ln (1 - h)``, mean over rows, with h = sigmoid(s - ln K - log_mean), of shape ().

    Args:
        positive: Scores of shape (N,), already divided by the temperature.
        negatives: Of shape (N, K).
        excluded: True where a negative does not count, of the same shape; K is the number of those that do.
        log_mean: ln mean exp(s) of random pairs.
    """
    count = (negatives.shape[1] - excluded.sum(dim=1)).clamp_min(1)
    bias = count.log() + log_mean
    apart = (negatives - bias[:, None]).masked_fill(excluded, -math.inf)
    return (F.softplus(bias - positive) + F.softplus(apart).sum(dim=1)).mean()


def infonce_loss(positive: Tensor, negatives: Tensor, excluded: Tensor) -> Tensor:
    """Return the mean cross-entropy of naming the positive among positive and negatives, of shape (); arguments as in `nce_loss`."""
    scores = torch.cat([positive[:, None], negatives.masked_fill(excluded, -math.inf)], dim=1)
    return (scores.logsumexp(dim=1) - positive).mean()


def _drawn(below: int, shape: Sequence[int], view: View, device: torch.device) -> Tensor:
    """Return whole numbers drawn from 0 to `below` - 1, on `device`."""
    draw = view.generator
    return torch.randint(below, tuple(shape), generator=draw, device=draw.device if draw else device).to(device)


class CRD(PairedTaps):
    """Contrastive representation distillation between penultimate features; of an ensemble, a sum over its members.

    Beside cross-entropy the paper's weight is 0.8 (``ce=1,crd=0.8``), with or without ``kd=1``. Memory: twice as many rows as images, of
    `width` floats.

    Args:
        teacher: Tap of the teacher, a vector or a map that is pooled; not given: what its classifier reads. Several make a sum.
        student: Taps of the student, as many.
        width: Length d of an embedding.
        negatives: K, of memory and queue, drawn with replacement; where there are fewer rows, all of them are shown. Not given: 16,384.
        temperature: T, by which cosines are divided.
        form: ``nce`` (the paper's) or ``infonce``; not given: ``nce`` with a memory, ``infonce`` without.
        bank: ``memory``, one row an image, for sets that don't change; ``queue``, what the teacher said of the last `rows` images, for
            streams and for pools that grow, while the teacher's own anchors are compared with the batch; ``batch``, none: the other images
            of the batch. Of several processes, batches and what is remembered are those of all. Not given: ``memory`` for a set that does
            not change (`attach` is told how many images it has), ``queue`` elsewhere.
        rows: Of a queue; not given: 1,024.
        sampling: ``exact``: the positive is the image itself, negatives are of other classes where labels are known; ``relax``: the
            positive is any image of its class; ``free``: labels play no part.
        momentum: Share of its old self that a row of the memory keeps; not given: 0.5.
        normaliser: Of ``nce``, ln mean exp(s): ``analytic``; of the ``first`` batch, as in the authors' code; or a moving average
            (``ema``). Not given: ``analytic`` with a memory, ``ema`` without.
        shared: Whether all images of a batch have the same negatives of memory or queue, as where nothing is given; otherwise each has its
            own.
        average: Whether several teachers are averaged; otherwise they are summed, as the author says.

    Raises:
        InputError: An option of none of the known values, or one that plays no part with the bank and the form, by `attach` at the latest.
    """

    level = "pooled"

    def __init__(
        self,
        teacher: Sequence[str] | None = None,
        student: Sequence[str] | None = None,
        *,
        width: int = 128,
        negatives: int | None = None,
        temperature: float = 0.07,
        form: Form | None = None,
        bank: Bank | None = None,
        rows: int | None = None,
        sampling: Sampling = "exact",
        momentum: float | None = None,
        normaliser: Normaliser | None = None,
        shared: bool | None = None,
        average: bool = False,
    ) -> None:
        super().__init__(teacher, student)
        for name, value, known in (
            ("form", form, get_args(Form)),
            ("bank", bank, get_args(Bank)),
            ("sampling", sampling, get_args(Sampling)),
            ("normaliser", normaliser, get_args(Normaliser)),
        ):
            if value is not None and value not in known:
                raise InputError(f"crd: {name}: expected one of {', '.join(known)}, got {value!r}")
        self.given = {"negatives": negatives, "shared": shared, "rows": rows, "momentum": momentum, "normaliser": normaliser}
        self.negatives, self.rows = 16384 if negatives is None else negatives, 1024 if rows is None else rows
        self.momentum, self.shared = 0.5 if momentum is None else momentum, shared is not False
        if min(width, self.negatives, self.rows) < 1 or not 0 <= self.momentum < 1:
            raise InputError("crd: expected width, negatives and rows of at least 1, and a momentum from 0 to below 1")
        self.width, self.temperature, self.sampling, self.average = width, positive_temperature(temperature), sampling, average
        self.log_mean = sphere_log_mean(width, self.temperature)
        self.kind: Bank | None = None
        self.form, self.normaliser = form, normaliser
        self._settle(bank)
        self.contrasts = nn.ModuleList()
        self._latest: list[list[Tensor]] = []

    def _settle(self, bank: Bank | None) -> None:
        """Take this bank, and what goes with it where nothing was asked for; refuse what plays no part. None: it is not known yet."""
        form = self.form or {None: None, "memory": "nce", "queue": "infonce", "batch": "infonce"}[bank]
        for name, used, otherwise in (
            ("negatives", bank != "batch", f"bank: {bank}"),
            ("shared", bank != "batch", f"bank: {bank}"),
            ("rows", bank in (None, "queue"), f"bank: {bank}"),
            ("momentum", bank in (None, "memory"), f"bank: {bank}"),
            ("normaliser", form != "infonce", f"form: {form}"),
        ):
            if self.given[name] is not None and not used:
                raise InputError(f"crd: {name}: it plays no part with `{otherwise}`, got {self.given[name]!r}: leave it out")
        if self.sampling == "relax" and bank not in (None, "memory"):
            raise InputError("crd: sampling `relax` picks positives out of a memory, of a fixed set of images: use `bank: memory`")
        if bank is not None:
            self.kind, self.form, self.normaliser = bank, form, self.normaliser or ("analytic" if bank == "memory" else "ema")

    def build(self, matched: Sequence[Match]) -> None:
        self.contrasts = nn.ModuleList(Embeddings(each.teacher.channels, each.student.channels, self.width) for each in matched)

    def attach(self, population: int | None, looks: float | None = None) -> None:
        if self.kind is None:
            self._settle("queue" if population is None else "memory")
            if population is not None and looks is not None and looks < FEW:
                log.warning("tacit: warning: crd: %s", HARDLY_MOVES.format(looks))
        if self.kind != "memory":
            return
        if population is None:
            raise InputError("crd: this source has no fixed set of images to remember: use `bank: queue` or `bank: batch`")
        for pair in self._pairs():
            if len(pair.held(0)) != population:
                pair.fill(population)

    def _pairs(self) -> list[Embeddings]:
        return [pair for pair in self.contrasts if isinstance(pair, Embeddings)]

    def forward(self, view: View) -> Tensor:
        if not self.contrasts:
            raise InputError("crd: call `fit` first: the heads are made for the networks' shapes")
        if self.kind is None:  # by itself, without a loop that knows a set
            self.attach(None)
        labels = view.targets if view.targets is not None and view.targets.ndim == 1 and self.sampling != "free" else None
        self._latest, losses = [], []
        with in_fp32(view.images):
            for pair, seen in zip(self._pairs(), self.seen(view), strict=True):
                features = as_vector(seen[0]), as_vector(seen[1])
                embedded = pair.embed(0, features[0]), pair.embed(1, features[1])
                kept = features[1:] if self.kind == "queue" else embedded
                self._latest.append([side.detach() for side in kept])
                rows = self._positives(pair, labels, view) if self.kind == "memory" else None
                losses.append(torch.stack([self._side(pair, side, embedded, labels, view, rows) for side in (0, 1)]).sum())
        total = torch.stack(losses).sum()
        return total / len(losses) if self.average else total

    def _side(
        self, pair: Embeddings, side: int, embedded: Sequence[Tensor], labels: Tensor | None, view: View, rows: Tensor | None = None
    ) -> Tensor:
        """Return the loss of one side's anchors against embeddings of the other side; of a memory, `rows` are the positives."""
        anchors, others = embedded[side], embedded[1 - side]
        own = view.index.to(anchors.device) if view.index is not None else None
        if self.kind == "batch" or (self.kind == "queue" and SIDES[side] == "teacher"):
            return self._loss(pair, side, *self._batch(anchors, others, own, labels))
        others = others if rows is None else pair.held(1 - side)[rows]
        positive = (anchors * others).sum(dim=1) / self.temperature
        return self._loss(pair, side, positive, *self._negatives(pair, side, anchors, own, labels, view))

    def _batch(self, anchors: Tensor, others: Tensor, own: Tensor | None, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores of the positives, of all images of the batch, and which of these don't count."""
        scores = anchors @ gather_with_gradient(others).T / self.temperature
        here = torch.arange(len(anchors), device=anchors.device)[:, None] + rank() * len(anchors)
        excluded = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, here, True)
        for marks in (own, labels):
            if marks is not None:
                excluded |= marks[:, None] == gather(marks)
        return scores.gather(1, here)[:, 0], scores, excluded

    def _positives(self, pair: Embeddings, labels: Tensor | None, view: View) -> Tensor:
        """Return which rows of the memory are the positives, the same for both sides: the images' own, or any known one of their class."""
        if view.index is None:
            raise InputError("crd: the memory needs to know which image is which, and this source does not say: use `bank: queue`")
        own = view.index.to(pair.get_buffer("labels").device)
        if self.sampling != "relax":
            return own
        if labels is None:
            raise InputError("crd: sampling `relax` needs labels, and this source gives none")
        known, order = pair.get_buffer("labels").scatter(0, own, labels).sort(stable=True)
        first, end = (torch.searchsorted(known, labels, right=after) for after in (False, True))
        return order[first + _drawn(2**62, own.shape, view, own.device) % (end - first)]

    def _negatives(
        self, pair: Embeddings, side: int, anchors: Tensor, own: Tensor | None, labels: Tensor | None, view: View
    ) -> tuple[Tensor, Tensor]:
        """Return scores of shape (N, K), and which of them don't count: rows of the anchor's own image, and of its class."""
        bank = pair.held(1 - side)
        rows, count, device = len(bank), min(self.negatives, len(bank)), bank.device
        if count == rows:
            picked = torch.arange(rows, device=device).expand(1 if self.shared else len(anchors), rows)
        else:
            picked = _drawn(rows, (1 if self.shared else len(anchors), count), view, device)
        keys = bank[picked[0]] if self.shared and count < rows else bank
        if self.kind == "queue":
            with torch.no_grad():
                keys = pair.embed(1 - side, keys)
        scores = anchors @ keys.T / self.temperature
        scores = scores if self.shared else scores.gather(1, picked)
        excluded = torch.zeros_like(scores, dtype=torch.bool)
        for kept, marks in ((pair.get_buffer("numbers"), own), (pair.get_buffer("labels"), labels)):
            if marks is not None:
                excluded |= kept[picked] == marks[:, None]
        return scores, excluded

    def _loss(self, pair: Embeddings, side: int, positive: Tensor, negatives: Tensor, excluded: Tensor) -> Tensor:
        if self.form == "infonce":
            return infonce_loss(positive, negatives, excluded)
        return nce_loss(positive, negatives, excluded, self._log_mean(pair, side, negatives.detach(), excluded))

    def _log_mean(self, pair: Embeddings, side: int, scores: Tensor, excluded: Tensor) -> Tensor | float:
        """Return ln mean exp(s) of negatives: positives and images of the same class, once they are found, would outweigh all others."""
        if self.normaliser == "analytic":
            return self.log_mean
        kept = pair.get_buffer("log_mean")
        own = torch.stack([scores.masked_fill(excluded, -math.inf).logsumexp(dim=(0, 1)), (~excluded).sum().log()])
        total, count = gather(own[None]).logsumexp(dim=0)  # of all processes
        seen = torch.where(count.isinf(), total, total - count)
        moved = torch.logaddexp(kept[side] + math.log(KEEP), seen + math.log(1 - KEEP)) if self.normaliser == "ema" else kept[side]
        moved = torch.where(seen.isinf(), kept[side], moved)  # no negative was there to measure
        kept[side] = torch.where(kept[side].isinf(), seen, moved)
        return kept[side].clone()

    def remember(self, view: View) -> None:
        if self.kind == "batch" or not self._latest:
            return
        unknown = torch.full((len(view.images),), -1)
        labels = view.targets if view.targets is not None and view.targets.ndim == 1 else unknown
        for pair, latest in zip(self._pairs(), self._latest, strict=True):
            device = pair.get_buffer("labels").device
            numbers = view.index if view.index is not None else unknown
            new, told = [gather(side) for side in latest], (gather(labels.to(device)), gather(numbers.to(device)))
            if self.kind == "queue":
                pair.push(new[0], *told, self.rows)
            else:
                pair.move(new, *told, self.momentum)
        self._latest = []

"""Health of a synthesis and of the student that learns from it, measured while they run.

No measure needs real data, and none touches what is learned: a monitor draws from generators of its own and puts back what it moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tacit.core.batch import as_bytes, as_floats
from tacit.core.device import Runtime, derived_seed
from tacit.core.errors import InputError
from tacit.core.features import AT_ONCE, Seen, images_by_class, watch
from tacit.core.network import Network, Teacher
from tacit.core.similarity import duplicate_rate, pairwise_distance
from tacit.core.state import evaluation_mode
from tacit.distill.advice import Advice, budget_faults, image_faults, student_faults
from tacit.distill.synthetic import Synthetic
from tacit.losses.logits import kd_divergence
from tacit.synthesize.canvas import Noise, Round
from tacit.synthesize.method import Method
from tacit.synthesize.pool import Pool

__all__ = ["IMAGES", "Monitor", "StudentMonitor", "image_health"]

IMAGES = 256
"""Images that a check looks at, of each kind."""
KEPT = 512
"""Images of a live generator that a monitor keeps."""
EARLY = 0.2
"""Share of the work before which nothing is warned of: every generator begins with one class."""


def _see(teacher: Network, images: Tensor, runtime: Runtime) -> Seen:
    """Return penultimate features and logits; the logits for both where the network has no layer that makes them."""
    try:
        return watch(teacher, images, runtime, size=AT_ONCE)
    except InputError:
        with torch.no_grad(), evaluation_mode(teacher):
            logits = torch.cat([teacher(part).float() for part in torch.split(images, AT_ONCE)])
        return Seen(logits.flatten(1), logits)


def image_health(images: Tensor, teacher: Network, runtime: Runtime) -> tuple[dict[str, float | None], list[int]]:
    """Return measures of made images, and in how many the teacher sees each class.

    ``class_coverage``: share of classes that the teacher names. ``teacher_confidence``: its mean largest probability.
    ``feature_distance``: mean Euclidean distance of two images in its penultimate features, in their own unit. ``duplicate_rate``: share
    of images with another one within 2/255, mean absolute difference. ``pixel_deviation``: standard deviation over the images, mean over
    pixels, in [0, 0.5].

    Args:
        images: float in [0, 1], of shape (N, C, H, W), on the device; the first 2048 distances and duplicates are looked at.
        teacher: Who is asked.
        runtime: Where it is.
    """
    seen = _see(teacher, images, runtime)
    confidence, named = seen.logits.softmax(dim=1).max(dim=1)
    counts = images_by_class(named, teacher.spec.classes)
    measured = {
        "class_coverage": sum(count > 0 for count in counts) / len(counts),
        "teacher_confidence": float(confidence.mean()),
        "feature_distance": pairwise_distance(seen.features).euclidean,
        "duplicate_rate": duplicate_rate(images),
        "pixel_deviation": float(images.std(dim=0, correction=0).mean()),
    }
    return measured, counts


class Monitor:
    """Looks at made images a number of times, evenly over a run.

    Args:
        teacher: Who is asked.
        method: How the images are made; its options are named in warnings.
        checks: How often; 0: never.
        runtime: Where the networks are.
    """

    def __init__(self, teacher: Teacher, method: Method, *, checks: int, runtime: Runtime) -> None:
        self.teacher, self.method, self.checks, self.runtime = teacher, method, checks, runtime
        self.done = self.first = 0
        self.advice = Advice(quiet=not runtime.main)
        self.values: dict[str, float | None] = {}

    def due(self, share: float) -> bool:
        """Whether a check is due when `share` of the work is done."""
        return int(min(share, 1.0) * self.checks) > self.done

    def look(self, images: Tensor) -> dict[str, str]:
        """Measure `images`, and return what is wrong with them; `values` holds the measures."""
        self.values, counts = image_health(images, self.teacher, self.runtime)
        return image_faults(self.values, counts, self.teacher.spec, self.method, images=len(images))

    def check(self, images: Tensor, share: float) -> None:
        """Measure `images`, and say what is wrong with them; `share` of the work is done."""
        self.done = int(min(share, 1.0) * self.checks)
        self.tell(self.look(images), share)

    def tell(self, faults: Mapping[str, str], share: float) -> None:
        """Say what is wrong: nothing early, and before the end only what was wrong the time before too."""
        if share >= EARLY:
            self.advice.notice(faults, certain=share >= 1.0)

    @property
    def logged(self) -> dict[str, float]:
        """The measures of the last check that could be made."""
        return {name: value for name, value in self.values.items() if value is not None}

    @property
    def notes(self) -> dict[str, str]:
        """The last check in a few words, for the progress line."""
        if not self.values:
            return {}
        classes = self.teacher.spec.classes
        shown = {"classes": f"{round((self.values['class_coverage'] or 0) * classes)}/{classes}"}
        for name, key in (("conf", "teacher_confidence"), ("agree", "agreement_fresh")):
            value = self.values.get(key)
            shown |= {name: f"{value:.2f}".removeprefix("0")} if value is not None else {}
        return shown

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next check depends on."""
        return {"done": self.done, "first": self.first, "advice": self.advice.state_dict(), "values": dict(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.done, self.first, self.values = state["done"], state["first"], dict(state["values"])
        self.advice.load_state_dict(state["advice"])


class StudentMonitor(Monitor):
    """Looks at what a source paints on the way and at how the student learns from it.

    Beside the measures of the last images: ``agreement_fresh`` and ``kd_fresh`` (agreement and KD loss of student and teacher on images
    that the student did not learn from: the newest held out of a pool, or fresh from a live generator), ``agreement_old`` (the oldest that
    the pool keeps; of a live generator, images kept at earlier checks), ``agreement_noise`` and ``kd_noise`` (on normal noise with the
    mean and deviation of the `Spec`). The student answers in evaluation mode.

    A held-out set serves choices between weights: of a pool what it holds out, of a live generator up to 512 images kept at the checks so
    far, in equal parts. It moves on with the synthesis, so that only figures of one moment can be compared.

    Args:
        source: What paints.
        student: What learns.
        checks: How often; 0: never.
        seed: Of the monitor's own draws.
    """

    def __init__(self, source: Synthetic, student: Network, *, checks: int, seed: int) -> None:
        super().__init__(source.synthesizer.teacher, source.method, checks=checks, runtime=source.synthesizer.runtime)
        self.source, self.student, self.seed = source, student, seed
        self.best_old: float | None = None
        spec, device = self.teacher.spec, self.runtime.device
        self._kept, self._looks = torch.empty(0, *spec.shape, dtype=torch.uint8, device=device), 0
        self.advice.give(budget_faults(source.method, source.most_rounds, fought=source.synthesizer.needs.student))

    @property
    def losses(self) -> dict[str, float]:
        """The losses of the last round."""
        return {name: float(part) for name, part in self.source.synthesizer.parts.items()}

    def due_first(self) -> bool:
        """Whether a check is due while images are made for the student to begin with: as often as later, evenly over those rounds."""
        return self._share_of_first() > self.first

    def _share_of_first(self) -> int:
        return self.checks * self.source.synthesizer.rounds // max(1, self.source.pieces)

    def observe_first(self) -> None:
        """Look at what has been made for the student to begin with, and say what is wrong with it; the student is not asked."""
        self.first = self._share_of_first()
        draw = self.runtime.generator(derived_seed(self.seed, "health, first", self.first))
        images = (
            _newest(self.source.pool) if self.method.pooled else self.source.synthesizer.peek(IMAGES, draw, size=self.source.size).images
        )
        self.tell(self.look(images), min(self.first / self.checks, 0.99))  # whatever it is, it may still pass

    def observe(self, share: float) -> None:
        """Make a check, and say what is wrong; `share` of the work is done."""
        draw = self.runtime.generator(derived_seed(self.seed, "health", self.done))
        self.done = int(min(share, 1.0) * self.checks)
        if self.method.pooled:
            last, old = _newest(self.source.pool), as_floats(self.source.pool.columns["images"][:IMAGES])
            fresh = _newest(self.source.held_out) if len(self.source.held_out) else last
        else:
            last = fresh = self.source.synthesizer.peek(IMAGES, draw, size=self.source.size).images
            old = as_floats(self._kept)
        noise = Noise(self.teacher.spec).sample(Round(0, IMAGES, None, draw))
        faults, earlier = self.look(last), self.best_old
        self.values["agreement_fresh"], self.values["kd_fresh"] = self._compare(fresh)
        self.values["agreement_old"], _ = self._compare(old)
        self.values["agreement_noise"], self.values["kd_noise"] = self._compare(noise)
        seen = self.values["agreement_old"]
        if seen is not None:
            self.best_old = max(seen, earlier or 0.0)
        fought = self.source.synthesizer.needs.student
        self.tell(faults | student_faults(self.values, self.method, fought=fought, best_old=earlier), share)
        if not self.method.pooled:
            self._keep(last, draw)

    @torch.no_grad()
    def agreement(self) -> float:
        """Return the share of the held-out set on which the student, as it is, names the teacher's class.

        Raises:
            InputError: Where nothing is held out.
        """
        held = self.source.unseen(KEPT).images if self.method.pooled else as_floats(self._kept)
        agreed, _ = self._compare(held)
        if agreed is None:
            raise InputError("no image is held out, by which weights could be chosen: raise the method's `batch` to 16 or more")
        return agreed

    @torch.no_grad()
    def _compare(self, images: Tensor) -> tuple[float | None, float | None]:
        """Return agreement and KD loss of student and teacher on `images`; None for none."""
        if not len(images):
            return None, None
        agreed, apart = torch.zeros((), device=images.device), torch.zeros((), device=images.device)
        with evaluation_mode(self.student):
            for part in torch.split(images, AT_ONCE):  # answers for every pixel of many images are large
                ours, theirs = (self._answer(network, part) for network in (self.student, self.teacher))
                agreed += (ours.argmax(dim=1) == theirs.argmax(dim=1)).float().mean() * len(part)
                apart += kd_divergence(ours, theirs) * len(part)
        return float(agreed) / len(images), float(apart) / len(images)

    def _answer(self, network: Network, images: Tensor) -> Tensor:
        with self.runtime.autocast():
            logits: Tensor = network(images)
        return logits.float()

    def _keep(self, images: Tensor, draw: torch.Generator) -> None:
        """Keep some of `images` beside those of earlier checks, about as many of each."""
        self._looks += 1
        new = as_bytes(images)[: KEPT // self._looks]
        stays = torch.randperm(len(self._kept), generator=draw, device=draw.device)[: KEPT - len(new)].sort().values
        self._kept = torch.cat([self._kept[stays], new])

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best_old": self.best_old, "looks": self._looks, "kept": self._kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.best_old, self._looks = state["best_old"], state["looks"]
        self._kept = state["kept"].to(self._kept.device)


def _newest(pool: Pool) -> Tensor:
    return as_floats(pool.columns["images"][-IMAGES:])

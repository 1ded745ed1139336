"""Advice: what looks wrong with a synthesis or a student, and what to change about it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tacit.core.spec import Spec
from tacit.synthesize.method import Method
from tacit.synthesize.pool import Pool

__all__ = ["Advice", "budget_faults", "image_faults", "pool_faults", "student_faults"]

ALIKE = 2.0
"""Standard deviation over a set, averaged over pixels, in steps of 8 bits, below which all its images are alike."""
FEW = 64
"""Images, where there are more than 16 classes, by which classes that are never named are told from chance."""
Values = Mapping[str, float | None]
"""Measures by name, as `tacit.distill.health` makes them; None where there was nothing to measure."""


class Advice:
    """Warnings by kind: each kind is said once on stderr and kept for the result.

    Args:
        quiet: Only keep them, as all processes of a launch but the first do.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._said: dict[str, str] = {}
        self._times: dict[str, int] = {}
        self._over: set[str] = set()

    @property
    def texts(self) -> list[str]:
        """What was said, in order; with a note, where the last look found it no more."""
        return [f"{text} (on the way; at the end no longer)" if kind in self._over else text for kind, text in self._said.items()]

    def give(self, faults: Mapping[str, str]) -> None:
        """Say each of `faults`, a text by kind, whose kind was not said before."""
        self._over -= set(faults)
        for kind, text in faults.items():
            if kind not in self._said:
                self._said[kind] = text
                if self.quiet:
                    continue
                print(f"tacit: warning: {text}", file=sys.stderr)

    def notice(self, faults: Mapping[str, str], *, certain: bool) -> None:
        """Say what is `certain`, or was seen the time before too: what comes and goes is not said."""
        self._over = (self._over | set(self._times)) - set(faults)
        self._times = {kind: self._times.get(kind, 0) + 1 for kind in faults}
        self.give({kind: text for kind, text in faults.items() if certain or self._times[kind] > 1})

    def state_dict(self) -> dict[str, Any]:
        """Return what was said and seen."""
        return {"said": dict(self._said), "times": dict(self._times), "over": sorted(self._over)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self._said, self._times, self._over = dict(state["said"]), dict(state["times"]), set(state["over"])


def _hint(method: Method | None, *, more: tuple[str, ...] = (), less: tuple[str, ...] = (), other: str) -> str:
    """Return what to try: options that `method` has, larger or smaller, and what holds for any."""
    known = {field.name for field in fields(method)} if method is not None else set()
    words = [other]
    for how, names in (("smaller", less), ("larger", more)):
        present = [f"`{name}`" for name in names if name in known]
        if present:
            words.insert(0, f"a {how} {' or '.join(present)}")
    return "try " + (words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, or {words[-1]}")


def _missed(images: int, classes: int) -> tuple[float, float]:
    """Return how many classes so many draws miss, were all equally likely: mean and standard deviation."""
    once, twice = (1 - 1 / classes) ** images, (1 - 2 / classes) ** images
    mean = classes * once
    return mean, math.sqrt(max(mean + classes * (classes - 1) * twice - mean * mean, 0.0))


def _unseen(spec: Spec, counts: list[int], images: int, among: str, method: Method | None) -> str:
    missing = [spec.class_name(label) for label, count in enumerate(counts) if not count]
    names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    asks = ("balance", "classes", "ce", "authenticity")
    if method is None or any(hasattr(method, name) for name in asks):
        hint = _hint(method, more=asks, less=("lr",), other="another seed")
    else:  # nothing in it asks for classes, whatever its options
        hint = _hint(method, more=("bn",), other="a method that balances classes")
    if images < 4 * spec.classes:  # too few for every class to be there
        named, fair = spec.classes - len(missing), spec.classes - _missed(images, spec.classes)[0]
        return f"the teacher sees {named} of {spec.classes} classes{among}, where a fair draw has about {fair:.0f}; {hint}"
    return f"the teacher sees no sample of {len(missing)} of {spec.classes} classes ({names}){among}: the student can't learn them; {hint}"


def _alike(method: Method | None) -> str:
    hint = _hint(method, more=("contrast", "samples", "seeking"), other="a smaller learning rate or another seed")
    return f"the samples are all alike: the synthesis has collapsed; {hint}"


def image_faults(values: Values, counts: list[int], spec: Spec, method: Method | None, *, images: int | None = None) -> dict[str, str]:
    """Return what is wrong with the last images of a synthesis, a text by kind.

    Args:
        values: Their `image_health`.
        counts: Images in which the teacher names each class.
        spec: Of the teacher.
        method: How they were made, whose own options the texts name; None: not known.
        images: How many there are; not given: each has one class.
    """
    found: dict[str, str] = {}
    images, classes = sum(counts) if images is None else images, spec.classes
    expected = 1 - _missed(images, classes)[0] / classes
    if images >= min(4 * classes, FEW) and (values["class_coverage"] or 0.0) < 0.8 * expected + 0.01:  # 8 of 10 are too few
        found["classes"] = _unseen(spec, counts, images, f" among the last {images} images", method)
    spread, doubles, sure = values["pixel_deviation"] or 0.0, values["duplicate_rate"] or 0.0, values["teacher_confidence"] or 0.0
    if images > 1 and spread * 255 < ALIKE:
        found["alike"] = _alike(method)
    elif doubles > 0.5:
        hint = _hint(method, more=("contrast", "samples", "seeking", "noise"), less=("lr",), other="another seed")
        found["duplicates"] = f"{doubles:.0%} of the last {images} images have a near-duplicate among them; {hint}"
    if (sure - 1 / classes) / (1 - 1 / classes) < 0.1:
        hint = _hint(method, more=("ce", "authenticity", "steps"), less=("adv",), other="another method")
        found["unsure"] = f"the teacher is hardly surer of the last images ({sure:.0%}) than of a guess among {classes} classes; {hint}"
    return found


def student_faults(values: Values, method: Method, *, fought: bool, best_old: float | None) -> dict[str, str]:
    """Return what is wrong with how a student learns, a text by kind.

    Args:
        values: The last `StudentMonitor` measures.
        method: How the images are made.
        fought: Whether images are made against the student.
        best_old: The best agreement on old images at an earlier check.
    """
    found: dict[str, str] = {}
    old = values["agreement_old"]
    if old is not None and best_old is not None and old < best_old - 0.1:
        keep = "more images kept (`keep_images`)" if method.pooled else "averaged weights (`ema`)"
        hint = _hint(method, more=("every",), other=f"a smaller `training.lr`, or {keep}")
        found["forgetting"] = f"student and teacher agree on {old:.0%} of the oldest images, {best_old:.0%} before: it forgets; {hint}"
    made, noise, same = values["kd_fresh"], values["kd_noise"], values["agreement_noise"]
    if fought and made is not None and noise is not None and same is not None and made < 0.02 * noise and same < 0.5:
        hint = _hint(method, more=("steps", "lr"), less=("every",), other="another seed")
        found["collapse"] = (
            f"student and teacher are at one on what is made to tell them apart (KD loss {made:.2g}), but not on plain noise ({noise:.2g}, "
            f"agreement {same:.0%}): the synthesis no longer finds where they differ; {hint}"
        )
    return found


def budget_faults(method: Method, rounds: int | None, *, fought: bool) -> dict[str, str]:
    """Return what a budget of images is too small for, a text by kind.

    Args:
        method: How the images are made.
        rounds: That the budget pays for; None: there is none.
        fought: Whether images are made against the student.
    """
    if rounds is None or not fought or rounds > method.warmup:
        return {}
    text = f"max_images pays for {rounds} rounds of {method.name}, whose first {method.warmup} (its `warmup`) don't look at the student"
    return {"budget": f"{text}: none is painted against it; give more images, or a smaller `warmup`"}


def pool_faults(pool: Pool, method: Method | None = None) -> dict[str, str]:
    """Return what is wrong with a whole pool, a text by kind: samples all alike, classes never made."""
    found, images = {}, pool.columns["images"][-1024:].float()
    if len(images) > 1 and float(images.std(dim=0).mean()) < ALIKE:
        found["alike"] = _alike(method)
    classes, missing = pool.spec.classes, pool.class_counts.count(0)
    by_chance, scatter = _missed(len(pool), classes)
    if missing > by_chance + 3 * scatter and len(pool) >= min(4 * classes, FEW):
        found["classes"] = _unseen(pool.spec, pool.class_counts, len(pool), "", method)
    return found

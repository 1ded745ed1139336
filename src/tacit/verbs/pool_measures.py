"""What `tacit evaluate` says of a pool: how diverse its images are, and, beside real ones, how faithful."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from tacit.core.batch import as_bytes
from tacit.core.device import Runtime, derived_seed
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.data import Data
from tacit.distill.advice import Advice, pool_faults
from tacit.evaluate import (
    Seen,
    class_histogram,
    density_coverage,
    duplicate_rate,
    frechet_distance,
    pairwise_distance,
    precision_recall,
    subsample,
    watch,
)
from tacit.synthesize import Pool
from tacit.verbs.pictures import pool_metrics

__all__ = ["measure_pool", "pool_rows"]

NEIGHBOURS = 5
"""The k of density and coverage: real and made images must be more."""


def measure_pool(
    pool: Pool, networks: Mapping[str, Network], held: Data | None, runtime: Runtime, *, seed: int, most: int
) -> dict[str, Any]:
    """Return the measures of a pool, as they stand in result.json's metrics; docs/measures.md says what each means.

    Args:
        pool: At least one image; the teacher's answers are added where they are not stored.
        networks: By role: ``teacher``, and ``judge`` where there is one; each gives the features for measures of its own.
        held: Real images to compare with; None: only what needs none is measured.
        runtime: Where pool and networks are.
        seed: Of the draws, the same on every device.
        most: Images of the pool, and of `held`, that are compared at most.
    """
    images, teacher = pool.columns["images"], networks["teacher"]
    if "logits" not in pool.columns:
        pool.columns["logits"] = watch(teacher, images, runtime).logits
    confidence, seen = pool.columns["logits"].float().softmax(dim=1).max(dim=1)
    spread, picked = class_histogram(seen, pool.spec.classes), _draw(len(pool), most, seed, "pool").to(images.device)
    made = {role: watch(network, images[picked], runtime) for role, network in networks.items()}
    advice = Advice()
    advice.give(pool_faults(pool))
    metrics: dict[str, Any] = {
        **pool_metrics(pool),
        "pool_images": len(pool),
        "classes_covered": spread.covered,
        "class_entropy": spread.entropy,
        "teacher_confidence": float(confidence.mean()),
        "judge_agreement": None,
        "duplicate_rate": duplicate_rate(images[picked], most=most),
        "diversity": _diversity(made, seen[picked]),
        "diversity_data": None,
        "fidelity": None,
    }
    if "judge" in made and networks["judge"].spec.classes == teacher.spec.classes:
        metrics["judge_agreement"] = float((made["judge"].labels == seen[picked]).float().mean())
    if held is not None:
        real = _pixels(held, _draw(len(held), most, seed, "data"))
        genuine = {role: watch(network, real, runtime) for role, network in networks.items()}
        metrics["diversity_data"] = _diversity(genuine, genuine["teacher"].labels)
        metrics["fidelity"], found = _fidelity(genuine, made, seed)
        advice.give({f"fidelity {number}": text for number, text in enumerate(found)})
    return metrics | {"warnings": advice.texts}


def _draw(count: int, most: int, seed: int, role: str) -> Tensor:
    return subsample(count, most, torch.Generator().manual_seed(derived_seed(seed, role)))  # on the CPU: the same on every device


def _pixels(held: Data, picked: Tensor) -> Tensor:
    """Return images of a set as uint8, read a few at a time: floats of all would take four times the memory."""
    return torch.cat([as_bytes(held.batch(some).images) for some in torch.split(picked, 256)])


def _diversity(seen: Mapping[str, Seen], classes: Tensor) -> dict[str, Any]:
    """Return distances by role; `classes` are the teacher's for all of them."""
    found = {role: asdict(pairwise_distance(one.features, classes, most=len(classes))) for role, one in seen.items()}
    return {"images": len(classes), **found}


def _fidelity(real: Mapping[str, Seen], made: Mapping[str, Seen], seed: int) -> tuple[dict[str, Any] | None, list[str]]:
    """Return measures by role, of as many made as real images, and what could not be measured."""
    count = min(len(real["teacher"].features), len(made["teacher"].features))
    if count <= NEIGHBOURS:
        return None, [f"fidelity was not measured: it takes more than {NEIGHBOURS} images of the pool and of the data, got {count}"]
    found: dict[str, Any] = {"images": count}
    warnings = []
    for role in made:
        theirs, ours = (_equally_many(seen[role].features, count, seed) for seen in (real, made))
        found[role] = {**precision_recall(theirs, ours)._asdict(), **density_coverage(theirs, ours)._asdict(), "frechet": None}
        if count > theirs.shape[1]:
            found[role]["frechet"] = frechet_distance(theirs, ours)
        else:
            warnings.append(f"no Fréchet distance by the {role}: it takes more images than features ({theirs.shape[1]}), got {count}")
    return found, warnings


def _equally_many(features: Tensor, count: int, seed: int) -> Tensor:
    return features[_draw(len(features), count, seed, "equal").to(features.device)]


def pool_rows(metrics: Mapping[str, Any], spec: Spec) -> list[tuple[str, str]]:
    """Return the rows of the table that `measure_pool`'s figures make."""
    counts, compared = metrics["class_counts"], metrics["diversity"]["images"]
    named = ", ".join(f"{spec.class_name(label)}: {count:,}" for label, count in enumerate(counts))
    rows = [
        ("pool images", f"{metrics['pool_images']:,}"),
        ("classes the teacher sees", f"{metrics['classes_covered']} of {spec.classes}"),
        ("images by class", named if spec.classes <= 10 else f"{min(counts):,} to {max(counts):,}"),
        ("entropy of the classes", f"{metrics['class_entropy']:.3f} of at most {math.log(spec.classes):.3f} nats"),
        ("teacher's confidence", f"{metrics['teacher_confidence']:.2%}"),
        ("near-duplicates", f"{metrics['duplicate_rate']:.2%} of {compared:,}"),
    ]
    if metrics["judge_agreement"] is not None:
        rows.append(("judge agrees with teacher", f"{metrics['judge_agreement']:.2%}"))
    for name, of in (("diversity", ""), ("diversity_data", " of the data")):
        for role, found in _by_role(metrics[name]):
            rows.append((f"distance{of}, {role}", _distance(found)))
    rows += [(f"fidelity, {role}", _faithful(found)) for role, found in _by_role(metrics["fidelity"])]
    return rows


def _by_role(found: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any]]]:
    return [(role, values) for role, values in (found or {}).items() if role != "images"]


def _distance(found: Mapping[str, float | None]) -> str:
    whole = {name: "unknown" if value is None else f"{value:.3f}" for name, value in found.items()}
    euclidean, cosine = (f"{kind} {whole[kind]} (within class {whole[f'{kind}_within_class']})" for kind in ("euclidean", "cosine"))
    return f"{euclidean}, {cosine}"


def _faithful(found: Mapping[str, float | None]) -> str:
    frechet = "unknown" if found["frechet"] is None else f"{found['frechet']:.3f}"
    shares = ", ".join(f"{name} {found[name]:.3f}" for name in ("precision", "recall", "density", "coverage"))
    return f"{shares}, Fréchet {frechet}"

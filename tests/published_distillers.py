"""What the papers and scripts on representation distillation say: pairs, their figures, and weights that `recipes/distillers` must have.

Written from the README and the script of HobbitLong/RepDistiller, and from the papers after it, apart from the recipes.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CRD", "FIGURES", "IMAGENET", "OBJECTIVES", "ON_IMAGENET", "OWN", "PAIRS", "PUBLISHED", "TRAINING", "Pair"]

Pair = tuple[str, str]

TRAINING: dict[str, Any] = {
    "steps": 240 * 50_000 // 64,
    "batch": 64,
    "lr": 0.05,
    "weight_decay": 5e-4,
    "schedule": "steps",
    "milestones": [150 / 240, 180 / 240, 210 / 240],
    "gamma": 0.1,
}
"""240 epochs of CIFAR-100; MobileNet and ShuffleNets have a learning rate of 0.01."""
CRD: dict[str, Any] = {"weight": 0.8, "width": 128, "negatives": 2**14, "temperature": 0.07, "momentum": 0.5}
OWN: dict[str, Any] = {"normaliser": "first", "shared": False}
"""A normaliser from the first batch, and negatives of its own for each image."""

SMALL = {"wrn40_2": 75.61, "resnet56": 72.34, "resnet110": 74.31, "resnet32x4": 79.42, "vgg13": 74.64, "resnet50": 79.34}
ALONE = {
    "wrn16_2": 73.26,
    "wrn40_1": 71.98,
    "resnet20": 69.06,
    "resnet32": 71.14,
    "resnet8x4": 72.50,
    "vgg8": 70.36,
    "mobilenetv2_half": 64.60,
    "shufflenetv1": 70.50,
    "shufflenetv2": 71.82,
}
PAIRS: dict[Pair, tuple[float, float, float]] = {
    ("wrn40_2", "wrn16_2"): (74.92, 75.48, 75.64),
    ("wrn40_2", "wrn40_1"): (73.54, 74.14, 74.38),
    ("resnet56", "resnet20"): (70.66, 71.16, 71.63),
    ("resnet110", "resnet20"): (70.67, 71.46, 71.56),
    ("resnet110", "resnet32"): (73.08, 73.48, 73.75),
    ("resnet32x4", "resnet8x4"): (73.33, 75.51, 75.46),
    ("vgg13", "vgg8"): (72.98, 73.94, 74.29),
    ("vgg13", "mobilenetv2_half"): (67.37, 69.73, 69.94),
    ("resnet50", "mobilenetv2_half"): (67.35, 69.11, 69.54),
    ("resnet50", "vgg8"): (73.81, 74.30, 74.58),
    ("resnet32x4", "shufflenetv1"): (74.07, 75.11, 75.12),
    ("resnet32x4", "shufflenetv2"): (74.45, 75.65, 76.05),
    ("wrn40_2", "shufflenetv1"): (74.83, 76.05, 76.27),
}
"""Accuracy by KD, by CRD, and by both."""
FIGURES: dict[Pair, list[float]] = {pair: [SMALL[pair[0]], ALONE[pair[1]], *found] for pair, found in PAIRS.items()}
"""Teacher, student by itself, KD, CRD, both."""


def beside_labels(name: str, weight: float, **options: Any) -> dict[str, Any]:
    return {"ce": {}, name: {"weight": weight, **options}}


FIRST = {"opening": 30 / 270, "steady": 1.0}
"""30 epochs at the first learning rate come before the 240."""
OBJECTIVES: dict[str, dict[str, Any]] = {
    "kd": {"ce": {"weight": 0.1}, "kd": {"weight": 0.9, "temperature": 4.0}},
    "kd-standardised": {"ce": {"weight": 0.1}, "kd": {"weight": 9.0, "temperature": 2.0, "standardise": True}},
    "crd-kd": {"ce": {}, "crd": {**CRD, **OWN}, "kd": {"weight": 1.0, "temperature": 4.0}},
    "fitnet": beside_labels("fitnet", 100.0),
    "at": beside_labels("at", 1e3),
    "sp": beside_labels("sp", 3e3),
    "cc": beside_labels("cc", 0.02, width=128),
    "vid": beside_labels("vid", 1.0, variance=5.0),
    "rkd": beside_labels("rkd", 1.0),
    "pkt": beside_labels("pkt", 3e4),
    "nst": beside_labels("nst", 50.0),
    "kdsvd": beside_labels("kdsvd", 1.0, count=1),
    "ofd": beside_labels("ofd", 1e-3),
    "reviewkd": beside_labels("reviewkd", 5.0, width=512, warmup=187_500 * 20 // 240),
    "dkd": {"ce": {}, "dkd": {"alpha": 1.0, "beta": 8.0, "temperature": 4.0, "warmup": 187_500 * 20 // 240}},
    "dist": beside_labels("dist", 2.0, beta=1.0, gamma=1.0, temperature=4.0),
    "ab": beside_labels("ab", 3 / 1000, margin=1.0, **FIRST),
    "ft": beside_labels("ft", 200.0, rate=0.5, **{**FIRST, "steady": 0.01 / 0.05}),
    "fsp": beside_labels("fsp", 1.0, **FIRST),
}
PUBLISHED: dict[str, float | None] = {
    "kd": 73.33,
    "kd-standardised": 76.62,
    "crd-kd": 75.46,
    "fitnet": 73.50,
    "at": 73.44,
    "sp": 72.94,
    "cc": 72.97,
    "vid": 73.09,
    "rkd": 71.90,
    "pkt": 73.64,
    "nst": 73.30,
    "kdsvd": None,
    "ofd": 74.95,
    "reviewkd": 75.63,
    "dkd": 76.32,
    "dist": 76.31,
    "ab": 73.17,
    "ft": 72.86,
    "fsp": 72.62,
}
"""Accuracy of ResNet-8x4 taught by ResNet-32x4."""
DEEPEST = {"teacher": ["layer3", "layer4"], "student": ["layer3", "layer4"]}
ON_IMAGENET: dict[str, tuple[float | None, dict[str, Any]]] = {
    "kd": (70.66, {"ce": {"weight": 0.5}, "kd": {"weight": 0.9, "temperature": 4.0}}),
    "crd-kd": (71.38, {"ce": {}, "crd": CRD, "kd": {"weight": 1.0, "temperature": 4.0}}),
    "at": (70.90, beside_labels("at", 1e3, **DEEPEST)),
    "ofd": (None, beside_labels("ofd", 1e-4)),
    "reviewkd": (71.61, beside_labels("reviewkd", 1.0, width=512, warmup=1_281_167 // 256)),
    "dkd": (71.70, {"ce": {}, "dkd": {"alpha": 1.0, "beta": 0.5, "temperature": 1.0, "warmup": 1_281_167 // 256}}),
    "dist": (72.07, beside_labels("dist", 2.0, beta=1.0, gamma=1.0, temperature=1.0)),
}
"""Accuracy of ResNet-18 taught by ResNet-34, and objectives; of these what megvii-research/mdistiller, hunto/DIST_KD,
yoshitomo-matsubara/torchdistill and the author of CRD say; warm-ups are one epoch of batches of 256."""
IMAGENET: dict[str, Any] = {
    "objective": {"ce": {}, "crd": CRD},
    "training": {
        "steps": 100 * (1_281_167 // 256),
        "batch": 256,
        "lr": 0.1,
        "weight_decay": 1e-4,
        "schedule": "steps",
        "milestones": [0.3, 0.6, 0.9],
        "gamma": 0.1,
    },
}

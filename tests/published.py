"""What the papers and their authors' code say: sizes of networks, and the settings that `recipes/` must have, number for number.

Written from the papers and the authors' scripts, apart from the recipes. Where a setting of a paper can't be had here, what stands
instead is in the comment of the recipe.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CLASSIFIER_INPUTS", "KEY_NUMBERS", "PARAMETERS", "QUANTIZED", "TEACHERS", "ZERO_SHOT"]

PARAMETERS = {
    "lenet5": 61_706,
    "lenet5_half": 15_738,
    "alexnet": 1_659_178,
    "alexnet_half": 417_434,
    "vgg11": 9_231_114,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet20": 272_474,
    "resnet32": 466_906,
    "resnet44": 661_338,
    "resnet56": 855_770,
    "resnet110": 1_730_714,
    "resnet8x4": 1_210_410,
    "resnet32x4": 7_410_730,
    "resnet50": 23_520_842,
    "vgg8": 3_918_858,
    "vgg13": 9_416_010,
    "wrn16_1": 175_066,
    "wrn16_2": 691_674,
    "wrn40_1": 563_930,
    "wrn40_2": 2_243_546,
    "mobilenetv2_half": 697_546,
    "shufflenetv1": 862_768,
    "shufflenetv2": 1_263_278,
}
"""Parameters for 10 classes."""
CLASSIFIER_INPUTS = {
    "lenet5": 84,
    "lenet5_half": 42,
    "alexnet": 256,
    "alexnet_half": 128,
    "vgg11": 512,
    "resnet18": 512,
    "resnet34": 512,
    "resnet20": 64,
    "resnet32": 64,
    "resnet44": 64,
    "resnet56": 64,
    "resnet110": 64,
    "resnet8x4": 256,
    "resnet32x4": 256,
    "resnet50": 2048,
    "vgg8": 512,
    "vgg13": 512,
    "wrn16_1": 64,
    "wrn16_2": 128,
    "wrn40_1": 64,
    "wrn40_2": 128,
    "mobilenetv2_half": 1280,
    "shufflenetv1": 960,
    "shufflenetv2": 1024,
}
"""Features that the last layer sees: each further class has as many weights, and a bias."""


def steps(count: int, milestones: list[float], **rest: Any) -> dict[str, Any]:
    """A learning rate that is divided by ten at each milestone."""
    return {"steps": count, **rest, "schedule": "steps", "milestones": milestones, "gamma": 0.1}


def adam(count: int, batch: int, lr: float) -> dict[str, Any]:
    return {"steps": count, "batch": batch, "optimizer": "adam", "lr": lr, "weight_decay": 0.0, "schedule": "constant"}


def cosine(count: int, batch: int, lr: float) -> dict[str, Any]:
    """SGD as all of the toolbox of CMI, Fast-DFKD and NAYER has it."""
    return {"steps": count, "batch": batch, "lr": lr, "weight_decay": 1e-4, "schedule": "cosine"}


def row(kind: str, fields: dict[str, Any], objective: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    return {"method": {kind: fields}, "objective": objective, "training": training}


def kd(temperature: float) -> dict[str, Any]:
    return {"kd": {"temperature": temperature}}


def dafl(batch: int, lr: float, latent: int, ce: float, balance: float, activation: float) -> dict[str, Any]:
    """The table of sec. 4: weights of one-hot, information entropy (base 10) and activation; generator and student 1 : 1."""
    weights = {"ce": ce, "balance": balance, "activation": activation}
    return {"batch": batch, "every": 1, "lr": lr, "decay": False, "latent": latent, "width": 64, **weights}


def dfad(batch: int, latent: int) -> dict[str, Any]:
    return {"batch": batch, "every": 5, "lr": 1e-3, "latent": latent, "width": 64}


def rdskd(latent: int) -> dict[str, Any]:
    weights = {"authenticity": 1.0, "classes": 1.0, "samples": 1.0}
    return {"batch": 512, "warmup": 20 * 120, "lr": 1e-3, "latent": latent, "width": 64, **weights, "penalty": "epoch", "epoch": 120}


def zskd(impressions: int) -> dict[str, Any]:
    made = {"batch": 100, "warmup": impressions // 100, "steps": 1500, "lr": 1e-3}
    return {**made, "temperature": 20.0, "concentrations": [1.0, 0.1], "start": "uniform", "rescale": True}


def inversion(**more: Any) -> dict[str, Any]:
    """The "paper parameters" of DeepInversion for CIFAR-10; images roll by 2 of 32 pixels.

    Theirs are for normalised pixels, of a deviation of 0.25: lr 0.05 and tv 2.5e-5.
    """
    weights = {"ce": 1.0, "bn": 10.0, "tv": 2.5e-5 / 0.25, "l2": 0.0}
    return {"batch": 256, "warmup": 1000, "steps": 2000, "lr": 0.05 * 0.25, **weights, "jitter": 2 / 32, "flip": False, **more}


def cmi(warmup: int, every: int, ce: float) -> dict[str, Any]:
    weights = {"ce": ce, "bn": 1.0, "adv": 0.5, "contrast": 0.8, "temperature": 0.1}
    head = {"bank": 40_960, "negatives": 4_096, "embedding": 256}
    rest = {"latent": 256, "width": 64, "flip": True, "restart": 1}
    return {"batch": 256, "warmup": warmup, "every": every, "steps": 200, "lr": 1e-3, **weights, **head, **rest}


def fast(ce: float, adv: float) -> dict[str, Any]:
    rates = {"steps": 5, "lr": 3e-3, "lr_latent": 0.01}
    weights = {"ce": ce, "bn": 10.0, "momentum": 0.9, "adv": adv}
    rest = {"latent": 256, "width": 64, "meta": "fomaml", "reset": 120, "flip": True}
    return {"batch": 256, "warmup": 20, "every": 400, **rates, **weights, **rest}


def nayer(batch: int, warmup: int, every: int, steps: int, restart: int) -> dict[str, Any]:
    weights = {"ce": 0.5, "bn": 10.0, "momentum": 0.9, "adv": 1.33}
    rest = {"noise": 1000, "restart": restart, "width": 64, "flip": True}
    return {"batch": batch, "warmup": warmup, "every": every, "steps": steps, "lr": 4e-3, **weights, **rest}


DFQ = {"batch": 256, "every": 10, "lr": 1e-3, "latent": 256, "width": 64, "adv": 1.0, "bn": 1.0, "ce": 1.0, "balance": 20.0}
ZSKT = row(
    "ZSKT",
    {"batch": 128, "every": 10, "lr": 1e-3, "latent": 100, "width": 64, "clip": 50.0},
    {"kd": {"temperature": 1.0, "weight": 1 / 10}, "at": {"weight": 250.0}},  # a KL divergence that is divided by ten classes
    {**adam(80_000 * 10, 128, 2e-3), "schedule": "cosine", "clip": 5.0},
)
SOFT = {"soft-ce": {"temperature": 20.0}}
DAFL_STUDENT = steps(2000 * 120, [800 / 2000, 1600 / 2000], batch=1024, lr=0.1, weight_decay=5e-4)
DFAD_STUDENT = steps(500 * 50 * 5, [100 / 500, 200 / 500], batch=256, lr=0.1, weight_decay=5e-4)
RDSKD_STUDENT = adam(1000 * 120, 512, 2e-3)
TOOLBOX = cosine(200 * 400, 256, 0.1)
TOOLBOX_INVERSION = {"ce": 1.0, "bn": 10.0, "tv": 3.75e-3, "l2": 0.0, "jitter": 1 / 8, "flip": True, "adv": 1.0}

KEY_NUMBERS: dict[str, dict[str, Any]] = {
    "mnist/dafl": row("DAFL", dafl(512, 0.2, 100, 1.0, 5.0, 0.1), kd(1.0), adam(200 * 120, 512, 2e-3)),
    "mnist/mskd": row("MSKD", {**dafl(512, 0.2, 100, 1.0, 5.0, 0.1), "seeking": 1.0}, kd(1.0), adam(200 * 120, 512, 2e-3)),
    "mnist/dfad": row(
        "DFAD",
        dfad(512, 100),
        {"l1": {}},
        {"steps": 40 * 50 * 5, "batch": 512, "lr": 0.01, "weight_decay": 1e-4, "schedule": "constant"},
    ),
    "mnist/rdskd": row("RDSKD", rdskd(100), kd(10.0), RDSKD_STUDENT),
    "mnist/zskd": row("ZSKD", zskd(24_000), SOFT, adam(500 * 24_000 // 64, 64, 1e-3)),
    "svhn/zskt": ZSKT,
    "svhn/rdskd": row("RDSKD", rdskd(1000), kd(10.0), RDSKD_STUDENT),
    "cifar10/dafl": row("DAFL", dafl(1024, 0.02, 1000, 0.05, 5.0, 0.01), kd(1.0), DAFL_STUDENT),
    "cifar10/dfad": row("DFAD", dfad(256, 256), {"l1": {}}, DFAD_STUDENT),
    "cifar10/rdskd": row("RDSKD", rdskd(1000), kd(10.0), {**RDSKD_STUDENT, "schedule": "steps", "milestones": [0.8], "gamma": 0.1}),
    "cifar10/zskt": ZSKT,
    "cifar10/zskd": row("ZSKD", zskd(40_000), SOFT, adam(500 * 40_000 // 64, 64, 1e-3)),
    "cifar10/deep-inversion": row("DeepInversion", inversion(), kd(3.0), TOOLBOX),
    "cifar10/adaptive-deep-inversion": row("AdaptiveDeepInversion", inversion(every=50, adv=1.0), kd(3.0), TOOLBOX),
    "cifar10/cmi": row("CMI", cmi(1, 400, 1.0), kd(20.0), cosine(200 * 400, 128, 0.1)),
    "cifar10/cmi-adv": row("CMI", cmi(196, 2000, 0.5), kd(20.0), cosine(40 * 2000, 128, 0.1)),
    "cifar10/dfq": row("DFQ", DFQ, kd(1.0), TOOLBOX),
    "cifar10/fast-dfkd-wrn40-2": row("FastDFKD", fast(0.4, 1.1), kd(20.0), cosine(200 * 400, 256, 0.2)),
    "cifar10/fast-dfkd-resnet34": row("FastDFKD", fast(0.5, 1.33), kd(20.0), cosine(200 * 400, 256, 0.2)),
    "cifar10/fast-dfkd-vgg11": row("FastDFKD", fast(0.5, 1.0), kd(20.0), cosine(200 * 400, 256, 0.2)),
    "cifar10/nayer": row("NAYER", nayer(400, 20 * 10, 200, 30, 20), kd(20.0), cosine(300 * 400, 512, 0.2)),
    "cifar100/dafl": row("DAFL", dafl(1024, 0.02, 1000, 0.5, 20.0, 0.1), kd(1.0), DAFL_STUDENT),
    "cifar100/dfad": row("DFAD", dfad(256, 256), {"l1": {}}, DFAD_STUDENT),
    "cifar100/adaptive-deep-inversion": row(
        "AdaptiveDeepInversion",
        {"batch": 256, "warmup": 1, "every": 400, "steps": 2000, "lr": 0.0267, **TOOLBOX_INVERSION},  # 0.1 for normalised pixels
        kd(20.0),
        TOOLBOX,
    ),
    "cifar100/dfq": row("DFQ", DFQ, kd(1.0), cosine(200 * 400, 256, 0.05)),
    "cifar100/fast-dfkd-wrn40-2": row("FastDFKD", fast(0.4, 1.1), kd(20.0), cosine(200 * 400, 256, 0.2)),
    "cifar100/fast-dfkd-resnet34": row("FastDFKD", fast(0.5, 1.33), kd(20.0), cosine(200 * 400, 256, 0.2)),
    "cifar100/fast-dfkd-vgg11": row("FastDFKD", fast(0.5, 1.0), kd(20.0), cosine(200 * 400, 256, 0.2)),
    "cifar100/nayer": row("NAYER", nayer(400, 20 * 10, 200, 40, 20), kd(20.0), cosine(300 * 400, 512, 0.2)),
    "tiny-imagenet/nayer": row("NAYER", nayer(200, 20 * 20, 250, 60, 40), kd(20.0), cosine(300 * 1000, 256, 0.1)),
}
"""Per recipe: the method's fields, the objective's terms, and how the student is optimised."""

_RESNET34 = steps(199 * 391, [0.397, 0.598], batch=128, lr=0.1, weight_decay=5e-4)  # x 0.1 after 79 and 119 of 199 epochs
_SCRATCH = steps(200 * 196, [120 / 200, 150 / 200, 180 / 200], batch=256, lr=0.1, weight_decay=1e-4)
_HE = steps(64_000, [32_000 / 64_000, 48_000 / 64_000], batch=128, lr=0.1, weight_decay=1e-4)
TEACHERS: dict[str, dict[str, Any]] = {
    "mnist/teacher-lenet5": adam(9 * 235, 256, 1e-3),
    "svhn/teacher-wrn40-2": {**adam(499 * 573, 128, 0.01), "schedule": "steps", "milestones": [0.158, 0.238], "gamma": 0.1},
    "cifar10/teacher-resnet34": _RESNET34,
    "cifar10/teacher-wrn40-2": _SCRATCH,
    "cifar10/teacher-vgg11": _SCRATCH,
    "cifar10/teacher-alexnet": {**adam(200 * 195, 256, 1e-3), "schedule": "cosine"},  # tacit's own: the authors' are not known
    "cifar10/teacher-resnet20": _HE,
    "cifar10/teacher-resnet44": _HE,
    "cifar100/teacher-resnet34": _RESNET34,
    "cifar100/teacher-wrn40-2": _SCRATCH,
    "cifar100/teacher-vgg11": _SCRATCH,
    "tiny-imagenet/teacher-resnet34": {**_SCRATCH, "steps": 200 * 391},
}
"""Per teacher: how it is optimised."""


def scheme(weights: int, activations: int, **more: Any) -> dict[str, Any]:
    """The smallest and largest weight of a channel; ranges of activations that are the mean of the images' own."""
    return {"weights": weights, "activations": activations, **more, "weight_ranges": "minmax", "activation_ranges": "average"}


def within(batch: int, **more: Any) -> dict[str, Any]:
    """The Knowledge Within: 1,000 steps of Adam, whose 0.1 on normalised images is about 0.025 in [0, 1]; four augmented copies."""
    return {"batch": batch, "steps": 1000, "lr": 0.1 / 4, **more, "sigma": 1.0, "copies": 4, "rounding": 20}


def bns(batch: int) -> dict[str, Any]:
    return {"BNS": {**within(batch, logit=0.0, smooth=0.0), "bn": 1.0, "direction": "code"}}


def distilled(classes: int, count: int, batch: int, lr: float, warmup: int) -> dict[str, Any]:
    """A KL divergence that is divided by the classes, and intermediate outputs; SGD without weight decay; mixup of 0.5."""
    terms = {"kd": {"temperature": 1.0, "weight": 1 / classes}, "intermediate": {"weight": 0.01}}
    rate = {"steps": count, "batch": batch, "lr": lr, "weight_decay": 0.0, "schedule": "cosine", "warmup": warmup}
    return {"objective": terms, "training": rate, "mixup": 0.5}


_CIFAR = distilled(10, 80 * 200, 512, 1e-3 * 100, 10 * 200)
_IMAGENET = distilled(1000, 120 * 400, 128, 1e-3 * 999, 5 * 400)


def zero_shot(epoch: int, batch: int) -> dict[str, Any]:
    """100 epochs over 5,120 images; objective and optimiser are tacit's own."""
    own = {"kd": {"temperature": 1.0}, "intermediate": {"weight": 0.01}}
    rate = {**adam(100 * epoch, batch, 3e-4), "schedule": "cosine"}
    return {"images": 5120, "scheme": scheme(4, 4), "objective": own, "training": rate, "freeze_bn": False}


QUANTIZED: dict[str, dict[str, Any]] = {
    "cifar10/bns-resnet44-w2a4": {"method": bns(256), "images": 10_000, "scheme": scheme(2, 4, ends=4), **_CIFAR, "freeze_bn": False},
    "cifar10/bns-resnet44-w4a4": {"method": bns(256), "images": 10_000, "scheme": scheme(4, 4, ends=4), **_CIFAR, "freeze_bn": False},
    "cifar10/inception-resnet44-w2a4": {
        "method": {"Inception": within(256, logit=1.0, smooth=1.0)},
        "images": 10_000,
        "scheme": scheme(2, 4, ends=4),
        **_CIFAR,
        "freeze_bn": True,
    },
    "cifar10/gaussian-resnet44-w2a4": {
        "method": {"Gaussian": {"batch": 256}},
        "images": 10 * 1000,
        "scheme": scheme(2, 4, ends=4),
        **_CIFAR,
        "freeze_bn": True,
    },
    "cifar10/bns-resnet20-w4a4": {"method": bns(256), **zero_shot(5120 // 256, 256)},
    "imagenet/resnet18-w8a8": {"method": bns(128), "images": 1024, "scheme": scheme(8, 8)},
    "imagenet/resnet18-w4a4": {
        "method": bns(128),
        "images": 10 * 1000,
        "scheme": scheme(4, 4, ends=8),
        **_IMAGENET,
        "freeze_bn": False,
    },
    "imagenet/resnet50-w8a8": {"method": bns(64), "images": 1024, "scheme": scheme(8, 8)},
    "imagenet/mobilenetv2-w8a8": {"method": bns(64), "images": 1024, "scheme": scheme(8, 8)},
    "imagenet/mobilenetv2-w4a4": {"method": bns(64), **zero_shot(5120 // 16, 16)},
}
"""Per recipe of `tacit quantize`: how images are made, how many, bits and ranges, and how the network is fine-tuned."""

ZERO_SHOT: dict[str, dict[str, float]] = {
    "cifar10/bns-resnet20-w4a4": {"GDFQ": 90.11, "Qimera": 91.26, "IntraQ": 91.49, "TexQ": 92.68, "SynQ": 92.76, "of": 93.89},
    "imagenet/resnet18-w4a4": {"GDFQ": 60.60, "Qimera": 63.84, "IntraQ": 66.47, "TexQ": 67.73, "SynQ": 67.90, "of": 71.47},
    "imagenet/mobilenetv2-w4a4": {"GDFQ": 59.43, "Qimera": 61.62, "IntraQ": 65.10, "TexQ": 67.07, "SynQ": 67.27, "of": 73.03},
}
"""Top-1 accuracy at 4 bits by others, and in floating point: SynQ, ICLR 2025, table 1."""

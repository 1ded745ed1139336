"""The suite of segmentation: its rows, and what others report of such rows."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.plans import Pair, Row, Suite
from benchmarks.suites import STREET, TEXTURES
from tacit.distill import Training
from tacit.synthesize import DFAD, DeepInversion, FastDFKD, Gaussian

__all__ = ["AIM", "LEAST", "NOISE_MOST", "PUBLISHED", "PUBLISHED_SOURCE", "REAL", "STREETS"]

REAL, LEAST, AIM, NOISE_MOST = "kd-real", 0.5, 0.75, 0.25
"""The row that others are measured against, and the shares of its mean IoU: what DFAD must reach, and is to reach; what noise must not."""

PUBLISHED_SOURCE = "Fang et al., 2019, results in the authors' repository: DeepLabv3 of ResNet-50 -> MobileNetV2, crops of 128x128"
PUBLISHED: Mapping[str, tuple[float, float]] = {
    "teacher": (0.594, 0.517),
    REAL: (0.535, 0.380),
    "unrelated": (0.406, 0.265),
    "noise": (0.018, 0.021),
    "DFAD": (0.535, 0.364),
}
"""Mean IoU on CamVid (11 classes) and NYUv2 (13)."""

STREETS = Suite(
    name="street",
    title="rendered streets on a CPU",
    dataset=STREET,
    pairs=(
        Pair(
            name="deeplab24-lite24",
            teacher="street-deeplab24",
            student="tacit.zoo:lite_segmenter",
            kwargs={"width": 24},
            title="DeepLab of width 24 -> light segmenter of width 24",
        ),
    ),
    rows=(
        Row(label="real", labels=True),
        Row(label=REAL),
        Row(label="unrelated", shown=TEXTURES),
        Row(label="noise", method=Gaussian(batch=64, warmup=16)),
        Row(label="DFAD + BN", method=DFAD(batch=16, every=2, lr=5e-3, width=16, bn=0.02)),
        Row(label="DFAD", method=DFAD(batch=16, width=16), objective="l1=1", seeds=(0,)),
        Row(label="DeepInversion", method=DeepInversion(batch=32, steps=120, lr=0.1, warmup=8, tv=1e-3)),
        Row(label="FastDFKD", method=FastDFKD(batch=32, steps=5, warmup=10, every=20, width=16)),
    ),
    max_seconds=720,
    training=Training(steps=1500, batch=16, lr=0.05, weight_decay=5e-4, warmup=20),
    augmentation="shift-flip",
    precision="bf16-mixed",
    evaluations=6,
    checks=2,
    score="student_miou",
)

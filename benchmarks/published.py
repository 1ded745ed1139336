"""Figures that others report, beside which ours are set: last or best epoch, as they chose; each with its pair and source.

[M] marks a figure that is remembered from a paper and was not verified.
"""

from __future__ import annotations

from benchmarks.plans import Published

__all__ = ["ZERO_SHOT", "ZERO_SHOT_FULL", "ZERO_SHOT_SOURCE", "published"]

LENET = "LeNet-5 -> LeNet-5-half"
WRN = "WRN-40-2 -> WRN-16-1"
R34 = "ResNet-34 -> ResNet-18"
DAFL = "Chen et al., 2019, tables 1 and 2"
DFAD = "Fang et al., 2019, results in the authors' repository"
BOARD = "Fast-DFKD's README, zju-vipa/Fast-Datafree"

FIGURES: dict[str, dict[str, tuple[Published, ...]]] = {
    "mnist": {
        "real": (Published(value=98.65, pair=LENET, source=DAFL),),
        "kd-real": (Published(value=98.91, pair=LENET, source=DAFL), Published(value=98.8, pair=LENET, source=DFAD)),
        "noise": (Published(value=88.01, pair=LENET, source=DAFL), Published(value=74.7, pair=LENET, source=DFAD)),
        "DAFL": (Published(value=98.20, pair=LENET, source=DAFL), Published(value=98.1, pair=LENET, source=DFAD)),
        "DFAD": (Published(value=98.3, pair=LENET, source=DFAD),),
        "ZSKD": (Published(value=98.77, pair=LENET, source="Nayak et al., 2019", mark="[M]"),),
    },
    "cifar10": {
        "real": (Published(value=91.12, pair=WRN, source=BOARD), Published(value=93.92, pair=R34, source=DAFL)),
        "kd-real": (Published(value=94.34, pair=R34, source=DAFL), Published(value=93.9, pair=R34, source=DFAD)),
        "noise": (Published(value=14.89, pair=R34, source=DAFL), Published(value=10.1, pair=R34, source=DFAD)),
        "DAFL": (Published(value=65.71, pair=WRN, source=BOARD), Published(value=92.22, pair=R34, source=DAFL)),
        "ZSKT": (Published(value=83.74, pair=WRN, source=BOARD),),
        "AdaptiveDeepInversion": (Published(value=83.04, pair=WRN, source=BOARD),),
        "DFQ": (Published(value=86.14, pair=WRN, source=BOARD),),
        "CMI": (Published(value=90.01, pair=WRN, source=BOARD),),
        "FastDFKD": (Published(value=89.29, pair=WRN, source=f"{BOARD}, 10 steps"),),
        "NAYER": (Published(value=91.94, pair=WRN, source="Tran et al., 2024, 300 epochs", mark="[M]"),),
        "DFAD": (Published(value=93.3, pair=R34, source=DFAD),),
        "ZSKD": (Published(value=69.56, pair="AlexNet -> half", source="Nayak et al., 2019", mark="[M]"),),
    },
}


def published(dataset: str, label: str) -> tuple[Published, ...]:
    """Return what others report of the row called `label` on `dataset` (``mnist``, ``cifar10``); nothing where nobody does."""
    return FIGURES[dataset].get(label, ())


ZERO_SHOT_SOURCE = "CIFAR-10, copied in SynQ, ICLR 2025, table 1, https://arxiv.org/abs/2603.18423"
ZERO_SHOT_FULL = 93.89
"""Accuracy in % of their ResNet-20 in floating point."""
ZERO_SHOT: tuple[tuple[str, float, float | None], ...] = (
    ("SynQ, 2025", 92.76, 88.11),
    ("TexQ, 2023", 92.68, 86.47),
    ("PLF, 2024", 92.47, 88.04),
    ("HAST, 2023", 92.36, 86.34),
    ("AdaDFQ, 2023", 92.31, 84.89),
    ("AdaSG, 2023", 92.10, 84.14),
    ("IntraQ, 2022", 91.49, 77.07),
    ("Qimera, 2021", 91.26, 74.43),
    ("ARC + AIT, 2022", 90.49, None),
    ("GDFQ, 2020", 90.11, 75.11),
    ("ARC, 2021", 88.55, None),
)
"""Name, accuracy in % at W4A4 and at W3A3, all layers; 5,120 synthetic images, 100 epochs of fine-tuning."""

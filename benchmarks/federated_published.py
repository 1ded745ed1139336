"""What FedGen's paper and others report on MNIST, beside which our runs are set.

"Data-Free Knowledge Distillation for Heterogeneous Federated Learning", Zhu et al., 2021, https://arxiv.org/abs/2105.10056, tables 1 and 4:
top-1 accuracy in %, mean and standard deviation of three seeds, the last of 200 rounds.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HEAD", "OWN_CODE", "RERUN", "SOURCE", "WHOLE"]

SOURCE = "Zhu et al., 2021, https://arxiv.org/abs/2105.10056"

WHOLE: Mapping[float, Mapping[str, tuple[float, float]]] = {
    0.05: {
        "FedAvg": (87.70, 2.07),
        "FedProx": (87.49, 2.05),
        "FedEnsemble": (88.85, 0.68),
        "FedDistill": (70.56, 1.24),
        "FedDistillPlus": (86.70, 2.27),
        "FedDF": (90.02, 0.96),
        "FedGen": (91.30, 0.74),
    },
    0.1: {
        "FedAvg": (90.16, 0.59),
        "FedProx": (90.10, 0.39),
        "FedEnsemble": (90.78, 0.39),
        "FedDistill": (64.11, 1.36),
        "FedDistillPlus": (90.28, 0.89),
        "FedDF": (91.11, 0.43),
        "FedGen": (93.03, 0.32),
    },
    1.0: {
        "FedAvg": (93.84, 0.25),
        "FedProx": (93.83, 0.29),
        "FedEnsemble": (93.91, 0.28),
        "FedDistill": (79.88, 0.66),
        "FedDistillPlus": (94.73, 0.15),
        "FedDF": (93.37, 0.40),
        "FedGen": (95.52, 0.07),
    },
}
"""Table 1, by alpha and row: whole models are shared."""

HEAD: Mapping[float, Mapping[str, float]] = {
    0.05: {"FedAvg": 59.67, "FedDistillPlus": 58.83, "FedDF": 59.62, "FedGen": 63.60},
    0.1: {"FedAvg": 58.39, "FedDistillPlus": 56.25, "FedDF": 58.38, "FedGen": 65.42},
    1.0: {"FedAvg": 74.49, "FedDistillPlus": 74.24, "FedDF": 74.51, "FedGen": 79.72},
}
"""Table 4, by alpha and row: only the last layer is shared."""

RERUN: Mapping[str, tuple[float, float]] = {"FedAvg": (90.71, 1.17), "FedGen": (95.68, 0.20)}
"""The author's later rerun at alpha 0.1, github.com/zhuangdizhu/FedGen, issue 7."""

OWN_CODE: Mapping[str, float] = {
    "FedAvg": 92.69,
    "FedProx": 92.39,
    "FedDistillPlus": 92.79,
    "FedGen": 96.88,
    "FedGen, no KL term": 94.08,
    "FedDistill (no global model: each client's own, on the labels that it has)": 57.53,
}
"""What the author's code gave on a machine like these, at alpha 0.1 with batch norm averaged, tested on all images unless another test is
named; one seed."""

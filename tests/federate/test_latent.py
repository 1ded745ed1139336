"""FedGen's losses against slow numpy, from the formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tacit.federate.latent import agreement_loss, class_weights, latent_diversity, mean_logit_loss, student_loss, teacher_loss

DRAW = torch.Generator().manual_seed(0)
CLIENTS, N, CLASSES = 3, 6, 4
SAID = torch.randn(CLIENTS, N, CLASSES, generator=DRAW, dtype=torch.float64)
STUDENT = torch.randn(N, CLASSES, generator=DRAW, dtype=torch.float64)
LABELS = torch.tensor([0, 3, 1, 1, 2, 0])
COUNTS = torch.tensor([[5, 0, 2, 0], [0, 0, 9, 1], [3, 0, 0, 640]]).double()
NOISE = torch.rand(N, 5, generator=DRAW, dtype=torch.float64)
FEATURES = torch.randn(N, 2, 3, generator=DRAW, dtype=torch.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    risen = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(risen / risen.sum(axis=-1, keepdims=True))


def slow_weights() -> list[list[float]]:
    counts = COUNTS.numpy()
    return [[(1 + counts[k, y]) / sum(1 + counts[j, y] for j in range(CLIENTS)) for y in range(CLASSES)] for k in range(CLIENTS)]


def test_a_client_is_believed_by_its_share_of_the_class() -> None:
    weights = class_weights(COUNTS)
    assert np.allclose(weights.numpy(), slow_weights(), rtol=1e-12)
    assert torch.allclose(weights.sum(dim=0), torch.ones(CLASSES, dtype=torch.float64))
    assert weights[:, 1].tolist() == pytest.approx([1 / 3] * 3)  # a class that nobody saw


def test_the_teachers_loss_is_each_heads_own_weighted_by_class() -> None:
    w, said = slow_weights(), SAID.numpy()
    slow = sum(np.mean([-w[k][y] * np.log(softmax(said[k, b])[y]) for b, y in enumerate(LABELS.tolist())]) for k in range(CLIENTS))
    assert float(teacher_loss(SAID, LABELS, class_weights(COUNTS))) == pytest.approx(slow, rel=1e-12)


def test_the_papers_loss_is_that_of_the_mean_logits() -> None:
    mean = SAID.numpy().sum(axis=0) / CLIENTS
    slow = np.mean([-np.log(softmax(mean[b])[y]) for b, y in enumerate(LABELS.tolist())])
    assert float(mean_logit_loss(SAID, LABELS)) == pytest.approx(slow, rel=1e-12)


def test_diversity_is_over_all_pairs() -> None:
    eps, z = NOISE.numpy(), FEATURES.numpy().reshape(N, -1)
    pairs = [np.mean((eps[i] - eps[j]) ** 2) * np.mean(np.abs(z[i] - z[j])) for i in range(N) for j in range(N)]
    assert float(latent_diversity(NOISE, FEATURES)) == pytest.approx(float(np.exp(-np.mean(pairs))), rel=1e-12)
    assert float(latent_diversity(NOISE, torch.ones(N, 3))) == 1.0


def test_the_student_is_compared_with_the_weighted_sum_of_logits() -> None:
    w, said = slow_weights(), SAID.numpy()
    slow = 0.0
    for b, y in enumerate(LABELS.tolist()):
        wanted, own = softmax(sum(w[k][y] * said[k, b] for k in range(CLIENTS))), softmax(STUDENT.numpy()[b])
        slow += float((wanted * (np.log(wanted) - np.log(own))).sum())
    loss = student_loss(SAID, LABELS, class_weights(COUNTS), STUDENT)
    assert float(loss) == pytest.approx(slow / (N * CLASSES), rel=1e-12)  # the authors' code takes the mean over all elements


def test_agreement_is_a_kl_divergence_an_image_and_leaves_what_is_wanted_alone() -> None:
    wanted = SAID[0].softmax(dim=1).requires_grad_(True)
    logits = STUDENT.clone().requires_grad_(True)
    p, q = wanted.detach().numpy(), softmax(STUDENT.numpy())
    slow = float(np.mean([(p[b] * np.log(p[b] / q[b])).sum() for b in range(N)]))
    loss = agreement_loss(logits, wanted)
    assert float(loss.detach()) == pytest.approx(slow, rel=1e-12)
    torch.autograd.backward(loss)
    assert wanted.grad is None
    assert logits.grad is not None
    assert np.allclose(logits.grad.numpy(), (q - p) / N)

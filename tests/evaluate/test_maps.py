"""Measures of label maps against slow loops in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.network import Network
from tacit.core.spec import VOID, Spec
from tacit.evaluate import Maps, predict
from tacit.evaluate import maps as module
from toy import PixelNet

CLASSES = 4
SPEC = Spec(shape=(3, 8, 8), classes=CLASSES, task="segmentation")


def drawn(seed: int, *, void: float = 0.2, without: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what two networks say, and the truth; a class can be left out everywhere."""
    draw = np.random.default_rng(seed)
    classes = [label for label in range(CLASSES) if label != without]
    ours, theirs, true = (draw.choice(classes, size=(3, 5, 6)).astype(np.uint8) for _ in range(3))
    true[draw.random(true.shape) < void] = VOID
    return ours, theirs, true


def maps(said: np.ndarray, true: np.ndarray) -> Maps:
    return Maps(torch.from_numpy(said), torch.from_numpy(true), CLASSES)


def slow_iou(said: np.ndarray, true: np.ndarray) -> list[float | None]:
    found: list[float | None] = []
    for label in range(CLASSES):
        both = either = 0
        for one, other in zip(said.flat, true.flat, strict=True):
            if other != VOID:
                both += one == label and other == label
                either += one == label or other == label
        found.append(both / either if either else None)
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([None, 0, 3]))
def test_iou_pixel_accuracy_and_mean_are_what_counting_gives(seed: int, without: int | None) -> None:
    said, _, true = drawn(seed, without=without)
    found, iou = maps(said, true), slow_iou(said, true)
    assert found.class_iou == pytest.approx(iou)
    assert found.miou == pytest.approx(np.mean([value for value in iou if value is not None]))
    known = true != VOID
    assert found.accuracy == pytest.approx((said == true)[known].mean())
    for label, share in enumerate(found.class_accuracy):
        of_it = true == label
        assert share == (pytest.approx((said == label)[of_it].mean()) if of_it.any() else None)
    if without is not None:
        assert found.class_iou[without] is None


def test_a_map_of_two_halves_by_hand() -> None:
    true = np.array([[[0, 0, 1, 1], [0, 0, 1, VOID]]], dtype=np.uint8)
    said = np.array([[[0, 0, 0, 1], [0, 0, 1, 2]]], dtype=np.uint8)
    found = maps(said, true)
    assert found.class_iou == [4 / 5, 2 / 3, None, None]
    assert found.scores == {"miou": pytest.approx((4 / 5 + 2 / 3) / 2), "accuracy": 6 / 7}
    assert found.metrics("student", "_ema") == {"student_miou_ema": pytest.approx(11 / 15), "student_accuracy_ema": 6 / 7}


def test_what_is_counted_in_parts_is_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    said, theirs, true = drawn(1)
    whole, confusion = maps(said, true).counts, maps(said, true).confusion(maps(theirs, true))
    monkeypatch.setattr(module, "AT_ONCE", 7)
    assert torch.equal(maps(said, true).counts, whole)
    assert maps(said, true).confusion(maps(theirs, true)) == confusion
    assert int(whole.sum()) == int((true != VOID).sum())


def test_agreement_and_confusion_compare_all_pixels() -> None:
    ours, theirs, true = drawn(2)
    student, teacher = maps(ours, true), maps(theirs, true)
    assert student.agreement(teacher) == pytest.approx((ours == theirs).mean())
    counted = np.zeros((CLASSES, CLASSES), dtype=int)
    for mine, other in zip(ours.flat, theirs.flat, strict=True):
        counted[other, mine] += 1
    assert student.confusion(teacher) == counted.tolist()


def test_where_no_pixel_has_a_class_nothing_is_said() -> None:
    said, _, true = drawn(3, void=1.1)
    found = maps(said, true)
    assert (found.scores, found.miou, found.class_iou) == ({}, None, [None] * CLASSES)
    assert math.isnan(found.accuracy)


def test_a_segmenter_is_asked_for_maps_and_they_are_kept_in_8_bits(runtime: Runtime) -> None:
    torch.manual_seed(0)
    network, images = Network(PixelNet(), SPEC), torch.rand(5, 3, 8, 8)
    labels = torch.randint(CLASSES, (5, 8, 8))
    found = predict(network, [Batch(images[:3], labels[:3]), Batch(images[3:], labels[3:])], runtime)
    assert isinstance(found, Maps)
    assert (found.predicted.dtype, found.labels.dtype) == (torch.uint8, torch.uint8)
    assert torch.equal(found.predicted.long(), network.eval()(images).argmax(dim=1))
    assert torch.equal(found.labels.long(), labels)
    unlabelled = predict(network, [Batch(images)], runtime)
    assert unlabelled.scores == {}
    assert unlabelled.agreement(found) == 1.0

"""Measures against slow loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.evaluate import Answers, agreement, predict
from toy import BNNet

SPEC = Spec(shape=(1, 6, 6), classes=5)


def answers(predicted: list[int], labels: list[int], classes: int = 4) -> Answers:
    return Answers(torch.tensor(predicted), torch.tensor(labels), classes)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_accuracy_agreement_and_confusion_are_what_counting_gives(rows: list[tuple[int, int, int]]) -> None:
    ours, theirs, labels = ([row[place] for row in rows] for place in range(3))
    student, teacher = answers(ours, labels), answers(theirs, labels)
    assert student.accuracy == pytest.approx(sum(o == label for o, label in zip(ours, labels, strict=True)) / len(rows))
    assert student.agreement(teacher) == teacher.agreement(student) == sum(o == t for o, t, _ in rows) / len(rows)
    counted = [[0] * 4 for _ in range(4)]
    for mine, other, _ in rows:
        counted[other][mine] += 1
    assert student.confusion(teacher) == counted
    for label, share in enumerate(student.class_accuracy):
        right = [o == label for o, true in zip(ours, labels, strict=True) if true == label]
        assert share == (pytest.approx(sum(right) / len(right)) if right else None)


def test_rows_of_the_confusion_are_the_teachers_classes() -> None:
    student, teacher = answers([1, 1], [0, 0]), answers([0, 0], [0, 0])
    assert student.confusion(teacher) == [[0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_predictions_are_those_of_evaluation_mode_whatever_the_batches(runtime: Runtime) -> None:
    torch.manual_seed(0)
    network, images = Network(BNNet(), SPEC).train(), torch.rand(10, 1, 6, 6)
    labels = torch.arange(10) % 5
    whole = predict(network, [Batch(images, labels)], runtime)
    parts = predict(network, (Batch(images[i : i + 3], labels[i : i + 3]) for i in range(0, 10, 3)), runtime)
    assert torch.equal(whole.predicted, parts.predicted)
    assert torch.equal(parts.labels, labels)
    assert torch.equal(whole.predicted, network.eval()(images).argmax(dim=1))


def test_modes_and_statistics_are_put_back_also_after_an_error(runtime: Runtime) -> None:
    model = BNNet().train()
    model.bn1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    network = Network(model, SPEC)
    predict(network, [Batch(torch.rand(2, 1, 6, 6))], runtime)
    with pytest.raises(RuntimeError):
        predict(network, [Batch(torch.rand(2, 4, 6, 6))], runtime)
    assert (network.training, model.training, model.bn1.training, model.bn2.training) == (True, True, False, True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_images_without_labels_are_labelled_minus_one(runtime: Runtime) -> None:
    said = predict(Network(BNNet(), SPEC), [Batch(torch.rand(3, 1, 6, 6))], runtime)
    assert said.labels.tolist() == [-1, -1, -1]


def test_agreement_of_a_network_with_itself_is_one_and_of_no_images_unknown(runtime: Runtime) -> None:
    network = Network(BNNet(), SPEC)
    assert agreement(network, network, Batch(torch.rand(6, 1, 6, 6)), runtime) == 1.0
    assert agreement(network, network, Batch(torch.rand(0, 1, 6, 6)), runtime) is None

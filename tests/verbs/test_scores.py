"""Rows on how right a network is."""

from __future__ import annotations

from tacit.verbs.scores import other_rows, score_rows


def test_accuracy_alone_is_one_row_and_what_was_not_measured_is_said_or_left_out() -> None:
    metrics = {"student_accuracy": 0.5, "student_accuracy_ema": 0.75, "teacher_accuracy": None}
    assert score_rows(metrics, "student", note=", last step") == [("student accuracy", "50.00%, last step")]
    assert score_rows(metrics, "student", title="") == [("accuracy", "50.00%")]
    assert score_rows(metrics, "teacher", missing="not measured") == [("teacher accuracy", "not measured")]
    assert score_rows(metrics, "teacher") == []
    assert other_rows(metrics) == [("  of averaged weights", "75.00%")]


def test_mean_iou_comes_first_and_the_others_follow_it() -> None:
    metrics = {"student_accuracy": 0.9, "student_miou": 0.4, "student_accuracy_selected": 0.91, "student_miou_selected": 0.41}
    assert score_rows(metrics, "student", note=" *") == [("student mIoU", "40.00% *"), ("student pixel accuracy", "90.00%")]
    assert other_rows(metrics) == [("  of selected weights", "41.00%")]

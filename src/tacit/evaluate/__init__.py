"""Evaluation on labelled images."""

from tacit.evaluate.measures import Answers, agreement, predict

__all__ = ["Answers", "agreement", "predict"]

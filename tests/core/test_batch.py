"""Batch: stored images become what networks take."""

from __future__ import annotations

import pytest
import torch

from tacit.core.batch import as_floats


def test_images_of_8_bits_are_divided_by_255_and_floats_are_taken_as_they_are() -> None:
    stored = torch.tensor([0, 51, 255])
    for kind in (torch.uint8, torch.int64):
        found = as_floats(stored.to(kind))
        assert found.dtype == torch.float32
        assert found.tolist() == pytest.approx([0.0, 0.2, 1.0])
    for kind in (torch.float32, torch.float64, torch.bfloat16):
        kept = as_floats(torch.tensor([0.0, 0.5, 1.0], dtype=kind))
        assert kept.dtype == torch.float32
        assert kept.tolist() == [0.0, 0.5, 1.0]

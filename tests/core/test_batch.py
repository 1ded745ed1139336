"""Batch: stored images become what networks take."""

from __future__ import annotations

import pytest
import torch

from tacit.core.batch import as_bytes, as_floats


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


def test_images_are_stored_to_the_nearest_of_256_values_and_cut_off_outside() -> None:
    assert as_bytes(torch.tensor([-0.3, 0.0, 0.4999 / 255, 0.5001 / 255, 0.5, 254.6 / 255, 1.0, 1.7])).tolist() == [
        0,
        0,
        0,
        1,
        128,
        255,
        255,
        255,
    ]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_bytes(as_floats(every)), every)

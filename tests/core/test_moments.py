from __future__ import annotations

import pytest
import torch

from tacit.core.moments import batch_moments


@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 5), (4, 3, 5, 6), (2, 3, 2, 4, 5)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_moments_equal_those_of_torch_and_pass_gradcheck(shape: tuple[int, ...], layout: str) -> None:
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 100
    if layout == "channels_last" and x.ndim == 4:
        x = x.to(memory_format=torch.channels_last)
    mean, var = batch_moments(x)
    wanted_var, wanted_mean = torch.var_mean(x, dim=[d for d in range(x.ndim) if d != 1], correction=0)
    torch.testing.assert_close(mean, wanted_mean)
    torch.testing.assert_close(var, wanted_var)
    assert torch.autograd.gradcheck(batch_moments, (x.clone().requires_grad_(),))


def test_moments_stay_in_fp32_under_autocast_and_far_from_zero() -> None:
    x = torch.randn(512, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.1 + 50
    with torch.autocast("cpu", torch.bfloat16):
        mean, var = batch_moments(x)
    assert mean.dtype == var.dtype == torch.float32
    torch.testing.assert_close(var, torch.full((4,), 0.01), rtol=0.05, atol=0)


def test_bf16_features_are_measured_in_fp32() -> None:
    x = torch.randn(8, 2, 3, 3).bfloat16()
    mean, _ = batch_moments(x)
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, x.float().mean(dim=(0, 2, 3)))

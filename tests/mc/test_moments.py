"""Running moments against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regtorch.mc.moments import RunningMoments


@pytest.mark.parametrize("block", [1, 7, 30])
def test_running_moments_are_numpys(block: int) -> None:
    samples = torch.randn(30, 4, 2, dtype=torch.float64) + 1e4
    moments = RunningMoments(4)
    for start in range(0, 30, block):
        moments.add(samples[start : start + block], slice(None), taken=start)
    np.testing.assert_allclose(moments.mean, samples.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose((moments.squares / 30).sqrt(), samples.numpy().std(0), rtol=1e-8)
    error = (samples.numpy().std(0, ddof=1) / np.sqrt(30)).max(1)
    np.testing.assert_allclose(moments.standard_error(slice(None), 30), error, rtol=1e-8)


def test_rows_of_their_own_pace() -> None:
    samples = torch.randn(6, 3, 2, dtype=torch.float64)
    moments = RunningMoments(3)
    moments.add(samples[:4], slice(None), taken=0)
    moments.add(samples[4:, [2, 0]], torch.tensor([2, 0]), taken=4)
    torch.testing.assert_close(moments.mean[[0, 2]], samples[:, [0, 2]].mean(0))
    torch.testing.assert_close(moments.mean[1], samples[:4, 1].mean(0))

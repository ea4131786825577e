"""What is needed here is a GPU: ``pytest -m gpu`` runs these tests where there is one, and says so where there is none."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip where there are fewer GPUs than the test's ``gpus`` says; float32 is float32 there."""
    needed = getattr(request.function, "gpus", 1)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there < needed:
        pytest.skip(f"needs {needed} GPU{'s' * (needed > 1)} with CUDA, and this machine has {there}")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # on by default: only 10 bits of convolutions

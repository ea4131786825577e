"""These tests need a GPU: ``pytest -m gpu`` runs them, and skips them with a reason if there is none."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip if there are fewer GPUs than the test's ``gpus``; use full float32 precision."""
    needed = getattr(request.function, "gpus", 1)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there < needed:
        pytest.skip(f"needs {needed} GPU{'s' * (needed > 1)} with CUDA, but this machine has {there}")
    # the default for convolutions is TF32 with 10 bits
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)

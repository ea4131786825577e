"""Rows that stopped early have the moments of their own samples, by formulas written a second time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import regtorch


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), regtorch.Dropout(drop_prob=0.4), nn.Linear(16, 3)).eval()


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 4, 40)[:, None]


def entropy(probabilities: Tensor) -> Tensor:
    return -torch.special.xlogy(probabilities, probabilities).sum(-1)


def test_uncertainties_of_stopped_rows(model: nn.Module, rows: Tensor) -> None:
    out = regtorch.MCPredictor(model, samples=400, tolerance=0.01, seed=3)(rows)
    kept = regtorch.MCPredictor(model, samples=400, seed=3, keep_samples=True)(rows).samples
    assert len(out.samples_used.unique()) > 3
    for row, used in enumerate(out.samples_used.tolist()):
        taken = kept[:used, row].double()
        mean = taken.mean(0)
        votes = taken.argmax(1).bincount(minlength=3)
        expected = {
            "mean": mean,
            "std": taken.std(0, unbiased=False),
            "predictive_entropy": entropy(mean),
            "expected_entropy": entropy(taken).mean(),
            "mutual_information": entropy(mean) - entropy(taken).mean(),
            "variation_ratio": 1 - votes.max() / used,
        }
        for name, value in expected.items():
            given = getattr(out, name)[row].double()
            torch.testing.assert_close(given, value.double(), rtol=1e-3, atol=2e-6, msg=f"{name} of row {row}")


@pytest.mark.parametrize("min_samples", [5, 16, 30])
def test_rows_stop_at_the_documented_counts(model: nn.Module, rows: Tensor, min_samples: int) -> None:
    out = regtorch.MCPredictor(model, samples=500, tolerance=0.02, min_samples=min_samples)(rows)
    used = set(out.samples_used.tolist())
    assert min(used) == min_samples
    assert len(used) > 3
    assert all((count - min_samples) % 16 == 0 or count == 500 for count in used)


def test_the_entropy_of_independent_classes(model: nn.Module, rows: Tensor) -> None:
    predictor = regtorch.MCPredictor(model, samples=50, transform="sigmoid", keep_samples=True)
    out = predictor(rows)

    def binary(yes: Tensor) -> Tensor:
        return entropy(torch.stack([yes, 1 - yes], -1)).sum(-1)

    torch.testing.assert_close(out.predictive_entropy, binary(out.mean), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.expected_entropy, binary(out.samples).mean(0), rtol=1e-4, atol=1e-5)


def test_mutual_information_is_never_negative() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), regtorch.Dropout(drop_prob=1e-4), nn.Linear(16, 3)).eval()
    out = regtorch.MCPredictor(model, samples=20, seed=1)(torch.randn(3000, 6))
    assert (out.mutual_information >= 0).all()
    raw = out.predictive_entropy - out.expected_entropy
    assert (raw < 0).any()  # by rounding, so the assertion above can fail

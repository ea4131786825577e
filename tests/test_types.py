"""Types of the public names: run by pytest, and checked by mypy, for which unused ignores are errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import assert_type

import regtorch
from regtorch.data import DataSet
from regtorch.mc import MCPrediction
from regtorch.optimizers import Adam
from regtorch.testing import ConstraintCase, DropoutCase, RegularizerCase
from regtorch.training import RegularizationCallback, run


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), regtorch.Dropout(drop_prob=0.2), nn.Linear(4, 2))


def test_penalties_and_constraints() -> None:
    penalty = regtorch.WeightPenalty(model(), regtorch.L1L2(l1=1e-5, l2=1e-4), where="kernel")
    assert_type(penalty(), Tensor)
    assert_type(regtorch.L1(0.1)(torch.ones(2)), Tensor)
    assert_type(regtorch.MaxNorm(max_value=2.0)(torch.ones(2, 2)), Tensor)
    assert_type(regtorch.SoftThreshold(0.1)(torch.ones(2, 2), step_size=0.1), Tensor)
    assert_type(regtorch.functional.l1(torch.ones(2), l1=0.1), Tensor)
    assert_type(regtorch.regularizers.L2, type[regtorch.L2])
    with pytest.raises(regtorch.SettingError, match="l1=a lot"):
        regtorch.L1L2(l1="a lot")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        regtorch.MaxNorm(maximum=2.0)  # type: ignore[call-arg]


def test_dropouts() -> None:
    assert_type(regtorch.Dropout(drop_prob=0.2)(torch.ones(2)), Tensor)
    assert_type(regtorch.dropout.AlphaDropout(keep_prob=0.9)(torch.ones(2)), Tensor)
    assert_type(regtorch.DropConnect(nn.Linear(2, 2), drop_prob=0.2)(torch.ones(2, 2)), Tensor)
    assert_type(regtorch.convert_dropout(nn.Dropout(0.5)), nn.Module)
    with pytest.raises(regtorch.NamingError):
        regtorch.Dropout(p=0.2)  # type: ignore[arg-type]
    with pytest.raises(regtorch.NamingError):
        regtorch.Dropout(0.2)  # type: ignore[arg-type]
    with pytest.raises(regtorch.NamingError):
        regtorch.SpatialDropout2d(rate=0.2)  # type: ignore[arg-type]
    with pytest.raises(regtorch.NamingError):
        regtorch.GaussianNoise(stddev=0.2)  # type: ignore[arg-type]


def test_monte_carlo() -> None:
    out = regtorch.MCPredictor(model(), samples=2)(torch.ones(2, 3))
    assert_type(out, MCPrediction)
    assert_type(out.mean, Tensor)
    assert_type(out.mutual_information, Tensor | None)


def test_names() -> None:
    assert_type(regtorch.available("regularizer"), list[str])
    assert_type(regtorch.create("regularizer", "l1"), regtorch.Regularizer)
    assert_type(regtorch.create("constraint", "max_norm"), regtorch.Constraint)
    assert_type(regtorch.create("dropout", "alpha", drop_prob=0.1), nn.Module)
    assert_type(regtorch.create("data", "synthetic"), DataSet)
    with pytest.raises(AttributeError):
        regtorch.no_such_thing  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(AttributeError):
        regtorch.functional.rows_shape  # type: ignore[attr-defined] # noqa: B018


def test_a_user_defined_component() -> None:
    @regtorch.register("regularizer", "typed_huber")
    class Huber(regtorch.Regularizer):
        def __init__(self, delta: float = 1.0) -> None:
            super().__init__()
            self.delta = delta

        def forward(self, w: Tensor) -> Tensor:
            return nn.functional.huber_loss(w, torch.zeros_like(w), delta=self.delta, reduction="sum")

    assert_type(Huber(0.5), Huber)
    assert_type(Huber(0.5).delta, float)
    with pytest.raises(TypeError):
        Huber(detla=0.5)  # type: ignore[call-arg]


def test_other_public_names() -> None:
    assert_type(Adam(model().parameters(), lr=1e-3), Adam)
    assert_type(RegularizationCallback, type[RegularizationCallback])
    assert callable(run)
    assert_type(regtorch.activations.ReLU()(torch.ones(2)), Tensor)
    assert_type(regtorch.models.MLP((4,), 2, hidden=[3])(torch.ones(1, 4)), Tensor)
    assert_type(regtorch.RegtorchError("no"), regtorch.RegtorchError)
    RegularizerCase("l1", {"l1": 0.3}, formula=lambda w: 0.3 * float(np.abs(w).sum()))
    ConstraintCase("non_neg", {}, formula=lambda w: np.maximum(w, 0), inside=np.abs)
    DropoutCase("standard")

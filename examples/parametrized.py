"""Parametrized weights: rules are bound to the computed weight, under its own name."""

import torch
from torch.nn.utils import parametrizations, parametrize

import regtorch


class Symmetric(torch.nn.Module):
    """A symmetric matrix, computed from its upper triangle."""

    def forward(self, w):
        return w.triu() + w.triu(1).T

    def right_inverse(self, w):  # only constraints need it
        return w.triu()


torch.manual_seed(0)
x = torch.randn(64, 20)
model = torch.nn.Sequential(parametrizations.weight_norm(torch.nn.Linear(20, 20)), torch.nn.Linear(20, 20))
parametrize.register_parametrization(model[1], "weight", Symmetric())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

penalty = regtorch.WeightPenalty(model, regtorch.L2(1e-3))  # bound to 0.weight and 1.weight
of_directions = regtorch.WeightPenalty(model, regtorch.L2(1e-3), where="0.parametrizations.weight.original1")
regtorch.WeightConstraint(model, regtorch.NonNeg(), where="1.weight").attach(optimizer)
for _ in range(5):
    optimizer.zero_grad()
    (model(x).square().mean() + penalty() + of_directions()).backward()
    optimizer.step()
assert penalty.names == ["0.weight", "1.weight"]
torch.testing.assert_close(penalty(), 1e-3 * sum(layer.weight.square().sum() for layer in model))
assert model[1].weight.min() >= 0

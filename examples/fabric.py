"""Lightning Fabric: bind the rules before or after `setup`, and attach constraints to the optimizer that it returns."""

import torch
from lightning.fabric import Fabric

import regtorch

fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
fabric.seed_everything(0)
x, y = torch.randn(256, 20), torch.randint(3, (256,))
model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
model, optimizer = fabric.setup(model, torch.optim.Adam(model.parameters(), lr=1e-3))

penalty = regtorch.WeightPenalty(model, regtorch.L2(1e-4))  # float32, whatever the precision
regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.5)).attach(optimizer)
for _ in range(20):
    optimizer.zero_grad()
    fabric.backward(torch.nn.functional.cross_entropy(model(x), y) + penalty())
    optimizer.step()
assert model.module[0].weight.norm(dim=1).max() <= 0.5 + 1e-6

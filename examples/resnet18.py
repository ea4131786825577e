"""torchvision's resnet18: L2 on all kernels, max-norm only on the kernel of its head, dropout before the head."""

import torch
from torchvision.models import resnet18

import regtorch

torch.manual_seed(0)
x, y = torch.randn(4, 3, 64, 64), torch.randint(10, (4,))
model = resnet18(weights=None)  # or weights="DEFAULT"
model.fc = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(512, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

penalty = regtorch.WeightPenalty(model, regtorch.L2(1e-4))
regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.5), where="kernel:fc.*").attach(optimizer)
for _ in range(2):
    optimizer.zero_grad()
    (torch.nn.functional.cross_entropy(model(x), y) + penalty()).backward()
    optimizer.step()

out = regtorch.MCPredictor(model, samples=100, transform="softmax")(x)  # all before the dropout is computed once
print(out.mean.argmax(1), out.predictive_entropy)
assert model.fc[1].weight.norm(dim=1).max() <= 0.5 + 1e-6

"""A plain training loop: a penalty in the loss, max-norm after each step, and the uncertainty of the predictions."""

import torch

import regtorch

torch.manual_seed(0)
x, y = torch.randn(256, 20), torch.randint(3, (256,))
model = torch.nn.Sequential(
    torch.nn.Linear(20, 64), torch.nn.ReLU(), regtorch.Dropout(drop_prob=0.2), torch.nn.Linear(64, 3)
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

penalty = regtorch.WeightPenalty(model, regtorch.L1L2(l1=1e-5, l2=1e-4))
regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=1.0)).attach(optimizer)
for _ in range(20):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y) + penalty()
    loss.backward()
    optimizer.step()  # applies the constraint, too

out = regtorch.MCPredictor(model, samples=100, transform="softmax")(x)
print(out.mean[0], out.std[0], out.mutual_information[0])
assert model[0].weight.norm(dim=1).max() <= 1 + 1e-6
